"""Changes that keep a file's format and change what it says: JSON, CSV, safetensors, zip and pickle."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.cases import Mutation

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"
STRINGS = (
    "", " ", "payload", "payload.run", "os.path", "benchmarks.fuzzing", "../canary/precious.txt", "../../etc/passwd",
    "/dev/zero", "/etc/passwd", "sonolex/none", "a/b", "con", "-", "--help", ".", "..", "~", "*", "nan", "NaN", "1e400",
    "-1", "0", "true", "null", "x" * 10_000, "\0", "a\nb", "a\rb", "\u2028", "\x85", "\u202e", "é", "e\u0301", "😀",
    "\ud800", ESCAPE, MARKUP, "$10%-$20%", "{0.__class__}", "%s%n", "=1+cmd|' /C calc'!A0", '"', "'", ",", ";", "\t",
    "audio.wav#3", "x.parquet#3", "file:///etc/passwd", "zip://x", "http://127.0.0.1:9/x",
    "type", "items", "a.b", "train",
)  # fmt: skip
MOST_LETTERS = 5_000_000  # of a repeated value; more takes longer to write than to read
NUMBERS = (
    0, 1, -1, 2, 3, 7, 0.5, -0.0, 1e-320, 1e308, 255, 65536, 1_000_000, 12_000_000, 2**31, 2**53 + 1, 2**63, 2**64,
    10**40, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip


def change_json(file: Path, rng: random.Random) -> Mutation:
    """Change one to three values, keys or branches of a JSON file; JSON lines change in one line."""
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines() if file.suffix == ".jsonl" else [text]
    row = rng.randrange(len(lines))
    value, done = json.loads(lines[row]), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value, what = _changed(value, rng)
        done.append(what)
        if what.endswith(" more"):  # the last change: what changed one of the copies would change all
            break
    try:
        lines[row] = json.dumps(value, ensure_ascii=rng.random() < 0.5)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogatepass")
    except RecursionError:  # deeper than our own writer goes
        file.write_text("[" * 100_000, encoding="utf-8")
    return Mutation(f"{file.name}: {'; '.join(done)}")


def odd_value(rng: random.Random) -> Any:
    """Return a value that few readers expect."""
    return rng.choice(
        (
            lambda: rng.choice(STRINGS),
            lambda: rng.choice(STRINGS),
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice((None, True, False, [], {}, [[]], [None], {"": None})),
            lambda: [rng.choice(NUMBERS) for _ in range(rng.choice((1, 3, 100)))],
            lambda: {rng.choice(STRINGS): rng.choice(NUMBERS)},
            lambda: _nested(rng.choice((3, 50, 900, 50_000))),
        )
    )()


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _changed(value: Any, rng: random.Random) -> tuple[Any, str]:
    places = list(_places(value))
    if not places:
        return odd_value(rng), "all replaced"
    holder, key = rng.choice(places)
    where = f"{key!r}"[:40]
    ways: list[Callable[[], str]] = [
        lambda: _replace(holder, key, odd_value(rng)),
        lambda: _replace(holder, key, odd_value(rng)),
        lambda: _replace(holder, key, rng.choice(NUMBERS)),
        lambda: _replace(holder, key, _near(holder[key], rng)),
        lambda: _drop(holder, key),
        lambda: _rename(holder, key, rng),
        lambda: _multiply(holder, key, rng),
    ]
    return value, f"{where} {rng.choice(ways)()}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every value of a tree as its holder and its key; of long lists the first few."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(min(len(value), 8))
        for key in keys:
            yield value, key
            yield from _places(value[key])


def _replace(holder: Any, key: Any, value: Any) -> str:
    holder[key] = value
    return f"= {str(value)[:30]!r}" if not isinstance(value, list) else "= a list"


def _near(value: Any, rng: random.Random) -> Any:
    """Return a value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, value / 2, 0))
    if isinstance(value, str):
        return rng.choice((value + "x", value[:-1], value.upper(), value + ESCAPE, value + MARKUP, value + "\0"))
    if isinstance(value, list):
        return rng.choice((value[:-1], value + value, value[::-1]))
    return odd_value(rng)


