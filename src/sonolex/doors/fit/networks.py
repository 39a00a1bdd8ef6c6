"""Networks as candidates: the systems' starters, trained on some blocks of a table within a time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import configs
from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.doors.fit.blocks import Blocks
from sonolex.doors.fit.question import Question
from sonolex.doors.fit.settings import Settings
from sonolex.files import load_object, remove_folder
from sonolex.names import spelled
from sonolex.processors.base import Processor
from sonolex.results.saved import load_predictions
from sonolex.systems.base import system_type
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.journal import training_curve
from sonolex.train.loop import train
from sonolex.train.run import Budget, Data, Optim, Run, Source

SHAPES = ("ctal", "mdre")  # a transformer, and recurrent networks; the first reads most
MANY_CLIPS = 20_000
LR, LR_OF_MANY = 1e-3, 3e-4
LR_SHARE_FROM = 0.2  # of the rate from scratch, for a network that starts from weights: they change slowly at first
EXPECTED = ("rate_hz", "hop_ms", "window_ms", "num_mels", "normalise", "cleaner", "audio")
FEWEST_EPOCHS = 8  # or all, if they are fewer: a shorter training shows nothing
TRIAL_STEPS = 6
SKEWED = 1.5
MOST_CLASS_WEIGHT = 10.0
EVALUATIONS = 10  # of the curve of one training
VIEWS = Views(gain_db=6, speed=0.1, vtlp=0.1, noise_snr_db=10, num_mel_masks=1, num_time_masks=1)


@dataclass(frozen=True)
class Network:
    """A network to try.

    Attributes:
        name: its name in tables.
        system: module in ``systems``.
        start_from: run folder, model folder or ``hub:ORG/NAME`` of the weights it starts from.
        start: config and processor of that model.
    """

    name: str
    system: str
    start_from: str | None = None
    start: tuple[Any, Processor] | None = None


def networks_for(
    modalities: Sequence[str], *, system: str | None, start_from: str | None, starts: Sequence[Network] = ()
) -> list[Network]:
    """Return the networks to try: the named system, or else those that start from weights and those of `SHAPES`."""
    if system is not None:
        return list(starts) if start_from else [Network(system, system)]
    return [*starts, *(Network(name, name) for name in SHAPES)]


def started(start_from: str, system: str | None) -> Network:
    """Return the network that starts from a saved model.

    Raises:
        ValueError: the model is of another system than ``system``.
    """
    model, processor, _ = load_model(model_folder(start_from), own={system} if system else set())
    if system is not None and system_type(system, trust_code=True) is not type(model.system):
        raise ValueError(f"`--from` must hold a {system} model, but {start_from} holds {model.system.name}.")
    name = model.system.name
    return Network(f"{name}_from_start", name, start_from, (model.system.config, processor))


def expectations(start: Network) -> str:
    """Return a sentence on the input settings that a start keeps, and its learning rate."""
    assert start.start is not None
    values = configs.to_json(start.start[1].config)
    shown = ", ".join(f"{name} {values[name]}" for name in EXPECTED if values.get(name) is not None)
    return (
        f"start: {start.system} from {start.start_from}. It keeps its own input settings ({shown}), and is "
        f"trained at {LR * LR_SHARE_FROM:g}, {LR_SHARE_FROM:g} of the rate from scratch, unless --lr sets another"
    )


def rate(network: Network, count: int, settings: Settings) -> float:
    """Return the user's learning rate, or else one for this number of clips."""
    if settings.lr is not None:
        return settings.lr
    return (LR if count < MANY_CLIPS else LR_OF_MANY) * (LR_SHARE_FROM if network.start else 1)


def batches(count: int, settings: Settings) -> dict[str, Any]:
    """Return the fields of a `Budget` that set the batch size."""
    return {
        "batch_s": settings.batch_s or (64 if count < MANY_CLIPS else 256),
        "batch_clips": 16 if count < 1_000 else 64,
    }


def default_epochs(count: int) -> int:
    """Return the number of epochs for this number of clips."""
    return int(np.clip(24_000 / count, 3, 60))


def started_epochs(folder: Path) -> int | None:
    """Return the planned epochs of the training in a folder; None if none has begun there."""
    recipe = folder / "recipe.json"
    return int(load_object(recipe)["budget"]["epochs"]) if recipe.is_file() else None


def seconds_per_clip(run: Run, folder: Path, device: str) -> float:
    """Return the training time per clip of a run, measured over a few steps in a folder that is removed again."""
    trial = replace(
        run,
        budget=replace(run.budget, max_steps=TRIAL_STEPS, epochs=1, select="last", patience=0),
        data=replace(run.data, selection=(), report=(), protocol=None, fold=None),
    )
    results = train(trial, folder, device=device, quiet=True)
    remove_folder(folder)
    return results["train_s"] / max(1, results["trained_clips"])


