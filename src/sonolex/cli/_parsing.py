"""Parse the command line into one verb's module and its arguments."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType
from typing import IO, NamedTuple

from sonolex.configs import module_names, suggestion
from sonolex.devices import AUTO
from sonolex.terminal import say

GROUPS = ("your data", "train", "judge", "use", "this machine")  # of verbs, in the order of the help


class Verb(NamedTuple):
    """Properties of a verb.

    Attributes:
        group: where `sonolex --help` lists it.
        computes: it takes ``--device`` and ``--threads``.
        trains: it runs for long, so threads are chosen by the number of cores, not of idle cores.
        shared: processes that torchrun started run it together.
        asks: a recipe or corpus reads the remaining words; ``own_options(arguments)`` returns the function that takes
            them, and its name for messages.
    """

    group: str
    computes: bool = False
    trains: bool = False
    shared: bool = False
    asks: bool = False


def verb_names() -> list[str]:
    """Return the names of the verbs."""
    return module_names("cli")


def find_verb(name: str) -> ModuleType:
    """Return the module of a verb."""
    return importlib.import_module(f"sonolex.cli.{name}")


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a verb's arguments."""
    module = find_verb(name)
    parser = _Parser(prog=f"sonolex {name}", description=module.__doc__, allow_abbrev=False)
    module.add_arguments(parser)
    if module.VERB.computes:
        parser.add_argument("--device", default=AUTO, help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps")
        threads = "that compute one operation (default: `sonolex doctor`)"
        parser.add_argument("--threads", type=int, metavar="N", help=threads)
    return parser


def read_words(words: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Return the module of one command's verb and its arguments.

    ``rest`` of the arguments holds the words for a recipe or corpus; ``help`` holds the verb's help if the user also
    wants that of a recipe or corpus. Unknown verbs and options end the process with code 2, and the message suggests
    the nearest known one.
    """
    names = verb_names()
    top = _TopParser(prog="sonolex", allow_abbrev=False)
    if not words or words[0].startswith("-"):
        top.parse_args(words)
        top.error("the following arguments are required: verb")
    if words[0] not in names:
        top.error(f"`verb` must be one that `sonolex --help` lists, but is {words[0]!r}.{suggestion(words[0], names)}")
    module, parser, rest = find_verb(words[0]), parser_of(words[0]), list(words[1:])
    asks_for_help = module.VERB.asks and any(w in ("-h", "--help") for w in rest)
    if asks_for_help:
        rest = [w for w in rest if w not in ("-h", "--help")]
        if not any(not w.startswith("-") for w in rest):
            rest = ["--help"]
    read = parser.parse_known_args if module.VERB.asks else parser.parse_known_intermixed_args
    arguments, rest = read(rest)
    if rest and not module.VERB.asks:
        _refuse(parser, rest)
    arguments.verb, arguments.rest = words[0], rest
    arguments.help = parser.format_help() if asks_for_help else ""
    return module, arguments


def _refuse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """End the process with an error about words that a verb does not know."""
    wrong = next((w for w in rest if w.startswith("-")), None)
    if wrong is None:
        parser.error(f"nothing must be left over, but is: {' '.join(rest)}")
    known = [o for a in parser._actions for o in a.option_strings]
    name = wrong.partition("=")[0]
    parser.error(f"option {name} must be one that `{parser.prog} --help` lists, but is none.{suggestion(name, known)}")


class _Parser(argparse.ArgumentParser):
    """A parser that prints the user's words with control characters made visible: they may be names of files."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        say(message, end="", file=sys.stderr if file is None else file)


class _TopParser(_Parser):
    """The parser of the words before a verb; its help lists the verbs by group."""

    def format_usage(self) -> str:
        return "usage: sonolex VERB …\n"

    def format_help(self) -> str:
        description = (__import__("sonolex").__doc__ or "").split("\n")[0]
        lines = ["usage: sonolex VERB …", "", *textwrap.wrap(description, 100)]
        modules = {name: find_verb(name) for name in verb_names()}
        other_groups = {module.VERB.group for module in modules.values()} - {*GROUPS}
        for group in (*GROUPS, *sorted(other_groups)):
            lines += ["", f"{group}:"]
            for name, module in modules.items():
                if module.VERB.group == group:
                    first, *more = textwrap.wrap((module.__doc__ or "").split("\n")[0], 86)
                    lines += [f"  {name:12}{first}", *(f"{'':14}{line}" for line in more)]
        return "\n".join(
            [*lines, "", "sonolex VERB --help explains a verb, and sonolex train RECIPE --help a recipe's options.", ""]
        )