def _drop(holder: Any, key: Any) -> str:
    del holder[key]
    return "dropped"


def _rename(holder: Any, key: Any, rng: random.Random) -> str:
    if isinstance(holder, list):
        return _replace(holder, key, odd_value(rng))
    new = rng.choice((*STRINGS, str(key) + "s", str(key).upper()))
    holder[new] = holder.pop(key)
    return f"renamed {new[:30]!r}"


def _letters(value: Any) -> int:
    try:
        return len(repr(value))
    except RecursionError:
        return MOST_LETTERS


def _multiply(holder: Any, key: Any, rng: random.Random) -> str:
    times = min(rng.choice((2, 100, 20_000)), max(2, MOST_LETTERS // _letters(holder[key])))
    if isinstance(holder, list):
        holder.extend([holder[key]] * times)
    else:
        holder.update({f"{key}{i}": holder[key] for i in range(times)})
    return f"{times} more"


def change_csv(file: Path, rng: random.Random) -> Mutation:
    """Change cells, rows, the header or the delimiters of a CSV or TSV file."""
    text = file.read_text(encoding="utf-8")
    delimiter = "\t" if file.suffix == ".tsv" else ","
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
    way = rng.choice(
        ("cell", "cell", "cell", "header", "column", "drop cell", "repeat row", "character", "long", "ids")
    )
    if way == "cell":
        rows[row][column] = str(odd_value(rng))[:20_000]
    elif way == "header":
        rows[0][column] = str(rng.choice((*STRINGS, "labels", "audio", "id", "split", "duration_s", "offset_s")))
    elif way == "column":
        for number, cells in enumerate(rows[1:]):
            values = ("", "007", "1e3", "nan", "x" * 30, str(10**20 + number), "é", "$10%-$20%", "\u2028", str(number))
            cells[column] = values[row % len(values)]
    elif way == "drop cell":
        del rows[row][column]
    elif way == "repeat row":
        rows += [list(rows[row])] * rng.choice((1, 5000))
    elif way == "long":
        rows[row][column] = "x" * 200_000
    elif way == "ids":
        for cells in rows[1:]:
            cells[0] = rows[1][0]
    lines = io.StringIO(newline="")
    csv.writer(lines, delimiter=delimiter, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(rows)
    text = lines.getvalue()
    if way == "character":
        place, odd = rng.randrange(len(text)), rng.choice('"\0\r\n;,\t\u2028\x85\x1b\ufeff')
        text = text[:place] + odd + text[place:]
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return Mutation(f"{file.name}: {way} at row {row}, column {column}")


def change_safetensors(file: Path, rng: random.Random) -> Mutation:
    """Change the header of a safetensors file or the values of its tensors."""
    content = file.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, values = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = rng.choice([n for n in header if n != "__metadata__"])
    entry, harmful = header[name], False
    way = rng.choice(
        ("dtype", "shape", "offsets", "rename", "drop", "metadata", "length", "not finite", "extra", "json")
    )
    if way == "dtype":
        harmful = entry["dtype"] == "F32"
        entry["dtype"] = rng.choice(("I32", "U32", "F16", "F64", "BOOL", "F8_E4M3", "BF16", "X", ""))
    elif way == "shape":
        entry["shape"] = rng.choice(([], [0], [2**62], [-1], entry["shape"][::-1], [*entry["shape"], 1], [1 << 40, 0]))
    elif way == "offsets":
        entry["data_offsets"] = rng.choice(([0, 0], [0, 2**63], [8, 4], [-1, 4], [0, len(values)]))
    elif way == "rename":
        header[rng.choice(STRINGS)] = header.pop(name)
    elif way == "drop":
        del header[name]
    elif way == "metadata":
        header["__metadata__"] = rng.choice(
            ({"format": ESCAPE}, {"format": 1}, "x", {MARKUP: MARKUP}, {"a": "x" * 10**6})
        )
    elif way == "not finite":
        first, last = entry["data_offsets"]
        odd = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f"))
        values = values[:first] + (odd * (last - first))[: last - first] + values[last:]
    elif way == "extra":
        header |= {f"extra.{i}": entry for i in range(rng.choice((1, 50_000)))}
    elif way == "json":
        header, _ = _changed(header, rng)
    written = json.dumps(header).encode("utf-8", "surrogatepass")
    announced = rng.choice((0, 1, 2**63, 2**40, len(written) - 1, len(content))) if way == "length" else len(written)
    file.write_bytes(struct.pack("<Q", announced) + written + values)
    return Mutation(f"{file.name}: {way} of {name}", harmful)


def change_zip(file: Path, rng: random.Random, *, names: tuple[str, ...]) -> Mutation:
    """Write a zip again with one member renamed to one of ``names``, repeated, dropped, emptied or blown up."""
    with zipfile.ZipFile(file) as z:
        members = [(m.filename, z.read(m)) for m in z.infolist()]
    chosen = rng.randrange(len(members))
    name, content = members[chosen]
    way = rng.choice(("name", "name", "repeat", "drop", "empty", "bomb", "link", "many", "locked"))
    if way == "name":
        members[chosen] = (rng.choice(names), content)
    elif way == "repeat":
        members.append((name, content[::-1]))
    elif way == "drop":
        del members[chosen]
    elif way == "empty":
        members[chosen] = (name, b"")
    elif way == "many":
        members += [(f"{i}.txt", b"") for i in range(20_000)]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        for number, (member, inside) in enumerate(members):
            if way == "bomb" and number == chosen:
                _write_zeros(z, member, mib=640)  # more than a case may write
            elif way == "link" and number == chosen:
                link = zipfile.ZipInfo(member)
                link.external_attr = 0o120777 << 16
                z.writestr(link, rng.choice(names))
            else:
                z.writestr(member, inside)
    if way == "locked":
        _set_flag(file, 1)
    return Mutation(f"{file.name}: {way} of {name}")


def _write_zeros(z: zipfile.ZipFile, name: str, *, mib: int) -> None:
    """Write a member that is a thousandth of what it unpacks to; its header says so."""
    zeros = bytes(1 << 24)
    with z.open(name, "w", force_zip64=True) as member:
        for _ in range(mib >> 4):
            member.write(zeros)


def _set_flag(file: Path, flag: int) -> None:
    content = bytearray(file.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(magic)
        content[place + offset] |= flag
    file.write_bytes(bytes(content))


def hostile_pickle(rng: random.Random, canary: Path) -> tuple[bytes, str]:
    """Return a pickle that would run something, or change a class, if its reader allowed it; and what it would do."""
    touch = b"cpayload\nrun\n(tR."
    ways = {
        "payload.run by REDUCE": b"\x80\x02" + touch,
        "payload.run by INST": b"\x80\x02(ipayload\nrun\n.",
        "payload.Runs by NEWOBJ": b"\x80\x02cpayload\nRuns\n)\x81.",
        "os.system": b"\x80\x02cposix\nsystem\n(U" + _short(f"echo > {canary}/precious.txt") + b"tR.",
        "eval": b"\x80\x02cbuiltins\neval\n(U" + _short("__import__('payload')") + b"tR.",
        "open for writing": b"\x80\x02cio\nopen\n(U" + _short(f"{canary}/precious.txt") + b"U\x01wtR.",
        "TypedStorage.__len__ by BUILD": b"\x80\x02ctorch.storage\nTypedStorage\nN}U\x07__len__K\x01s\x86b.",
        "OrderedDict.get by BUILD": b"\x80\x02ctorch\nFloatStorage\nN}U\x04dataK\x01s\x86b.",
        "attribute of a module": b"\x80\x02ctorch\nserialization.load\n.",
        "a dictionary of itself": b"\x80\x02}q\x00h\x00U\x05modelh\x00s.",
        "a billion": pickle.dumps({"model": [0] * 10**6}, 2),
    }
    name = rng.choice(sorted(ways))
    return ways[name], name


def _short(text: str) -> bytes:
    return bytes([len(text.encode()) % 256]) + text.encode()
