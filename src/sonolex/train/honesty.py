"""Checks that keep a run honest: one folder holds one run, which reports on no clips that it has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.files import load_json, load_object, save_json
from sonolex.protocols.base import find_protocol
from sonolex.train.manifests import load_sources, source_ids
from sonolex.train.run import Run

HEARD = "heard_sources.json"  # in a run's folder: recordings its weights were trained on, pre-training included


def require_same_run(folder: Path, run: Run) -> None:
    """Raise ValueError if the folder holds a run with other settings, naming the fields that differ."""
    path = folder / "recipe.json"
    if not path.is_file():
        return
    saved = load_object(path, cure="Remove this file, and the same command writes it again.")
    wanted = configs.to_json(run)
    _add_defaults(saved, run)
    for settings in (saved, wanted):  # changes no result
        settings.get("budget", {}).pop("journal_steps", None)
    differing = sorted(configs.differences(saved, wanted))
    if differing:
        raise ValueError(
            f"{folder} must hold the same run, but differs in {', '.join(differing)}. "
            "Name another folder, or remove this one to start again."
        )


def _add_defaults(saved: Any, value: Any) -> None:
    """Add to saved settings what an older version did not have: fields of ``value`` that have their default."""
    if isinstance(value, tuple) and isinstance(saved, list):
        for of_part, part in zip(saved, value, strict=False):
            _add_defaults(of_part, part)
    if not is_dataclass(value) or not isinstance(saved, dict):
        return
    for f in fields(value):
        now = getattr(value, f.name)
        if f.name in saved:
            _add_defaults(saved[f.name], now)
        elif f.default is not MISSING and now == f.default:
            saved[f.name] = configs.to_json(now)


def require_unseen_report(run: Run, train: Manifest, earlier: Mapping[str, Path]) -> None:
    """Raise ValueError if a run would report on clips that it has learned from.

    Under a protocol: clips that it trains or selects on. Always: recordings (``source_id``) that ``init_from`` was
    pre-trained on, unless the run allows them.
    """
    if not run.data.report:
        return
    clips = load_sources(run.data.report)
    again = sorted(_earlier_recordings(run, earlier) & source_ids(clips))
    if again and not run.data.allow_heard_sources:
        raise ValueError(
            f"`report` must hold recordings that {run.init_from} did not hear in pre-training, but {len(again)} were "
            f"heard, for example source_id {again[0]!r} (run {run.name!r}). Leave them out of the pre-training, or "
            "set allow_heard_sources=True, which the run's recipe.json will record."
        )
    if run.data.protocol is None:
        return
    report = set(clips.column("id"))
    parts = [("trained", train)]
    if run.data.selection and not find_protocol(run.data.protocol).selects_on_report:
        parts.append(("selected", load_sources(run.data.selection)))
    for use, clips in parts:
        overlap = sorted(report & set(clips.column("id")))
        if overlap:
            raise ValueError(
                f"`report` must hold clips that are not {use} on, but {len(overlap)} are, for example {overlap[0]!r} "
                f"(run {run.name!r})."
            )


def write_heard(folder: Path, run: Run, clips: Manifest, earlier: Mapping[str, Path]) -> None:
    """Write the recordings that the run's weights are trained on, those of ``init_from`` included."""
    save_json(folder / HEARD, sorted(_earlier_recordings(run, earlier) | source_ids(clips)))


def _earlier_recordings(run: Run, earlier: Mapping[str, Path]) -> set[str]:
    """Return the recordings that the weights of ``init_from`` were trained on, as far as is known."""
    if run.init_from is None:
        return set()
    path = Path(earlier.get(run.init_from, run.init_from)) / HEARD
    if not path.is_file():
        return set()
    recordings = load_json(path, cure="Train that run again in another folder.")
    if not isinstance(recordings, list) or not all(isinstance(s, str) for s in recordings):
        raise ValueError(f"{path} must be a list of recordings, but is not. Write or copy it again.")
    return set(recordings)
