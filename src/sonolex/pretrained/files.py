"""Read published checkpoints in Hugging Face format: a local folder, or ``hub:ORG/NAME``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sonolex.files import load_object
from sonolex.hub import local_or_hub
from sonolex.terminal import say
from sonolex.torch_file import read_torch
from sonolex.weights import read_tensors


def read_config(place: str | Path) -> dict[str, Any]:
    """Return config.json of a Hugging Face checkpoint: a local folder or ``hub:ORG/NAME``."""
    return load_object(checkpoint_folder(place) / "config.json")


def read_sizes(place: str | Path, names: Iterable[str], *, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return these numbers of a Hugging Face checkpoint's config.json; ``defaults`` are of those that it may leave out.

    Raises:
        ValueError: one is missing, or is no number above 0.
    """
    return sizes_in({**(defaults or {}), **read_config(place)}, names, place=place)


def sizes_in(config: Mapping[str, Any], names: Iterable[str], *, place: str | Path) -> dict[str, Any]:
    """Return these numbers of a config.json that was read from ``place``. Raises as `read_sizes`."""
    names = list(names)
    wrong = [f"{n} ({config.get(n)!r:.40})" for n in names if not _is_size(config.get(n), whole=not n.endswith("eps"))]
    if wrong:
        raise ValueError(f"config.json of {place} must have sizes above 0, but these are not: {', '.join(wrong)}.")
    return {n: config[n] for n in names}


def _is_size(value: Any, *, whole: bool) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool) and 0 < value < 2**31


def read_weights(place: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a Hugging Face checkpoint: safetensors, or pytorch_model.bin, without running a pickle.

    An index decides which files are read. Without one, the only file is, or the one called model.safetensors
    (pytorch_model.bin), and a line on the error stream names the others.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: several files and neither an index nor that name, or a broken file.
    """
    folder = checkpoint_folder(place)
    for main, pattern, read in (
        ("model.safetensors", "*.safetensors", read_tensors),
        ("pytorch_model.bin", "pytorch_model*.bin", read_torch),
    ):
        index, files = folder / f"{main}.index.json", sorted(folder.glob(pattern))
        if index.is_file():
            return _indexed(index, read)
        if len(files) > 1 and folder / main in files:
            other_names = ", ".join(f.name for f in files if f.name != main)
            say(f"{folder}: reading {main}, not {other_names}", file=sys.stderr)
            files = [folder / main]
        if len(files) > 1:
            names = ", ".join(f.name for f in files)
            raise ValueError(
                f"{folder} must hold {main}, or {index.name} for several files, but holds {names}. "
                f"Leave the wanted one, called {main}."
            )
        if files:
            return read(files[0])
    raise FileNotFoundError(f"{folder} must hold model.safetensors or pytorch_model.bin, but does not.")


def _indexed(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors that an index names, each from the file it names, which lies beside it."""
    places = load_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(f, str) for f in places.values()):
        raise ValueError(f"{index} must name a file for every tensor under 'weight_map', but does not.")
    outside = [f for f in places.values() if Path(f).name != f or f in ("", "..")]
    if outside:
        raise ValueError(f"{index} must name files beside it, but names {outside[0]!r}.")
    tensors = {f: read(index.with_name(f)) for f in dict.fromkeys(places.values())}
    absent = [k for k, f in places.items() if k not in tensors[f]]
    if absent:
        raise ValueError(f"{index} must name each tensor's file, but {absent[0]!r} is not in {places[absent[0]]!r}.")
    return {k: tensors[f][k] for k, f in places.items()}


def tokenizer_folder(place: str | Path) -> Path:
    """Return the folder of a tokenizer: any local folder, or that of a checkpoint as ``hub:ORG/NAME``."""
    return Path(place) if Path(place).is_dir() else checkpoint_folder(place)


def checkpoint_folder(place: str | Path) -> Path:
    """Return the local folder of a Hugging Face checkpoint; ``hub:ORG/NAME`` is downloaded."""
    files = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")
    return local_or_hub(place, wanted="a folder of a Hugging Face checkpoint", files=files)
