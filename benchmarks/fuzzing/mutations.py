"""Changes of bytes that know nothing of the format, and fields of headers overwritten with extreme numbers."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from benchmarks.fuzzing.cases import Mutation

MAGICS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3\x04", b"FORM", b"ARROW1\0\0", b"PAR1", b"PK\x03\x04", b"\x80\x02")
NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
HEADER_BYTES = 128


def change_bytes(file: Path, rng: random.Random, *, header: tuple[int, int] = (0, HEADER_BYTES)) -> Mutation:
    """Change a file's bytes in one to four ways; cut it in every fifth case. ``header`` is where its fields lie."""
    content = file.read_bytes()
    if rng.random() < 0.2:
        kept = rng.randrange(len(content)) if content else 0
        file.write_bytes(content[:kept])
        return Mutation(f"{file.name}: the first {kept} of {len(content)} bytes", harmful=True)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = rng.choice((_flip_bits, _flip_bits, _poke, _poke, _poke, _overwrite, _delete, _repeat, _swap, _insert))
        content, what = change(content, rng, header) if content else (content, "left empty")
        done.append(what)
    file.write_bytes(content)
    return Mutation(f"{file.name}: {'; '.join(done)}")


def join_files(file: Path, other: Path, rng: random.Random) -> Mutation:
    """Append another file, or splice its second half on."""
    content, more = file.read_bytes(), other.read_bytes()
    if rng.random() < 0.5:
        file.write_bytes(content + more)
        return Mutation(f"{file.name}: {other.name} appended")
    file.write_bytes(content[: rng.randrange(len(content))] + more[rng.randrange(len(more)) :])
    return Mutation(f"{file.name}: continued with the end of {other.name}")


def _flip_bits(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    changed = bytearray(content)
    places = sorted(rng.randrange(len(content)) for _ in range(rng.choice((1, 1, 2, 8, 64))))
    for place in places:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed), f"bits flipped at {places[:4]}"


def _poke(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    """Overwrite a field of the header."""
    form = rng.choice(("<H", ">H", "<I", ">I", "<I", "<Q", ">Q", "B"))
    size = struct.calcsize(form)
    first, last = max(0, min(header[0], len(content) - size)), max(1, min(header[1], len(content)) - size)
    place = rng.randrange(first, max(first + 1, last)) // size * size
    number = rng.choice(NUMBERS) % 2 ** (8 * size)
    return content[:place] + struct.pack(form, number) + content[place + size :], f"{form} {number} at {place}"


def _overwrite(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    start, length = _span(content, rng)
    filler = rng.choice((b"\0", b"\xff", b"\x7f", rng.choice(MAGICS)))
    run = (filler * length)[:length]
    return content[:start] + run + content[start + length :], f"{length} bytes of {filler!r} at {start}"


def _delete(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    start, length = _span(content, rng)
    return content[:start] + content[start + length :], f"{length} bytes deleted at {start}"


def _repeat(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    start, length = _span(content, rng)
    times = rng.choice((1, 1, 3, 50))
    block = content[start : start + length]
    return content[:start] + block * times + content[start:], f"{length} bytes at {start} repeated {times} times"


def _swap(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    a, length = _span(content, rng)
    b = rng.randrange(len(content))
    a, b = sorted((a, b))
    length = min(length, b - a)
    one, two = content[a : a + length], content[b : b + length]
    return content[:a] + two + content[a + length : b] + one + content[b + length :], f"{length} bytes swapped"


def _insert(content: bytes, rng: random.Random, header: tuple[int, int]) -> tuple[bytes, str]:
    place, inserted = rng.randrange(len(content)), rng.choice((*MAGICS, rng.randbytes(rng.choice((1, 16, 300)))))
    return content[:place] + inserted + content[place:], f"{len(inserted)} bytes inserted at {place}"


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    """Return where a block begins and how long it is: small ones mostly."""
    return rng.randrange(len(content)), rng.choice((1, 2, 4, 8, 16, 64, 256, max(1, len(content) // 4)))
