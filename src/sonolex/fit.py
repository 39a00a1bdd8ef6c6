"""Your own recordings in one command: a table in, a model with a report out."""

from __future__ import annotations

import difflib
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.audio.views import Views
from sonolex.compare import compare_runs, text_tables
from sonolex.data.columns import STANDARD_COLUMNS
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest, ManifestError, read_manifest
from sonolex.data.splits import disjoint_splits
from sonolex.devices import AUTO, find_device
from sonolex.files import recover, save_json
from sonolex.locks import only_here
from sonolex.names import spelled
from sonolex.protocols.base import find_protocol
from sonolex.report import write_html
from sonolex.scoring import class_name
from sonolex.systems.base import system_type
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.loop import train
from sonolex.train.run import Budget, Data, Optim, Run

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
SPLIT_NAMES = {"dev": "validation", "val": "validation", "valid": "validation", "eval": "test"}
MAX_CLASSES = 200
SMALLEST_NUMBER_OF_CLIPS = 12


@dataclass(frozen=True)
class Table:
    """A user's table after all checks: usable rows, and what has to be said about the rest."""

    manifest: Manifest
    notes: list[str]


def fit(
    path: str | Path,
    *,
    label: str,
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
            and ``split``.
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
    folder = Path(out) if out else Path("runs") / f"fit-{path.stem}-{spelled(label)}"
    table = checked_table(path, label=label, skip_bad=skip_bad)
    for line in (*_found(table.manifest, label), *table.notes):
        say(line)
    kind, task, note = guess_task(table.manifest, label)
    say(note)
    manifest, note = with_splits(table.manifest, label if kind == "classification" else None, seed=seed)
    say(note)
    with only_here(folder, "fit", "trains in"):
        recover(folder)
        protocol = _write_protocol(folder, manifest, kind, task)
        run = _run(protocol, manifest, system=system, start_from=start_from, epochs=epochs, seed=seed)
        say(f"training: {system}, {run.budget.epochs} epochs, in {folder}")
        results = train(run, folder / "run", device=device, quiet=quiet)
        say(text_tables(compare_runs([folder])))
        try:
            say(f"\nreport: {write_html([folder], folder / 'report.html')}")
        except (ImportError, ValueError, OSError) as e:  # the model is trained and saved, whatever becomes of its page
            say(f"no report.html: {e}")
    say(f"model: {folder / 'run' / 'model'}")
    say(f"predict with: sonolex predict {shlex.quote(str(folder / 'run'))} {_first_audio(manifest)}")
    return results


def checked_table(path: Path, *, label: str, skip_bad: bool) -> Table:
    """Return the usable rows of a table.

    Raises:
        ManifestError: wrong header or unusable rows, all of them (unusable rows only unless ``skip_bad``).
    """
    manifest = read_manifest(path)
    names = manifest.table.column_names
    problems = _header_problems(names, label)
    if problems:
        raise ManifestError(str(path), problems)
    labels, texts = manifest.column(label), manifest.column("text")
    full, bad = manifest.probed(range(len(manifest)))
    unlabelled = [r for r in range(len(manifest)) if labels[r] is None and r not in bad]
    if bad and not skip_bad:
        listed = [f"row {r + 1}: {problem}" for r, problem in sorted(bad.items())]
        raise ManifestError(str(path), listed, cure="Repair these rows, or leave them out with --skip-bad.")
    usable = [r for r in range(len(manifest)) if r not in bad and labels[r] is not None]
    notes = [f"left out, row {r + 1}: {problem}" for r, problem in sorted(bad.items())]
    if unlabelled:
        notes.append(f"left out: {len(unlabelled)} rows without {label!r}")
    if len(usable) < SMALLEST_NUMBER_OF_CLIPS:
        raise ManifestError(
            str(path),
            [f"it must have at least {SMALLEST_NUMBER_OF_CLIPS} usable rows, but has {len(usable)}", *notes],
        )
    if "text" in names and not any(texts):
        notes.append("column 'text' is empty: audio only")
    return Table(full.take(usable), notes)


def guess_task(manifest: Manifest, label: str) -> tuple[str, dict[str, Any], str]:
    """Return the task's kind, its config as JSON, and a sentence that says why.

    Raises:
        ManifestError: one class only, or too many.
    """
    values = manifest.column(label)
    distinct = Counter(class_name(v) for v in values)
    fractional = any(isinstance(v, float) and not v.is_integer() for v in values)
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values) and (
        fractional or len(distinct) > 30
    ):
        task = {
            "name": label,
            "label": label,
            "centre": float(np.mean(values)),
            "spread": float(np.std(values) or 1.0),
        }
        return (
            "regression",
            task,
            f"task: regression, because {label!r} holds numbers ({min(values):g} to {max(values):g})",
        )
    if len(distinct) < 2 or len(distinct) > MAX_CLASSES:
        raise ManifestError("the table", [f"{label!r} must have 2 to {MAX_CLASSES} classes, but has {len(distinct)}"])
    classes = sorted(distinct)
    return (
        "classification",
        {"name": label, "label": label, "classes": classes},
        f"task: classification, because {label!r} holds {len(classes)} different values: "
        + ", ".join(f"{terminal.visible(c)} ({distinct[c]})" for c in classes[:20]),
    )


