"""Changed files at every door: how often sonolex answers, refuses, crashes, hangs, writes or runs what it should not.

Mutates recordings, tables, manifests, model folders, checkpoints, indexes, results, protocols, tokenizers and
downloads, each case in a child process with limits on memory, time and disk. Runs only when named::

    python -m benchmarks fuzz --minutes 30
    python -m benchmarks fuzz --cases 500 --targets audio tables --seed 7
    python -m benchmarks fuzz --replay runs/fuzz/bad/audio/CRASH-audio-0-17

The cases depend on the seed alone. Those that end badly are kept under ``--out``. Exit code 1 if there are any.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import worker
from benchmarks.fuzzing.cases import BUGS, KINDS, Case, target_names
from benchmarks.fuzzing.sandbox import Box, Limits, attempt

ONLY_WHEN_NAMED = True
FOREVER = 10**12
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
BUGS_SHOWN = 40


def run(options: Sequence[str] = ()) -> None:
    """Run the cases and print what came of them; exit with 1 if anything is wrong."""
    arguments = _arguments(options)
    # Before anything is imported that would start threads: a fork of a process with threads may hang.
    os.environ |= dict.fromkeys(ONE_THREAD, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "HF_HOME": str(arguments.out / "home")}
    limits = Limits(arguments.memory_gb, arguments.seconds)
    if arguments.replay:
        raise SystemExit(_replay(arguments.replay, arguments.out, limits))
    shutil.rmtree(arguments.out / "bad", ignore_errors=True)
    started = time.monotonic()
    found = fuzz(
        arguments.targets or target_names(),
        out=arguments.out,
        seconds=arguments.minutes * 60,
        cases=FOREVER if arguments.cases is None else arguments.cases,
        seed=arguments.seed,
        attacks=not arguments.no_attacks,
        workers=arguments.workers,
        limits=limits,
    )
    print(table(found, time.monotonic() - started, limits))
    (arguments.out / "counts.json").write_text(json.dumps(found, indent=2) + "\n")
    if any(f["counts"].get(kind) for f in found.values() for kind in BUGS):
        raise SystemExit(1)


def fuzz(
    targets: Sequence[str],
    *,
    out: Path,
    seconds: float,
    cases: int,
    seed: int,
    attacks: bool,
    workers: int,
    limits: Limits,
) -> dict[str, dict[str, Any]]:
    """Return counts, bugs, the peak of memory and the longest case by target.

    What is left of the time is shared by the targets that are left; making good files and attacks count.

    Raises:
        RuntimeError: a process of ours ended early, or a good file is not answered.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, Any]] = {}
    columns = (TextColumn("{task.description:12}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns) as bar:
        ends = time.monotonic() + seconds
        for number, target in enumerate(targets):
            started = time.monotonic()
            share_s = max(0.0, ends - started) / (len(targets) - number)
            line = bar.add_task(target, total=share_s if cases == FOREVER else cases, said="good files")
            maker = context.Process(target=worker.make_goods, args=(target, out / "goods"))
            maker.start()
            maker.join()
            if maker.exitcode:
                raise RuntimeError(f"the good files of {target} must be made, but are not (see above)")
            plan = {"ends": started + share_s, "cases": cases, "seed": seed, "attacks": attacks}
            for summary in _shards(context, target, workers, plan, out, limits):
                found[target] = summary
                done = time.monotonic() - started if cases == FOREVER else sum(summary["counts"].values())
                bar.update(line, completed=done, said=_said(summary))
            found[target]["seconds"] = time.monotonic() - started
    shutil.rmtree(out / "boxes", ignore_errors=True)
    return found


def _shards(context: Any, target: str, workers: int, plan: dict, out: Path, limits: Limits) -> Any:
    """Start the processes of one target and yield their joint summary whenever one of them tells something."""
    summaries: dict[int, dict[str, Any]] = {}
    waiting, processes = {}, []
    for shard in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        words = (target, shard, workers, plan, out, limits, theirs)
        processes.append(context.Process(target=worker.work, args=words, daemon=True))
        processes[-1].start()
        theirs.close()
        waiting[ours] = shard
    while waiting:
        for connection in multiprocessing.connection.wait(list(waiting)):
            shard = waiting[connection]  # type: ignore[index]
            try:
                summaries[shard] = connection.recv()  # type: ignore[union-attr]
            except EOFError:
                if not summaries.get(shard, {}).get("finished"):
                    raise RuntimeError(f"process {shard} of {target} must finish, but ends early (see above)") from None
                del waiting[connection]  # type: ignore[arg-type]
                continue
            yield _joined(list(summaries.values()))
    for process in processes:
        process.join()


def _joined(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    counts, bugs = Counter(), Counter()
    for summary in summaries:
        counts.update(summary["counts"])
        bugs.update(summary["bugs"])
    highest = {name: max(s[name] for s in summaries) for name in ("peak_mb", "longest_s")}
    left_out = summaries[0]["left_out"]  # the same in all of them
    return {"counts": dict(counts), "bugs": dict(bugs.most_common()), "left_out": left_out, **highest}


def _said(found: dict[str, Any]) -> str:
    return ", ".join(f"{found['counts'][k]} {k}" for k in KINDS if found["counts"].get(k))


def table(found: dict[str, dict[str, Any]], seconds: float, limits: Limits) -> str:
    """Return outcome by target as text, the bugs behind it, and what was used."""
    kinds = [k for k in KINDS if k in ("answered", "refused") or any(f["counts"].get(k) for f in found.values())]
    lines = ["", f"{'':13}{'cases':>8}" + "".join(f"{k:>11}" for k in kinds) + f"{'peak MB':>9}{'cases/s':>9}"]
    for target, f in found.items():
        total = sum(f["counts"].values())
        cells = "".join(f"{f['counts'].get(k, 0):11,}" for k in kinds)
        lines.append(f"{target:13}{total:8,}{cells}{f['peak_mb']:9,.0f}{total / f['seconds']:9.0f}")
    total = sum(sum(f["counts"].values()) for f in found.values())
    cells = "".join(f"{sum(f['counts'].get(k, 0) for f in found.values()):11,}" for k in kinds)
    peak = max(f["peak_mb"] for f in found.values())
    lines.append(f"{'all':13}{total:8,}{cells}{peak:9,.0f}{total / seconds:9.0f}")
    lines += [
        "",
        f"limits of a case: {limits.memory_gb:g} GB beyond what is imported, {limits.cpu_s:g} s, {limits.disk_mb} MB "
        f"of disk; longest case {max(f['longest_s'] for f in found.values()):.1f} s; {seconds / 60:.1f} minutes in all",
        *(f"left out, because refused as it is: {target}, {f}" for target in found for f in found[target]["left_out"]),
        *(f"{kind}: {meaning}" for kind, meaning in BUGS.items() if kind in kinds),
        "",
    ]
    bugs = [(count, target, bug) for target, f in found.items() for bug, count in f["bugs"].items()]
    bugs.sort(key=lambda b: (list(BUGS).index(b[2].split(":")[0]), -b[0]))
    lines += [f"{count:7,} × {target}: {bug}" for count, target, bug in bugs[:BUGS_SHOWN]]
    lines += [f"… and {len(bugs) - BUGS_SHOWN} more" if len(bugs) > BUGS_SHOWN else ""]
    return "\n".join(lines)


def _replay(place: Path, out: Path, limits: Limits) -> int:
    """Give a kept case again, in a fresh interpreter; print what comes of it."""
    saved = json.loads((place / "case.json").read_text())
    fields = {k: saved[k] for k in ("target", "number", "seed", "attack", "good_name")}
    case = Case(**fields, replayed="" if saved["attack"] else str(place.resolve() / "input"))
    if not (out / "goods" / case.target).is_dir():
        worker.make_goods(case.target, out / "goods")
    outcome = attempt(case, Box(out / "boxes" / "replay"), out / "goods", limits, alone=True)
    print(f"{case.name}, {outcome.what}\n{outcome.kind}: {outcome.place}\n{outcome.message}\n{outcome.log}")
    return int(outcome.kind in BUGS)


def _arguments(options: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together (default: 5)")
    parser.add_argument(
        "--cases", type=int, help="of every target, beside the attacks; instead of minutes (0: attacks only)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-attacks", action="store_true", help="leave out the cases made by hand")
    parser.add_argument(
        "--targets", nargs="+", choices=target_names(), metavar="TARGET", help=", ".join(target_names())
    )
    parser.add_argument("--memory-gb", type=float, default=2.0, help="of a case, beyond what is imported (default: 2)")
    parser.add_argument("--seconds", type=float, default=15.0, help="processor time of a case (default: 15)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="folder of what ends badly")
    parser.add_argument("--replay", type=Path, help="folder of a kept case")
    arguments = parser.parse_args(options)
    arguments.out = arguments.out.resolve()
    if arguments.cases is not None:
        arguments.minutes = FOREVER
    return arguments
