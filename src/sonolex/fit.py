"""Your own recordings in one command: a table in, a model with a report out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.audio.views import Views
from sonolex.compare import compare_runs, text_tables
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest, ManifestError
from sonolex.data.parts import divide
from sonolex.devices import AUTO, find_device
from sonolex.files import recover, save_json
from sonolex.fit_table import SKIP, checked_table, either, require_enough, require_same_clips
from sonolex.fit_task import Guess, guess_tasks, strata_of
from sonolex.locks import only_here
from sonolex.names import spelled
from sonolex.protocols.base import find_protocol
from sonolex.report import write_html
from sonolex.systems.base import LONGEST_STARTER_S, Processor, system_type
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.loop import train
from sonolex.train.preflight import has_audio, long_texts, unreadable_clips
from sonolex.train.run import Budget, Data, Optim, Run
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
    with only_here(folder, "fit", "trains in"):
        recover(folder)
        require_same_clips(folder, manifest, labels)
        protocol = _write_protocol(folder, manifest, guesses, divided.warnings)
        run = _run(protocol, manifest, system=system, start_from=start_from, started=started, epochs=epochs, seed=seed)
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


def modalities_of(manifest: Manifest) -> list[str]:
    """Return what the clips of a table have."""
    has_text = any(manifest.column("text"))
    return [m for m, present in (("audio", has_audio(manifest).any()), ("text", has_text)) if present]


def _write_protocol(folder: Path, manifest: Manifest, guesses: Sequence[Guess], warnings: Sequence[str]) -> str:
    """Write manifest and protocol.json, so that the test part can be scored again later; return its path."""
    speakers, parts = manifest.column("speaker"), manifest.column("split")
    by_speaker = all(speakers) and len(set(zip(speakers, parts, strict=True))) == len(set(speakers))
    manifest.write(folder / "manifest.arrow")
    tasks: dict[str, Any] = {"tasks": [{"kind": guess.kind, **guess.settings} for guess in guesses]}
    if len(guesses) == 1:
        tasks = {"kind": guesses[0].kind, "task": guesses[0].settings}
    card = {"manifest": "manifest.arrow", **tasks, "modalities": modalities_of(manifest)}
    notes = "; ".join(f"WARNING: {w}" for w in warnings)
    save_json(folder / "protocol.json", card | {"disjoint": ["speaker"] if by_speaker else [], "notes": notes})
    return str(folder / "protocol.json")


def _run(
    protocol: str,
    manifest: Manifest,
    *,
    system: str,
    start_from: str | None,
    started: tuple[Any, Processor] | None,
    epochs: int | None,
    seed: int,
) -> Run:
    rules = find_protocol(protocol)
    num_train = len(manifest.where(split="train"))
    kind = system_type(system, trust_code=True)
    config, processor = kind.starter(num_clips=num_train, longest_s=float(manifest.durations_s.max()))
    if started is not None:
        config, processor = started[0], started[1].config
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
