"""Arguments shared by the verbs that take a trained model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sonolex.configs import module_names
from sonolex.terminal import say

if TYPE_CHECKING:
    from sonolex.doors.api import Pipeline
    from sonolex.doors.inputs import Asked

PLACES = "run folder, model folder or hub:ORG/NAME"


def add_trust_code(parser: argparse.ArgumentParser, *, files: str = "the model's files") -> None:
    """Add ``--trust-code``."""
    words = f"let {files} name code of their own, outside the package, which then runs on this machine"
    parser.add_argument("--trust-code", action="store_true", help=words)


def add_model_and_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the model and the protocol that it is scored with: evaluate, robustness, similarity."""
    protocols = ", ".join(module_names("protocols")) + ", or a protocol.json"
    parser.add_argument("model", help=PLACES)
    parser.add_argument("--protocol", required=True, help=protocols)
    parser.add_argument("--fold", help="default: the only one")
    parser.add_argument("--root", help="folder of the corpus (default: the corpus under $SONOLEX_DATA)")
    add_trust_code(parser)


def scoring_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options shared by all verbs that score a model."""
    return {n: getattr(arguments, n) for n in ("fold", "root", "out", "device", "trust_code")}


def add_model_and_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the model and its inputs: embed, predict."""
    tables = "recordings, folders of them, and tables (.csv, .tsv, .jsonl, .parquet, .arrow)"
    parser.add_argument("model", help=PLACES)
    parser.add_argument("inputs", nargs="*", help=tables)
    parser.add_argument("--text", nargs="+", help="transcripts, one a recording (or without recordings)")
    parser.add_argument("--audio-column", metavar="NAME", help="of tables: the column with paths (default: audio)")
    parser.add_argument("--text-column", metavar="NAME", help="of tables: the column with texts (default: text)")
    add_trust_code(parser)


def loaded(arguments: argparse.Namespace) -> Pipeline:
    """Return the model."""
    from sonolex.doors.api import Pipeline

    return Pipeline.load(arguments.model, device=arguments.device, trust_code=arguments.trust_code)


def inputs_of(arguments: argparse.Namespace, model: Pipeline) -> Iterator[Asked]:
    """Return the inputs that the command line names, one after the other."""
    from sonolex.doors.inputs import asked_items

    named = {"audio": arguments.audio_column, "text": arguments.text_column}
    columns = {meaning: column for meaning, column in named.items() if column is not None}

    def note(text: str) -> None:
        say(text, file=sys.stderr)

    return asked_items(arguments.inputs, arguments.text, reads=model.modalities, note=note, columns=columns)
