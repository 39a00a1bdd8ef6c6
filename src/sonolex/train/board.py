"""The journal's numbers as TensorBoard reads them, where it is installed.

tensorboard's own writer has a thread: on a full disk it prints a traceback and the training goes on without it. Here
each event is written where it happens, in tensorboard's format and with its own functions.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sonolex.files import append_bytes


class Board:
    """A file of events under ``folder``. Every start of a run begins one; TensorBoard joins them.

    Raises:
        ImportError: tensorboard is missing (extra: tensorboard).
    """

    def __init__(self, folder: Path):
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]

        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Append the numbers of one step."""
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        values = [Summary.Value(tag=name, simple_value=number) for name, number in numbers.items()]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append_bytes(self._path, record.getvalue())
