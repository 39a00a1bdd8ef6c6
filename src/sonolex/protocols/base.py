"""Protocol: corpus + folds + tasks + metric definitions + selection rule, with a fingerprint.

Two results may stand in one column only if their fingerprints are equal. The fingerprint covers every clip id with its
part and label in every fold, the classes in order, the metrics and the selection rule, so moving one utterance or
renaming one class changes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from sonolex import configs
from sonolex.data.manifest import FORMATS, Manifest
from sonolex.data.splits import require_disjoint
from sonolex.files import load_object, require_file
from sonolex.tasks.base import Task, TaskConfig, build_task, task_type
from sonolex.terminal import visible

PARTS = ("train", "selection", "report")
CONTENT = {"audio": "audio_digest", "text": "text"}  # columns that identify a clip's content, by modality
MOST_TASKS = 50
DECIDES_SCORES = ("label", "metric_names", "open_vocabulary", "tune_thresholds", "num_folds", "num_neighbours")


@dataclass(frozen=True)
class Fold:
    """Three disjoint parts of a manifest. ``selection`` chooses checkpoints, ``report`` is looked at once."""

    name: str
    train: Manifest
    selection: Manifest
    report: Manifest

    def part(self, name: str) -> Manifest:
        return {"train": self.train, "selection": self.selection, "report": self.report}[name]


@dataclass(frozen=True)
class Protocol:
    """How a published number is defined.

    Attributes:
        name: the module's name.
        corpus: module name in ``data/corpora``, or the path of a manifest.
        split: manifest to folds, a pure function.
        tasks: the tasks that are scored, with their classes.
        primary: metric that a table shows first.
        disjoint: columns that no two parts of a fold may share, e.g. ``("id", "speaker")``.
        selection_rule: in words; part of the fingerprint.
        selects_on_report: the selection part *is* the report part, as some papers do. Only to reproduce a published
            number: the rule states it in the fingerprint and in every table.
        pooled: predictions of all folds are joined before scoring (otherwise fold scores are averaged).
        modalities: what a model may read; text that gives the answer away is left out here.
        published: numbers of the papers by row and metric, to stand beside ours.
        notes: what a reader must know before comparing.
        own_clips: the clips are a user's own, so the fingerprint also covers their content: decoded audio and words,
            the speakers that parts share, and all of a task that decides a score. A public corpus is identified by its
            name, and its fingerprints are published.
    """

    name: str
    corpus: str
    split: Callable[[Manifest], Sequence[Fold]]
    tasks: tuple[TaskConfig, ...]
    primary: str
    disjoint: tuple[str, ...] = ("id",)
    selection_rule: str = "best primary metric on the selection part"
    selects_on_report: bool = False
    pooled: bool = True
    modalities: tuple[str, ...] = ("audio", "text")
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    corpus_options: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    own_clips: bool = False

    def __post_init__(self) -> None:
        if self.selects_on_report and "report part" not in self.selection_rule:
            raise ValueError(f"`selection_rule` of {self.name} must say that it selects on the report part.")

    def folds(self, manifest: Manifest) -> list[Fold]:
        """Return the folds, checked: parts are disjoint in every column of ``disjoint`` and none is empty."""
        folds = list(self.split(manifest))
        for fold in folds:
            parts = {name: fold.part(name) for name in PARTS}
            empty = [name for name, part in parts.items() if not len(part)]
            if empty:
                raise ValueError(f"protocol {self.name}, fold {fold.name}: {empty} must have clips, but has none.")
            for column in dict.fromkeys(("id", *self.disjoint)):
                with_selection = column == "id" and not self.selects_on_report
                compared = {n: p for n, p in parts.items() if with_selection or n != "selection"}
                require_disjoint(compared, column=column)
        return folds

    def fingerprint(self, manifest: Manifest) -> str:
        """Return 12 hexadecimal digits of everything that decides a score under this protocol."""
        return digest(self.card(manifest))

    def card(self, manifest: Manifest) -> dict[str, Any]:
        """Return what the fingerprint covers, field by field, each as readable values or a digest of many."""
        folds = self.folds(manifest)
        card: dict[str, Any] = {
            "protocol": self.name,
            "tasks": [{"kind": t.kind, "name": t.name, "classes": t.classes or None} for t in self.tasks],
            "primary": self.primary,
            "selection_rule": self.selection_rule,
            "pooled": self.pooled,
            "modalities": list(self.modalities),
            "metrics_version": 1,
        }
        labels = [t.label for t in self.tasks]
        if self.own_clips:
            card |= self._card_of_own(folds)
            labels += [c for m, c in CONTENT.items() if m in self.modalities]
        for fold in folds:
            for name in PARTS:
                part = fold.part(name)
                columns = [part.column("id"), *(part.column(n) for n in labels if n)]
                card[f"fold {fold.name}, {name}"] = f"{len(part)} clips, " + digest(sorted(zip(*columns, strict=True)))
        return card

    def _card_of_own(self, folds: Sequence[Fold]) -> dict[str, Any]:
        """Return further fields of the card for a user's own clips: all that decides their scores."""
        card: dict[str, Any] = {
            "scoring": [{n: v for n, v in configs.to_json(t).items() if n in DECIDES_SCORES} for t in self.tasks],
            "disjoint": list(self.disjoint),
        }
        for fold in folds:
            card[f"fold {fold.name}, speakers"] = _shared_speakers(fold)
            digests = [d for name in PARTS for d in fold.part(name).column("audio_digest")]
            known = sum(d is not None for d in digests)
            if "audio" in self.modalities and known < len(digests):
                card[f"fold {fold.name}, audio"] = f"known of {known} of {len(digests)} clips (column audio_digest)"
        return card


