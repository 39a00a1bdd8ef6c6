"""Run every benchmark and print its claims: ours against a named peer, as ratios of one run.

    python -m benchmarks [name …]
    python -m benchmarks NAME --option …

Medians over interleaved rounds; the machine is shared, so only ratios within one run mean something.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    names = list(itertools.takewhile(lambda w: not w.startswith("-"), words))
    options = words[len(names) :]
    here = Path(__file__).parent
    known = sorted(m.name for m in pkgutil.iter_modules([str(here)]) if not (m.name.startswith("_") or m.ispkg))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"benchmarks must be some of {', '.join(known)}, but got {', '.join(unknown)}.")
    if options and len(names) != 1:
        raise SystemExit(f"options must follow one benchmark, but {' '.join(options)} follow {len(names)}.")
    for name in names or known:
        module = importlib.import_module(f"benchmarks.{name}")
        if not names and getattr(module, "ONLY_WHEN_NAMED", False):
            continue
        if options and not inspect.signature(module.run).parameters:
            raise SystemExit(f"{name} has no options, but got {' '.join(options)}.")
        print(f"\n## {(module.__doc__ or name).splitlines()[0]}", flush=True)
        module.run(*([options] if options else []))


if __name__ == "__main__":
    main(sys.argv[1:])
