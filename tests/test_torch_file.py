"""Files of torch.save: read as torch reads them, and nothing in one runs, changes or exhausts anything."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from sonolex.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL, read_torch

DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def content() -> dict:
    table = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    found = {f"kind {d}": torch.tensor([0, 1, 1]).to(d) for d in DTYPES}
    found |= {
        "table": table,
        "tied": table,
        "column": table[:, 2],
        "turned": table.T,
        "row": table[1],
        "empty": torch.empty(0, 3),
    }
    return found | {"number": torch.tensor(3.5), "parameter": torch.nn.Parameter(torch.ones(2, 2))}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_tensors_are_those_that_torch_reads(new, tmp_path):
    path = tmp_path / "x.bin"
    torch.save(content(), path, _use_new_zipfile_serialization=new)
    expected, found = torch.load(path, weights_only=True), read_torch(path)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name
    assert found["table"].data_ptr() == found["tied"].data_ptr()
    torch.save({"model": OrderedDict(content()), "args": argparse.Namespace(a=[1, {2: 3}])}, path)
    assert list(read_torch(path, under="model")) == list(content())


def refusal(path: Path, **options) -> str:
    with pytest.raises(ValueError) as refused:
        read_torch(path, **options)
    message = str(refused.value)
    assert str(path) in message and len(message.splitlines()) == 1, message
    return message


# ---- programs


def test_a_torchscript_archive_is_refused_by_its_parts_and_never_handed_on(tmp_path, monkeypatch):
    """torch.load hands it to torch.jit.load, which runs it: it could overwrite any file."""

    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    scripted = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(Writes()), scripted)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("handed to torch.jit.load"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("handed to torch.load"))
    assert "TorchScript" in refusal(scripted) and "TorchScript" in refusal(scripted, under="model")
    for part in ("constants.pkl", "code/__torch__.py"):
        disguised = tmp_path / "disguised.pt"
        torch_zip(disguised, pickled({}), {part: b"x"})
        assert "TorchScript" in refusal(disguised)


def global_of(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def pickled(values: object) -> bytes:
    return pickle.dumps(values, protocol=2)


def torch_zip(path: Path, data: bytes, parts: dict[str, bytes] | None = None, **options) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", data)
        for name, part in (parts or {}).items():
            archive.writestr(f"archive/{name}", part)


def weights(tensor: bytes) -> bytes:
    """Return a pickle of {"model": {"w": tensor}} for the operations that make the tensor."""
    return b"\x80\x02}X\x05\x00\x00\x00model}X\x01\x00\x00\x00w" + tensor + b"ss."


def integer(n: int) -> bytes:
    return pickle.dumps(n, protocol=2)[2:-1]


def stored_tensor(*, size=(3,), stride=(1,), offset=0, numel=3, key="0", kind="FloatStorage") -> bytes:
    """Return the operations that rebuild a tensor, as torch writes them."""
    storage = b"(X\x07\x00\x00\x00storage" + global_of("torch", kind) + pickle.dumps(key, protocol=2)[2:-1]
    storage += b"X\x03\x00\x00\x00cpu" + integer(numel) + b"tQ"
    numbers = [b"(" + b"".join(map(integer, n)) + b"t" for n in (size, stride)]
    arguments = (
        storage + integer(offset) + numbers[0] + numbers[1] + b"\x89" + global_of("collections", "OrderedDict") + b")R"
    )
    return global_of("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def test_the_hand_made_file_is_read_as_it_should(tmp_path):
    torch_zip(tmp_path / "x.pt", weights(stored_tensor()), {"data/0": struct.pack("<3f", 1, 2, 3)})
    assert read_torch(tmp_path / "x.pt", under="model")["w"].tolist() == [1, 2, 3]


# ---- state


NAMED = [
    ("torch.storage", "TypedStorage"),
    ("torch.storage", "UntypedStorage"),
    ("torch", "FloatStorage"),
    ("torch", "Size"),
]
NAMED += [
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
]
NAMED += [("builtins", "dict"), ("sonolex.torch_file", "_Maker"), ("argparse", "Namespace"), ("torch", "float32")]


@pytest.mark.parametrize(("module", "name"), NAMED)
@pytest.mark.parametrize("how", ["slots", "attributes", "item", "items", "append"])
def test_no_state_reaches_what_a_file_names(module, name, how, tmp_path):
    """BUILD replaced TypedStorage.__len__ for the whole process."""
    from importlib import import_module

    import sonolex.torch_file as reader

    kept = {m: dict(vars(import_module(m)[0] if isinstance(m, tuple) else import_module(m))) for m in {module}}
    thing = getattr(import_module(module), name)
    before = dict(vars(thing)) if hasattr(thing, "__dict__") else {}
    ours = {n: dict(vars(v)) for n, v in vars(reader).items() if isinstance(v, type)}
    state = b"}X\x07\x00\x00\x00__len__X\x01\x00\x00\x00ks"
    change = {
        "slots": b"N" + state + b"\x86b",
        "attributes": state + b"b",
        "item": b"X\x07\x00\x00\x00__len__X\x01\x00\x00\x00ks",
        "items": b"(X\x07\x00\x00\x00__len__X\x01\x00\x00\x00ku",
        "append": b"X\x01\x00\x00\x00ka",
    }[how]
    path = tmp_path / "x.pt"
    harm = b"\x80\x02" + global_of(module, name) + change + b"0" + weights(stored_tensor())[2:]
    torch_zip(path, harm, {"data/0": struct.pack("<3f", 1, 2, 3)})
    try:
        assert read_torch(path, under="model")["w"].tolist() == [1, 2, 3]
    except ValueError as e:
        assert str(path) in str(e)
    assert not hasattr(thing, "__dict__") or dict(vars(thing)) == before
    assert all(dict(vars(import_module(m))) == v for m, v in kept.items())
    assert {n: dict(vars(v)) for n, v in vars(reader).items() if isinstance(v, type)} == ours
    torch_zip(path, weights(stored_tensor()), {"data/0": struct.pack("<3f", 1, 2, 3)})
    assert read_torch(path, under="model")["w"].tolist() == [1, 2, 3]  # nor is the next file read otherwise


@pytest.mark.parametrize("module", ["os", "posix", "builtins", "subprocess", "torch.jit", "sonolex.cli"])
def test_a_call_of_anything_else_makes_an_inert_object(module, tmp_path):
    name = {"os": "system", "posix": "system", "builtins": "eval", "subprocess": "run", "torch.jit": "load"}.get(
        module, "main"
    )
    target = tmp_path / "touched"
    harm = b"\x80\x02" + global_of(module, name) + pickle.dumps((f"touch {target}",), protocol=2)[2:-1] + b"R0"
    torch_zip(tmp_path / "x.pt", harm + weights(stored_tensor())[2:], {"data/0": struct.pack("<3f", 1, 2, 3)})
    assert read_torch(tmp_path / "x.pt", under="model")["w"].tolist() == [1, 2, 3]
    assert not target.exists()


# ---- claims


TWELVE_BYTES = {"data/0": struct.pack("<3f", 1, 2, 3)}
CLAIMS = {
    "more numbers than the storage": stored_tensor(size=(4,)),
    "an offset beyond the storage": stored_tensor(offset=1),
    "a stride beyond the storage": stored_tensor(stride=(2,)),
    "a terabyte by a stride of 0": stored_tensor(size=(1 << 40,), stride=(0,)),
    "four numbers by a stride of 0": stored_tensor(size=(2, 2), stride=(0, 0)),
    "sizes whose product overflows": stored_tensor(size=(1 << 62, 1 << 62), stride=(0, 0)),
    "a negative size": stored_tensor(size=(-1,)),
    "a negative stride": stored_tensor(stride=(-1,)),
    "a negative offset": stored_tensor(offset=-1),
    "fewer strides than sizes": stored_tensor(size=(1, 3)),
    "a thousand dimensions": stored_tensor(size=(1,) * 1000, stride=(1,) * 1000),
    "a storage of a terabyte": stored_tensor(numel=1 << 40),
    "a storage of fewer numbers": stored_tensor(size=(2,), numel=2),
    "a storage of other numbers": stored_tensor(kind="DoubleStorage"),
    "a storage that is not there": stored_tensor(key="7"),
    "a storage outside the archive": stored_tensor(key="../../etc/passwd"),
    "a tensor in no storage": global_of("torch._utils", "_rebuild_tensor_v2") + b"(K\x01K\x00))\x89NtR",
    "a memo of 2^31 places": b"N" + b"r\xff\xff\xff\x7f",
    "a memo of 2^30 places": b"Np1073741824\n",
    "a text of 2^62 bytes": b"\x8d" + struct.pack("<Q", 1 << 62),
    "a number of 2^31 bytes": b"\x8b\xff\xff\xff\x7f",
    "an extension": b"\x82\x01",
    "two sizes of one storage": stored_tensor() + b"0" + stored_tensor(numel=6),
    "deep nesting": b"(" * 100_000 + b"t" * 100_000,
    "no end": b"\x80",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_file_only_claims_is_refused(claim, tmp_path):
    torch_zip(tmp_path / "x.pt", weights(CLAIMS[claim]), TWELVE_BYTES)
    refusal(tmp_path / "x.pt", under="model")


def test_archives_that_torch_never_writes_are_refused(tmp_path):
    good, path = weights(stored_tensor()), tmp_path / "x.pt"
    torch_zip(path, good, {"data/0": bytes(12)}, compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(path, under="model")
    torch_zip(path, good, {"data/0": bytes(12), "byteorder": b"big"})
    assert "big-endian" in refusal(path, under="model")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("archive/data.pkl", good)
    assert "several parts" in refusal(path, under="model")
    torch_zip(path, b"\x80\x02" + b"N0" * (9 << 20) + good[2:], TWELVE_BYTES)
    assert "at most" in refusal(path, under="model")
    torch_zip(path, good, TWELVE_BYTES)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<2I", 12, 12), struct.pack("<2I", 1 << 30, 1 << 30)))
    assert "more than it does" in refusal(path, under="model")
    for cut in range(0, len(content), 37):
        path.write_bytes(content[:cut])
        refusal(path, under="model")


def legacy(path: Path, data: bytes, keys: object, numbers: bytes, *, little_endian: object = True) -> None:
    head = [LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": little_endian}]
    path.write_bytes(b"".join(map(pickled, head)) + data + pickled(keys) + numbers)


def test_legacy_files_that_claim_too_much_are_refused(tmp_path):
    path, three = tmp_path / "x.pt", struct.pack("<q3f", 3, 1, 2, 3)
    legacy(path, weights(stored_tensor()), ["0"], three)
    assert read_torch(path, under="model")["w"].tolist() == [1, 2, 3]
    for data, keys, numbers in (
        (stored_tensor(numel=1 << 40), ["0"], struct.pack("<q3f", 1 << 40, 1, 2, 3)),
        (stored_tensor(), ["0"], struct.pack("<q3f", 1 << 40, 1, 2, 3)),
        (stored_tensor(), ["0"], three[:-1]),
        (stored_tensor(), ["0", "0"], three * 2),
        (stored_tensor(), ["0", "1"], three * 2),
        (stored_tensor(), [], b""),
        (stored_tensor(), {"0": 1}, three),
        (stored_tensor(), [["0"]], three),
        (stored_tensor(size=(4,)), ["0"], three),
    ):
        legacy(path, weights(data), keys, numbers)
        refusal(path, under="model")
    legacy(path, weights(stored_tensor()), ["0"], three, little_endian=False)
    assert "big-endian" in refusal(path, under="model")


def test_files_of_other_kinds_are_refused_by_what_they_are(tmp_path):
    path = tmp_path / "x.pt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 360000000\n")
    assert "Git LFS pointer" in refusal(path)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert "tar archive" in refusal(path)
    for content in (b"", b"<!DOCTYPE html>", pickled([1]), b"PK\x03\x04", np.random.default_rng(0).bytes(4096)):
        path.write_bytes(content)
        refusal(path)
    path.unlink()
    os.mkfifo(path)
    refusal(path)
    path.unlink()
    path.mkdir()
    refusal(path)
    with pytest.raises(FileNotFoundError):
        read_torch(tmp_path / "nothing.pt")


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_mutated_files_give_tensors_or_one_message_in_little_memory(new, tmp_path):
    torch.save(
        {"model": {"a": torch.ones(40), "b": torch.zeros(3, 4)}, "args": argparse.Namespace(x=1)},
        tmp_path / "x.pt",
        _use_new_zipfile_serialization=new,
    )
    code = f"""
import random, resource, time
from pathlib import Path
from sonolex.torch_file import read_torch
path = Path({str(tmp_path / "x.pt")!r})
good, rng = path.read_bytes(), random.Random(0)
read_torch(path, under="model")
with open("/proc/self/statm") as file:
    limit = int(file.read().split()[0]) * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
counts = [0, 0]
for _ in range(500):
    changed = bytearray(good)
    for _ in range(rng.choice((1, 2, 5, 20))):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    path.write_bytes(changed)
    try:
        read_torch(path, under="model")
        counts[0] += 1
    except ValueError as e:
        assert str(path) in str(e)
        counts[1] += 1
assert min(counts) > 20, counts
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
