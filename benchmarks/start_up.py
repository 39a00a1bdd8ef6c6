"""Import and --help: ours against bare Python and a command line that imports everything at the top.

Every process may write bytecode, in the round that is dropped: an installed package has it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks._timing import claim, interleaved, ratio, table

EAGER = "import torch, transformers, lhotse, soundfile, argparse; argparse.ArgumentParser().format_help()"


def run() -> None:
    seconds = interleaved(
        {
            "bare Python": _python("-c", "pass"),
            "import sonolex": _python("-c", "import sonolex"),
            "sonolex --help": _python("-m", "sonolex", "--help"),
            "--help, eager imports": _python("-c", EAGER),
        },
        rounds=5,
    )
    table(seconds)
    claim("--help over one with eager imports", ratio(seconds, "sonolex --help", "--help, eager imports"), 35)
    claim("import sonolex, times bare Python", ratio(seconds, "bare Python", "import sonolex"), 2.5, at_least=False)


def _python(*words: str) -> Callable[[], object]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)
