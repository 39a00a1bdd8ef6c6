"""Killed, or out of room, at every single write: each restart goes on or says what to do.

    python -m benchmarks interruptions [--only NAME …] [--every N] [--no-strace]

Every command (a training of two runs, a probe, `fit`, an index made and grown, a sweep, `units`) is run once whole, and
every call that changes its folder is counted: open, write, truncate, allocate, sync, rename, link, mkdir, remove. Then,
for every one of them, in a fresh folder: killed (SIGKILL) before it; killed after half of its bytes, if it writes; the
disk full from it on. What is asked:

- killed: the same command again ends well, and weights, scores, predictions and vectors are those of the whole run, bit
  for bit; or it ends with code 2 and one line that says what to do;
- full: the command ends with code 2 and one line that names a file, or ends well; no file is half-written; the same
  command again ends well with the same bits.

Needs a C compiler (`cc`): the steps are counted and stopped in the C library (benchmarks/interrupting/shim.c), in forks
of one warm process. With `strace`, what it sees is compared with what was counted: only safetensors' renaming of its
own temporary file asks the kernel without the C library, inside a folder that has no name yet. On a free core about
half an hour, most of it `train`; with TMPDIR on a disk in memory.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.interrupting import forks
from benchmarks.interrupting.commands import COMMANDS, Command, half_written, leftovers, make_goods, outcome
from benchmarks.interrupting.forks import FULL, HALF, KILL, Ended

ONLY_WHEN_NAMED = True
SHIM = "SONOLEX_INTERRUPTIONS"  # in the environment: the shim is loaded, and this is the process that forks
MODES = {KILL: "killed before", HALF: "killed in the middle", FULL: "disk full from there on"}
STEPS = {"open": "open", "openat": "open", "creat": "open", "write": "write", "pwrite64": "write", "writev": "write"}
STEPS |= {"fsync": "sync", "fdatasync": "sync", "ftruncate": "truncate", "fallocate": "allocate", "link": "link"}
STEPS |= {"linkat": "link", "symlink": "link", "symlinkat": "link", "mkdir": "mkdir", "mkdirat": "mkdir"}
STEPS |= {"rename": "rename", "renameat": "rename", "renameat2": "rename"}
STEPS |= {"unlink": "remove", "unlinkat": "remove", "rmdir": "remove"}
CALLS = ",".join(STEPS)
WRITING = re.compile("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")


def run(words: Sequence[str] = ()) -> None:
    """Print, for every command and way of stopping it, how many restarts ended how; and every failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks interruptions")
    parser.add_argument("--only", nargs="+", choices=[c.name for c in COMMANDS], default=[c.name for c in COMMANDS])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="stop at every Nth step only (default: 1)")
    parser.add_argument("--no-strace", action="store_true", help="do not compare with what strace sees")
    options = parser.parse_args(list(words))
    if SHIM not in os.environ:
        _again_with_shim(words)
        return
    failures = []
    with tempfile.TemporaryDirectory() as place:
        goods = Path(place) / "goods"
        make_goods(goods)
        for command in COMMANDS:
            if command.name in options.only:
                failures += _interrupted_everywhere(command, goods, Path(place), options.every, options.no_strace)
    print("\n".join(failures) if failures else "\nno failure")
    if failures:
        raise SystemExit(f"{len(failures)} failures")


def _again_with_shim(words: Sequence[str]) -> None:
    if shutil.which("cc") is None:
        raise SystemExit("`cc` must be there to build the library that counts writes: install a C compiler.")
    with tempfile.TemporaryDirectory() as place:
        shim = Path(place) / "shim.so"
        source = Path(__file__).parent / "interrupting" / "shim.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
        settings = {"LD_PRELOAD": str(shim), SHIM: "1", "OMP_NUM_THREADS": "1", "SONOLEX_CACHE": f"{place}/cache"}
        done = subprocess.run([sys.executable, "-m", "benchmarks", "interruptions", *words], env=os.environ | settings)
    if done.returncode:
        raise SystemExit(done.returncode)


def _interrupted_everywhere(command: Command, goods: Path, place: Path, every: int, no_strace: bool) -> list[str]:
    """Return what went wrong; print what was counted."""
    started = time.monotonic()
    whole, wanted = _whole(command, goods, place)
    seen = "" if no_strace else _seen_by_strace(command, goods, place, whole)
    kinds = ", ".join(f"{n} {call}" for call, n in Counter(call for call, _ in whole.steps).most_common())
    print(f"\n{command.name}: {len(whole.steps)} steps ({kinds}){seen}", flush=True)
    failures, counts = [], {mode: Counter[str]() for mode in MODES}
    for mode, at in _places(whole, every):
        out, log = _fresh(command, goods, place)
        stopped = forks.run(command.of(goods, out), out, log, at=at, mode=mode)
        result, why = _judged(command, goods, out, log, stopped, wanted, mode)
        counts[mode][result] += 1
        if why:
            call, path = whole.steps[at - 1]
            failures.append(f"{command.name}, {MODES[mode]} step {at} ({call} {path}): {why}")
            print(failures[-1], flush=True)
    for mode, count in counts.items():
        print(f"  {MODES[mode]:24} {sum(count.values()):5}: " + ", ".join(f"{n} {r}" for r, n in count.most_common()))
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return failures