def _shared_speakers(fold: Fold) -> str:
    """Return in words how many speakers of the report part are also in training or selection."""
    of = {name: {s for s in fold.part(name).column("speaker") if s is not None} for name in PARTS}
    if not of["report"]:
        return "unknown"
    shared = of["report"] & (of["train"] | of["selection"])
    return f"{len(shared)} of {len(of['report'])} in the report part are in training or selection too"


def find_protocol(name: str, *, trust_code: bool = False) -> Protocol:
    """Return the protocol of module ``protocols/<name>``, or the one in a ``protocol.json`` (see `file_protocol`).

    ``name`` is the caller's own, and may be the dotted path of a module; ``trust_code`` lets the file name one too.
    """
    if name.endswith(".json"):
        return file_protocol(Path(name), trust_code=trust_code)
    return configs.find_module("protocols", name, trust_code=True).PROTOCOL


@dataclass(frozen=True, kw_only=True)
class _ProtocolFile:
    """The fields of every protocol.json, apart from its tasks."""

    manifest: str
    modalities: tuple[str, ...] = ("audio", "text")
    disjoint: tuple[str, ...] = ()
    notes: str = ""
    name: str = ""
    folds: bool = False


@dataclass(frozen=True, kw_only=True)
class _OneTask(_ProtocolFile):
    kind: str
    task: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _SeveralTasks(_ProtocolFile):
    tasks: tuple[Mapping[str, Any], ...]


def file_protocol(path: Path, *, trust_code: bool = False) -> Protocol:
    """Return a protocol over a user's own manifest, described by a JSON file beside it.

    The file names the manifest, which must have a ``split`` column with train, validation and test, and the task::

        {"manifest": "manifest.arrow", "kind": "classification", "modalities": ["audio", "text"],
         "task": {"name": "emotion", "label": "emotion", "classes": ["angry", "sad"]}, "disjoint": ["speaker"],
         "notes": "what a reader must know", "name": "moods of 60 clips"}

    With ``"folds": true`` the manifest's column ``fold`` cross-validates instead: each fold is reported in turn, and
    the next one selects. Results of one ``name`` stand in one table if their fingerprints agree; the file's place is no
    part of either. Without a name, it is the task's.

    Several tasks are in ``tasks`` instead of ``kind`` and ``task``, each with its ``kind`` beside its settings; the
    first one's metric is shown first.

    The manifest lies in the file's folder or below it, so that a protocol from somebody else reads no other file. A
    ``kind`` is a built-in name, with ``trust_code`` also the dotted path of a module.

    Raises:
        FileNotFoundError: there is no such file, or no such manifest.
        ValueError: fields that are missing, unknown or of another type, or a manifest elsewhere.
    """
    values = load_object(path)
    saved = configs.from_json(_SeveralTasks if "tasks" in values else _OneTask, values, where=str(path))
    pairs = [(saved.kind, saved.task)] if isinstance(saved, _OneTask) else _kinds_of(saved.tasks, path)
    kinds = [_task_of_kind(kind, path, trust_code=trust_code) for kind, _ in pairs]
    tasks = tuple(
        configs.from_json(kind.config_type, settings, where=f"{path}, task")
        for kind, (_, settings) in zip(kinds, pairs, strict=True)
    )
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ValueError(f"`tasks` must have different names, but are {repr(names)[:80]} ({path}).")
    for task in tasks:
        _require_buildable(task, path)
    unknown = sorted(set(saved.modalities) - {"audio", "text"})
    if unknown or not saved.modalities:
        raise ValueError(f"`modalities` must be audio, text or both, but are {saved.modalities!r:.80} ({path}).")
    return Protocol(
        name=visible(saved.name or f"{', '.join(names)}, own clips"),
        corpus=str(_beside(path, saved.manifest)),
        split=_folds_by_column if saved.folds else _split_by_column,
        tasks=tasks,
        primary=kinds[0].primary_metric,
        disjoint=("id", *saved.disjoint),
        modalities=saved.modalities,
        notes=saved.notes,
        own_clips=True,
    )


