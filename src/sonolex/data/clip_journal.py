"""What was found out clip by clip, kept line by line, so that a killed run goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path


class ClipJournal:
    """Clip ids and what was found of each, in a file beside the output; gone when the output is written.

    Args:
        out: the output.
        by: who finds it out. A journal that another one began is refused.

    Raises:
        ValueError: another one began it.
    """

    def __init__(self, out: Path, by: str):
        self._path, self._by = out.with_name(out.name + ".partial.jsonl"), by
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.found: dict[str, str] = {}
        if self._path.is_file():
            self._read()

    def add(self, clip_id: str, text: str) -> None:
        self.found[clip_id] = text
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": clip_id, "text": text, "by": self._by}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Remove the file: the output has everything."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        whole, _, _ = self._path.read_bytes().rpartition(b"\n")  # the last line may be cut off
        self._path.write_bytes(whole + b"\n" if whole else b"")
        rows = [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]
        others = sorted({row["by"] for row in rows} - {self._by})
        if others:
            raise ValueError(
                f"{self._path} must be {self._by}'s, but {', '.join(others)} began it. "
                "Name another `out`, or remove it."
            )
        self.found = {row["id"]: row["text"] for row in rows}
