"""Checks of a run's clips before the first step: can the system read every one of them, and do they have labels?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sonolex.data.manifest import ALSO_LABELS, Manifest, ManifestError
from sonolex.processors.base import Processor
from sonolex.tasks.base import TaskConfig, task_type
from sonolex.train.run import Run

CLEANED = 2  # a cleaner or tokenizer may split accents off letters: more bytes, but never twice as many


def require_fitting(run: Run, processor: Processor, parts: Sequence[Manifest]) -> None:
    """Raise ManifestError that lists every clip that would stop the run later, unless it leaves bad clips out.

    Lengths are those of the manifests' columns; no audio is read.
    """
    if run.data.loading.on_bad_clip == "skip":
        return
    problems: dict[str, str] = {}
    for part in parts:
        unreadable = unreadable_clips(part, processor, run.data.loading.modalities, run.data.loading.max_duration_s)
        ids = part.column("id") if unreadable else []
        problems |= {ids[row]: problem for row, problem in unreadable.items()}
    if problems:
        cure = "Repair these clips, or leave them out with on_bad_clip='skip'."
        raise ManifestError(f"run {run.name!r}", list(problems.values()), cure=cure)


def require_labels(tasks: Sequence[TaskConfig], clips: Manifest) -> None:
    """Raise ValueError for a task that would learn nothing, because no training clip has its label."""
    for task in tasks:
        label = task.label
        if not label or not task_type(task.kind, trust_code=True).trained:
            continue
        names = [*clips.label_columns, *ALSO_LABELS]
        if label not in names:
            raise ValueError(f"`label` of task {task.name!r} must be one of {', '.join(names)}, but is {label!r}.")
        if all(v is None for v in clips.column(label)):
            raise ValueError(f"`label` {label!r} of task {task.name!r} must be known of some clip, but is of none.")


def unreadable_clips(
    clips: Manifest, processor: Processor, modalities: Sequence[str], longest_s: float = np.inf
) -> dict[int, str]:
    """Return, by row, the problems of clips whose audio is empty or too long, or whose text is too long."""
    longest_s, problems = min(longest_s, processor.config.longest_s), {}
    ids, texts = clips.column("id"), clips.column("text")
    if "audio" in modalities:
        sounds = has_audio(clips)
        for row in np.flatnonzero(sounds & ~((clips.durations_s > 0) & (clips.durations_s < longest_s))):
            wanted = "more than 0 s" if np.isinf(longest_s) else f"more than 0 and less than {longest_s:g} s"
            problems[int(row)] = (
                f"audio must last {wanted}, but lasts {clips.durations_s[row]:.2f} s (clip {ids[row]!r}, field "
                "'duration_s'). Cut the recording into clips, or correct the manifest."
            )
    if "text" in modalities:
        for row in long_texts(texts, processor.config):
            try:
                processor.tokens(texts[row], ids[row])
            except ValueError as e:
                problems.setdefault(row, str(e))
    return problems


def long_texts(texts: Sequence[str | None], config: Any) -> list[int]:
    """Return rows whose text may have more tokens than a processor takes: a token is a byte or more, once cleaned."""
    most = getattr(config, "max_tokens", None)
    return [] if most is None else [r for r, t in enumerate(texts) if t and CLEANED * len(t.encode()) + 2 > most]


def has_audio(clips: Manifest) -> np.ndarray:
    """Return which clips (clips,) have audio."""
    columns = [clips.table[n].is_valid() for n in ("audio", "audio_bytes") if n in clips.table.column_names]
    return np.any([np.zeros(len(clips), bool), *(np.array(c.to_pylist(), bool) for c in columns)], axis=0)
