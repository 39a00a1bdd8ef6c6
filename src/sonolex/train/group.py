"""The processes that torchrun started for one command: what the first decides for all, and how they end together.

With one process, every function here works as for a group of one. Of several processes, one may be killed at any
moment; the others notice by a broken connection, or by torchrun's SIGTERM even while they wait inside a collective, and
end with one line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from sonolex.terminal import say

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # of a process that waits for the first, which may prepare a corpus. A dead one is noticed
EXIT_S = 1.0  # a killed process's connections break before it is gone
SAME_MISTAKE_S = 2.0  # a failing process waits this long for the others to fail alike, so that one error is printed
LOST = ("closed by peer", "reset by peer", "Broken pipe", "gloo", "NCCL", "TCPStore")  # in torch's messages
GOES_ON = "the same command goes on from the last checkpoint"


def world_size() -> int:
    """Return the number of processes of this command."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's place among them, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this is the process that writes and prints."""
    return rank() == 0


def join() -> None:
    """Connect with the other processes, unless that was done before."""
    import torch
    from torch import distributed

    if world_size() == 1 or distributed.is_initialized():
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and distributed.is_nccl_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)


def leave() -> None:
    """Disconnect from the other processes."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def gathered(value: T) -> list[T]:
    """Return every process's ``value``, in order of their ranks."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def summed(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of every process's values, which may be missing on some of them."""
    return {n: sum(v.get(n, 0.0) for v in values) for n in sorted({n for v in values for n in v})}


def said_by_first(make: Callable[[], T]) -> T:
    """Return the value that the first process computes; the others wait for it."""
    if world_size() == 1:
        return make()
    from torch import distributed

    values: list[Any] = [make() if is_first() else None]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def take_from_first(model: Any) -> None:
    """Give a module the first process's weights and buffers."""
    if world_size() == 1:
        return
    from torch import distributed

    for tensor in model.state_dict().values():
        distributed.broadcast(tensor, src=0)


def wait() -> None:
    """Wait until every process has come here."""
    if world_size() > 1:
        gathered(None)


@contextmanager
def first_alone() -> Iterator[None]:
    """Context: the first process runs the block before the others, so that they can read the files it has written.

    If it fails, the others run the block too: an error that all of them share is raised by all and printed once.
    """
    if not is_first():
        wait()
    try:
        with said_once():
            yield
    finally:
        if is_first():
            wait()


@contextmanager
def said_once() -> Iterator[None]:
    """Context: only the first process writes to the terminal."""
    with ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


@contextmanager
def together(verb: str, *, shared: bool) -> Iterator[None]:
    """Context of a whole command: the processes begin and end together, and a failure is printed once.

    Args:
        verb: of ``sonolex``.
        shared: whether several processes may share it.

    Raises:
        ValueError: torchrun started several processes of a command that must be one.
    """
    if world_size() == 1:
        yield
        return
    if not shared and is_first():
        raise ValueError(f"`{verb}` must be one process, but torchrun started {world_size()}. Leave torchrun out.")
    if not shared:
        raise SystemExit(2)
    group = _Group(f"sonolex {verb}")
    group.watch()
    try:
        group.connect()
        join()
        yield
        wait()  # a process that ends early would look like one that was killed
        leave()
    except BaseException as e:
        group.failed(e)
        raise


