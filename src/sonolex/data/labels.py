"""Check the labels of a table before training: spellings, separators, uneven classes."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sonolex.labels import NO_TAG, TAG_SEPARATOR

FEW_LETTERS = 4  # shorter names differ in one letter because they are different: sad, mad
LONG_NAME = 9  # from here on two letters may be wrong
RARE_SHARE = 0.1  # of the clips of the other spelling
RARE_CLIPS = 2
UNEVEN_RATIO = 2.0
MOST_COMPARED = 300  # names, each with each other: more are not classes anyway
LINES_SHOWN = 10
SEPARATORS = ("|", ",", "/", "+", "&")


def spelling(name: str) -> str:
    """Return a name without accidental differences: capitals, surrounding and doubled blanks, forms of a character.

    >>> spelling(" Happy"), spelling("very  happy"), spelling("cafe\\u0301") == spelling("Caf\\u00e9")
    ('happy', 'very happy', True)
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def variants(counts: Counter[str]) -> list[list[str]]:
    """Return groups of names that are one `spelling`, the most frequent name first.

    >>> variants(Counter({"angry": 9, "Angry": 2, "sad": 4}))
    [['angry', 'Angry']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda n: (-counts[n], n)):
        groups[spelling(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def quoted(names: Sequence[str]) -> list[str]:
    r"""Return names in quotes; letter by letter where they would look the same.

    >>> quoted(["Sad", "sad"]), quoted(["caf\u00e9", "cafe\u0301"])
    (["'Sad'", "'sad'"], ["'caf\\xe9'", "'cafe\\u0301'"])
    """
    looks = Counter(unicodedata.normalize("NFC", name) for name in names)
    return [ascii(n) if looks[unicodedata.normalize("NFC", n)] > 1 else repr(n) for n in names]


def renamed(cell: Any, names: dict[str, str], *, several: bool) -> Any:
    """Return a label with names replaced; each of them where a cell holds several."""
    if not isinstance(cell, str):
        return cell
    if not several:
        return names.get(cell, cell)
    parts = [part.strip() for part in cell.split(TAG_SEPARATOR)]
    return TAG_SEPARATOR.join(dict.fromkeys(names.get(part, part) for part in parts))


def near_spellings(counts: Counter[str]) -> list[tuple[str, str]]:
    """Return pairs (rare name, frequent name) that differ in a letter or two and in no digit; none among very many.

    >>> near_spellings(Counter({"angry": 40, "angy": 2, "sad": 20, "mad": 1, "room1": 30, "room2": 1}))
    [('angy', 'angry')]
    """
    pairs = []
    if len(counts) > MOST_COMPARED:
        return []
    for rare in sorted(counts, key=lambda n: (counts[n], n)):
        candidates = [n for n in counts if counts[n] > counts[rare] and _is_rare(counts[rare], counts[n])]
        near = [n for n in candidates if _is_near(spelling(rare), spelling(n))]
        if near:
            pairs.append((rare, max(near, key=lambda n: counts[n])))
    return pairs


def separator_of(cells: Sequence[str]) -> str | None:
    """Return the apparent separator of several labels in a cell; None if there is none.

    The evidence is a name that shares a cell with others and also occurs in another cell.

    >>> separator_of(["a|b", "b", "b|c"]), separator_of(["a, b", "c"]), separator_of(["a;b", "a;c"])
    ('|', None, ';')
    """
    different = {cell for cell in cells if cell.strip()}
    for separator in (TAG_SEPARATOR, *SEPARATORS):
        parts = [{part.strip() for part in cell.split(separator)} for cell in different]
        company = Counter(part for names in parts for part in names)
        if any(
            count > 1 and any(name in names and len(names) > 1 for names in parts) for name, count in company.items()
        ):
            return separator
    return None


def variant_lines(name: str, counts: Counter[str], *, of: str = "classes") -> list[str]:
    """Return warnings about values of column ``name`` that are one name in several spellings."""
    lines = []
    for group in variants(counts):
        names = quoted(group)
        shown = ", ".join(f"{q} ({counts[n]})" for q, n in zip(names, group, strict=True))
        lines.append(
            f"WARNING: names in {name!r} that differ only in capitals, blanks or forms of a character are different "
            f"{of}: {shown}. --merge-variants makes them {names[0]}; or correct the table."
        )
    return _first_lines(lines)


def near_lines(name: str, counts: Counter[str]) -> list[str]:
    """Return warnings about rare labels of column ``name`` that look like misspelt frequent ones."""
    lines = [
        f"WARNING: label {rare!r} of {name!r} ({_clips(counts[rare])}) looks like {frequent!r} ({counts[frequent]}) "
        "misspelt. Correct the table if it is."
        for rare, frequent in near_spellings(counts)
    ]
    return _first_lines(lines)


def uneven_line(counts: Counter[str]) -> str | None:
    """Return a sentence on classes of very different sizes, None where they are alike.

    >>> uneven_line(Counter(a=30, b=10))
    "classes are uneven: 30 clips of 'a', 10 of 'b' (3.0 times fewer)"
    """
    if len(counts) < 2:
        return None
    most, least = max(counts, key=lambda n: counts[n]), min(counts, key=lambda n: counts[n])
    ratio = counts[most] / counts[least]
    if ratio < UNEVEN_RATIO:
        return None
    return (
        f"classes are uneven: {counts[most]} clips of {most!r}, {counts[least]} of {least!r} ({ratio:.1f} times fewer)"
    )


def tag_counts(cells: Sequence[str]) -> Counter[str]:
    """Return how many clips have each label, where a cell holds several."""
    return Counter(
        name for cell in cells for name in {n.strip() for n in cell.split(TAG_SEPARATOR)} if name and name != NO_TAG
    )


def _first_lines(lines: list[str]) -> list[str]:
    more = len(lines) - LINES_SHOWN
    return lines if more <= 0 else [*lines[:LINES_SHOWN], f"… and {more} more such warnings"]


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _is_rare(count: int, of: int) -> bool:
    return count <= RARE_CLIPS or count <= RARE_SHARE * of


def _is_near(one: str, other: str) -> bool:
    if one == other or min(len(one), len(other)) < FEW_LETTERS or abs(len(one) - len(other)) > 2:
        return False
    if [c for c in one if c.isdigit()] != [c for c in other if c.isdigit()]:
        return False
    return distance(one, other) <= (2 if min(len(one), len(other)) >= LONG_NAME else 1)


def distance(one: str, other: str) -> int:
    """Return how many letters have to be added, taken away, replaced or exchanged with their neighbour.

    >>> distance("angry", "angy"), distance("netural", "neutral"), distance("sad", "happy")
    (1, 1, 4)
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        row = [i]
        for j, b in enumerate(other, start=1):
            best = min(row[-1] + 1, last[j] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]
