"""Your own recordings in one command: a table in, a model with a report out."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.audio.statistics import RATE_HZ
from sonolex.data.labels import near_spellings, variants
from sonolex.data.manifest import Manifest
from sonolex.data.parts import Divided, divide
from sonolex.devices import AUTO
from sonolex.doors.fit.blocks import blocks_of
from sonolex.doors.fit.contest import AverageCandidate, NetworkCandidate, Outcome, SmallCandidate, contest
from sonolex.doors.fit.features import Features, measured
from sonolex.doors.fit.folder import finished, modalities_of, write_results, write_table
from sonolex.doors.fit.networks import SHAPES, Network, Trainer, expectations, networks_for, started
from sonolex.doors.fit.question import ClassQuestion, Question, question_of
from sonolex.doors.fit.readable import readable_by
from sonolex.doors.fit.saving import Builder
from sonolex.doors.fit.schedule import Schedule
from sonolex.doors.fit.settings import Settings
from sonolex.doors.fit.small import Small, small_models
from sonolex.doors.fit.table import checked_table, either, require_same_clips
from sonolex.doors.fit.tasks import guess_tasks
from sonolex.doors.fit.together import fit_together, require_together
from sonolex.doors.fit.verdict import Situation, called, recall_lines, verdict
from sonolex.files import recover_all
from sonolex.locks import only_here
from sonolex.names import spelled
from sonolex.progress import counting
from sonolex.results.compare import compare_runs, text_tables
from sonolex.results.report import write_html
from sonolex.systems.base import LONGEST_STARTER_S, system_type

Say = Callable[[str], None]


def fit(
    path: str | Path,
    *,
    label: str | Sequence[str] | None = None,
    task: Sequence[str] = (),
    multilabel: str = "",
    columns: Mapping[str, str] | None = None,
    merge_variants: bool = False,
    system: str | None = None,
    start_from: str | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch_s: float | None = None,
    out: str | Path | None = None,
    skip_bad: bool = False,
    folds: str = "auto",
    split_seed: int = 0,
    minutes: float | None = None,
    seed: int = 0,
    device: str = AUTO,
    quiet: bool = False,
    say: Say = terminal.say,
) -> dict[str, Any]:
    """Find the model that predicts column ``label`` of a table best, save it, and return its results.

    Candidates compete on clips that they were not trained on: constants, support vector machines and logistic
    regression on statistics of audio and words, networks while time is left, and the best average of two. The report
    scores this choice on clips that had no part in it. The same call again resumes where it stopped. Several labels are
    tasks of one network, trained on one split.

    Args:
        path: CSV, TSV, JSONL, Parquet or Arrow with ``audio`` and/or ``text``, ``label`` and optionally ``speaker``
            and ``split``; or a folder with a subfolder for each class.
        label: the column, or several, each a task of one model; for a folder, a name for its classes.
        task: kind of task, if not the guessed one: classification, regression or tagging, or ``COLUMN=KIND``.
        multilabel: separator of several labels in a cell.
        columns: names of the columns ``audio``, ``text`` and ``speaker``, if they are called otherwise.
        merge_variants: make one class of labels that differ only in capitals, blanks or forms of a character.
        system: the network to train, however it scores; default: candidates compete.
        start_from: run folder, model folder or ``hub:ORG/NAME`` whose weights one more candidate starts from.
        epochs, lr, batch_s: of networks' training; default: by the number of clips.
        out: folder of the fit; fits with different options share it, a run folder each.
        skip_bad: leave out unusable rows; otherwise they are all listed and nothing is trained.
        folds: "auto" (cross-validation if the table is small), "none", "speaker", or a number.
        split_seed: seed of the table's division.
        minutes: time for networks; default: by the number of clips.
        seed: seed of the training.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        ManifestError: all problems of the table, at once.
        Held: another process trains in ``out``.
        ValueError: impossible options, or a folder that holds a fit of other clips.
    """
    settings = Settings(system, start_from, epochs, lr, batch_s, seed, device, str(folds), split_seed, minutes, quiet)
    settings.require_usable()
    path = Path(path)
    start = started(start_from, system) if start_from else None
    table = checked_table(
        path,
        label=label,
        skip_bad=skip_bad,
        longest_s=_longest_s(settings, start),
        reader=system or "the model",
        chosen=columns,
        multilabel=multilabel,
        merge_variants=merge_variants,
    )
    labels = table.labels
    if len(labels) > 1:
        require_together(settings)
    folder = Path(out) if out else Path("runs") / f"fit-{path.resolve().stem}-{'+'.join(map(spelled, labels))}"
    for line in (*_counts(table.manifest, labels), *table.notes):
        say(line)
    guesses = guess_tasks(table.manifest, labels, requested=task, several=table.several)
    for guess in guesses:
        say(guess.note)
    manifest = table.manifest
    if system not in (None, "statistics") or len(guesses) > 1:
        named = start or Network(system or SHAPES[0], system or SHAPES[0])
        manifest, notes = readable_by(named, manifest, skip_bad=skip_bad)
        for line in notes:
            say(line)
    if len(guesses) > 1:
        return fit_together(folder, manifest, guesses, settings, start=start, say=say)
    question = question_of(manifest, guesses[0].kind, guesses[0].settings)
    divided = divide(
        manifest, strata=question.strata, seed=split_seed, names_speakers=labels == ("speaker",), folds=settings.folds
    )
    for line in (*divided.notes, *(f"WARNING: {w}." for w in divided.warnings)):
        say(line)
    return _Fit(folder, settings, start, divided, question, table.notes, say).go(guesses[0].settings)


@dataclass
class _Fit:
    """One fit of a divided table; `go` runs its steps in order."""

    folder: Path
    settings: Settings
    start: Network | None
    divided: Divided
    question: Question
    notes: Sequence[str]
    say: Say

    def go(self, task: dict[str, Any]) -> dict[str, Any]:
        clips = self.divided.manifest
        self.modalities = modalities_of(clips)
        if self.start is not None:
            self.say(expectations(self.start))
        names = networks_for(
            self.modalities,
            system=self.settings.system,
            start_from=self.settings.start_from,
            starts=[self.start] if self.start else [],
        )
        with only_here(self.folder, "fit", "trains in"):
            recover_all(self.folder)
            require_same_clips(self.folder, clips, [str(task["label"])])
            self.place = self.folder / self.settings.run_name
            results = finished(self.place, self.settings)
            if results is not None:
                self.say(f"this fit is finished: {self.place}. Name another folder with --out to repeat it.")
                return self._announced(results)
            protocol = write_table(self.folder, self.divided, [(self.question.kind, task)])
            self.blocks = blocks_of(self.divided, self.question, seed=self.settings.split_seed)
            self.remarks: list[str] = []
            began = time.monotonic()
            outcome, builder = self._contest(names)
            winner = builder.winner(outcome.winner)
            results = write_results(
                self.place,
                self.settings,
                protocol,
                question=self.question,
                clips=clips,
                blocks=self.blocks,
                outcome=outcome,
                winner=winner,
                seconds=time.monotonic() - began,
            )
            results = self._judged(results, outcome)
            return self._announced(results)

    def _contest(self, networks: Sequence[Network]) -> tuple[Outcome, Builder]:
        """Return the outcome of the contest, and the builder of the winner's model."""
        chosen = self.settings.system
        small, features = self._small()
        trainer = Trainer(
            self.folder / "manifest.arrow",
            self.divided.manifest,
            self.question,
            self.blocks,
            tuple(self.modalities),
            self.place / "networks",
            self.settings,
        )
        if chosen == "statistics":
            networks = []
        trained, epochs = Schedule(trainer, self.divided.manifest, self.say, self._remark).trained(networks, small)
        candidates: list[Any] = [*small, *trained]
        varied = [c for c in [*small, *self._at_one_rate(trainer, networks, trained)] if not _is_constant(c)]
        if chosen is None and len(varied) > 1:
            candidates.append(AverageCandidate(varied, self.question, self.blocks))
        allowed = _eligible(chosen, trained)
        outcome = contest(self.question, self.blocks, candidates, eligible=allowed)
        folders = self._final_networks(trainer, outcome, networks, epochs)
        return outcome, Builder(self.question, features, self.blocks, folders)

    def _at_one_rate(
        self, trainer: Trainer, networks: Sequence[Network], trained: Sequence[NetworkCandidate]
    ) -> list[NetworkCandidate]:
        """Return the networks with the small models' sampling rate: an average reads each clip once."""
        rates = {n.name: trainer.rate_hz(n) for n in networks if n.name in {c.name for c in trained}}
        for other in [name for name, rate in rates.items() if rate != RATE_HZ and self.settings.system is None]:
            self._remark(
                f"{called(other)} is in no average, because it reads {rates[other]} Hz and the other models {RATE_HZ}."
            )
        return [c for c in trained if rates[c.name] == RATE_HZ]

    def _small(self) -> tuple[list[SmallCandidate], Features]:
        """Return the small candidates; only the floors if the user named a system, for comparison."""
        clips = self.divided.manifest
        with counting("measuring clips", len(clips), quiet=self.settings.quiet, kept=True) as advance:
            features = measured(clips, words="text" in self.modalities, advance=advance)
        models = [
            m for m in small_models(features, self.question) if self.settings.system in (None, "statistics") or m.floor
        ]
        if isinstance(self.question, ClassQuestion):
            self.say(
                "classes count alike, rare or not: they are weighted equally in training, and candidates are chosen by "
                f"{self.question.metric}, the mean of their recalls"
            )
        self.say(f"candidates that always run: {', '.join(called(m.name) for m in models)}")
        candidates = [self._small_candidate(m, features) for m in models]
        # All the answers that the contest needs of them are computed here, under a progress bar.
        contexts = [frozenset({b}) for b in self.blocks.reports] + [self.blocks.final]
        with counting("small models", len(candidates) * len(contexts), quiet=self.settings.quiet, kept=True) as advance:
            for candidate in candidates:
                for context in contexts:
                    candidate.choosing(context)
                    advance(1)
        return candidates, features

    def _small_candidate(self, model: Small, features: Features) -> SmallCandidate:
        return SmallCandidate(model, features, self.question, self.blocks, seed=self.settings.seed)

    def _final_networks(
        self, trainer: Trainer, outcome: Outcome, networks: Sequence[Network], epochs: dict[str, int]
    ) -> dict[str, Path]:
        """Train the winner's networks on all clips that the final model may see; return their folders."""
        members = (
            outcome.winner.pair(self.blocks.final) if isinstance(outcome.winner, AverageCandidate) else [outcome.winner]
        )
        wanted = {m.name for m in members if isinstance(m, NetworkCandidate)}
        folders = {}
        for network in networks:
            if network.name not in wanted:
                continue
            without = frozenset() if self.blocks.crossed else trainer.pairs()[0]
            if self.blocks.crossed:
                self.say(f"training {network.name} on all clips, for the model")
                trainer.train(network, without, epochs[network.name])
            folders[network.name] = trainer.folder(network, without)
        return folders

    def _judged(self, results: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        """Add the verdict to the results, also on disk, and return them."""
        from sonolex.doors.fit.folder import add_verdict

        table = compare_runs([self.place])[0]
        clips = self.divided.manifest
        strata = self.question.strata if isinstance(self.question, ClassQuestion) else None
        situation = Situation(
            winner=_in_words(outcome.winner, self.blocks.final),
            chosen=self.settings.system is not None,
            by_block=[_in_words(outcome.candidates[n], frozenset({b})) for b, n in outcome.by_block.items()],
            crossed=self.blocks.crossed,
            speakers=len({s for s in clips.column("speaker") if s is not None}),
            clips_of=dict(Counter(strata or [])),
            remarks=self.remarks,
            misspelt=_misspelt(strata or []),
        )
        return add_verdict(self.place, results, verdict(table, self.settings.row, situation))

    def _announced(self, results: dict[str, Any]) -> dict[str, Any]:
        """Print tables, verdict and paths, and return the results."""
        tables = compare_runs([self.place])
        self.say(text_tables(tables))
        for row in tables[0].rows:
            if row.name == self.settings.row:
                for line in ("", *recall_lines(row)):
                    self.say(line)
        self.say("")
        for line in results.get("verdict", []):
            self.say(line)
        try:
            self.say(f"\nreport: {write_html([self.folder], self.folder / 'report.html')}")
        except (ImportError, ValueError, OSError) as e:  # the model is saved even if its page fails
            self.say(f"no report.html: {e}")
        self.say(f"model: {self.place / 'model'}")
        self.say(f"predict with: sonolex predict {shlex.quote(str(self.place))} {self._first_clip()}")
        return results

    def _first_clip(self) -> str:
        clip = self.divided.manifest[0]
        return shlex.quote(clip.audio) if isinstance(clip.audio, str) else f"--text {shlex.quote(str(clip.text))}"

    def _remark(self, text: str) -> None:
        text = text[0].upper() + text[1:]
        self.remarks.append(text)
        self.say(text)


def _eligible(chosen: str | None, trained: Sequence[Any]) -> Callable[[Any], bool]:
    """Return which candidates may win: all, or only those of the system that the user named."""
    if chosen is None:
        return lambda candidate: True
    if chosen == "statistics":
        return lambda candidate: isinstance(candidate, SmallCandidate)
    return lambda candidate: candidate in trained


def _in_words(candidate: Any, context: frozenset[int]) -> str:
    """Return a candidate in words; for an average, with its two members in a context."""
    pair = candidate.pair(context) if isinstance(candidate, AverageCandidate) else ()
    return called(candidate.name, sorted(member.name for member in pair))


def _is_constant(candidate: Any) -> bool:
    return isinstance(candidate, SmallCandidate) and candidate.small.method == "constant"


def _misspelt(labels: Sequence[str]) -> list[str]:
    """Return labels that look like misspellings of others, each with that other label."""
    counts = Counter(labels)
    pairs = near_spellings(counts) + [(other, group[0]) for group in variants(counts) for other in group[1:]]
    return [f"{rare!r} ({counts[rare]}) like {frequent!r}" for rare, frequent in pairs]


def _counts(manifest: Manifest, labels: Sequence[str]) -> list[str]:
    """Return a line with the numbers of clips, texts and speakers."""
    speakers = {s for s in manifest.column("speaker") if s is not None}
    texts = sum(bool(t) for t in manifest.column("text"))
    audio = int(np.sum(manifest.durations_s > 0))
    return [
        f"found: {len(manifest)} clips with {either(labels)}, {audio} with audio "
        f"({manifest.hours:.2f} h), {texts} with text, {len(speakers) or 'no'} speakers"
    ]


def _longest_s(settings: Settings, start: Network | None) -> float:
    """Return the longest clip that the named system takes; small models take any length."""
    if settings.system is None:
        return np.inf
    reader = system_type(settings.system, trust_code=True)
    if not any("audio" in accepted for accepted in reader.accepts):
        return np.inf
    if start is not None and start.start is not None:
        return start.start[1].config.longest_s
    return reader.starter(num_clips=1, longest_s=LONGEST_STARTER_S)[1].longest_s
