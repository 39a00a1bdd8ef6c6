"""Train and evaluate one run, top to bottom. The state of training is one dict; the rest is a function of the run.

The loss of a step is Σ weight · (sum over the step) / (count over the step): over all accumulated batches and all
processes together, not a mean of means. Counts are known before the forward pass because tasks choose what to hide
while batches are loaded. Dropout is a function of (seed, step, clip), so that neither the batch of a clip nor the
number of processes changes it, and resuming needs no saved generator.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from sonolex.data.loader import FeatureCache, Loader, Loading, clip_seed
from sonolex.data.manifest import Manifest
from sonolex.data.sampler import Sampler, share_of
from sonolex.devices import AUTO
from sonolex.files import remove_folder, save_json
from sonolex.nn.dropout import drawn_from
from sonolex.terminal import visible
from sonolex.train import checkpoint, group, optim
from sonolex.train.building import build
from sonolex.train.contents import require_same_clips, write_clips
from sonolex.train.evaluation import Evaluation, evaluate
from sonolex.train.folder import entered, finished
from sonolex.train.honesty import require_same_run, require_unseen_report, write_heard
from sonolex.train.joint import JointPass, joint_pass
from sonolex.train.journal import Journal, progress_bar, waited
from sonolex.train.losses import StepLosses
from sonolex.train.manifests import batching_s, load_sources
from sonolex.train.preflight import require_fitting, require_labels
from sonolex.train.processes import launched
from sonolex.train.results import write_results
from sonolex.train.run import Run, Source
from sonolex.train.selection import note_selection, selection_value
from sonolex.types import Batch, Term

StepBatches = list[Batch | None]
Watch = Callable[[int, float], None]


def train(
    run: Run,
    folder: Path,
    *,
    earlier: dict[str, Path] | None = None,
    device: str = AUTO,
    quiet: bool = False,
    watch: Watch = lambda step, value: None,
) -> dict[str, Any]:
    """Train ``run`` in ``folder``, continuing where an earlier call stopped; return its results.

    Args:
        earlier: folders of earlier runs of the same recipe, by name, for ``init_from``.
        device: what computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps.
        quiet: no progress bar.
        watch: called with the step and the selection value of every evaluation; an error it raises ends the training.

    Raises:
        ValueError: the folder holds another run; no such device; the loss is not finite (with the clips of the batch).
        Held: another process trains in the folder.
    """
    group.join()
    require_same_run(folder, run)
    results = group.said_by_first(lambda: finished(folder, run))
    if results is not None:
        return results
    fabric = launched(run, device=device)
    with ExitStack() as inside:
        group.said_by_first(lambda: inside.enter_context(entered(folder, run)))
        with group.first_alone():
            require_same_clips(folder, run)
        inside.enter_context(torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []))
        training = _Training(run, folder, fabric, earlier or {}, quiet, watch)
        if fabric.is_global_zero:  # only now: a run that cannot be built may be corrected in the same folder
            write_clips(folder, run)
            save_json(folder / "recipe.json", run)
            write_heard(folder, run, training.clips, earlier or {})
        return training.go()


class _Training:
    """Everything one call of `train` holds; `go` is the loop."""

    def __init__(self, run: Run, folder: Path, fabric: Fabric, earlier: dict[str, Path], quiet: bool, watch: Watch):
        self.run, self.folder, self.fabric, self.quiet, self.watch = run, folder, fabric, quiet, watch
        self.clips, budget = _clips_of(run.data.train), run.budget
        with group.first_alone():
            require_unseen_report(run, self.clips, earlier)
        require_labels(run.tasks, self.clips)
        self.model, self.processor, start = build(run, self.clips, earlier=earlier)
        held_out = [_clips_of(part) for part in (run.data.selection, run.data.report) if part]
        require_fitting(run, self.processor, [self.clips, *held_out])
        optim.freeze(self.model, run.optim.frozen)
        self.held = optim.held_groups(self.model, run.optim, 0)
        self.module, self.optimizer = fabric.setup(self.model, optim.build_optimizer(self.model, run.optim))
        self.cache = FeatureCache(run.data.loading.cache_mb)
        self.loader = Loader(
            self.clips,
            self.processor,
            loading=run.data.loading,
            prepare=self.model.prepare,
            training=True,
            seed=run.seed,
            cache=self.cache,
        )
        self.sampler = Sampler(
            batching_s(self.clips),
            budget.batch_s,
            budget.batch_clips,
            run.seed,
            by_length=budget.by_length,
            labels=self.clips.column(budget.balance_by) if budget.balance_by else None,
            balance=budget.balance,
        )
        num_steps = sum(self._num_steps(e) for e in range(budget.epochs))
        self.num_steps = min(num_steps, budget.max_steps or num_steps)
        self.journal = Journal(folder, active=fabric.is_global_zero)
        self.losses = StepLosses(self.journal, every=budget.journal_steps)
        if start.random_names:
            self.journal.write("init", init_from=run.init_from, random_weights=start.random_names)
        for part, report in start.imports.items():
            self.journal.write("import", part=part, source=run.pretrained[part], **asdict(report))
        for text in self.model.system.advice(self._clips_per_step()) if self.model.compares_clips else ():
            self.journal.write("advice", text=text)
            fabric.print(visible(f"{run.name}: {text}"))
        self.validation: float | None = None  # the last score on the selection part
        self.state: dict[str, Any] = dict.fromkeys(("epoch", "step_in_epoch", "step", "stale", "waited", "halvings"), 0)
        self.state |= {"train_s": 0.0, "load_s": 0.0, "best": None, "best_step": None}
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)  # of gradients, where the precision is fp16
        if self.scaler is not None:
            self.state |= {"loss_scale": self.scaler.get_scale(), "steps_at_scale": 0}

    def go(self) -> dict[str, Any]:
        saved = group.said_by_first(lambda: checkpoint.latest_checkpoint(self.folder / "checkpoints"))
        if saved is not None:
            self.state = checkpoint.load_training_state(saved, self.model, self.optimizer, fresh=self.state)
            if self.scaler is not None:
                scaling = {"scale": self.state["loss_scale"], "_growth_tracker": self.state["steps_at_scale"]}
                self.scaler.load_state_dict(self.scaler.state_dict() | scaling)
            self.journal.write("resume", step=self.state["step"])
            self._keep_only(saved)
        quiet = self.quiet or not self.fabric.is_global_zero
        bar_of = {"num_epochs": self.run.budget.epochs, "done": self.state["step"], "quiet": quiet}
        with progress_bar(self.run.name, self.num_steps, **bar_of) as bar:
            while not self._finished():
                self._epoch(bar)
        return self._report()

    def _epoch(self, bar: Any) -> None:
        state, budget = self.state, self.run.budget
        self.held = optim.held_groups(self.model, self.run.optim, state["epoch"])
        optim.training_mode(self.model, self.held)
        for batches in waited(
            state, self._listing_bad_clips(self._steps(state["epoch"], start=state["step_in_epoch"]))
        ):
            started = time.perf_counter()
            self._step(batches)
            state["step"] += 1
            state["step_in_epoch"] += 1
            state["train_s"] += time.perf_counter() - started
            bar(state | {"value": self.validation}, self.losses.last)
            if state["step"] >= self.num_steps:
                break
            if budget.checkpoint_steps and state["step"] % budget.checkpoint_steps == 0:
                self._save_state()
        self.losses.read()
        self.journal.write_bad_clips(group.gathered(self._bad_clips()), step=state["step"])
        state["epoch"], state["step_in_epoch"] = state["epoch"] + 1, 0
        if state["epoch"] % budget.evaluate_epochs == 0 or self._finished():
            self._select()
        self._save_state()

    def _step(self, batches: StepBatches) -> None:
        """Take one optimiser step over several batches, without waiting for the device."""
        run, state, fabric = self.run, self.state, self.fabric
        lr = optim.rate(run.optim, self.num_steps, **{n: state[n] for n in ("step", "epoch", "halvings")})
        optim.set_rate(self.optimizer, lr)
        known, num_clips = self._counts(batches)
        counts: dict[str, float | Tensor] = {**known}
        sums: list[tuple[str, Tensor]] = []
        terms: Mapping[str, Term] = {}
        joint = self._joint_pass(batches)
        for i, batch in enumerate(batches):
            idle = batch is None
            batch = self._idle_batch() if batch is None else batch
            with fabric.no_backward_sync(self.module, enabled=i < len(batches) - 1), self._drawing(batch):
                losses = self.module(batch.to(fabric.device), joint.of_batch(i))
                terms = losses.terms
                # A term that compares the clips of the step, which are all in this batch, counts them itself.
                counts |= {n: t.count for n, t in terms.items() if n not in counts}
                # DDP averages gradients over processes; the counts are already global, so undo its division.
                total = losses.total_over(counts)
                fabric.backward(total * (0.0 if idle else fabric.world_size))
            if not idle:
                sums += [(name, term.sum) for name, term in terms.items()]
        optim.drop_gradients(self.model, self.held)
        norm = self._clip_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.add(
            sums,
            counts,
            terms,
            joint.terms,
            gradient_norm=norm,
            clip_ids=[c for b in batches if b is not None for c in b.clip_ids],
            step=state["step"] + 1,
            lr=lr,
            clips=num_clips,
        )

    def _joint_pass(self, batches: StepBatches) -> JointPass:
        """Compute objectives that compare clips over all batches of the step, unless one batch is the whole step."""
        if not self.model.compares_clips or len(batches) * self.fabric.world_size == 1:
            return JointPass()
        return joint_pass(
            self.model,
            batches,
            device=self.fabric.device,
            autocast=self.fabric.autocast,
            drawing=self._drawing,
            gather=group.gathered,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            scaler=self.scaler,
        )

    @contextmanager
    def _drawing(self, batch: Batch) -> Iterator[None]:
        """Context: dropout of this step depends on the clip alone. (A clip that a step has twice is dropped alike.)"""
        seeds = [clip_seed(self.run.seed, self.state["step"], f"dropout/{clip_id}") for clip_id in batch.clip_ids]
        torch.manual_seed(seeds[0])  # our code does not draw from it, but a user's own system may
        with drawn_from(seeds, self.fabric.device):
            yield

    def _steps(self, epoch: int, *, start: int) -> Iterator[StepBatches]:
        """Yield this process's batches of each optimiser step of an epoch, from step ``start`` on."""
        size = self.run.budget.accumulate
        rank, world = self.fabric.global_rank, self.fabric.world_size
        rows = [share_of(b, rank, world) for b in self.sampler.epoch(epoch)[start * size :]]
        # A process without clips in a batch has None in its place, to stay in step with the others.
        loaded = iter(self.loader.batches([r for r in rows if len(r)], epoch=epoch))
        batches = (next(loaded) if len(r) else None for r in rows)
        while step := list(itertools.islice(batches, size)):
            yield step

    def _clips_per_step(self) -> int:
        """Return the mean number of clips an optimiser step sees."""
        return max(1, round(len(self.clips) / self._num_steps(0)))

    def _num_steps(self, epoch: int) -> int:
        return -(-len(self.sampler.epoch(epoch)) // self.run.budget.accumulate)

    def _counts(self, batches: StepBatches) -> tuple[dict[str, float], int]:
        """Return how many items each term of the step averages over, and its clips, over all processes."""
        counts: dict[str, float] = {}
        num_clips = 0
        for batch in batches:
            num_clips += len(batch) if batch is not None else 0
            for name, count in batch.counts.items() if batch is not None else ():
                counts[name] = counts.get(name, 0.0) + count
        by_process = group.gathered((counts, num_clips))
        return group.summed([c for c, _ in by_process]), sum(n for _, n in by_process)

    def _clip_gradients(self) -> Tensor:
        """Scale the gradient down to the limit of its norm; return the norm before."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer.optimizer)
        limit = self.run.optim.clip_norm or math.inf
        trained = [p for p in self.model.parameters() if p.grad is not None]
        return torch.nn.utils.clip_grad_norm_(trained, limit)

    def _idle_batch(self) -> Batch:
        """Return some batch for a process that has no clips in a step; its loss is multiplied by 0."""
        reading = {"loading": self.run.data.loading, "prepare": self.model.prepare, "cache": self.cache}
        loader = Loader(self.clips, self.processor, **reading)
        rows = [np.array([row]) for row in range(len(self.clips))]
        for batch in loader.batches(rows):
            if batch is not None:
                return batch
        raise ValueError(f"`train` must hold clips that can be used, but holds none (run {self.run.name!r}).")

    def _finished(self) -> bool:
        budget, state = self.run.budget, self.state
        exhausted = state["epoch"] >= budget.epochs or state["step"] >= self.num_steps
        return exhausted or bool(budget.patience and state["stale"] >= budget.patience)

    def evaluate(self, clips: Manifest, *, loading: Loading | None = None) -> Evaluation:
        budget = self.run.budget
        return evaluate(
            self.model,
            self.processor,
            clips,
            loading=loading or self.run.data.loading,
            batch_s=budget.batch_s,
            batch_clips=budget.batch_clips,
            device=self.fabric.device,
            cache=self.cache,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )

    def _select(self) -> None:
        """Evaluate on the selection part and keep the weights if they are the best so far."""
        state = self.state
        if not self.run.data.selection:
            self._save_model("best")
            return
        evaluation = self.evaluate(_clips_of(self.run.data.selection))
        value = group.said_by_first(lambda: selection_value(self.model, evaluation, self.run.budget.select_by))
        flat = {f"{t}.{m}": v for t, ms in evaluation.metrics.items() for m, v in ms.items()}
        self.journal.write("selection", evaluation.losses | flat, step=state["step"], value=value)
        if evaluation.collapsed:
            self.journal.write("collapse", step=state["step"])
            self.fabric.print(
                visible(f"{self.run.name}: all selection clips have nearly the same vector at step {state['step']}.")
            )
        schedule, patience = self.run.optim.schedule, self.run.optim.plateau_patience
        if note_selection(state, value, plateau_patience=patience if schedule == "plateau" else None):
            self._save_model("best")
        self.validation = value
        self.watch(state["step"], value)

    def _report(self) -> dict[str, Any]:
        """Load the selected weights, save the model folder, score the report part and write results.json."""
        if self.run.budget.select == "best" and self.state["best"] is not None and group.is_first():
            trusted_names = {self.run.system, *(t.kind for t in self.run.tasks)}
            best, _, _ = checkpoint.load_model(self.folder / "checkpoints" / "best", own=trusted_names)
            self.model.load_state_dict(best.state_dict())
        group.take_from_first(self.model)  # not from the disk, where other processes may still see an older file
        if self.run.data.selection and any(task.calibrates for _, task in self.model.task_items()):
            known = self.evaluate(_clips_of(self.run.data.selection))
            for name, task in self.model.task_items():
                if task.calibrates:
                    task.calibrate(known.labels[name], known.scores[name])
        if self.fabric.is_global_zero:
            self._save_model("model", folder=self.folder)
        report = _clips_of(self.run.data.report) if self.run.data.report else None
        evaluation = self.evaluate(report) if report is not None else None
        for modalities in self.run.data.also_report:
            assert report is not None
            rescored = self.evaluate(report, loading=self.run.data.asked_with(modalities))
            if self.fabric.is_global_zero:
                write_results(self.folder, self.run, self.model, self.state, report, rescored, modalities=modalities)
        return group.said_by_first(
            lambda: write_results(self.folder, self.run, self.model, self.state, report, evaluation)
        )

    def _save_model(self, name: str, *, folder: Path | None = None) -> None:
        if self.fabric.is_global_zero:
            provenance = checkpoint.provenance_of(self.run, step=self.state["step"], clips=self.clips)
            place = (folder or self.folder / "checkpoints") / name
            checkpoint.save_model(place, self.model, self.processor, provenance=provenance)

    def _save_state(self) -> None:
        self.losses.read()  # so that no weights are saved after a loss that is not finite
        if self.scaler is not None:
            scaling = self.scaler.state_dict()
            self.state |= {"loss_scale": scaling["scale"], "steps_at_scale": scaling["_growth_tracker"]}
        if not self.fabric.is_global_zero:
            return
        new = self.folder / "checkpoints" / f"step-{self.state['step']:09d}-{self.state['epoch']:05d}"
        checkpoint.save_training_state(new, self.model, self.optimizer, self.state)
        self._keep_only(new)

    def _keep_only(self, newest: Path) -> None:
        """Remove older checkpoints: one, or two if a process was killed before it removed them."""
        if self.fabric.is_global_zero:
            for old in newest.parent.glob("step-*"):
                if old != newest:
                    remove_folder(old)

    def _listing_bad_clips(self, steps: Iterator[StepBatches]) -> Iterator[StepBatches]:
        """Yield the steps; where loading stops, as it does past `max_bad_clips`, list this process's bad clips."""
        try:
            yield from steps
        except ValueError:
            self.journal.write_bad_clips([self._bad_clips()], step=self.state["step"])
            raise

    def _bad_clips(self) -> dict[str, str]:
        return {b.clip_id: b.problem for b in self.loader.bad_clips.values()}


def _clips_of(part: tuple[Source, ...]) -> Manifest:
    """Return the clips of a part of the data. One process alone prepares a corpus that is not there yet."""
    with group.first_alone():
        return load_sources(part)
