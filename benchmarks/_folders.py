"""The folders of runs that a benchmark reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def folders_of_runs(module_doc: str | None, options: Sequence[str], *, several: bool = False) -> list[Path]:
    """Return the folders after ``--runs``; without any, or with one that is not there, say how to start and exit."""
    how = "\n".join(line for line in (module_doc or "").splitlines() if line.startswith("    "))
    parser = argparse.ArgumentParser(prog="python -m benchmarks NAME", usage=f"\n{how}", add_help=False)
    parser.add_argument("--runs", type=Path, nargs="+" if several else 1, required=True)
    folders = parser.parse_args(list(options)).runs
    missing = [str(f) for f in folders if not f.is_dir()]
    if missing:
        parser.error(f"--runs must name folders of runs, but {', '.join(missing)} is none")
    return folders
