"""lhotse cuts and Hugging Face datasets, in and out (extra: bridges)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonolex.data.manifest import Manifest, manifest_from_rows


def from_lhotse(cuts: Any) -> Manifest:
    """Return a manifest of a lhotse CutSet, or of the file of one. Custom fields of supervisions become labels.

    Raises:
        ImportError: lhotse is missing.
        ValueError: a cut of several recordings or supervisions; trim it to supervisions first.
    """
    cuts = _lhotse().CutSet.from_file(cuts) if isinstance(cuts, str | Path) else cuts
    rows = []
    for cut in cuts:
        if not hasattr(cut, "recording") or len(cut.supervisions) > 1:
            raise ValueError(
                f"cut {cut.id!r} must have one recording and at most one supervision. "
                "Call cuts.trim_to_supervisions() first."
            )
        source = cut.recording.sources[0]
        row: dict[str, Any] = {"id": cut.id, "offset_s": cut.start, "duration_s": cut.duration}
        row |= {"sampling_rate": cut.recording.sampling_rate, "source_id": cut.recording.id}
        row |= {"audio_bytes": source.source} if source.type == "memory" else {"audio": str(source.source)}
        if cut.supervisions:
            supervision = cut.supervisions[0]
            row |= {
                "text": supervision.text,
                "language": supervision.language,
                "speaker": supervision.speaker,
                **(supervision.custom or {}),
            }
        rows.append(row)
    return manifest_from_rows(rows, where="lhotse cuts")


def to_lhotse(manifest: Manifest) -> Any:
    """Return a lhotse CutSet of a manifest whose clips are files; labels become custom fields."""
    lhotse = _lhotse()
    cuts = []
    for clip, rate in zip(manifest, manifest.with_durations().column("sampling_rate"), strict=True):
        if not isinstance(clip.audio, str):
            raise ValueError(f"clip {clip.id!r} must be a file for lhotse, but is {type(clip.audio).__name__}.")
        recording = lhotse.Recording.from_file(clip.audio, recording_id=clip.id)
        start = clip.offset_s or 0.0
        duration = clip.duration_s if clip.offset_s is not None and clip.duration_s else recording.duration - start
        supervision = lhotse.SupervisionSegment(
            id=clip.id,
            recording_id=clip.id,
            start=0.0,
            duration=duration,
            text=clip.text,
            speaker=clip.speaker,
            custom={k: v for k, v in clip.labels.items() if k in manifest.label_columns},
        )
        assert rate is None or rate == recording.sampling_rate
        cuts.append(
            lhotse.MonoCut(
                id=clip.id, start=start, duration=duration, channel=0, recording=recording, supervisions=[supervision]
            )
        )
    return lhotse.CutSet.from_cuts(cuts)


def from_datasets(dataset: Any, *, audio: str = "audio") -> Manifest:
    """Return a manifest of a Hugging Face dataset; its audio is neither decoded nor copied more than once.

    Args:
        audio: the column of type Audio; its bytes or path are kept as they are.
    """
    datasets = _datasets()
    dataset = dataset.cast_column(audio, datasets.Audio(decode=False))
    rows = []
    for number, item in enumerate(dataset):
        sound = item.pop(audio)
        row = {"id": str(item.pop("id", f"{number:08d}")), **item}
        row |= {"audio_bytes": sound["bytes"]} if sound["bytes"] is not None else {"audio": sound["path"]}
        rows.append(row)
    return manifest_from_rows(rows, root="/", where="Hugging Face dataset")


def to_datasets(manifest: Manifest) -> Any:
    """Return a Hugging Face dataset of a manifest; files are referred to by path."""
    datasets = _datasets()
    columns = {n: manifest.column(n) for n in manifest.table.column_names if n not in ("audio", "audio_bytes")}
    sounds = [clip.audio for clip in manifest]
    columns["audio"] = [
        {"bytes": s, "path": None} if isinstance(s, bytes) else {"bytes": None, "path": s} for s in sounds
    ]
    return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))


def _lhotse() -> Any:
    try:
        import lhotse
    except ImportError as e:
        raise ImportError("this needs lhotse: pip install 'sonolex[bridges]'") from e
    return lhotse


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as e:
        raise ImportError("this needs datasets: pip install 'sonolex[bridges]'") from e
    return datasets
