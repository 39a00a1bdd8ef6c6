"""One network that answers all questions about a table: trained on one split, judged on its test part."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.data.parts import Divided, divide
from sonolex.doors.fit.folder import write_table
from sonolex.doors.fit.networks import (
    FEWEST_EPOCHS,
    SHAPES,
    VIEWS,
    Network,
    batches,
    default_epochs,
    rate,
    seconds_per_clip,
    started_epochs,
)
from sonolex.doors.fit.settings import Settings
from sonolex.doors.fit.table import require_same_clips
from sonolex.doors.fit.tasks import Guess, strata_of
from sonolex.files import recover_all
from sonolex.locks import only_here
from sonolex.protocols.base import find_protocol
from sonolex.results.compare import compare_runs, text_tables
from sonolex.results.report import write_html
from sonolex.systems.base import system_type
from sonolex.train.loop import train
from sonolex.train.run import Budget, Data, Optim, Run

Say = Callable[[str], None]


def require_together(settings: Settings) -> None:
    """Raise ValueError for options that only a fit of one label has."""
    problems = []
    if settings.folds not in ("auto", "none"):
        problems.append(f"`folds` must be auto or none with several labels, but is {settings.folds}.")
    if settings.system == "statistics":
        problems.append("`system` must be a network with several labels, but is statistics.")
    if problems:
        raise ValueError(f"{' '.join(problems)} Fit each label alone.")


def fit_together(
    folder: Path,
    manifest: Manifest,
    guesses: Sequence[Guess],
    settings: Settings,
    *,
    start: Network | None = None,
    say: Say,
) -> dict[str, Any]:
    """Train one network on a table, with a head for every question, and return the results.

    Args:
        folder: of manifest, protocol, runs and report; the same call again resumes where it stopped, and other options
            make a run beside it.
        guesses: the questions, from `sonolex.doors.fit.tasks.guess_tasks`.
        start: the network to start from; default: the one that ``settings`` name, else the first of `SHAPES`.

    Raises:
        Held: another process trains in ``folder``.
        ValueError: the folder holds a fit of other clips or questions.
    """
    say(f"{len(guesses)} questions are tasks of one network, on one split; to let candidates compete, fit each alone")
    divided = divide(manifest, strata=strata_of(manifest, guesses), seed=settings.split_seed)
    for line in (*divided.notes, *(f"WARNING: {w}." for w in divided.warnings)):
        say(line)
    network = start or Network(settings.system or SHAPES[0], settings.system or SHAPES[0])
    with only_here(folder, "fit", "trains in"):
        recover_all(folder)
        require_same_clips(folder, divided.manifest, [str(guess.settings["label"]) for guess in guesses])
        place = folder / settings.run_name
        protocol = write_table(folder, divided, [(guess.kind, guess.settings) for guess in guesses])
        run = _run(str(protocol), divided.manifest, network, settings)
        run = _within_minutes(run, place, divided, settings, say)
        say(f"training: {network.name}, {run.budget.epochs} epochs, in {place}")
        results = train(run, place, device=settings.device, quiet=settings.quiet)
        say(text_tables(compare_runs([place])))
        try:
            say(f"\nreport: {write_html([folder], folder / 'report.html')}")
        except (ImportError, ValueError, OSError) as e:  # the model is saved even if its page fails
            say(f"no report.html: {e}")
    say(f"model: {place / 'model'}")
    say(f"predict with: sonolex predict {shlex.quote(str(place))} {_first_audio(divided)}")
    return results


def _run(protocol: str, clips: Manifest, network: Network, settings: Settings) -> Run:
    rules = find_protocol(protocol)
    count = len(clips.where(split="train"))
    kind = system_type(network.system, trust_code=True)
    config, processor = kind.starter(num_clips=count, longest_s=float(clips.durations_s.max()))
    if network.start is not None:
        config, processor = network.start[0], network.start[1].config
    modalities = kind.readable(rules.modalities)
    drop = 0.15 if len(modalities) == 2 else 0.0
    return Run(
        name="fit",
        row=settings.row,
        system=network.system,
        config=config,
        processor=processor,
        tasks=rules.tasks,
        data=Data.of_protocol(
            protocol, "given", loading=Loading(modalities=modalities, views=VIEWS, drop_audio=drop, drop_text=drop)
        ),
        optim=Optim(lr=rate(network, count, settings), weight_decay=0.05, schedule="cosine"),
        budget=Budget(
            epochs=settings.epochs or default_epochs(count),
            **batches(count, settings),
            evaluate_epochs=1 if count > 2_000 else 2,
            patience=10,
        ),
        init_from=network.start_from,
        seed=settings.seed,
    )


def _within_minutes(run: Run, place: Path, divided: Divided, settings: Settings, say: Say) -> Run:
    """Return the run with as many epochs as the minutes allow, but at least `FEWEST_EPOCHS`, or all if fewer."""
    begun = started_epochs(place)
    if settings.minutes is None or begun:
        return replace(run, budget=replace(run.budget, epochs=begun or run.budget.epochs))
    wanted = run.budget.epochs
    seconds = len(divided.manifest.where(split="train")) * seconds_per_clip(run, place / "speed", settings.device)
    epochs = min(wanted, max(int(60 * settings.minutes / max(seconds, 1e-9)), min(wanted, FEWEST_EPOCHS)))
    if epochs < wanted:
        say(f"the time is enough for {epochs} of {wanted} epochs (--minutes)")
    return replace(run, budget=replace(run.budget, epochs=epochs))


def _first_audio(divided: Divided) -> str:
    clip = divided.manifest.where(split="test")[0]
    return shlex.quote(clip.audio) if isinstance(clip.audio, str) else f"--text {shlex.quote(str(clip.text))}"
