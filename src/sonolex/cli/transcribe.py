"""Fill in missing transcripts with a speech recogniser; the same command goes on where it stopped."""

from __future__ import annotations

import argparse

from sonolex.cli._parsing import Verb
from sonolex.terminal import say

VERB = Verb("your data", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", help="manifest with clips that lack a transcript")
    parser.add_argument("--asr", required=True, help="pocketsphinx, whisper:FOLDER or whisper:hub:ORG/NAME")
    parser.add_argument("--out", required=True, help="manifest to write")


def run(arguments: argparse.Namespace) -> None:
    from sonolex.annotate.transcribe import transcribe

    say(transcribe(arguments.manifest, asr=arguments.asr, out=arguments.out, device=arguments.device))
    say(arguments.out)
