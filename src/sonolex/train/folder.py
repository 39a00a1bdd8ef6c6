"""The folder of a run: one process at a time works in it, and finished results are read, not computed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonolex.files import load_object, recover_all
from sonolex.locks import only_here
from sonolex.train.contents import require_same_clips
from sonolex.train.honesty import require_same_run
from sonolex.train.run import Run

LOCK = "run"
RESULTS = "results.json"


def finished(folder: Path, run: Run) -> dict[str, Any] | None:
    """Return the results of a run that is finished, None of one that is not.

    Raises:
        ValueError: the folder holds another run, or one of other clips, or results.json cannot be read.
    """
    if not (folder / RESULTS).is_file():
        return None
    require_same_run(folder, run)
    require_same_clips(folder, run, finished=True)
    return load_object(folder / RESULTS, cure="Remove this file, and the same command writes it again.")


@contextmanager
def entered(folder: Path, run: Run) -> Iterator[None]:
    """Context: this process alone works in a run's folder; half-written files of killed ones are removed.

    Raises:
        Held: another process trains in it.
        ValueError: the folder holds another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    require_same_run(folder, run)
    with only_here(folder, LOCK, "trains in"):
        recover_all(folder)
        yield