def _kinds_of(tasks: Sequence[Mapping[str, Any]], path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """Return kind and settings of every task of a protocol.json that names several."""
    if not 1 <= len(tasks) <= MOST_TASKS:
        raise ValueError(f"`tasks` must be 1 to {MOST_TASKS}, but are {len(tasks)} ({path}).")
    wrong = [task.get("kind") for task in tasks if not isinstance(task.get("kind"), str)]
    if wrong:
        raise ValueError(f"each of `tasks` must name its `kind`, but one has {repr(wrong[0])[:80]} ({path}).")
    return [(task["kind"], {n: v for n, v in task.items() if n != "kind"}) for task in tasks]


def _task_of_kind(kind: str, path: Path, *, trust_code: bool) -> type[Task]:
    try:
        return task_type(kind, trust_code=trust_code)
    except ValueError as e:
        raise ValueError(f"{path}, kind: {e}") from e


def _require_buildable(task: TaskConfig, path: Path) -> None:
    """Raise ValueError, naming the file, if no task can be built from its settings; no weight takes memory here."""
    try:
        with torch.device("meta"):
            build_task(task, 1)
    except Exception as e:  # impossible numbers may fail anywhere in a task, with any error
        raise ValueError(f"{path}, task: {' '.join(str(e).split())[:300]}") from e


def _beside(path: Path, name: str) -> Path:
    """Return the manifest that a protocol.json names."""
    folder = path.parent
    place = folder / name
    within = _is_name(name) and "://" not in name and place.resolve().is_relative_to(folder.resolve())
    if not within or ".." in Path(name).parts or Path(name).is_absolute():
        raise ValueError(
            f"`manifest` must be a file in the folder of {path} or below it, but is {name!r}. Copy it there."
        )
    if place.suffix not in FORMATS:
        raise ValueError(f"`manifest` must end in {', '.join(FORMATS)}, but is {name!r} ({path}).")
    require_file(place)
    return place


def _is_name(name: str) -> bool:
    """Return whether a file can have this name: JSON can hold text that no file system takes."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _split_by_column(manifest: Manifest) -> list[Fold]:
    return [Fold("given", *(manifest.where(split=name) for name in ("train", "validation", "test")))]


def _folds_by_column(manifest: Manifest) -> list[Fold]:
    """Return one fold for each value of the column ``fold``: reported itself, selected on the next one."""
    names = sorted({v for v in manifest.column("fold") if v is not None}, key=lambda n: (len(n), n))
    if len(names) < 3:
        raise ValueError(f"column 'fold' must name at least 3 folds of the manifest, but names {len(names)}.")
    folds = []
    for place, name in enumerate(names):
        following = names[(place + 1) % len(names)]
        train = manifest.where(fold=[n for n in names if n not in (name, following)])
        folds.append(Fold(name, train, manifest.where(fold=following), manifest.where(fold=name)))
    return folds


def find_fold(protocol: Protocol, manifest: Manifest, name: str | None) -> Fold:
    """Return the fold called ``name``; None means the only one.

    Raises:
        ValueError: no such fold, or several and no name.
    """
    folds = {f.name: f for f in protocol.folds(manifest)}
    if name is None and len(folds) == 1:
        return next(iter(folds.values()))
    if name not in folds:
        raise ValueError(f"`fold` of {protocol.name} must be one of {', '.join(folds)}, but is {name!r}.")
    return folds[name]


def digest(values: Any) -> str:
    """Return 12 hexadecimal digits of plain values."""
    text = json.dumps(configs.to_json(values), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
