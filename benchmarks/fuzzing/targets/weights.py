"""Published checkpoints: folders of safetensors or pytorch_model.bin, and fairseq's .pt files."""

from __future__ import annotations

import argparse
import hashlib
import random
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import mutations, structured
from benchmarks.fuzzing.cases import Mutation

NAMES = tuple(f"encoder.layers.{i}.fc1.weight" for i in range(3))


def warm() -> None:
    import safetensors.torch  # noqa: F401

    import sonolex.pretrained.fairseq
    import sonolex.pretrained.files  # noqa: F401


def make(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(8, 6, generator=generator) for name in NAMES}
    saved = {"args": argparse.Namespace(arch="t5"), "cfg": None, "model": tensors}
    for name in ("safetensors", "bin", "fairseq", "fairseq-old"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    save_file(tensors, folder / "safetensors" / "model.safetensors")
    torch.save(tensors, folder / "bin" / "pytorch_model.bin")
    torch.save(saved, folder / "fairseq" / "released.pt")
    torch.save(saved, folder / "fairseq-old" / "released.pt", _use_new_zipfile_serialization=False)


def mutate(folder: Path, rng: random.Random) -> Mutation:
    file = next(p for p in folder.iterdir() if p.name != "config.json")
    way = rng.random()
    if file.suffix == ".safetensors":
        return structured.change_safetensors(file, rng) if way < 0.6 else mutations.change_bytes(file, rng)
    zipped = zipfile.is_zipfile(file)
    if way < 0.3:
        content, what = structured.hostile_pickle(rng, folder.parent / "canary")
        if zipped:
            replace_member(file, "data.pkl", content)
        else:
            file.write_bytes(content)
        return Mutation(f"{file.name}: {what}")
    if zipped and way < 0.4:
        return structured.change_zip(file, rng, names=("archive/data.pkl", "archive/code/x.py", "constants.pkl", "x"))
    if zipped and way < 0.7:
        with zipfile.ZipFile(file) as z:
            pickled = next(n for n in z.namelist() if n.endswith("data.pkl"))
            inner = file.with_name("data.pkl")
            inner.write_bytes(z.read(pickled))
        what = mutations.change_bytes(inner, rng, header=(0, 1000)).what
        replace_member(file, "data.pkl", inner.read_bytes())
        inner.unlink()
        return Mutation(f"{file.name}: {what}")
    return mutations.change_bytes(file, rng, header=(0, 1000))


def use(folder: Path, out: Path) -> Any:
    import torch

    from sonolex.pretrained.base import copy_found
    from sonolex.pretrained.checkpoint import open_checkpoint

    before = _methods()
    released = next(folder.glob("*.pt"), None)
    try:
        weights = open_checkpoint(released or folder).weights
    finally:
        if _methods() != before:
            (folder.parent / "mark" / "a class was changed").touch()
    try:
        copy_found({(name,): torch.zeros(8, 6) for name in NAMES}, weights)  # what every importer does with them
    except ValueError as e:
        raise ValueError(f"{folder}: {e}") from e  # as train/building.py says it
    return {k: (tuple(v.shape), str(v.dtype), _digest(v)) for k, v in weights.items()}


def _digest(tensor: Any) -> str:
    """Return a digest of the values that are there, not of those a stride of 0 repeats."""
    return hashlib.sha256(bytes(tensor.untyped_storage())).hexdigest()


def replace_member(file: Path, ending: str, content: bytes) -> None:
    """Write a zip again, stored as torch stores it, with other content of one member."""
    with zipfile.ZipFile(file) as z:
        members = [(m.filename, z.read(m)) for m in z.infolist()]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as z:
        for name, inside in members:
            z.writestr(name, content if name.endswith(ending) else inside)


def _methods() -> dict[str, Any]:
    """Return the attributes of the classes that a pickle of tensors names."""
    import collections

    import torch

    kinds = (torch.storage.TypedStorage, torch.storage.UntypedStorage, torch.FloatStorage, torch.Size)
    return {f"{k.__name__}.{n}": id(v) for k in (*kinds, collections.OrderedDict) for n, v in vars(k).items()}
