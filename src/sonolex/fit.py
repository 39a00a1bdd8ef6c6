"""Your own recordings in one command: a table in, a model with a report out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.data.manifest import Manifest, ManifestError
from sonolex.data.parts import divide
from sonolex.devices import AUTO, find_device
from sonolex.fit_joint import fit_together, modalities_of
from sonolex.fit_table import SKIP, checked_table, either, require_enough
from sonolex.fit_task import guess_tasks, strata_of
from sonolex.names import spelled
from sonolex.systems.base import LONGEST_STARTER_S, Processor, system_type
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.preflight import long_texts, unreadable_clips
from sonolex.train.sources import new_processor


def fit(
    path: str | Path,
    *,
    label: str | Sequence[str] | None = None,
    task: Sequence[str] = (),
    multilabel: str = "",
    columns: Mapping[str, str] | None = None,
    merge_variants: bool = False,
    system: str = "ctal",
    start_from: str | None = None,
    epochs: int | None = None,
    out: str | Path | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    device: str = AUTO,
    quiet: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Train ``system`` to predict column ``label`` of a table and return the results on its test part.

    Args:
        path: CSV, TSV, JSONL, Parquet or Arrow with ``audio`` and/or ``text``, ``label`` and optionally ``speaker``
            and ``split``; or a folder with a subfolder for each class.
        label: the column, or several, each a task of one model; for a folder, what its classes are called.
        task: what columns ask, if not what is guessed: classification, regression or tagging, or ``COLUMN=KIND``.
        multilabel: what separates several labels in a cell.
        columns: which columns are ``audio``, ``text`` and ``speaker``, if they are called otherwise.
        merge_variants: labels that differ only in capitals, blanks or forms of a character are one class.
        start_from: run folder, model folder or ``hub:ORG/NAME`` to start from.
        epochs: default by the number of clips.
        out: folder of the run; the same call again goes on where it stopped.
        device: what computes: auto, cpu, cuda, cuda:1 or mps.
        skip_bad: leave rows out that cannot be used; otherwise they are all listed and nothing is trained.

    Raises:
        ManifestError: everything that is wrong with the table, at once.
        Held: another process trains in ``out``.
        ValueError: a device that this machine does not have.
    """
    path = Path(path)
    find_device(device)  # before the table is read
    reader, started = system_type(system, trust_code=True), _started(start_from, system)
    limits = started[1].config if started else reader.starter(num_clips=1, longest_s=LONGEST_STARTER_S)[1]
    longest_s = limits.longest_s if any("audio" in accepted for accepted in reader.accepts) else np.inf
    table = checked_table(
        path,
        label=label,
        skip_bad=skip_bad,
        longest_s=longest_s,
        reader=system,
        chosen=columns,
        multilabel=multilabel,
        merge_variants=merge_variants,
    )
    labels = table.labels
    folder = Path(out) if out else Path("runs") / f"fit-{path.resolve().stem}-{'+'.join(map(spelled, labels))}"
    for line in (*_found(table.manifest, labels), *table.notes):
        say(line)
    guesses = guess_tasks(table.manifest, labels, asked=task, several=table.several)
    for guess in guesses:
        say(guess.note)
    strata = strata_of(table.manifest, guesses)
    divided = divide(table.manifest, strata=strata, seed=seed, names_speakers=labels == ("speaker",))
    for line in (*divided.notes, *(f"WARNING: {w}." for w in divided.warnings)):
        say(line)
    processor = started[1] if started else None
    manifest, notes = _with_short_texts(divided.manifest, system, processor, limits, skip_bad=skip_bad)
    for line in notes:
        say(line)
    return fit_together(
        folder,
        manifest,
        guesses,
        warnings=divided.warnings,
        system=system,
        start_from=start_from,
        started=started,
        epochs=epochs,
        seed=seed,
        device=device,
        quiet=quiet,
        say=say,
    )


def _found(manifest: Manifest, labels: Sequence[str]) -> list[str]:
    speakers = {s for s in manifest.column("speaker") if s is not None}
    texts = sum(bool(t) for t in manifest.column("text"))
    audio = int(np.sum(manifest.durations_s > 0))
    return [
        f"found: {len(manifest)} clips with {either(labels)}, {audio} with audio "
        f"({manifest.hours:.2f} h), {texts} with text, {len(speakers) or 'no'} speakers"
    ]


def _started(start_from: str | None, system: str) -> tuple[Any, Processor] | None:
    """Return configuration and processor of the model to start from, if there is one."""
    if start_from is None:
        return None
    model, processor, _ = load_model(model_folder(start_from), own={system})
    return model.system.config, processor


def _with_short_texts(
    manifest: Manifest, system: str, processor: Processor | None, config: Any, *, skip_bad: bool
) -> tuple[Manifest, list[str]]:
    """Return the clips whose transcripts the system can read, and which were left out.

    Raises:
        ManifestError: transcripts that are too long, unless ``skip_bad``.
    """
    reader = system_type(system, trust_code=True)
    if "text" not in reader.readable(modalities_of(manifest)) or not long_texts(manifest.column("text"), config):
        return manifest, []
    processor = processor or new_processor(system, config, manifest.where(split="train"))
    bad = unreadable_clips(manifest, processor, ("text",))
    if bad and not skip_bad:
        raise ManifestError("the table", list(bad.values()), cure=SKIP)
    kept = manifest.take([row for row in range(len(manifest)) if row not in bad])
    notes = [f"left out: {problem}" for problem in bad.values()]
    require_enough(len(kept), "the table", notes)
    return kept, notes
