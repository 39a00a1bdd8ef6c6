"""Import and --help: ours against bare Python and a command line that imports everything at the top."""

from __future__ import annotations

import subprocess
import sys

from benchmarks._timing import claim, interleaved, ratio, table

EAGER = "import torch, transformers, lhotse, soundfile, argparse; argparse.ArgumentParser().format_help()"


def _python(code: str):
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def run() -> None:
    seconds = interleaved(
        {
            "bare Python": _python("pass"),
            "import sonolex": _python("import sonolex"),
            "sonolex --help": lambda: subprocess.run(
                [sys.executable, "-m", "sonolex", "--help"], check=True, capture_output=True
            ),
            "--help, eager imports": _python(EAGER),
        },
        rounds=5,
    )
    table(seconds)
    claim("--help over one with eager imports", ratio(seconds, "sonolex --help", "--help, eager imports"), 40)
    claim("import sonolex, times bare Python", ratio(seconds, "bare Python", "import sonolex"), 2.5, at_least=False)
