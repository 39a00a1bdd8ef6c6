"""One case in a child process with limits on memory, time and disk, and the judgement of what it did.

The child works in a *box*, a folder of its own::

    case/    the changed file, with what belongs to it       out/     where the door may write
    canary/  files that nobody may touch; the child's working directory is in it, with a module that leaves a mark
    home/    home, caches and temporary files                mark/    the marks
    notes/   what child and parent tell each other
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import pickle
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import attacks
from benchmarks.fuzzing.cases import Case, Mutation, Outcome, find_target
from benchmarks.fuzzing.doors import Refused

SIGNALS_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)
OUT_OF_MEMORY = re.compile(r"memory allocation of|bad_alloc|[Cc]annot allocate memory|not enough memory|out of memory")
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
OURS = re.compile(r'File "[^"]*?(?:/sonolex/|/fuzzing/)([^"]+)", line (\d+),? in (\w+)')
LONGEST_DIGESTED = 8 << 20
LONGEST_PREPARATION_S = 120.0
MOST_WAITS = 5  # times the limit on the clock
PAYLOAD = """from pathlib import Path
def run(*_, **__):
    (Path(__file__).parents[2] / "mark" / "ran").touch()
class Runs:
    def __new__(cls, *_, **__):
        run()
run()
SYSTEM = PROTOCOL = ClassificationTask = Runs
"""


@dataclass(frozen=True)
class Limits:
    """What one case may use, beyond what is imported: memory, processor time (twice that on the clock), disk."""

    memory_gb: float = 2.0
    cpu_s: float = 15.0
    disk_mb: int = 512

    @property
    def wall_s(self) -> float:
        return 2 * self.cpu_s


class Box:
    """The folders of one child; `clear` makes them new."""

    def __init__(self, folder: Path):
        self.folder = folder.resolve()
        for name in ("case", "out", "canary", "home", "mark", "notes"):
            setattr(self, name, self.folder / name)

    case: Path
    out: Path
    canary: Path
    home: Path
    mark: Path
    notes: Path

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("out", "canary/cwd", "home/tmp", "mark", "notes"):
            (self.folder / name).mkdir(parents=True)
        (self.canary / "precious.txt").write_text("do not touch\n")
        (self.canary / "cwd" / "payload.py").write_text(PAYLOAD)
        (self.canary / "model.safetensors").write_bytes(b"not yours")

    def note(self, name: str, value: Any) -> None:
        (self.notes / name).write_text(json.dumps(value))

    def noted(self, name: str) -> Any:
        place = self.notes / name
        return json.loads(place.read_text()) if place.is_file() and place.stat().st_size else None

    def watched(self, *, except_for: tuple[str, ...] = ()) -> dict[str, str]:
        """Return what is in the folders that must not change, and how it looks."""
        found = {}
        for part in (self.case, self.canary):
            for place in sorted(part.rglob("*")) if part.exists() else []:
                name = str(place.relative_to(self.folder))
                if not name.startswith(tuple(f"case/{n}" for n in except_for)) and "__pycache__" not in name:
                    found[name] = _look(place)
        return found


def _look(place: Path) -> str:
    about = place.lstat()
    if stat.S_ISLNK(about.st_mode):
        return f"link to {place.readlink()}"
    if not stat.S_ISREG(about.st_mode):
        return f"mode {stat.S_IFMT(about.st_mode):o}"
    if about.st_size > LONGEST_DIGESTED:
        return f"{about.st_size} bytes, {about.st_mtime_ns}"
    return hashlib.sha256(place.read_bytes()).hexdigest()


def attempt(case: Case, box: Box, goods: Path, limits: Limits, *, alone: bool = False) -> Outcome:
    """Run one case in a child and return what came of it.

    Args:
        goods: the folder of good files, by target.
        alone: in a fresh interpreter, instead of a fork of this one: slower, and free of what a fork may break.
    """
    box.clear()
    started = time.monotonic()
    prepared, at_the_door = os.pipe()  # closed by the child when its input is ready
    if alone:
        box.note("task.json", {"case": case.to_json(), "limits": vars(limits), "goods": str(goods.resolve())})
        words = [sys.executable, "-m", "benchmarks.fuzzing.sandbox", str(box.folder), str(at_the_door)]
        pid = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=(at_the_door,)).pid
    else:
        pid = os.fork()
        if pid == 0:
            _enact_and_exit(case, box, goods, limits, at_the_door)
    os.close(at_the_door)
    select.select([prepared], [], [], LONGEST_PREPARATION_S)
    os.close(prepared)
    ended, status, peak_mb = _wait(pid, limits.wall_s)
    outcome = _judge(case, box, limits, status if ended else None)
    outcome.seconds, outcome.peak_mb = time.monotonic() - started, peak_mb
    return outcome


def _wait(pid: int, seconds: float) -> tuple[bool, int, float]:
    """Return whether the child ended by itself, its exit status, and the most memory it had.

    A child that is still computing is given more time on the clock, because the machine may be busy: its own limit of
    processor time ends it.
    """
    handle, ended = os.pidfd_open(pid), False
    try:
        for _ in range(MOST_WAITS):
            ended = bool(select.select([handle], [], [], seconds)[0])
            if ended or not _computes(pid):
                break
        if not ended:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(handle)
    _, status, usage = os.wait4(pid, 0)
    return ended, status, usage.ru_maxrss / 1024


def _computes(pid: int) -> bool:
    """Return whether a process is running or waiting for a processor, not sleeping."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