def with_splits(manifest: Manifest, stratify: str | None, *, seed: int) -> tuple[Manifest, str]:
    """Return the table with a ``split`` column of train, validation and test, and a sentence that says how."""
    given = [SPLIT_NAMES.get(s or "", s) for s in manifest.column("split")]
    if set(given) == set(SHARES):
        return manifest.with_column("split", given), "split: as given in column 'split'"
    speakers = manifest.column("speaker")
    strata = [class_name(v) for v in manifest.column(stratify)] if stratify else None
    if all(s is not None for s in speakers) and len(set(speakers)) >= len(SHARES):
        splits = disjoint_splits(speakers, shares=SHARES, seed=seed, strata=strata)
        parts = {n: len({s for s, p in zip(speakers, splits, strict=True) if p == n}) for n in SHARES}
        note = "split: by speaker, no speaker in two parts: " + ", ".join(f"{n} {c}" for n, c in parts.items())
        return manifest.with_column("split", splits), note
    ids = manifest.column("id")
    splits = _stratified(strata or [""] * len(ids), seed)
    reason = "no column 'speaker'" if not any(speakers) else "too few or missing speakers"
    note = (
        f"split: at random, WARNING: {reason}, so the same voices are in training and test and the scores flatter. "
        "Add a speaker column for an honest number."
    )
    return manifest.with_column("split", splits), note


def _header_problems(names: list[str], label: str) -> list[str]:
    problems = []
    if label not in names:
        near = difflib.get_close_matches(label, names, n=1)
        problems.append(
            f"column {label!r} is missing; it has {names}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    if not {"audio", "audio_bytes", "text"} & set(names):
        problems.append(f"a column 'audio' (paths) or 'text' is missing; it has {names}.")
    for wanted in ("audio", "speaker", "text", "split"):
        near = [] if wanted in names else difflib.get_close_matches(wanted, names, n=1, cutoff=0.75)
        if near and near[0] != label and near[0] not in STANDARD_COLUMNS:
            problems.append(f"column {near[0]!r} looks like {wanted!r}: rename it, or name it differently")
    return problems


def _stratified(strata: list[str], seed: int) -> list[str]:
    """Deal the rows of every stratum to the splits in proportion, at random; every split gets some if it can."""
    rng = np.random.default_rng(seed)
    splits = ["train"] * len(strata)
    for value in sorted(set(strata)):
        rows = rng.permutation([i for i, s in enumerate(strata) if s == value])
        num_held = max(1, round(SHARES["test"] * len(rows))) if len(rows) >= 3 else 0
        for i in rows[:num_held]:
            splits[i] = "test"
        for i in rows[num_held : 2 * num_held]:
            splits[i] = "validation"
    return splits


def _found(manifest: Manifest, label: str) -> list[str]:
    speakers = {s for s in manifest.column("speaker") if s is not None}
    texts = sum(bool(t) for t in manifest.column("text"))
    audio = int(np.sum(manifest.durations_s > 0))
    return [
        f"found: {len(manifest)} clips with {label!r}, {audio} with audio ({manifest.hours:.2f} h), {texts} with text, "
        f"{len(speakers) or 'no'} speakers"
    ]


def _write_protocol(folder: Path, manifest: Manifest, kind: str, task: dict[str, Any]) -> str:
    """Write manifest and protocol.json, so that the test part can be scored again later; return its path."""
    has_audio = bool(np.any(manifest.durations_s > 0))
    has_text = any(manifest.column("text"))
    by_speaker = len(
        {(s, p) for s, p in zip(manifest.column("speaker"), manifest.column("split"), strict=True)}
    ) == len(set(manifest.column("speaker"))) and all(manifest.column("speaker"))
    manifest.write(folder / "manifest.arrow")
    modalities = [m for m, present in (("audio", has_audio), ("text", has_text)) if present]
    card = {"manifest": "manifest.arrow", "kind": kind, "task": task, "modalities": modalities}
    save_json(folder / "protocol.json", card | {"disjoint": ["speaker"] if by_speaker else []})
    return str(folder / "protocol.json")


def _run(
    protocol: str, manifest: Manifest, *, system: str, start_from: str | None, epochs: int | None, seed: int
) -> Run:
    rules = find_protocol(protocol)
    num_train = len(manifest.where(split="train"))
    kind = system_type(system, trust_code=True)
    config, processor = kind.starter(num_clips=num_train, longest_s=float(manifest.durations_s.max()))
    if start_from is not None:
        started, loaded, _ = load_model(model_folder(start_from), own={system})
        config, processor = started.system.config, loaded.config
    modalities = kind.readable(rules.modalities)
    both = len(modalities) == 2
    loading = Loading(
        modalities=modalities,
        views=Views(gain_db=6, speed=0.1, vtlp=0.1, noise_snr_db=10, num_mel_masks=1, num_time_masks=1),
        drop_audio=0.15 if both else 0.0,
        drop_text=0.15 if both else 0.0,
    )
    return Run(
        name="fit",
        row=f"{system}, from {start_from or 'scratch'}",
        system=system,
        config=config,
        processor=processor,
        tasks=rules.tasks,
        data=Data.of_protocol(protocol, "given", loading=loading),
        optim=Optim(lr=1e-3 if num_train < 20_000 else 3e-4, weight_decay=0.05, schedule="cosine"),
        budget=Budget(
            epochs=epochs or int(np.clip(24_000 / num_train, 3, 60)),
            batch_s=64 if num_train < 20_000 else 256,
            batch_clips=16 if num_train < 1_000 else 64,
            evaluate_epochs=1 if num_train > 2_000 else 2,
            patience=10,
        ),
        init_from=start_from,
        seed=seed,
    )


def _first_audio(manifest: Manifest) -> str:
    clip = manifest.where(split="test")[0]
    return shlex.quote(clip.audio) if isinstance(clip.audio, str) else f"--text {shlex.quote(str(clip.text))}"
