"""Results clip by clip, written line by line, so that a killed run continues where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

from sonolex.files import append_line, drop_half_line, recover
from sonolex.locks import Held, locked


class ClipJournal:
    """Clip ids and the text for each, in a file beside the output that is removed once the output is written.

    Args:
        out: the output.
        by: name of the source of the texts. A journal begun by another source is refused.

    Raises:
        ValueError: another source began it, or it cannot be read.
        Held: another process is writing it.
    """

    def __init__(self, out: Path, by: str):
        self._path, self._by = out.with_name(out.name + ".partial.jsonl"), by
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._locked = self._path.open("ab")  # open, and so locked, as long as this object lives
        if not locked(self._locked):
            raise Held(f"{out} must be free, but another process writes it. Wait for it, end it, or name another file.")
        recover(out.parent, name=out.name)
        self.found: dict[str, str] = {}
        self._read()

    def add(self, clip_id: str, text: str) -> None:
        self.found[clip_id] = text
        append_line(self._path, json.dumps({"id": clip_id, "text": text, "by": self._by}, ensure_ascii=False))

    def close(self) -> None:
        """Remove the file: the output has everything."""
        self._path.unlink(missing_ok=True)
        self._locked.close()

    def _read(self) -> None:
        drop_half_line(self._path)
        try:
            rows = [json.loads(line) for line in self._path.read_text(encoding="utf-8").split("\n")[:-1]]
            other_sources = sorted({row["by"] for row in rows} - {self._by})
            self.found = {row["id"]: row["text"] for row in rows}
        except (ValueError, TypeError, KeyError) as e:
            raise ValueError(f"{self._path} must be a journal of clips, but is not: {e}. Remove it.") from e
        if other_sources:
            raise ValueError(
                f"{self._path} must be {self._by}'s, but {', '.join(other_sources)} began it. "
                "Name another `out`, or remove it."
            )