# --- in the child ---------------------------------------------------------------------------------------------------


def _enact_and_exit(case: Case, box: Box, goods: Path, limits: Limits, at_the_door: int) -> None:
    """Do what the case says, note what came of it, and end without any clean-up of the parent's."""
    try:
        _enact(case, box, goods, limits, at_the_door)
    except BaseException:
        box.note("harness.json", traceback.format_exc())
    finally:
        os._exit(0)


def _enact(case: Case, box: Box, goods: Path, limits: Limits, at_the_door: int) -> None:
    target = find_target(case.target)
    _redirect(box)
    try:
        good_name, mutation = _prepare(case, box, goods)
    except Exception:
        box.note("unmade.json", traceback.format_exc())
        return
    box.note("mutation.json", {"what": f"{good_name}: {mutation.what}", "harmful": mutation.harmful})
    box.note("before.json", box.watched(except_for=getattr(target, "WRITES", ())))
    imported = set(sys.modules)
    log = (box.notes / "log.txt").open("a")
    faulthandler.enable(log)
    faulthandler.register(signal.SIGXCPU, file=log, chain=True)
    faulthandler.dump_traceback_later(limits.wall_s - 1, file=log)
    _limit(limits)
    os.close(at_the_door)
    try:
        answer = target.use(box.case, box.out)
        harm = None if not mutation.harmful else _good_answer(goods, case.target, good_name)
        outcome = _judge_answer(answer, harm, case, goods, good_name)
    except BaseException as error:
        outcome = _judge_error(error, box, getattr(target, "NAMES", ()))
    sys.stdout.flush()
    sys.stderr.flush()
    box.note("imported.json", sorted(set(sys.modules) - imported))
    box.note("outcome.json", outcome)


