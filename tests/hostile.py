"""What may be wrong with a model folder: each entry spoils a good one. Used by the tests and by whoever fuzzes."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Spoil = Callable[[Path], None]
WEIGHTS, CONFIG, PROCESSOR, TOKENIZER = "model.safetensors", "config.json", "processor_config.json", "tokenizer.json"
NOT_NUMBERS: dict[str, Any] = {"null": None, "list": [1], "text": "3", "object": {"a": 1}, "true": True, "half": 1.5}


def edited(file: str, change: Callable[[Any], Any]) -> Spoil:
    """Return what changes a JSON file; ``change`` returns the new content, or None for one changed in place."""

    def spoil(folder: Path) -> None:
        values = json.loads((folder / file).read_text(encoding="utf-8"))
        values = change(values) or values
        (folder / file).write_text(json.dumps(values), encoding="utf-8")

    return spoil


def _replacing(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def with_value(file: str, path: str, value: Any) -> Spoil:
    """Return what puts a value at a dotted path of a JSON file; digits are places in lists."""

    def change(values: Any) -> None:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for parent in parents:
            values = values[parent]
        values[last] = value

    return edited(file, change)


def without(file: str, path: str) -> Spoil:
    def change(values: Any) -> None:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for parent in parents:
            values = values[parent]
        del values[last]

    return edited(file, change)


def replaced(file: str, content: bytes | str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def raw(file: str, old: str, new: str) -> Spoil:
    """Return what replaces text in a JSON file, for what no JSON writer writes."""

    def spoil(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def missing(file: str) -> Spoil:
    return lambda folder: (folder / file).unlink()


def halved(file: str) -> Spoil:
    return lambda folder: os.truncate(folder / file, (folder / file).stat().st_size // 2)


def sparse(file: str) -> Spoil:
    """Return what makes a file 40 GB long, without taking the space."""

    def spoil(folder: Path) -> None:
        os.truncate(folder / file, 40 << 30)

    return spoil


def pipe(file: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return spoil


def directory(file: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return spoil


def link(file: str, target: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to(target)

    return spoil


def header(change: Callable[[dict[str, Any]], Any], *, length: int | None = None) -> Spoil:
    """Return what changes the header of the weights and leaves the numbers; ``length`` is what it says of its own."""

    def spoil(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        values = json.loads(content[8 : 8 + size])
        values = change(values) or values
        text = json.dumps(values).encode()
        text += b" " * (-len(text) % 8)
        (folder / WEIGHTS).write_bytes(
            struct.pack("<Q", len(text) if length is None else length) + text + content[8 + size :]
        )

    return spoil


def first(values: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of the first tensor in a header."""
    return values[next(n for n in values if n != "__metadata__")]


def tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Spoil:
    """Return what changes the weights themselves, in a file that is otherwise right."""

    def spoil(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS)

    return spoil


