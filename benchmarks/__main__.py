"""Run every benchmark and print its claims: ours against a named peer, as ratios of one run.

    python -m benchmarks [NAME …]
    python -m benchmarks NAME --option …

Medians over interleaved rounds; the machine is shared, so only ratios within one run mean something. A benchmark that
fails does not stop the others; the exit code is 1 at the end. Those that need a folder of runs, or take longer than a
few minutes, run only when named; the last lines name them.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType


def main(words: list[str]) -> int:
    """Run the named benchmarks, or all that run by themselves; return the exit code."""
    names = list(itertools.takewhile(lambda w: not w.startswith("-"), words))
    options = words[len(names) :]
    known = benchmark_names()
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"benchmarks must be some of {', '.join(known)}, but got {', '.join(unknown)}.")
    if options and len(names) != 1:
        raise SystemExit(f"options must follow one benchmark, but {' '.join(options)} follow {len(names)}.")
    left_out, failed = [], []
    for name in names or known:
        module = importlib.import_module(f"benchmarks.{name}")
        if not names and getattr(module, "ONLY_WHEN_NAMED", False):
            left_out.append(f"  {how_to_start(module)}")
        elif not _finished(name, module, options):
            failed.append(name)
    if left_out:
        print("\nleft out, since they run only when named:", *left_out, sep="\n")
    if failed:
        print(f"\nFAILED: {', '.join(failed)}")
    return 1 if failed else 0


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks."""
    here = Path(__file__).parent
    return sorted(m.name for m in pkgutil.iter_modules([str(here)]) if not (m.name.startswith("_") or m.ispkg))


def how_to_start(module: ModuleType) -> str:
    """Return the first command in a benchmark's description that starts it; empty if there is none."""
    lines = [line.strip() for line in (module.__doc__ or "").splitlines()]
    start = f"python -m benchmarks {module.__name__.split('.')[-1]}"
    return next((line for line in lines if line.startswith(start)), "")


def _finished(name: str, module: ModuleType, options: list[str]) -> bool:
    """Run one benchmark; return whether it came to its end, and print why not."""
    if options and not inspect.signature(module.run).parameters:
        raise SystemExit(f"{name} has no options, but got {' '.join(options)}.")
    print(f"\n## {(module.__doc__ or name).splitlines()[0]}", flush=True)
    started = time.perf_counter()
    try:
        module.run(*([options] if options else []))
    except SystemExit as e:
        if isinstance(e.code, str):
            print(f"  {e.code}")
        if e.code:
            return False
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return False
    print(f"  ({name}: {time.perf_counter() - started:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
