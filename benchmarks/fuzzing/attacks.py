"""Cases made by hand: each changes a good input in one way that somebody thought of; they run before the random ones.

The good input is the one named in `GOODS`. What an attack must lead to is an answer or a refusal, as any case.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.cases import Mutation
from benchmarks.fuzzing.structured import ESCAPE, MARKUP

Attack = Callable[[Path], Mutation]
GOODS = {
    "archives": "summed", "audio": "wav-pcm_16", "checkpoints": "stopped", "indexes": "index", "models": "ctal",
    "protocols": "classification", "results": "classes", "tables": "csv", "tokenizers": "bytes", "weights": "fairseq",
}  # fmt: skip


def of_target(target: str) -> dict[str, Attack]:
    """Return the attacks on a target, by name."""
    return _ATTACKS.get(target, {})


# --- recordings -----------------------------------------------------------------------------------------------------


def _audio() -> dict[str, Attack]:
    return {
        "pipe": lambda f: _special(f / "recording.wav", "pipe"),
        "device": lambda f: _link(f / "recording.wav", "/dev/zero"),
        "link to a secret": lambda f: _link(f / "recording.wav", "/etc/passwd"),
        "sparse file of 40 GB": lambda f: _sparse(f / "recording.wav", 40 << 30),
        "flac that unpacks to 1.3 GB": _flac_bomb,
        "rate of 0": lambda f: _poke(f / "recording.wav", 24, "<I", 0),
        "rate of 4 GHz": lambda f: _poke(f / "recording.wav", 24, "<I", 2**32 - 1),
        "65535 channels": lambda f: _poke(f / "recording.wav", 22, "<H", 65535),
        "no bytes a frame": lambda f: _poke(f / "recording.wav", 32, "<H", 0),
        "data of 4 GB announced": lambda f: _poke(f / "recording.wav", 40, "<I", 2**32 - 1, harmful=True),
        "chained ogg of another rate": lambda f: _chained(f, "OGG", "VORBIS", "ogg"),
        "chained opus of two channels": lambda f: _chained(f, "OGG", "OPUS", "opus", channels=2),
        "two flac files in one": lambda f: _chained(f, "FLAC", "PCM_16", "flac"),
        "two mp3 files of two rates in one": lambda f: _chained(f, "MP3", "MPEG_LAYER_III", "mp3"),
        "tag of 256 MB before mp3": _tagged,
        "ten thousand empty chunks": _empty_chunks,
        "name with a line break and escapes": lambda f: _renamed(f / "recording.wav", f"recording.{ESCAPE[:8]}\n.wav"),
    }


def _flac_bomb(folder: Path) -> Mutation:
    import numpy as np
    import soundfile

    (folder / "recording.wav").unlink()
    silence_SC = np.zeros((1 << 20, 8), np.int16)
    with soundfile.SoundFile(folder / "recording.flac", "w", 48_000, 8, "PCM_16") as file:
        for _ in range(40):
            file.write(silence_SC)
    return Mutation(f"{(folder / 'recording.flac').stat().st_size >> 10} KB of silence, 40 M samples of 8 channels")


def _chained(folder: Path, kind: str, subtype: str, suffix: str, *, channels: int = 1) -> Mutation:
    import numpy as np
    import soundfile

    (folder / "recording.wav").unlink()
    parts, noise = [], np.random.default_rng(0).normal(size=(8000, 2)) * 0.1
    for rate, width in ((16_000, 1), (8000, channels)):
        part = folder / f"part-{rate}.{suffix}"
        soundfile.write(part, noise[:, :width], rate, subtype, format=kind)
        parts.append(part.read_bytes())
        part.unlink()
    (folder / f"recording.{suffix}").write_bytes(b"".join(parts))
    return Mutation("two streams in one file")


def _tagged(folder: Path) -> Mutation:
    file = folder / "recording.wav"
    content = file.read_bytes()
    file.unlink()
    (folder / "recording.mp3").write_bytes(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + content)
    return Mutation("a tag of 256 MB announced")


def _empty_chunks(folder: Path) -> Mutation:
    file = folder / "recording.wav"
    content = file.read_bytes()
    chunks = (b"junk" + struct.pack("<I", 0)) * 10_000
    file.write_bytes(
        b"RIFF" + struct.pack("<I", len(content) + len(chunks) - 8) + content[8:12] + chunks + content[12:]
    )
    return Mutation("10,000 empty chunks before the format", harmful=True)


# --- tables ---------------------------------------------------------------------------------------------------------


def _tables() -> dict[str, Attack]:
    addresses = (
        "gs://bucket/x.wav",
        "abfs://a@b.dfs.core.windows.net/x.wav",
        "s3://bucket/x.wav",
        "http://x.invalid/x",
    )
    addresses = (*addresses, "hdfs://x/x.wav", "file:///etc/passwd", "ftp://x/x", "gs://", "://", "mock://x", "-", ".")
    columns = ("type", "items", "keys", "values", "train", "v1.0", "a/b", "mood [1-5]", "self", "__class__", "id ")
    return {
        **{f"audio is {a}": lambda f, a=a: _cell(f, 1, "audio", a) for a in addresses},
        **{f"column {c}": lambda f, c=c: _cell(f, 0, "height", c) for c in columns},
        "audio is a device": lambda f: _cell(f, 1, "audio", "/dev/zero"),
        "audio is a pipe": lambda f: (_special(f / "pipe.wav", "pipe"), _cell(f, 1, "audio", "pipe.wav"))[1],
        "audio is a folder": lambda f: _cell(f, 1, "audio", ".."),
        "audio is a name with a line break": lambda f: _cell(f, 1, "audio", "a\nb\x1b[31m.wav"),
        "offset beyond the end": lambda f: _cell(f, 1, "offset_s", "30000"),
        "ids that look alike": lambda f: (_cell(f, 1, "id", "é"), _cell(f, 2, "id", "e\u0301"))[1],
        "ids that differ in case": lambda f: (_cell(f, 1, "id", "A"), _cell(f, 2, "id", "a"))[1],
        "a field of 131,073 characters": lambda f: _cell(f, 1, "text", "x" * 131_073),
        "a line separator in a cell": lambda f: _cell(f, 1, "text", "a\u2028b\x85c"),
        "a formula in a label": lambda f: _cell(f, 1, "pitch", "=cmd|' /C calc'!A0"),
        "the table is a pipe": lambda f: _special(f / "table.csv", "pipe"),
        "the table is a device": lambda f: _link(f / "table.csv", "/dev/zero"),
        "the table is sparse, 40 GB": lambda f: _sparse(f / "table.csv", 40 << 30),
        "one line of 60 MB": lambda f: _replaced(f, "table.jsonl", b'{"audio": "' + b"x" * (60 << 20) + b'"}'),
        "brackets without end": lambda f: _replaced(f, "table.jsonl", b"[" * 10_000_000),
        "a number of a million digits": lambda f: _replaced(f, "table.jsonl", b'{"audio": ' + b"9" * 10**6 + b"}"),
        "parquet that unpacks to 8 GB": _parquet_bomb,
        "parquet with an id twice": lambda f: _columnar(f, "parquet", id=["same"] * 24),
        "arrow with an id twice": lambda f: _columnar(f, "arrow", id=["same"] * 24),
        "parquet with whole numbers as text": lambda f: _columnar(f, "parquet", text=list(range(24))),
        "parquet with audio structs": lambda f: _columnar(f, "parquet", audio=[{"bytes": b"x", "path": "a"}] * 24),
        "parquet with one label not a number": lambda f: _columnar(
            f, "parquet", pitch=[float("nan"), *[0.5, 1.5] * 11, 2.0]
        ),
    }  # fmt: skip


def _cell(folder: Path, row: int, column: str, value: str) -> Mutation:
    import csv

    file = folder / "table.csv"
    with file.open(newline="", encoding="utf-8") as f:
        cells = list(csv.reader(f))
    cells[row][cells[0].index(column)] = value
    with file.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(cells)
    return Mutation(f"row {row}, {column} = {value[:40]!r}")


def _columnar(folder: Path, suffix: str, **columns: list) -> Mutation:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv as arrow_csv

    table = arrow_csv.read_csv(folder / "table.csv")
    (folder / "table.csv").unlink()
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    if suffix == "parquet":
        pq.write_table(table, folder / "table.parquet")
    else:
        with pa.OSFile(str(folder / "table.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return Mutation(f"{', '.join(columns)} replaced in {suffix}")


def _parquet_bomb(folder: Path) -> Mutation:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "table.csv").unlink()
    once = pa.array(["x" * (1 << 20)])
    rows = 8192
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), once)
    table = pa.table({"id": [str(i) for i in range(rows)], "text": text, "pitch": ["low", "high"] * (rows // 2)})
    schema = table.schema.remove_metadata()
    pq.write_table(table.cast(schema), folder / "table.parquet", store_schema=False, compression="zstd")
    return Mutation(f"{(folder / 'table.parquet').stat().st_size >> 10} KB of Parquet, one text of 1 MB 8,192 times")


# --- model folders --------------------------------------------------------------------------------------------------


def _models() -> dict[str, Attack]:
    config, processor = "config.json", "processor_config.json"

    def head(f: Path, **changes: Any) -> Mutation:
        return _json(f / "model" / config, lambda c: c["tasks"][0]["config"].update(changes))

    def body(f: Path, **changes: Any) -> Mutation:
        return _json(f / "model" / config, lambda c: c["config"].update(changes))

    def ears(f: Path, **changes: Any) -> Mutation:
        return _json(f / "model" / processor, lambda c: c.update(changes))

    def tokens(f: Path, change: Callable[[Any], Any]) -> Mutation:
        return _json(f / "model" / "tokenizer.json", change)

    def weights(f: Path) -> Path:
        return f / "model" / "model.safetensors"

    catastrophic = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    return {
        "system is a module": lambda f: _json(f / "model" / config, lambda c: c.update(system="payload.run")),
        "kind of a task is a module": lambda f: _json(
            f / "model" / config, lambda c: c["tasks"][0].update(kind="payload.run")
        ),
        "auto_map": lambda f: _json(
            f / "model" / config, lambda c: c.update(auto_map={"AutoModel": "payload.run"}, trust_remote_code=True)
        ),
        "a million layers": lambda f: body(f, num_layers=10**6),
        "a vocabulary of 12 million": lambda f: body(f, vocab_size=12 * 10**6),
        "width of 2^40": lambda f: body(f, width=2**40),
        "no heads": lambda f: body(f, num_heads=0),
        "dropout not a number": lambda f: body(f, dropout=float("nan")),
        "100,000 tasks": lambda f: _json(f / "model" / config, _many_tasks),
        "a task named like a path": lambda f: head(f, name="../../../canary/precious.txt"),
        "a class with escapes": lambda f: head(f, classes=[ESCAPE, MARKUP]),
        "a million classes": lambda f: head(f, classes=[str(i) for i in range(10**6)]),
        "weights not numbers": lambda f: _fill(weights(f), b"\0\0\xc0\x7f"),
        "weights of whole numbers": lambda f: _dtype(weights(f), "I32"),
        "weights of another byte order": lambda f: _dtype(weights(f), "U32"),
        "weights are a link to a secret": lambda f: _link(weights(f), "/etc/passwd"),
        "weights are a link to a device": lambda f: _link(weights(f), "/dev/zero"),
        "weights are a pipe": lambda f: _special(weights(f), "pipe"),
        "weights are sparse, 40 GB": lambda f: _sparse(weights(f), 40 << 30),
        "config is a pipe": lambda f: _special(f / "model" / config, "pipe"),
        "config of 100 MB": lambda f: _json(f / "model" / config, lambda c: c.update(x="y" * (100 << 20))),
        "model card with markup": lambda f: _text(f / "model" / "README.md", MARKUP + ESCAPE),
        "rate of 10^12 Hz": lambda f: ears(f, rate_hz=10**12),
        "spectrum of 2^30 samples": lambda f: ears(f, fft_samples=2**30),
        "hop of nothing": lambda f: ears(f, hop_ms=0),
        "hop of a nanosecond": lambda f: ears(f, hop_ms=1e-6),
        "ten million mel bands": lambda f: ears(f, num_mels=10**7),
        "tokenizer with a catastrophic pattern": lambda f: tokens(f, lambda t: t.update(pre_tokenizer=catastrophic)),
        "tokenizer with a million added tokens": lambda f: tokens(f, _many_added),
        "tokenizer with a normalizer that grows text": lambda f: tokens(f, _growing),
        "tokenizer whose ids lie beyond the vocabulary": lambda f: tokens(f, _far_ids),
    }  # fmt: skip


def _many_tasks(config: Any) -> None:
    first = config["tasks"][0]
    config["tasks"] = [{"kind": first["kind"], "config": first["config"] | {"name": f"t{i}"}} for i in range(100_000)]


def _many_added(tokenizer: Any) -> None:
    known = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    tokenizer["added_tokens"] += [{"id": 10**6 + i, "content": f"added{i}", **known} for i in range(10**6)]


def _growing(tokenizer: Any) -> None:
    twice = {"type": "Replace", "pattern": {"String": "i"}, "content": "ii"}
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [twice] * 40}


def _far_ids(tokenizer: Any) -> None:
    tokenizer["model"]["vocab"] = {k: v + 2**31 for k, v in tokenizer["model"]["vocab"].items()}


def _fill(file: Path, value: bytes) -> Mutation:
    content = file.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    file.write_bytes(content[:start] + (value * len(content))[: len(content) - start])
    return Mutation(f"every weight is {value.hex()}")


def _dtype(file: Path, dtype: str) -> Mutation:
    content = file.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    for entry in header.values():
        if "dtype" in entry:
            entry["dtype"] = dtype
    written = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(written)) + written + content[start:])
    return Mutation(f"all weights are {dtype}", harmful=True)


# --- checkpoints of others ------------------------------------------------------------------------------------------


def _weights() -> dict[str, Attack]:
    changed = b"\x80\x02ctorch.storage\nTypedStorage\nN}U\x07__len__K\x01s\x86b."
    return {
        "a TorchScript archive that writes": _torchscript,
        "a pickle that changes a class": lambda f: _pickled(f, changed),
        "a pickle that runs a module": lambda f: _pickled(f, b"\x80\x02cpayload\nrun\n(tR."),
        "a pickle of a pickle": lambda f: _pickled(f, b"\x80\x02cpickle\nloads\n(U\x0ecpayload\nrun\n.tR."),
        "a storage of 2^40 numbers": _huge_storage,
        "a pipe": lambda f: _special(f / "released.pt", "pipe"),
        "a device": lambda f: _link(f / "released.pt", "/dev/zero"),
    }


def _torchscript(folder: Path) -> Mutation:
    """Write an archive whose code, run when it is loaded, overwrites a file."""
    import torch

    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    file, precious = folder / "released.pt", folder.parent / "canary" / "precious.txt"
    torch.jit.script(Writes()).save(str(file))
    with zipfile.ZipFile(file) as z:
        members = {m.filename: z.read(m) for m in z.infolist()}
    code = next(n for n in members if n.endswith(".py"))
    kind = code.split("code/")[1].removesuffix(".py").replace("/", ".") + ".Writes"
    # State is set by code of the archive's own; from_file maps a file for writing, and makes it as long as it asks.
    members[code] = (
        members[code]
        + (
            f"  def __getstate__(self: {kind}) -> int:\n    return 1\n"
            f"  def __setstate__(self: {kind}, state: int) -> NoneType:\n"
            f'    _0 = torch.from_file("{precious}", True, 1000, dtype=6)\n'
            "    _1 = torch.sum(torch.fill_(_0, 7.))\n    self.training = bool(_1)\n    return None\n"
        ).encode()
    )
    top = code.split("/")[0]
    pickled = next(n for n in members if n.endswith("data.pkl"))
    module = members[pickled][members[pickled].index(b"c__torch__") :].split(b"\n")[:2]
    members[pickled] = b"\x80\x02" + b"\n".join(module) + b"\n)\x81K\x01b."
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return Mutation(f"TorchScript in {top} that fills {precious.name}")


def _pickled(folder: Path, content: bytes) -> Mutation:
    from benchmarks.fuzzing.targets.weights import replace_member

    replace_member(folder / "released.pt", "data.pkl", content)
    return Mutation(f"{content[:30]!r}")


def _huge_storage(folder: Path) -> Mutation:
    import torch

    file = folder / "released.pt"
    tensor = torch.zeros(1).as_strided((2**20, 2**20), (0, 0))
    torch.save({"model": {"a": tensor}, "args": None}, file)
    return Mutation("a tensor of 2^40 numbers over a storage of one")


# --- what runs and indexes leave ------------------------------------------------------------------------------------


def _results() -> dict[str, Attack]:
    def result(f: Path, **changes: Any) -> Mutation:
        return _json(f / "one-0" / "results.json", lambda r: r.update(changes))

    def all_results(f: Path, **changes: Any) -> Mutation:
        return [_json(p, lambda r: r.update(changes)) for p in sorted(f.rglob("results.json"))][-1]

    machine = {"sonolex": MARKUP, "git_commit": MARKUP, "git_dirty": MARKUP, "torch": MARKUP, "num_cpus": MARKUP}
    return {
        "markup in the fingerprint": lambda f: all_results(f, fingerprint=MARKUP),
        "markup in the environment": lambda f: all_results(f, environment=machine),
        "markup in names": lambda f: all_results(f, protocol=MARKUP, notes=MARKUP, row="first-row", primary=MARKUP),
        "markup in a row": lambda f: result(f, row=MARKUP),
        "escapes in names": lambda f: all_results(f, protocol=ESCAPE, notes=ESCAPE, fingerprint=ESCAPE),
        "escapes in a row": lambda f: result(f, row=f"first-row{ESCAPE}"),
        "another fingerprint with escapes": lambda f: result(f, fingerprint=ESCAPE, card={ESCAPE: ESCAPE}),
        "a task named like a path": lambda f: result(f, scores={"../../../canary/precious": {"accuracy": 0.5}}),
        "a row with mathematics": lambda f: result(f, row="$10%-$20% \\frac{"),
        "journal with escapes": lambda f: _text(
            f / "one-0" / "journal.jsonl", json.dumps({"event": ESCAPE}) + "\n[1]\n"
        ),
        "journal of a million lines": lambda f: _text(f / "one-0" / "journal.jsonl", '{"event": "x"}\n' * 10**6),
        "vectors that unpack to 4 GB": _npz_bomb,
        "vectors of objects": _npz_objects,
        "results are a pipe": lambda f: _special(f / "one-0" / "results.json", "pipe"),
        "results are a link to a secret": lambda f: _link(f / "one-0" / "results.json", "/etc/passwd"),
        "a folder that holds itself": lambda f: _link(f / "one-0" / "again", ".."),
        "predictions not numbers": lambda f: _json(
            f / "one-0" / "predictions" / "mood.json", lambda p: p.update(scores=[[float("nan")] * 2] * 16)
        ),
    }  # fmt: skip


def _npz_bomb(folder: Path) -> Mutation:
    from numpy.lib import format as npy

    place = folder / "one-0" / "predictions" / "embeddings.npz"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z, z.open("pooled.npy", "w") as member:
        npy.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (16, 2**26)})
        for _ in range(16):
            member.write(bytes(1 << 24))
    return Mutation(f"{place.stat().st_size >> 10} KB that announce 4 GB")


def _npz_objects(folder: Path) -> Mutation:
    import numpy as np

    place = folder / "one-0" / "predictions" / "embeddings.npz"
    np.savez(place, pooled=np.array([{"a": 1}] * 16, object), groups=np.array([{"a": 1}] * 16, object))
    return Mutation("vectors are pickled objects")


def _indexes() -> dict[str, Attack]:
    index = "index"

    def card(f: Path, **changes: Any) -> Mutation:
        return _json(f / index / "index.json", lambda c: c.update(changes))

    return {
        "model on the hub": lambda f: card(f, model="evil/model"),
        "model with hub: before it": lambda f: card(f, model="hub:evil/model"),
        "model elsewhere": lambda f: card(f, model="/etc"),
        "model with escapes": lambda f: card(f, model=ESCAPE),
        "paths with escapes": _escaped_paths,
        "fewer paths than vectors": lambda f: _paths(f, ["a.wav"]),
        "vectors are a device": lambda f: _link(_vectors(f), "/dev/zero"),
        "vectors are a pipe": lambda f: _special(_vectors(f), "pipe"),
        "vectors are sparse, 40 GB": lambda f: _sparse(_vectors(f), 40 << 30),
        "the folder is a link": lambda f: _linked_folder(f / index),
    }


def _vectors(folder: Path) -> Path:
    return folder / "index" / "vectors.f16"


def _escaped_paths(folder: Path) -> Mutation:
    return _paths(folder, [f"{i}{ESCAPE}\n.wav" for i in range(40)])


def _paths(folder: Path, paths: list[str]) -> Mutation:
    (folder / "index" / "paths.jsonl").write_text("".join(f"{json.dumps(path)}\n" for path in paths))
    return Mutation(f"{len(paths)} paths such as {paths[0]!r}")


def _linked_folder(folder: Path) -> Mutation:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    return Mutation("a link to a folder")


def _protocols() -> dict[str, Attack]:
    def card(f: Path, **changes: Any) -> Mutation:
        return _json(f / "protocol.json", lambda c: c.update(changes))

    return {
        "kind is a module": lambda f: card(f, kind="payload.run"),
        "manifest is a module": lambda f: card(f, manifest="payload.run"),
        "manifest is a secret": lambda f: card(f, manifest="/etc/passwd"),
        "manifest is a device": lambda f: (_link(f / "zero.csv", "/dev/zero"), card(f, manifest="zero.csv"))[1],
        "manifest is a pipe": lambda f: (_special(f / "pipe.csv", "pipe"), card(f, manifest="pipe.csv"))[1],
        "manifest on the web": lambda f: card(f, manifest="http://x.invalid/manifest.csv"),
        "label with escapes": lambda f: _json(f / "protocol.json", lambda c: c["task"].update(label=ESCAPE)),
        "the protocol is a pipe": lambda f: _special(f / "protocol.json", "pipe"),
    }


def _checkpoints() -> dict[str, Attack]:
    def state(f: Path, **changes: Any) -> Mutation:
        return _json(next(f.rglob("state.json")), lambda s: s["loop"].update(changes))

    return {
        "a newer checkpoint that is empty": _newer,
        "step not a number": lambda f: state(f, step=float("nan")),
        "step of 10^18": lambda f: state(f, step=10**18),
        "step before the first": lambda f: state(f, step=-5),
        "epoch beyond the last": lambda f: state(f, epoch=10**9),
        "step in the epoch beyond its end": lambda f: state(f, step_in_epoch=10**9),
        "weights not numbers": lambda f: _fill(next(f.rglob("step-*/model.safetensors")), b"\0\0\xc0\x7f"),
        "weights of whole numbers": lambda f: _dtype(next(f.rglob("step-*/model.safetensors")), "I32"),
        "optimiser of whole numbers": lambda f: _dtype(next(f.rglob("optimizer.safetensors")), "I32"),
        "checkpoint is a link to elsewhere": lambda f: _linked_folder(next(f.rglob("state.json")).parent),
        "journal is a device": lambda f: _link(next(f.rglob("journal.jsonl")), "/dev/zero"),
    }


def _newer(folder: Path) -> Mutation:
    place = folder / "run" / "checkpoints" / "step-999999999-99999"
    place.mkdir()
    (place / "state.json").write_text("{}")
    return Mutation("a newer checkpoint without weights")


# --- downloads ------------------------------------------------------------------------------------------------------


def _archives() -> dict[str, Attack]:
    def server(f: Path, **behaviour: Any) -> Mutation:
        (f / "server.json").write_text(json.dumps(behaviour))
        (f / "md5sums.txt").unlink(missing_ok=True)
        return Mutation(f"without checksums, server {behaviour}", harmful=True)

    return {
        "a stale part": lambda f: server(f, stale=100),
        "an early end": lambda f: server(f, ends_after=500),
        "four bytes": lambda f: server(f, ends_after=4, length=4),
        "a link, and a member below it": _zip_slip,
        "members with escapes": lambda f: _members(f, {f"Actor_01/{ESCAPE}.wav": b"x"}),
        "a member of a pipe's kind": lambda f: _members(f, {"Actor_01/p.wav": b"x"}, mode=0o010644),
        "names that differ in case": lambda f: _members(f, {"Actor_01/a.wav": b"x", "actor_01/A.WAV": b"y"}),
        "a member that is a file and a folder": lambda f: _members(f, {"Actor_01": b"x", "Actor_01/a.wav": b"y"}),
    }


def _zip_slip(folder: Path) -> Mutation:
    file = folder / "Audio_Speech_Actors_01-24.zip"
    with zipfile.ZipFile(file, "w") as z:
        link = zipfile.ZipInfo("Actor_01")
        link.external_attr = 0o120777 << 16
        z.writestr(link, str(folder.parent / "canary"))
        z.writestr("Actor_01/precious.txt", "overwritten")
    _sum(file)
    return Mutation("a link to another folder and a member below it")


def _members(folder: Path, members: dict[str, bytes], *, mode: int = 0o100644) -> Mutation:
    file = folder / "Audio_Speech_Actors_01-24.zip"
    with zipfile.ZipFile(file, "w") as z:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            z.writestr(member, content)
    _sum(file)
    return Mutation(f"members {list(members)!r}")


def _sum(file: Path) -> None:
    (file.parent / "md5sums.txt").write_text(f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.name}\n")


# --- ways that several share ----------------------------------------------------------------------------------------


def _special(file: Path, kind: str) -> Mutation:
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    return Mutation(f"{file.name} is a {kind}")


def _link(file: Path, target: str) -> Mutation:
    file.unlink(missing_ok=True)
    file.symlink_to(target)
    return Mutation(f"{file.name} is a link to {target}")


def _sparse(file: Path, size: int) -> Mutation:
    with file.open("r+b") as f:
        f.truncate(size)
    return Mutation(f"{file.name} is sparse, {size >> 30} GB")


def _poke(file: Path, place: int, form: str, value: int, *, harmful: bool = False) -> Mutation:
    content = bytearray(file.read_bytes())
    struct.pack_into(form, content, place, value)
    file.write_bytes(content)
    return Mutation(f"{file.name}: {value} at {place}", harmful)


def _renamed(file: Path, name: str) -> Mutation:
    file.rename(file.with_name(name))
    return Mutation(f"{file.name} is called {name!r}")


def _replaced(folder: Path, name: str, content: bytes) -> Mutation:
    next(folder.glob("table.*")).unlink()
    (folder / name).write_bytes(content)
    return Mutation(f"{name} of {len(content)} bytes")


def _json(file: Path, change: Callable[[Any], Any]) -> Mutation:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    return Mutation(f"{file.name} changed")


def _text(file: Path, text: str) -> Mutation:
    file.write_text(text)
    return Mutation(f"{file.name} = {text[:30]!r}")


_ATTACKS: dict[str, dict[str, Attack]] = {
    "archives": _archives(), "audio": _audio(), "checkpoints": _checkpoints(), "indexes": _indexes(),
    "models": _models(), "protocols": _protocols(), "results": _results(), "tables": _tables(), "weights": _weights(),
}  # fmt: skip
