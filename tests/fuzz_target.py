"""A target of the fuzzer that does what its file says: the harness must see each of these things."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

WAYS = {
    "answer": "answered", "refuse": "refused", "crash": "CRASH", "hang": "HANG", "compute": "HANG", "memory": "MEMORY",
    "disk": "MEMORY", "traceback": "TRACEBACK", "write": "WROTE", "change": "WROTE", "import": "RAN", "ask": "ASKED",
    "escape": "RAW", "not finite": "NAN", "shorter": "SILENT", "vague": "VAGUE",
}  # fmt: skip


def warm() -> None:
    pass


def use(folder: Path, out: Path) -> Any:
    file = folder / "clip.txt"
    way = file.read_text()
    if way == "refuse":
        raise ValueError(f"{file} must be good, but is not.")
    if way == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "hang":
        time.sleep(60)
    while way == "compute":
        pass
    if way == "memory":
        bytearray(4 << 30)
    if way == "disk":
        for number in range(3):
            (out / f"{number}").write_bytes(bytes(900 << 10))
    if way == "traceback":
        {}["key"]
    if way == "write":
        (folder.parent / "canary" / "cwd" / "new.txt").touch()
    if way == "change":
        file.write_text("changed")
    if way == "import":
        importlib.import_module("payload")
    if way == "ask":
        socket.create_connection(("example.org", 80))
    if way == "escape":
        os.write(1, b"\x1b[31mred")
    if way == "vague":
        raise ValueError("bad")
    return {"not finite": float("nan"), "shorter": [1]}.get(way, [1, 2])
