"""The folder of a run: one process at a time works in it, and finished results are read instead of made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonolex.files import load_object, recover
from sonolex.locks import only_here
from sonolex.train.run import Run
from sonolex.train.sources import require_same_run

LOCK = "run"
RESULTS = "results.json"


def finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """Return the results of a run that is finished, None of one that is not.

    Raises:
        ValueError: the folder holds another run, or results.json cannot be read.
    """
    if not (folder / RESULTS).is_file():
        return None
    require_same_run(folder, run)
    return load_object(folder / RESULTS, cure="Remove this file, and the same command writes it again.")


@contextmanager
def entered(folder: Path) -> Iterator[None]:
    """Context: this process alone works in a run's folder; what killed ones left half-written there is gone.

    Raises:
        Held: another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_here(folder, LOCK, "trains in"):
        for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
            recover(place)
        yield
