"""LibriSpeech: read English speech from audiobooks.

Origin: V. Panayotov et al., ICASSP 2015; openslr.org/12. Licence: CC BY 4.0. Size: 292,367 utterances, 982 h, 16 kHz
FLAC, 2,484 speakers. Layout: ``train-clean-100/SPEAKER/CHAPTER/SPEAKER-CHAPTER-0000.flac`` with a
``SPEAKER-CHAPTER.trans.txt`` beside the audio: one line per utterance, id and upper-case transcript.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sonolex.data.corpora import _layout
from sonolex.data.manifest import Manifest

NUM_CLIPS = {
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
}
TRAIN_960 = ("train-clean-100", "train-clean-360", "train-other-500")


def prepare(
    root: str | Path | None = None, *, subsets: Sequence[str] = tuple(NUM_CLIPS), strict: bool = True
) -> Manifest:
    """Return the corpus under ``root`` (the folder that holds ``train-clean-100`` …; default: $SONOLEX_DATA).

    Raises:
        FileNotFoundError: a subset is missing.
        ValueError: counts differ from the official release, unless ``strict`` is False; unknown subsets.
    """
    unknown = sorted(set(subsets) - set(NUM_CLIPS))
    if unknown:
        raise ValueError(f"`subsets` must be some of {', '.join(NUM_CLIPS)}, but has {', '.join(unknown)}.")
    root = _layout.corpus_root(root, "LibriSpeech", "librispeech")
    rows, problems = [], []
    for subset in subsets:
        if not (root / subset).is_dir():
            raise FileNotFoundError(f"`root` must hold {subset}, but {root} does not. Unpack it or choose `subsets`.")
        texts = _transcripts(root / subset, problems)
        for file in _layout.audio_files(root, (subset,)):
            speaker, chapter, _ = file.stem.split("-")
            if file.stem not in texts:
                problems.append(f"{file.relative_to(root)}: has no line in its trans.txt")
            rows.append(
                {
                    "id": file.stem,
                    "audio": str(file.relative_to(root)),
                    "text": texts.pop(file.stem, None),
                    "language": "en",
                    "speaker": speaker,
                    "session": chapter,
                    "split": subset,
                }
            )
        problems += [f"{subset}: transcript of {i} has no audio" for i in sorted(texts)]
    groups = [r["split"] for r in rows]
    expected = {s: NUM_CLIPS[s] for s in subsets}
    return _layout.checked(
        "LibriSpeech", rows, root, groups=groups, expected=expected, problems=problems, strict=strict
    )


def _transcripts(folder: Path, problems: list[str]) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            clip_id, _, text = line.partition(" ")
            if not text.strip():
                problems.append(f"{path.name}, line {number}: must be id and transcript, but is {line!r}")
                continue
            texts[clip_id] = text
    return texts
