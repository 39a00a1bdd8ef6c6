"""Errors about unusable audio, in one grammar: problem, clip, file, field, cure."""

from __future__ import annotations

from dataclasses import dataclass


class AudioError(ValueError):
    """Audio that cannot be used. ``field`` names the faulty property; the message adds where it is and what to do."""

    def __init__(self, problem: str, *, clip_id: str, file: str, field: str, cure: str):
        self.problem, self.clip_id, self.file, self.field, self.cure = problem, clip_id, file, field, cure
        where = f"clip {clip_id!r}, " if clip_id else ""
        super().__init__(f"{problem} ({where}file {file}, field {field!r}). {cure}")


@dataclass(frozen=True)
class Where:
    """Names the clip and file that an error is about."""

    clip_id: str
    file: str

    def error(self, problem: str, field: str, cure: str) -> AudioError:
        return AudioError(problem, clip_id=self.clip_id, file=self.file, field=field, cure=cure)
