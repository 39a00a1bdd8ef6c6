"""Run every benchmark and print its claims: ours against a named peer, as ratios of one run.

    python -m benchmarks [name …]

Medians over interleaved rounds; the machine is shared, so only ratios within one run mean something.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path


def main(names: list[str]) -> None:
    here = Path(__file__).parent
    known = sorted(m.name for m in pkgutil.iter_modules([str(here)]) if not m.name.startswith("_"))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"benchmarks must be some of {', '.join(known)}, but got {', '.join(unknown)}.")
    for name in names or known:
        module = importlib.import_module(f"benchmarks.{name}")
        if not names and getattr(module, "ONLY_WHEN_NAMED", False):
            continue
        print(f"\n## {(module.__doc__ or name).splitlines()[0]}", flush=True)
        module.run()


if __name__ == "__main__":
    main(sys.argv[1:])
