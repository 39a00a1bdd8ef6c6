"""Limits on a tokenizer from somebody else: how far it may lengthen a text, and how long it may search it.

A tokenizer.json is no code, but forty replacements of "a" by "aa" turn a word into a terabyte, and a regular expression
such as ``(x+x+)+y`` tries twice as many ways for every further letter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_GROWTH = 1000  # times the length of the text; published tokenizers have 1 to 32
MOST_STEPS = 100  # of normalizer and pre-tokenizer; published tokenizers have up to 10
MOST_REPEATS = 10  # a repetition with a higher bound counts as unbounded
GROWTH = {"ByteLevel": 4, "Precompiled": 32, "NFKD": 18, "NFKC": 18, "NFD": 4, "NFC": 3}  # of one letter, at most

# Of a regular expression: a character or class that stands for one letter, a bracket, a repetition, or "or".
_PIECE = re.compile(
    r"""\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|.) | \[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]
    | (?P<open>\((?:\?(?:[imsx-]*:|[imsx-]+(?=\))|<?[=!]|>|<\w+>))?) | (?P<close>\))
    | (?P<repeat>[*+]|\{\d*,?\d*\})[?+]? | (?P<either>\|) | .""",
    re.VERBOSE | re.DOTALL,
)


def require_bounded(tokenizer: Tokenizer, file: Path) -> None:
    """Raise ValueError, naming ``file``, if the tokenizer may lengthen a text too far, or search it too long."""
    steps = [*_steps(tokenizer.normalizer), *_steps(tokenizer.pre_tokenizer)]
    if len(steps) > MOST_STEPS:
        raise ValueError(
            f"{file} must have at most {MOST_STEPS} steps before its model, but has {len(steps):,}. Copy it again from "
            "where it comes from."
        )
    growth = math.prod(_growth(step) for step in steps)
    if growth > MOST_GROWTH:
        raise ValueError(
            f"{file} must make a text at most {MOST_GROWTH:,} times as long, but its normalizer may make it "
            f"{min(growth, 10**15):,} times as long. Copy it again from where it comes from."
        )
    for step in steps:
        pattern = (step.get("pattern") or {}).get("Regex", "") if isinstance(step.get("pattern"), dict) else ""
        if repeats_repeats(pattern):
            raise ValueError(
                f"{file} must have regular expressions that end soon, but {pattern!r:.80} repeats what repeats itself "
                "and may take forever. Copy it again from where it comes from."
            )


def repeats_repeats(pattern: str) -> bool:
    """Return whether a regular expression repeats a group that holds a repetition or a choice.

    >>> repeats_repeats(r"(x+x+)+y"), repeats_repeats(r"(a|aa)*"), repeats_repeats(r" ?[^(\\s]+|'(?:s|t)|\\s+(?!\\S)")
    (True, True, False)
    """
    open_groups, after = [False], False  # whether each open group holds one; whether the last piece was such a group
    for piece in _PIECE.finditer(pattern):
        if piece["open"]:
            open_groups.append(False)
        elif piece["either"]:
            open_groups[-1] = open_groups[-1] or len(open_groups) > 1
        elif piece["repeat"] and _is_long(piece["repeat"]):
            if after:
                return True
            open_groups[-1] = True
        after = bool(piece["close"]) and len(open_groups) > 1 and open_groups[-1]
        if piece["close"] and len(open_groups) > 1:
            inner = open_groups.pop()
            open_groups[-1] = open_groups[-1] or inner
    return False


def _is_long(repeat: str) -> bool:
    if repeat[0] != "{":
        return True
    most = repeat[1:-1].rpartition(",")[2]
    return not most or int(most) > MOST_REPEATS


def _growth(step: dict[str, Any]) -> int:
    written = step.get("content", step.get("prepend"))
    return 1 + len(written) if isinstance(written, str) and len(written) > 1 else GROWTH.get(str(step.get("type")), 1)


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of every step of a normalizer or pre-tokenizer; a sequence's steps one by one."""
    if part is None:
        return
    waiting = [json.loads(part.__getstate__())]
    while waiting:
        step = waiting.pop()
        inner = step.get("normalizers", step.get("pretokenizers"))
        if isinstance(inner, list):
            waiting += inner
        else:
            yield step
