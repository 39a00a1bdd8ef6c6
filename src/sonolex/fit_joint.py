"""One network that answers all questions about a table: trained on one split, judged on its test part."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.audio.views import Views
from sonolex.compare import compare_runs, text_tables
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.files import recover, save_json
from sonolex.fit_table import require_same_clips
from sonolex.fit_task import Guess
from sonolex.locks import only_here
from sonolex.protocols.base import find_protocol
from sonolex.report import write_html
from sonolex.systems.base import Processor, system_type
from sonolex.train.loop import train
from sonolex.train.preflight import has_audio
from sonolex.train.run import Budget, Data, Optim, Run


def fit_together(
    folder: Path,
    manifest: Manifest,
    guesses: Sequence[Guess],
    *,
    warnings: Sequence[str] = (),
    system: str = "ctal",
    start_from: str | None = None,
    started: tuple[Any, Processor] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Train ``system`` on a table divided by its column ``split``, with a head for every question; return the results.

    Args:
        folder: of manifest, protocol, run and report; the same call again goes on where it stopped.
        guesses: the questions, as `sonolex.fit_task.guess_tasks` found them.
        warnings: what flatters the scores, for the protocol's notes.
        started: configuration and processor of ``start_from``, whose weights the network begins with.
        epochs: default by the number of clips.

    Raises:
        Held: another process trains in ``folder``.
        ValueError: the folder holds a fit of other clips.
    """
    with only_here(folder, "fit", "trains in"):
        recover(folder)
        require_same_clips(folder, manifest, [str(guess.settings["label"]) for guess in guesses])
        protocol = _write_protocol(folder, manifest, guesses, warnings)
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
