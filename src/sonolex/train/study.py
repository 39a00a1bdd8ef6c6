"""The optuna study that a sweep's processes share, in a log beside the trials or in a database, and its lock.

Taking a trial is two steps (create it, record its owner), and sqlite locks no row meanwhile. So a process holds a lock:
in the sweep's folder, or beside the sqlite file. A database on a server locks its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sonolex import configs
from sonolex.files import drop_half_line, writing
from sonolex.locks import holding

STUDY = "sweep"
LOG = "study.log"
SEARCH = "search"  # attribute of a study: its space and runs, so that trials of no other search are added


def open_study(place: str, folder: Path, search: dict[str, Any], pruner: Any) -> Any:
    """Return the study at ``place`` (a database of optuna), or in ``folder``; begin it if it is new.

    Raises:
        ValueError: it is of another search; the message names the fields that differ.
        ImportError: optuna is missing (extra: search).
    """
    optuna = import_optuna()
    with asking(place, folder):
        study = optuna.create_study(
            study_name=STUDY,
            storage=_storage(optuna, place, folder),
            direction="maximize",
            load_if_exists=True,
            pruner=pruner,
        )
        saved = study.user_attrs.get(SEARCH)
        if saved is None:
            study.set_user_attr(SEARCH, search)
    differing = sorted(configs.differences(saved or search, search))
    if differing:
        raise ValueError(
            f"the study in {place or folder} must be of the same search, but differs in {', '.join(differing)}. "
            "Name another folder or database."
        )
    return study


@contextmanager
def asking(place: str, folder: Path) -> Iterator[None]:
    """Context: no other process with this lock takes a trial, gives one back, or begins the study."""
    sqlite = _sqlite_file(place)
    with holding(folder, "ask") if sqlite is None else holding(sqlite.parent, f"{sqlite.name}.ask"):
        yield


def is_of_this_machine(place: str) -> bool:
    """Return whether all processes of the study share `asking`'s lock: then a trial without owner is a dead one's."""
    return not place or _sqlite_file(place) is not None


@contextmanager
def keeping(place: str, folder: Path) -> Iterator[None]:
    """Context: if the log or the database cannot be written, raise an error of one line.

    Raises:
        OSError: a full disk, or a database that cannot be reached.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with writing(folder / LOG):
            yield
    except (StorageInternalError, SQLAlchemyError) as e:
        cause = str(e.__cause__ or e).splitlines()[0]
        raise OSError(f"{place or folder / LOG} cannot keep the study: {cause}. The same command goes on.") from e


def import_optuna() -> Any:
    """Return optuna, silent.

    Raises:
        ImportError: it is missing (extra: search).
    """
    try:
        import optuna
    except ImportError as e:
        raise ImportError("A sweep needs optuna: pip install 'sonolex[search]'.") from e
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class _LogLock:
    """optuna's lock of its log, as flock: released when its holder dies, whose half-written line is dropped."""

    def __init__(self, log: Path):
        self._log, self._held = log, ExitStack()

    def acquire(self) -> bool:
        self._held.enter_context(holding(self._log.parent, self._log.name))
        drop_half_line(self._log)
        return True

    def release(self) -> None:
        self._held.close()


def _storage(optuna: Any, place: str, folder: Path) -> Any:
    if place:
        return optuna.storages.RDBStorage(place)
    journal, log = optuna.storages.journal, folder / LOG
    return optuna.storages.JournalStorage(journal.JournalFileBackend(str(log), lock_obj=_LogLock(log)))


def _sqlite_file(place: str) -> Path | None:
    if not place.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(place).database
    return Path(database).resolve() if database else None