def _whole(command: Command, goods: Path, place: Path) -> tuple[Ended, dict[str, str]]:
    """Run the command, once to warm this process; return how it ended and what it made."""
    out, log = _fresh(command, goods, place)
    forks.warm(command.of(goods, out))
    _fresh(command, goods, place)
    ended = forks.run(command.of(goods, out), out, log)
    if ended.code:
        raise SystemExit(f"{command.name} must end well when nothing stops it, but said: {ended.said}")
    return ended, outcome(out)


def _places(whole: Ended, every: int) -> Iterator[tuple[int, int]]:
    for number, (call, _) in enumerate(whole.steps, 1):
        if number % every == 0:
            yield KILL, number
            if call == "write":
                yield HALF, number
            if call != "remove":
                yield FULL, number


def _judged(
    command: Command, goods: Path, out: Path, log: Path, stopped: Ended, wanted: dict[str, str], mode: int
) -> tuple[str, str]:
    """Return how it went on, and what is wrong with that (or nothing)."""
    if stopped.hung:
        return "hung", "it hung"
    if mode == FULL:
        if stopped.code not in (0, 2) or (stopped.code == 2 and not (stopped.told and str(out) in stopped.said)):
            return "no message", f"code {stopped.code}: {stopped.said[-600:]}"
        if broken := half_written(out):
            return "half-written", f"half-written: {broken}"
    elif stopped.code != -signal.SIGKILL:
        return "not killed", f"it was not stopped but ended with {stopped.code}: {stopped.said[-300:]}"
    again = forks.run(command.of(goods, out), out, log)
    if again.hung:
        return "hung", "the restart hung"
    if again.code == 2 and again.told:
        return "said what to do", "" if _is_advice(again.said) else f"no advice: {again.said}"
    if again.code:
        return "failed", f"code {again.code}: {again.said[-600:]}"
    made = outcome(out)
    if made != wanted:
        differing = sorted(k for k in made.keys() | wanted.keys() if made.get(k) != wanted.get(k))
        return "other bits", f"differing: {differing}"
    if left := leftovers(out):
        return "leftovers", f"left: {left}"
    return "went on, same bits" if stopped.code else "ended well in spite of it, same bits", ""


def _is_advice(said: str) -> bool:
    return any(word in said for word in ("Remove", "Name another", "Make room", "same command"))


def _fresh(command: Command, goods: Path, place: Path) -> tuple[Path, Path]:
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    command.before(goods, out)
    return out, place / "steps.log"


def _seen_by_strace(command: Command, goods: Path, place: Path, whole: Ended) -> str:
    """Return how many calls below the folder strace saw, beside those that were counted."""
    if shutil.which("strace") is None:
        return "; not compared with strace, which is not installed"
    out, _ = _fresh(command, goods, place)
    trace = place / "strace.log"
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    words = f"strace -f -y --seccomp-bpf -e trace={CALLS} -o {trace} {sys.executable} -m sonolex".split()
    done = subprocess.run([*words, *command.of(goods, out)], env=environment, capture_output=True, text=True)
    if done.returncode:
        return f"; strace cannot run here: {done.stderr.strip()[-100:]}"
    seen = Counter(filter(None, (_changing(line, out) for line in trace.read_text(errors="replace").splitlines())))
    missed = seen - Counter(f"{call} {path}" for call, path in whole.steps)
    return f"; strace sees {seen.total()}, of which not counted: {dict(missed) or 'none'}"


def _changing(line: str, out: Path) -> str:
    """Return a line of strace's as a step, or nothing if it changes no file below ``out``."""
    call, _, rest = line.partition(" ")[2].strip().partition("(")
    if call not in STEPS or (call in ("open", "openat") and not WRITING.search(rest)):
        return ""
    places = re.findall(r'"(/[^"]*)"' if STEPS[call] not in ("write", "sync", "truncate") else r"<(/[^>]*)>", rest)
    inside = re.search(r"^\d+<(/[^>]*)>, \"([^/\"]+)\"", rest)  # a name in an opened folder
    place = f"{inside[1]}/{inside[2]}" if inside and call in ("unlinkat", "openat") else places[-1] if places else ""
    return f"{STEPS[call]} {forks.plain(place.removeprefix(str(out)))}" if place.startswith(str(out)) else ""