class _Group:
    """Ends a process of several when it fails, or when another one does."""

    def __init__(self, command: str):
        self.command = command
        self._ending = threading.Lock()
        self._notes: Any = None

    def watch(self) -> None:
        """End on SIGTERM, which torchrun sends when another process is gone; also inside a call that never returns."""
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.set_wakeup_fd(writable)

        def watching() -> None:
            while os.read(readable, 1)[0] != signal.SIGTERM:
                pass
            self.end()

        threading.Thread(target=watching, daemon=True).start()

    def connect(self) -> None:
        """Connect to torchrun's store of short texts, if there is one; it outlives every process of the group."""
        from torch import distributed

        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return
        # A separate connection, because a waiting call may block the group's.
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(*place, is_master=False, wait_for_workers=False)
        self._notes = distributed.PrefixStore(f"sonolex/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        self._notes.set(f"process/{rank()}", f"{os.environ.get('GROUP_RANK', '0')} {os.getpid()}")

    def failed(self, error: BaseException) -> None:
        """Tell the others why this process ends; return if this process is the one to tell the user."""
        if _is_loss(error):
            self.end(noticed=True)
        if not self._ending.acquire(blocking=False):
            time.sleep(SAME_MISTAKE_S)  # another thread is already ending this process
        if isinstance(error, KeyboardInterrupt) and not is_first():
            raise SystemExit(130) from None
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return
        text = f"{error}" if isinstance(error, ValueError | TypeError | OSError | ImportError) else repr(error)
        first = self._first_note(f"rank {rank()}: {text}")
        self._until_all_failed()
        if first.partition(": ")[2] == text and first != f"rank {rank()}: {text}":
            raise SystemExit(2) from None

    def end(self, *, noticed: bool = False) -> NoReturn:
        """End this process, because another one has (or torchrun was told to stop): at once, whatever it is doing.

        Args:
            noticed: another process could not be reached.
        """
        if not self._ending.acquire(blocking=False):
            time.sleep(2 * SAME_MISTAKE_S)  # this process is already failing, and prints why
            os._exit(2)
        known = self._why()
        if known or noticed:
            why = f" ({known})" if known else ""
            self._say(f"another process of this training ended{why}")
        elif is_first() or self._notes is None:
            self._say("stopped by torchrun (another process ended, or torchrun was told to stop)")
        sys.stdout.flush()
        os._exit(1)

    def _say(self, text: str) -> None:
        """Print why this process ends, also inside `said_once`."""
        stream = sys.__stderr__ or sys.stderr
        say(f"{self.command}: {text}; {GOES_ON}", file=stream)
        stream.flush()

    def _why(self) -> str:
        """Return which process ended first, and why if it left a note; nothing if none is known to have ended."""
        deadline = time.monotonic() + EXIT_S
        while self._notes:
            known = self._read("end")
            if not known and (lost := self._lost_ranks()):
                known = self._first_note(f"rank {', '.join(map(str, lost))}")
            if known or time.monotonic() > deadline:
                return known
            time.sleep(0.05)
        return ""

    def _lost_ranks(self) -> list[int]:
        """Return which processes of this machine are gone."""
        lost = []
        for other in range(world_size()):
            node, _, pid = self._read(f"process/{other}").partition(" ")
            if other != rank() and pid and node == os.environ.get("GROUP_RANK", "0") and _is_gone(int(pid)):
                lost.append(other)
        return lost

    def _first_note(self, text: str) -> str:
        """Return the note of the process that ended first: ``text``, unless another process left one before."""
        try:
            return self._notes.compare_set("end", "", text).decode() if self._notes else text
        except RuntimeError:  # torchrun, which keeps the notes, is gone too
            return text

    def _until_all_failed(self) -> None:
        try:
            if self._notes and self._notes.add("failed", 1) < world_size():
                deadline = time.monotonic() + SAME_MISTAKE_S
                while self._notes.add("failed", 0) < world_size() and time.monotonic() < deadline:
                    time.sleep(0.05)
        except RuntimeError:
            return

    def _read(self, name: str) -> str:
        try:
            return self._notes.get(name).decode() if self._notes and self._notes.check([name]) else ""
        except RuntimeError:
            return ""


def _is_loss(error: BaseException) -> bool:
    """Return whether an error means that another process cannot be reached."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in LOST)
    )


def _is_gone(pid: int) -> bool:
    """Return whether a process of this machine has ended, even if torchrun has not asked for its exit code yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except ProcessLookupError:
        return True
    except OSError:
        return False