@dataclass
class Trainer:
    """Trains networks without some blocks of a table.

    Attributes:
        manifest: path of the table on the disk, with its parts.
        place: folder of the trainings.
    """

    manifest: Path
    clips: Manifest
    question: Question
    blocks: Blocks
    modalities: tuple[str, ...]
    place: Path
    settings: Settings

    def run(self, network: Network, without: frozenset[int], *, epochs: int | None = None, name: str = "") -> Run:
        """Return the training of ``network`` without some blocks."""
        kind = system_type(network.system, trust_code=True)
        learned = self.blocks.learned(without)
        count = len(learned)
        config, processor = kind.starter(num_clips=count, longest_s=float(self.clips.durations_s.max()))
        if network.start is not None:
            config, processor = network.start[0], network.start[1].config
        modalities = kind.readable(self.modalities)
        crossed = self.blocks.crossed
        wanted = epochs or self.wanted_epochs(count)
        drop = 0.15 if len(modalities) == 2 else 0.0
        return Run(
            name=name or network.name,
            system=network.system,
            config=config,
            processor=processor,
            tasks=(self._task(learned),),
            data=Data(
                train=self._sources([b for b in self.blocks.all if b not in without]),
                selection=self._sources(self._watched(without)),
                report=self._sources(sorted(without)),
                loading=Loading(modalities=modalities, views=VIEWS, drop_audio=drop, drop_text=drop),
            ),
            optim=Optim(lr=rate(network, count, self.settings), weight_decay=0.05, schedule="cosine"),
            budget=Budget(
                epochs=wanted,
                **batches(count, self.settings),
                evaluate_epochs=max(1, wanted // EVALUATIONS) if crossed else (1 if count > 2_000 else 2),
                # Cross-validation has no clips to spare for choosing weights: the last ones count, at a rate of 0.
                select="last" if crossed else "best",
                patience=0 if crossed else 10,
            ),
            init_from=network.start_from,
            seed=self.settings.seed,
        )

    def wanted_epochs(self, count: int) -> int:
        """Return the user's number of epochs, or else one for this number of clips."""
        return self.settings.epochs or default_epochs(count)

    def answers(self, network: Network, without: frozenset[int], epochs: int) -> dict[int, np.ndarray]:
        """Train ``network`` and return its answers on the blocks that it was not trained on."""
        folder = self.train(network, without, epochs)
        saved = load_predictions(folder / "predictions" / f"{spelled(self.question.name)}.json")
        place = {clip: i for i, clip in enumerate(saved["clip_ids"])}
        ids = self.clips.column("id")
        return {b: saved["scores"][[place[ids[row]] for row in self.blocks.rows[b]]] for b in without}

    def train(self, network: Network, without: frozenset[int], epochs: int) -> Path:
        """Train ``network`` without some blocks, or resume its training; return the run's folder."""
        folder = self.folder(network, without)
        run = self.run(network, without, epochs=epochs)
        train(run, folder, device=self.settings.device, quiet=self.settings.quiet)
        return folder

    def stopped_early(self, network: Network) -> str:
        """Return in words when the validation score stopped a training; empty if it ran to its end."""
        if self.blocks.crossed:
            return ""
        folder = self.folder(network, self.pairs()[0])
        budget = load_object(folder / "recipe.json")["budget"]
        steps, _ = training_curve(folder, "selection", "value")
        if len(steps) * budget["evaluate_epochs"] >= budget["epochs"]:
            return ""
        return (
            f"stopped after {len(steps) * budget['evaluate_epochs']} of {budget['epochs']} epochs, because the "
            f"validation score had not risen for {budget['patience']} evaluations"
        )

    @property
    def fewest_epochs(self) -> int:
        """Epochs below which a training is not begun."""
        return FEWEST_EPOCHS

    def folder(self, network: Network, without: frozenset[int]) -> Path:
        """Return the folder of a training."""
        names = [self.blocks.names[b] for b in sorted(without)]
        return self.place / spelled(network.name) / (f"without {' and '.join(names)}" if names else "all")

    def seconds_per_clip(self, network: Network) -> float:
        """Return the training time per clip, measured over a few steps of the first training."""
        without = self.pairs()[0]
        run = self.run(network, without, epochs=1)
        return seconds_per_clip(run, self.place / spelled(network.name) / "speed", self.settings.device)

    def rate_hz(self, network: Network) -> int:
        """Return the sampling rate of a network's input."""
        return self.run(network, self.pairs()[0]).processor.rate_hz

    def pairs(self) -> list[frozenset[int]]:
        """Return the blocks that each training leaves out: two neighbours, or the test and the validation part."""
        if not self.blocks.crossed:
            return [frozenset({self.blocks.reports[0], self.blocks.inner[0]})]
        count = len(self.blocks.rows)
        return [frozenset({b, (b + 1) % count}) for b in range(count)]

    def _watched(self, without: frozenset[int]) -> list[int]:
        """Return the blocks for the curve of a training; with a single test part they also select its weights."""
        if not self.blocks.crossed:
            return [self.blocks.inner[0]]
        count = len(self.blocks.rows)
        return [b for b in sorted(without) if (b - 1) % count in without][:1]

    def _sources(self, numbers: Sequence[int]) -> tuple[Source, ...]:
        if not numbers:
            return ()
        column = "fold" if self.blocks.crossed else "split"
        names = sorted(
            {self.blocks.names[b].partition(" ")[0] if column == "split" else self.blocks.names[b] for b in numbers}
        )
        return (Source(manifest=str(self.manifest), where={column: names}),)

    def _task(self, learned: np.ndarray) -> Any:
        """Return the task, with the classes of the training clips weighted equally if they are skewed."""
        config = self.question.config
        if self.question.skew < SKEWED:
            return config
        counts = np.bincount(self.question.targets[learned], minlength=self.question.num_outputs)
        weights = counts.sum() / (np.maximum(counts, 1) * max(1, int((counts > 0).sum())))
        return replace(config, class_weights=tuple(np.minimum(weights, MOST_CLASS_WEIGHT).round(4).tolist()))