def set_first(value: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def change(found: dict[str, np.ndarray]) -> None:
        name = sorted(found)[0]
        found[name] = np.array(found[name])
        found[name].flat[0] = value

    return change


def cast(dtype: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(found: dict[str, np.ndarray]) -> None:
        for name in found:
            found[name] = found[name].astype(dtype)

    return change


def config_of(path: str) -> dict[str, Spoil]:
    """Return a spoiler for every kind of value that a whole number of config.json must not be."""
    return {f"{path} is {kind}": with_value(CONFIG, path, value) for kind, value in NOT_NUMBERS.items()}


FOLDERS: dict[str, Spoil] = {
    **{f"{file} is missing": missing(file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is empty": replaced(file, b"") for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is cut": halved(file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is noise": replaced(file, bytes(range(256)) * 40) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is zeros": replaced(file, bytes(4096)) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is 40 GB": sparse(file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is a pipe": pipe(file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is a folder": directory(file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is itself": link(file, file) for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} never ends": link(file, "/dev/zero") for file in (WEIGHTS, CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is a list": replaced(file, "[1, 2]") for file in (CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is nested": replaced(file, "[" * 200_000) for file in (CONFIG, PROCESSOR, TOKENIZER)},
    **{f"{file} is a web page": replaced(file, "<!DOCTYPE html><p>404") for file in (WEIGHTS, CONFIG, TOKENIZER)},
    # config.json
    **config_of("format_version"),
    "format_version of tomorrow": with_value(CONFIG, "format_version", 2),
    "format_version is missing": without(CONFIG, "format_version"),
    **{f"system is {kind}": with_value(CONFIG, "system", value) for kind, value in NOT_NUMBERS.items()},
    **{
        f"system is {name!r}": with_value(CONFIG, "system", name)
        for name in (
            "",
            "base",
            "_real",
            "_bert",
            "..",
            "__init__",
            "ctal\0",
            "../ctal",
            "os.path",
            "sonolex.cli",
            "ctall",
        )
    },
    "system is another": with_value(CONFIG, "system", "ast"),
    "system is missing": without(CONFIG, "system"),
    "config is a list": with_value(CONFIG, "config", []),
    "config is missing": without(CONFIG, "config"),
    **config_of("config.num_layers"),
    "num_layers is negative": with_value(CONFIG, "config.num_layers", -1),
    "num_layers is a million": with_value(CONFIG, "config.num_layers", 1_000_000),
    "num_layers beyond 64 bits": with_value(CONFIG, "config.num_layers", 1 << 70),
    "vocab_size is 12 million": with_value(CONFIG, "config.vocab_size", 12_000_000),
    "vocab_size is 10^12": with_value(CONFIG, "config.vocab_size", 10**12),
    "width is 0": with_value(CONFIG, "config.width", 0),
    "width is odd": with_value(CONFIG, "config.width", 33),
    "width is a billion": with_value(CONFIG, "config.width", 10**9),
    "num_heads is 0": with_value(CONFIG, "config.num_heads", 0),
    "num_heads is 7": with_value(CONFIG, "config.num_heads", 7),
    "max_frames is 10^12": with_value(CONFIG, "config.max_frames", 10**12),
    "frames_per_step is 0": with_value(CONFIG, "config.frames_per_step", 0),
    "dropout is 2": with_value(CONFIG, "config.dropout", 2.0),
    "dropout is text": with_value(CONFIG, "config.dropout", "0.1"),
    "dropout is true": with_value(CONFIG, "config.dropout", True),
    "dropout is NaN": raw(CONFIG, '"dropout": 0.0', '"dropout": NaN'),
    "dropout is 1e400": raw(CONFIG, '"dropout": 0.0', '"dropout": 1e400'),
    "dropout has 5,000 digits": raw(CONFIG, '"dropout": 0.0', f'"dropout": 1{"0" * 5000}'),
    "dropout has 400 digits": raw(CONFIG, '"dropout": 0.0', f'"dropout": 1{"0" * 400}'),
    "stem is unknown": with_value(CONFIG, "config.stem", "convv"),
    "stem is a number": with_value(CONFIG, "config.stem", 3),
    "objectives is text": with_value(CONFIG, "config.objectives", "mlm"),
    "objectives are numbers": with_value(CONFIG, "config.objectives", [1, 2]),
    "config has more fields": with_value(CONFIG, "config.__class__", "x"),
    "config.json has more fields": with_value(CONFIG, "auto_map", {"AutoModel": "payload.Model"}),
    "tasks is an object": with_value(CONFIG, "tasks", {"a": 1}),
    "tasks is missing": without(CONFIG, "tasks"),
    "a task is null": with_value(CONFIG, "tasks.0", None),
    "a task has no name": without(CONFIG, "tasks.0.config.name"),
    "a task has no kind": without(CONFIG, "tasks.0.kind"),
    "a task is of a module": with_value(CONFIG, "tasks.0.kind", "os.path"),
    "a task's kind is base": with_value(CONFIG, "tasks.0.kind", "base"),
    "a task's kind is a list": with_value(CONFIG, "tasks.0.kind", ["classification"]),
    "a task's classes are a text": with_value(CONFIG, "tasks.0.config.classes", "abc"),
    "a task has no classes": with_value(CONFIG, "tasks.0.config.classes", []),
    "a task has more classes": with_value(CONFIG, "tasks.0.config.classes", ["a", "b", "c"]),
    "a task's name has a dot": with_value(CONFIG, "tasks.0.config.name", "a.b"),
    "a task's name is empty": with_value(CONFIG, "tasks.0.config.name", ""),
    "a task's hidden is a billion": with_value(CONFIG, "tasks.0.config.hidden", 10**9),
    "two tasks of one name": edited(CONFIG, lambda c: c["tasks"].append(c["tasks"][0])),
    "100,000 tasks": edited(
        CONFIG,
        lambda c: c["tasks"].extend(
            {"kind": "classification", "config": {"name": f"t{i}", "classes": ["a", "b"]}} for i in range(100_000)
        ),
    ),
    "300 tasks": edited(
        CONFIG,
        lambda c: c["tasks"].extend(
            {"kind": "classification", "config": {"name": f"t{i}", "classes": ["a", "b"]}} for i in range(300)
        ),
    ),
    "no task": with_value(CONFIG, "tasks", []),
    "provenance is a list": with_value(CONFIG, "provenance", [1]),
    # processor_config.json
    **{f"rate_hz is {kind}": with_value(PROCESSOR, "rate_hz", value) for kind, value in NOT_NUMBERS.items()},
    **{
        f"{name} is {value}": with_value(PROCESSOR, name, value)
        for name, values in {
            "rate_hz": (0, -8000, 10**9),
            "hop_ms": (0, -1.0, 0.0001, 1e300),
            "window_ms": (0, 1e9, 33.0),
            "fft_samples": (0, -1, 1 << 40),
            "num_mels": (0, 10**9, 21),
            "max_frames": (0, 10**12, 399),
            "max_tokens": (0, 10**12, 41),
            "derivatives": (-1, 7, 0),
            "range_db": (-1.0, "x"),
            "vocab_size": (-1, 10**12),
        }.items()
        for value in values
    },
    "hop_ms is NaN": raw(PROCESSOR, '"hop_ms": 20', '"hop_ms": NaN'),
    "cleaner is unknown": with_value(PROCESSOR, "cleaner", "eval"),
    "long_clip is unknown": with_value(PROCESSOR, "long_clip", "skip"),
    "the processor has more fields": with_value(PROCESSOR, "audio", "waveform"),
    "the processor is another's": replaced(PROCESSOR, json.dumps({"rate_hz": 16_000, "statistics": "given"})),
    # tokenizer.json
    "the tokenizer has no model": without(TOKENIZER, "model"),
    "the tokenizer's model is unknown": with_value(TOKENIZER, "model.type", "Payload"),
    "the vocabulary is empty": with_value(TOKENIZER, "model.vocab", {}),
    "the vocabulary is a list": with_value(TOKENIZER, "model.vocab", [1, 2]),
    "the vocabulary has more words": edited(TOKENIZER, lambda t: t["model"]["vocab"].update({"zzz": 300, "zzy": 301})),
    "the vocabulary has a gap": edited(TOKENIZER, lambda t: t["model"]["vocab"].update({"zzz": 1_000_000})),
    "the vocabulary is negative": edited(TOKENIZER, lambda t: t["model"]["vocab"].update({"zzz": -5})),
    "the merges are numbers": with_value(TOKENIZER, "model.merges", [1, 2, 3]),
    "the merges are unknown": with_value(TOKENIZER, "model.merges", [["qqqq", "zzzz"]]),
    "special tokens are missing": edited(
        TOKENIZER,
        lambda t: (t.update(added_tokens=[]), t["model"].update(vocab={"a": 0, "b": 1}, merges=[]))[0],
    ),
    "the tokenizer is another version": with_value(TOKENIZER, "version", "9.9"),
    "the tokenizer doubles a letter forty times": with_value(
        TOKENIZER, "normalizer", {"type": "Sequence", "normalizers": [_replacing({"String": "i"}, "ii")] * 40}
    ),
    "the tokenizer has 20,000 steps": with_value(
        TOKENIZER, "normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 20_000}
    ),
    "the token for unknown words is unknown": with_value(
        TOKENIZER, "model", {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "[nothing]"}
    ),
    "the tokenizer tries what repeats what repeats itself": with_value(
        TOKENIZER, "normalizer", _replacing({"Regex": "(x+x+)+y"}, "x")
    ),
    # model.safetensors
    "the header is longer than the file": header(lambda h: None, length=1 << 40),
    "the header is 2^63 long": header(lambda h: None, length=1 << 63),
    "the header is 0 long": header(lambda h: None, length=0),
    "the header is shorter than it is": header(lambda h: None, length=40),
    "the header is a list": header(lambda h: [1]),
    "the header is empty": header(lambda h: {"__metadata__": {}}),
    "a shape is larger": header(lambda h: first(h).update(shape=[10**6, 10**6])),
    "a shape overflows": header(lambda h: first(h).update(shape=[1 << 40, 1 << 40])),
    "a shape is negative": header(lambda h: first(h).update(shape=[-1])),
    "a shape is text": header(lambda h: first(h).update(shape="many")),
    "places overlap": header(
        lambda h: [h[n].update(data_offsets=first(h)["data_offsets"]) for n in list(h)[2:4]] and None
    ),
    "a place is beyond the end": header(lambda h: first(h).update(data_offsets=[1 << 40, (1 << 40) + 4])),
    "a place ends before it begins": header(lambda h: first(h).update(data_offsets=[8, 0])),
    "a type is unknown": header(lambda h: first(h).update(dtype="F33")),
    "a type is another": header(lambda h: first(h).update(dtype="I32")),
    "metadata is a number": header(lambda h: h.update(__metadata__=3)),
    "a tensor is missing": tensors(lambda t: t.pop(sorted(t)[0]) is None),
    "a tensor is new": tensors(lambda t: t.update(payload=np.zeros(3, np.float32))),
    "a tensor has another shape": tensors(lambda t: t.update({sorted(t)[0]: np.zeros(3, np.float32)})),
    "a tensor is transposed": tensors(
        lambda t: t.update(
            {n: np.ascontiguousarray(v.T) for n, v in t.items() if v.ndim == 2 and v.shape[0] != v.shape[1]}
        )
    ),
    "no tensor is there": tensors(lambda t: t.clear()),
    "100,000 tensors": tensors(lambda t: t.update({f"x{i}": np.zeros(1, np.float32) for i in range(100_000)})),
    "a weight is NaN": tensors(set_first(np.nan)),
    "a weight is infinite": tensors(set_first(-np.inf)),
    "weights are I32": tensors(cast("int32")),
    "weights are I64": tensors(cast("int64")),
    "weights are U8": tensors(cast("uint8")),
    "weights are BOOL": tensors(cast("bool")),
    "weights are F64": tensors(cast("float64")),
    "weights are a pickle": replaced(WEIGHTS, b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "weights are a zip": replaced(WEIGHTS, b"PK\x03\x04" + bytes(500)),
}
