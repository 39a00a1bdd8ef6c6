"""Write hidden units of audio: clusters of log-mel frames, or of a model's states; goes on where it stopped."""

from __future__ import annotations

import argparse

from sonolex.cli._models import PLACES, add_trust_code
from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("your data", computes=True, trains=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    phones = "manifest with audio; with a column phones, each step is also aligned to its phone"
    parser.add_argument("manifest", help=phones)
    parser.add_argument("--num-units", type=int, required=True, help="clusters")
    parser.add_argument("--model", help=f"{PLACES} whose states are clustered (default: log-mel)")
    parser.add_argument("--layer", type=int, default=-1, help="of the model (default: the last)")
    parser.add_argument("--hop-ms", type=float, default=20.0, help="between log-mel frames (default: 20)")
    add_trust_code(parser)
    parser.add_argument("--out", required=True, help="manifest to write")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.annotate.units import make_units

    options = {"num_units": arguments.num_units, "layer": arguments.layer, "hop_ms": arguments.hop_ms}
    options |= {"device": arguments.device, "trust_code": arguments.trust_code}
    filled = make_units(arguments.manifest, out=arguments.out, model=arguments.model, **options)
    say(f"{filled}. Written to {arguments.out}")
