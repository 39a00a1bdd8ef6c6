"""The options of recipes and corpora: a function's keyword arguments as command-line options of the same types."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from sonolex.configs import suggestion

PLACE = 26  # column where an option's explanation starts


def options_of(function: Callable[..., Any], words: Sequence[str], *, of: str) -> dict[str, Any]:
    """Return a function's keyword options from command-line words.

    Args:
        of: name of the recipe or corpus in messages: "recipe quickstart".

    Raises:
        ValueError: an unknown option; the message suggests the nearest one.
    """
    keywords = _keywords(function)
    known = [_flag(p.name) for p in keywords]
    unknown = [w.partition("=")[0].replace("_", "-") for w in words if w.startswith("--")]
    unknown = [w for w in unknown if w not in known and f"--{w.removeprefix('--no-')}" not in known and "." not in w]
    if unknown:
        listed = ", ".join(known) or "none"
        raise ValueError(
            f"option {unknown[0]} must be one of the {of}, but is none.{suggestion(unknown[0], known)} It has {listed}."
        )
    if not words:
        return {}
    import tyro

    parsed: dict[str, Any] = {}

    def capture(**options: Any) -> None:
        parsed.update(options)

    signature = inspect.signature(function, eval_str=True)
    capture.__signature__ = signature.replace(parameters=keywords, return_annotation=None)  # type: ignore[attr-defined]
    capture.__annotations__ = {p.name: p.annotation for p in keywords}
    capture.__doc__ = function.__doc__
    tyro.cli(capture, args=list(words), prog=f"the {of}")
    return parsed


def option_lines(function: Callable[..., Any], *, of: str) -> list[str]:
    """Return the options of a recipe or corpus as lines of help, with defaults and its docstring's explanations."""
    explanations = _explanations(inspect.getdoc(function) or "")
    lines = [f"options of the {of}:"] if (keywords := _keywords(function)) else [f"the {of} has no options"]
    for p in keywords:
        default = p.default
        name = f"--{_flag(p.name)[2:]}" + (
            f", --no-{_flag(p.name)[2:]}" if isinstance(default, bool) else f" {_kind(p)}"
        )
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        shown_default = "" if default is p.empty or shown in ("", None) else f"(default: {shown})"
        words = " ".join(filter(None, [explanations.get(p.name, ""), shown_default]))
        start = f"  {name}"
        text = textwrap.wrap(words, 100 - PLACE) or [""]
        if len(start) + 2 > PLACE:
            lines.append(start)
            start = ""
        lines += [f"{start if i == 0 else '':{PLACE}}{line}".rstrip() for i, line in enumerate(text) if line or start]
    return lines


def _keywords(function: Callable[..., Any]) -> list[inspect.Parameter]:
    signature = inspect.signature(function, eval_str=True)
    return [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _kind(p: inspect.Parameter) -> str:
    kind = str(p.annotation) if not isinstance(p.annotation, type) else p.annotation.__name__
    if kind.startswith("tuple["):
        return f"{kind[6:].partition(',')[0].upper()} …"
    return kind.partition(" |")[0].upper()


def _explanations(doc: str) -> dict[str, str]:
    """Return the explanation of each argument from a docstring's section ``Args:``; arguments of one line share it."""
    section = re.search(r"^Args:\n((?: +.*\n?|\n)*)", doc, re.MULTILINE)
    explanations: dict[str, str] = {}
    for entry in re.findall(r"^ {4}(\S.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
        names, _, words = entry.partition(":")
        explanations |= {name.strip(): " ".join(words.split()) for name in names.split(",")}
    return explanations
