"""Write hidden units into a manifest: clusters of log-mel frames, or of a model's states at any layer (HuBERT).

The centres are fitted on clips spread over the manifest; then every clip is read once and its units are kept line by
line, so a killed run goes on where it was. Masked-unit prediction reads them with ``unit_column`` = "units", and
SpeechLM's phones with "phone_units": the phone of every step, found by aligning the units with the column ``phones``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sonolex.audio import features
from sonolex.audio.units import assign_units, fit_units
from sonolex.data.clip_journal import ClipJournal
from sonolex.data.manifest import Clip, Manifest, read_manifest
from sonolex.devices import AUTO, find_device, only_cpu
from sonolex.files import atomic_file, recover
from sonolex.objectives.unit_alignment import aligned_paths
from sonolex.train.building import spread
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.weights import read_tensors, write_tensors

RATE_HZ, NUM_MELS, WINDOW_MS = 16_000, 80, 25.0
UNITS, PHONE_UNITS, PHONES = "units", "phone_units", "phones"


def make_units(
    manifest: str | Path,
    *,
    out: str | Path,
    num_units: int,
    model: str | Path | None = None,
    layer: int = -1,
    hop_ms: float = 20.0,
    seed: int = 0,
    device: str = AUTO,
    trust_code: bool = False,
) -> Manifest:
    """Return the manifest with the column ``units`` (numbers of every step), and write it to ``out``.

    With a column ``phones`` there is also ``phone_units``, the phone of every step. The centres lie beside ``out``.

    Args:
        model: run folder, model folder or ``hub:ORG/NAME`` whose states are clustered; None clusters log-mel frames.
        layer: of the model, 0 for what enters the first one, -1 for the last.
        hop_ms: between log-mel frames; a model has its own steps.
        device: what the model computes on: auto, cpu, cuda, cuda:1 or mps; log-mel frames are the CPU's.
        trust_code: the model folder may name code of its own, which then runs.

    Raises:
        ValueError: ``out`` is the input, its journal is of other units, fewer frames than units, or there is no such
            layer or device.
        AudioError: a clip that cannot be read; finished clips are kept.
    """
    from rich.progress import track

    out = Path(out)
    if out.resolve() == Path(manifest).resolve():
        raise ValueError(f"`out` must be another file than the manifest, but both are {out}.")
    clips = read_manifest(manifest)
    if model is None:
        only_cpu(device, "log-mel units")
    read = _log_mel(hop_ms) if model is None else _states(model, layer, find_device(device), trust_code)
    name = f"log-mel every {hop_ms:g} ms" if model is None else f"layer {layer} of {model}"
    journal = ClipJournal(out, f"{num_units} clusters of {name}, seed {seed}")
    with_audio = [row for row, audio in enumerate(clips.column("audio")) if audio is not None]
    fit = partial(_fitted, clips, with_audio, read, num_units, seed)
    centres_KF = _centres(out.with_name(out.name + ".centres.safetensors"), fit, resumed=bool(journal.found))
    for row in track(with_audio, "assigning units", transient=True):
        clip = clips[row]
        if clip.id not in journal.found:
            journal.add(clip.id, " ".join(map(str, assign_units(read(clip), centres_KF).tolist())))
    units = [journal.found.get(i) for i in clips.column("id")]
    filled = clips.with_column(UNITS, units)
    if PHONES in clips.table.column_names:
        filled = filled.with_column(PHONE_UNITS, _phone_units(units, clips.column(PHONES), num_units))
    filled.write(out)
    journal.close()
    return filled


def _centres(file: Path, fit: Callable[[], Tensor], *, resumed: bool) -> Tensor:
    """Return the centres that the interrupted call fitted, or fit them anew."""
    if resumed and file.is_file():
        centres_KF = read_tensors(file).get("centres")
        if centres_KF is None:
            raise ValueError(f"{file} must hold the centres of the interrupted call, but does not. Remove it.")
        return centres_KF
    recover(file.parent, name=file.name)
    centres_KF = fit()
    with atomic_file(file) as building:
        write_tensors(building, {"centres": centres_KF})
    return centres_KF


def _fitted(clips: Manifest, rows: list[int], read: Callable[[Clip], Tensor], num_units: int, seed: int) -> Tensor:
    return fit_units((read(clips[rows[i]]) for i in spread(len(rows))), num_units=num_units, seed=seed)


def _log_mel(hop_ms: float) -> Callable[[Clip], Tensor]:
    def read(clip: Clip) -> Tensor:
        wave_S = clip.samples(RATE_HZ)
        frames_TF = features.clip_fbank(wave_S, rate_hz=RATE_HZ, num_mels=NUM_MELS, window_ms=WINDOW_MS, hop_ms=hop_ms)
        return features.normalise_utterance(frames_TF)

    return read


def _states(model: str | Path, layer: int, device: torch.device, trust_code: bool) -> Callable[[Clip], Tensor]:
    trained, processor, _ = load_model(model_folder(model), trust_code=trust_code)
    system = trained.eval().to(device).system

    @torch.inference_mode()
    def read(clip: Clip) -> Tensor:
        example = processor.example(clip.id, front=processor.front(clip.samples(processor.config.rate_hz)), text=None)
        states = system.encode(processor.collate([example]).to(device)).layers.get("audio", ())
        if not -len(states) <= layer < len(states):
            raise ValueError(f"`layer` must be below {len(states)}, the layers of {model}, but is {layer}.")
        return states[layer][0].float().cpu()

    return read


def _phone_units(units: list[str | None], phones: list[str | None], num_units: int) -> list[str | None]:
    """Return the phone of every step of each clip that has both; a clip with fewer steps than phones has none."""
    lengths = [(len((p or "").split()), len((u or "").split())) for u, p in zip(units, phones, strict=True)]
    both = [i for i, (spoken, steps) in enumerate(lengths) if 0 < spoken <= steps]
    names = sorted({phone for i in both for phone in str(phones[i]).split()})
    number = {name: i for i, name in enumerate(names)}
    pairs = [
        (np.array([int(u) for u in str(units[i]).split()]), np.array([number[p] for p in str(phones[i]).split()]))
        for i in both
    ]
    aligned: list[str | None] = [None] * len(units)
    for i, (_, phones_L), path_T in zip(both, pairs, aligned_paths(pairs, len(names), num_units), strict=True):
        aligned[i] = " ".join(names[phone] for phone in phones_L[path_T])
    return aligned