def _redirect(box: Box) -> None:
    """Send what is printed to a file, name the box's folders as home and caches, and let no one out."""
    printed = os.open(box.notes / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((0, null), (1, printed), (2, printed)):
        os.dup2(place, descriptor)
    home = str(box.home)
    os.environ |= {
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "SONOLEX_CACHE": home,
        "HF_HOME": home,
        "TMPDIR": f"{home}/tmp",
    }
    os.chdir(box.canary / "cwd")
    sys.path.insert(0, str(box.canary / "cwd"))
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def asked(address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost"):
            (box.notes / "asked.txt").write_text(str(address))
            raise OSError(f"the network was asked for {address}")

    socket.socket.connect = lambda self, address: (asked(address), connect(self, address))[1]  # type: ignore[method-assign]
    socket.getaddrinfo = lambda host, *rest, **more: (asked((host,)), look_up(host, *rest, **more))[1]


def _prepare(case: Case, box: Box, goods: Path) -> tuple[str, Mutation]:
    """Put the case's input into the box."""
    if case.replayed:
        shutil.copytree(case.replayed, box.case, symlinks=True)
        saved = json.loads((Path(case.replayed).parent / "case.json").read_text())
        return case.good_name, Mutation(saved["what"], saved["harmful"])
    names = sorted(p.stem for p in (goods / case.target).glob("*.answer"))
    good_name = case.good_name or (attacks.GOODS[case.target] if case.attack else case.rng.choice(names))
    shutil.copytree(goods / case.target / good_name, box.case, symlinks=True)
    if case.attack:
        return good_name, attacks.of_target(case.target)[case.attack](box.case)
    if case.number < 0:
        return good_name, Mutation("as it is", harmful=True)
    return good_name, find_target(case.target).mutate(box.case, case.rng)


def _limit(limits: Limits) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    memory = used + int(limits.memory_gb * 2**30)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(spent.ru_utime + spent.ru_stime + limits.cpu_s) + 1
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits.disk_mb << 20),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def _good_answer(goods: Path, target: str, good_name: str) -> Any:
    place = goods / target / f"{good_name}.answer"
    return pickle.loads(place.read_bytes()) if place.is_file() else None


def _judge_answer(answer: Any, good: Any, case: Case, goods: Path, good_name: str) -> dict[str, str]:
    if case.number < 0 and not case.attack:
        place = goods / case.target / f".{good_name}-{os.getpid()}"
        place.write_bytes(pickle.dumps(answer))
        place.replace(goods / case.target / f"{good_name}.answer")
    elif good is not None and not same(answer, good):
        return {"kind": "SILENT", "place": good_name, "message": difference(answer, good)}
    odd = not_finite(answer)
    return {"kind": "NAN", "place": odd, "message": odd} if odd else {"kind": "answered"}


def _judge_error(error: BaseException, box: Box, given: tuple[str, ...]) -> dict[str, str]:
    log = "".join(traceback.format_exception(error))
    frames = OURS.findall(log)
    place = f"{type(error).__name__} in {frames[-1][0]}:{frames[-1][2]}" if frames else type(error).__name__
    if isinstance(error, Refused):  # the command line keeps no traceback: the same words are the same place
        place = re.sub(r"`[^`]*`|'[^']*'|(/|\d|\[)\S*", "…", str(error).partition("\n")[0])[:60].strip()
    found = {"place": place, "message": str(error)[:2000], "log": log[-20_000:]}
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        return found | {"kind": "MEMORY"}
    if not isinstance(error, ValueError | TypeError | OSError | ImportError):
        return found | {"kind": "TRACEBACK"}
    names = {*given, str(box.case), *(n for p in box.case.rglob("*") for n in (p.name, p.stem))}
    return found | {"kind": "refused" if any(n in str(error) for n in names) else "VAGUE"}


def same(answer: Any, good: Any) -> bool:
    """Return whether two answers have the same content; floats may differ by a millionth."""
    if isinstance(good, np.ndarray):
        return np.shape(answer) == good.shape and bool(np.allclose(answer, good, rtol=1e-5, atol=1e-6, equal_nan=True))
    if isinstance(good, dict):
        return isinstance(answer, dict) and answer.keys() == good.keys() and all(same(answer[k], good[k]) for k in good)
    if isinstance(good, list | tuple):
        return len(answer) == len(good) and all(same(a, g) for a, g in zip(answer, good, strict=True))
    if isinstance(good, float) and isinstance(answer, float):
        return abs(answer - good) <= 1e-5 * max(1.0, abs(good)) or (answer != answer and good != good)
    return answer == good


def difference(answer: Any, good: Any) -> str:
    """Return a few words on how an answer differs from the good one."""
    if isinstance(good, dict) and isinstance(answer, dict):
        keys = [k for k in {*good, *answer} if k not in good or k not in answer or not same(answer[k], good[k])]
        return "; ".join(f"{k}: {difference(answer.get(k), good.get(k))}" for k in sorted(map(str, keys))[:3])
    if isinstance(good, np.ndarray) and isinstance(answer, np.ndarray):
        return f"{answer.shape} instead of {good.shape}"
    return f"{str(answer)[:80]!r} instead of {str(good)[:80]!r}"


def not_finite(answer: Any, place: str = "answer") -> str:
    """Return where an answer holds NaN or infinity, "" if nowhere."""
    if isinstance(answer, float | np.floating | np.ndarray):
        kind = np.asarray(answer).dtype.kind
        return place if kind == "f" and not np.isfinite(answer).all() else ""
    if isinstance(answer, dict):
        return next((p for k, v in answer.items() if (p := not_finite(v, f"{place}.{k}"))), "")
    if isinstance(answer, list | tuple):
        return next((p for v in answer if (p := not_finite(v, place))), "")
    return ""


# --- in the parent --------------------------------------------------------------------------------------------------


def _judge(case: Case, box: Box, limits: Limits, status: int | None) -> Outcome:
    """Return the outcome from the child's notes, its exit status (None: it did not end) and what the box looks like."""
    unmade = box.noted("unmade.json")
    if unmade is not None and case.number >= 0 and not (case.attack or case.replayed):
        return Outcome("unmade", log=unmade)
    harness = box.noted("harness.json") or unmade
    mutation = box.noted("mutation.json")
    log = _read(box.notes / "log.txt")
    if harness is mutation is None and case.number >= 0 and not (case.attack or case.replayed):
        return Outcome("unmade", log="the change itself took too long, or too much memory")
    if harness is not None or mutation is None:
        raise RuntimeError(f"case {case.name} must reach its door, but does not: {harness or log or status}")
    printed = (box.notes / "printed.txt").read_bytes()[-(1 << 20) :]
    noted = box.noted("outcome.json")
    outcome = Outcome(**noted) if noted else _ended_early(status, log + printed.decode("utf-8", "replace"))
    outcome.what = mutation["what"]
    outcome.log = outcome.log or log[-20_000:]
    before = box.noted("before.json")
    after = box.watched(except_for=getattr(find_target(case.target), "WRITES", ()))
    changed = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    if any(box.mark.iterdir()):
        outcome.kind, outcome.place = "RAN", ", ".join(p.name for p in box.mark.iterdir())
    elif changed:
        outcome.kind, outcome.place, outcome.message = "WROTE", Path(changed[0]).name, ", ".join(changed[:5])
    elif outcome.kind not in ("CRASH", "HANG", "MEMORY", "TRACEBACK"):
        _look_around(outcome, box, limits, printed)
    return outcome


def _look_around(outcome: Outcome, box: Box, limits: Limits, printed: bytes) -> None:
    """Change the outcome by what the child left: files, requests, control characters."""
    written = sum(p.lstat().st_size for part in (box.out, box.home) for p in part.rglob("*") if not p.is_symlink())
    raw = CONTROL.search(printed)
    if written > limits.disk_mb << 20:
        outcome.kind, outcome.place, outcome.message = "MEMORY", "disk", f"{written >> 20} MB written"
    elif (box.notes / "asked.txt").is_file():
        outcome.kind, outcome.message = "ASKED", (box.notes / "asked.txt").read_text()
        outcome.place = "network"
    elif raw:
        line = printed[max(0, raw.start() - 60) : raw.end() + 30]
        start = re.sub(rb"[^A-Za-z:` ].*", b"", line.rpartition(b"\n")[2][:60]).decode()
        outcome.kind, outcome.place, outcome.message = "RAW", f"terminal: {start}", repr(line)
    elif (box.notes / "raw.txt").is_file():
        outcome.kind, outcome.place, outcome.message = "RAW", "page", (box.notes / "raw.txt").read_text()


def _ended_early(status: int | None, log: str) -> Outcome:
    frames = OURS.findall(log)
    place = f"{frames[0][0]}:{frames[0][2]}" if frames else "?"
    name = signal.Signals(os.WTERMSIG(status)).name if status is not None and os.WIFSIGNALED(status) else "an exit"
    if OUT_OF_MEMORY.search(log):
        return Outcome("MEMORY", f"{name} in {place}", "ended while memory was short", log=log[-20_000:])
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in SIGNALS_OF_TIME):
        return Outcome("HANG", place, "did not end", log=log[-20_000:])
    return Outcome("CRASH", f"{name} in {place}", f"ended by {name}", log=log[-20_000:])


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _alone(folder: str, at_the_door: str) -> None:
    """Enact the case that is noted in a box; for `attempt` with ``alone``."""
    box = Box(Path(folder))
    task = box.noted("task.json")
    find_target(task["case"]["target"]).warm()
    _enact_and_exit(Case(**task["case"]), box, Path(task["goods"]), Limits(**task["limits"]), int(at_the_door))


if __name__ == "__main__":
    _alone(*sys.argv[1:])
