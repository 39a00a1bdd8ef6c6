"""Score a trained model under a protocol; numbers that JSON does not have (an infinite d-prime) become null."""

from __future__ import annotations

import argparse
import math
from typing import Any

from sonolex.cli._models import add_model_and_protocol, scoring_options
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("judge", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_and_protocol(parser)
    parser.add_argument("--out", help="folder for results.json and predictions")


def run(arguments: argparse.Namespace) -> None:
    import json

    from sonolex.studies.evaluate import evaluate_model

    results = evaluate_model(arguments.model, arguments.protocol, **scoring_options(arguments))
    shown = {k: results[k] for k in ("protocol", "fold", "fingerprint", "scores", "floors")}
    say(json.dumps(_in_json(shown), indent=2, allow_nan=False))


def _in_json(values: Any) -> Any:
    """Return values with None for the numbers that JSON does not have."""
    if isinstance(values, dict):
        return {name: _in_json(value) for name, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values
