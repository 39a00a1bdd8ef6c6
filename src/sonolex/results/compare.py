"""Run folders in, tables out: scores beside floors and published numbers. Reads saved predictions; needs no model.

Runs of one protocol and row form a table row: folds are pooled per seed, seeds give mean and deviation. Results with
different fingerprints are never put into one column. Intervals draw speakers (or recordings) where they are known, not
clips: clips of one speaker are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.names import spelled
from sonolex.results.draws import has_groups, intervals
from sonolex.results.saved import load_predictions, read_results
from sonolex.scores.base import Scorer, decisions
from sonolex.terminal import markdown, visible

Load = Callable[[Path], dict[str, Any]]
CANDIDATE_ROWS = {"floors": "floor: ", "candidates": "candidate: "}  # folders beside results.json, and how rows begin


@dataclass
class Row:
    """One line of a table: metric values and predictions per seed; the first seed's serve intervals and plots.

    ``modalities`` are those that the report part was scored with; empty if they are not known.
    ``intervals`` are 95 % intervals by metric, ``interval_of`` the first of these metrics, ``over`` the units drawn for
    them. A ``candidate`` competed in the fit that the table shows.
    """

    name: str
    task: str
    by_seed: dict[int, dict[str, float]]
    saved: dict[int, dict[str, Any]] = field(default_factory=dict)
    published: bool = False
    floor: bool = False
    candidate: bool = False
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    over: str = "clips"
    notes: str = ""
    runs: list[Path] = field(default_factory=list)
    modalities: tuple[str, ...] = ()

    @property
    def interval_of(self) -> str:
        """The first metric that has an interval; empty without any."""
        return next(iter(self.intervals), "")

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of that metric."""
        return self.intervals.get(self.interval_of)

    @property
    def title(self) -> str:
        """The name, with a warning if some seed predicts the same class for every clip."""
        return self.name + (
            " (!) predicts one class only" if self.collapsed and not (self.floor or self.candidate) else ""
        )

    @property
    def collapsed(self) -> bool:
        """Whether the predictions of some seed are all of one class."""
        classified = [p for p in self.saved.values() if p["scorer"].one_class]
        return any(len(set(np.asarray(p["scores"]).argmax(1))) == 1 for p in classified)

    @property
    def predictions(self) -> dict[str, Any] | None:
        """Pooled predictions of the first seed; None for a published number."""
        return next(iter(self.saved.values()), None)

    def mean(self, metric: str) -> float | None:
        values = [v[metric] for v in self.by_seed.values() if metric in v]
        return float(np.mean(values)) if values else None

    def deviation(self, metric: str) -> float | None:
        values = [v[metric] for v in self.by_seed.values() if metric in v]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass
class Table:
    """Rows that may be compared: one protocol, one fingerprint, one task."""

    protocol: str
    fingerprint: str
    task: str
    primary: str
    rows: list[Row]
    num_clips: int
    notes: str = ""

    @property
    def scorer(self) -> Scorer:
        """The scorer of its predictions."""
        return next(r.predictions["scorer"] for r in self.rows if r.predictions is not None)

    @property
    def less_is_better(self) -> bool:
        """Whether less of the primary metric is better."""
        return self.primary in self.scorer.lower_is_better


def compare_runs(folders: Sequence[str | Path], *, trust_code: bool = False, own: Collection[str] = ()) -> list[Table]:
    """Return tables of all runs, one per task.

    Args:
        trust_code, own: see `sonolex.results.saved.load_predictions`.

    Raises:
        FileNotFoundError: a folder without finished runs.
        ValueError: runs of one protocol have different fingerprints; the message names the fields that differ. A file
            is not as a run writes it (`sonolex.results.saved`).
    """
    results = [r for r in read_results(folders) if "fingerprint" in r]
    first: dict[str, dict[str, Any]] = {}
    for r in results:
        other = first.setdefault(r["protocol"], r)
        if r["fingerprint"] != other["fingerprint"]:
            differing = [k for k in sorted({*r["card"], *other["card"]}) if r["card"].get(k) != other["card"].get(k)]
            named = visible(", ".join(differing)) or "nothing else"
            raise ValueError(
                f"results must have one fingerprint to be compared, but {other['folder']} has {other['fingerprint']} "
                f"and {r['folder']} has {r['fingerprint']}. They differ in: {named}."
            )
    tables, load = [], partial(load_predictions, trust_code=trust_code, own=own)
    for protocol in sorted(first):
        runs = [r for r in results if r["protocol"] == protocol]
        for task in sorted({t for r in runs for t in r.get("scores", {})}):
            tables.append(_table(protocol, task, [r for r in runs if task in r.get("scores", {})], load))
    return tables


def time_lines(folders: Sequence[str | Path]) -> list[str]:
    """Return the training time of every row, pre-trainings included, in milliseconds a clip (VCR-AST's table 5.2).

    Two times, on the machines of the runs: of optimiser steps, and of waiting for batches, which are read beside the
    steps (0 if reading keeps up). Runs of older versions lack the second.
    """
    by_row: dict[str, list[dict[str, Any]]] = {}
    for r in read_results(folders):
        if r.get("trained_clips"):
            by_row.setdefault(r["row"], []).append(r)
    width = max((len(visible(row)) for row in by_row), default=0)
    lines = [f"  {'':{width}}  ms a clip: steps  waiting for data  million parameters  runs"] if by_row else []
    for row, runs in by_row.items():
        steps = [1000 * r["train_s"] / r["trained_clips"] for r in runs]
        waiting = [1000 * r["load_s"] / r["trained_clips"] for r in runs if r.get("load_s") is not None]
        shown = f"{np.mean(waiting):.1f}" if len(waiting) == len(runs) else "not known"
        size = runs[0]["num_parameters"] / 1e6
        lines.append(f"  {visible(row):{width}}  {np.mean(steps):16.1f}  {shown:>16}  {size:18.2f}  {len(runs):4}")
    return lines


def text_tables(tables: Sequence[Table]) -> str:
    """Return the tables as plain text for a terminal."""
    lines = []
    for table in tables:
        names = shown_metrics(table)
        lines += [
            "",
            visible(f"{table.protocol} · {table.task} · {table.num_clips} clips · fingerprint {table.fingerprint}"),
        ]
        width = max([len(visible(r.title)) for r in table.rows] + [4])
        heads = [f"  {visible(metric_title(table, n)):>22}" for n in names]
        lines.append(f"  {'':{width}}{''.join(heads)}  seeds")
        floor = best_floor(table)
        for row in table.rows:
            cells = [f"  {cell(row, n):>{len(h) - 2}}" for n, h in zip(names, heads, strict=True)]
            below = floor is not None and not (row.floor or row.published) and is_below(table, row, floor)
            mark = "  best floor" if row is floor else "  below the best floor" if below else ""
            seeds = "" if row.published else len(row.by_seed) or ""
            lines.append(f"  {visible(row.title):{width}}{''.join(cells)}  {seeds}{mark}")
        if table.notes:
            lines.append(f"  {visible(table.notes)}")
    return "\n".join(lines)


def markdown_tables(tables: Sequence[Table]) -> str:
    """Return the tables as Markdown, for pages and papers."""
    lines = []
    for table in tables:
        names = shown_metrics(table)
        lines += [
            f"### {markdown(table.protocol)} · {markdown(table.task)}",
            "",
            f"{table.num_clips} clips, fingerprint `{table.fingerprint}`. ± is the deviation over seeds, […] a 95 % "
            f"bootstrap interval over {drawn_over(table)}.",
            "",
            f"| | {' | '.join(markdown(metric_title(table, n)) for n in names)} | seeds |",
            f"|---|{'---|' * (len(names) + 1)}",
        ]
        for row in table.rows:
            seeds = "" if row.published or row.floor else str(len(row.by_seed))
            lines.append(f"| {markdown(row.title)} | {' | '.join(markdown(cell(row, n)) for n in names)} | {seeds} |")
        lines += ["", *([markdown(table.notes), ""] if table.notes else [])]
    return "\n".join(lines)


def score(predictions: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of saved predictions of any task."""
    scores = np.asarray(predictions["scores"], float)
    labels, groups = predictions["labels"], predictions.get("groups")
    return predictions["scorer"].score(labels, scores, predictions["options"], groups=groups)


def _table(protocol: str, task: str, runs: list[dict[str, Any]], load: Load) -> Table:
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in runs:
        groups.setdefault(r["row"], []).append(r)
    folds = {r["fold"] for r in runs}
    primary = runs[0]["primary"]
    rows = [_row(name, task, rs, folds, primary, load) for name, rs in groups.items()]
    widest = max(groups.values(), key=lambda rs: len({r["fold"] for r in rs}))
    beside = _rows_beside(task, widest, "floors", primary, load)
    # Candidates belong to one fit; a table of several runs shows the result of each.
    beside += _rows_beside(task, widest, "candidates", primary, load) if len(runs) == 1 else []
    rows = beside + rows
    for name, values in runs[0].get("published", {}).items():
        rows.append(Row(f"published: {name}", task, {0: dict(values)}, published=True))
    metric_names = [name for row in reversed(rows) for values in row.by_seed.values() for name in values]
    primary = primary if primary in metric_names or not metric_names else metric_names[0]
    num_clips = max(len(r.predictions["clip_ids"]) for r in rows if r.predictions)
    notes = runs[0].get("notes", "")
    return Table(protocol, runs[0]["fingerprint"], task, primary, rows, num_clips, notes)


def _row(name: str, task: str, runs: list[dict[str, Any]], folds: set[str], primary: str, load: Load) -> Row:
    """Pool folds per seed. Seeds that lack folds are left out if others are whole, and the row's name notes them."""
    of_seed = {seed: [r for r in runs if r["seed"] == seed] for seed in sorted({r["seed"] for r in runs})}
    lacking = {seed: len(seed_runs) for seed, seed_runs in of_seed.items() if {r["fold"] for r in seed_runs} != folds}
    whole = [seed for seed in of_seed if seed not in lacking] or list(of_seed)
    notes = "; ".join(
        f"seed {seed}{' left out' if seed not in whole else ''}: {count} of {len(folds)} folds"
        for seed, count in lacking.items()
    )
    file = f"{spelled(task)}.json"
    first_of: dict[tuple[int, str], Path] = {}
    for r in runs:
        other = first_of.setdefault((r["seed"], r["fold"]), r["folder"])
        if other != r["folder"]:
            raise ValueError(
                f"row {name!r} must have one run of each seed and fold, but {other} and {r['folder']} are of seed "
                f"{r['seed']}, fold {r['fold']!r}. Leave one out."
            )
    pooled_of = {s: _pooled([r["folder"] / "predictions" / file for r in of_seed[s]], load) for s in whole}
    first = pooled_of[whole[0]]
    return Row(
        f"{name} ({notes})" if notes else name,
        task,
        {seed: score(pooled) for seed, pooled in pooled_of.items()},
        pooled_of,
        notes=notes,
        **_intervals_of(first, primary),
        runs=[r["folder"] for r in runs],
        modalities=tuple(runs[0].get("modalities", ())),
    )


def _rows_beside(task: str, runs: list[dict[str, Any]], kind: str, primary: str, load: Load) -> list[Row]:
    """Return the rows of predictions that lie beside the results: floors, or candidates of a fit."""
    one_seed = [r for r in runs if r["seed"] == runs[0]["seed"]]
    rows = []
    for path in sorted((one_seed[0]["folder"] / kind).glob("*.json")):
        of_task, _, name = path.stem.partition(".")  # no task's spelling holds a "."
        if of_task != spelled(task):
            continue
        pooled = _pooled([r["folder"] / kind / path.name for r in one_seed], load)
        values, title = {0: score(pooled)}, f"{CANDIDATE_ROWS[kind]}{name}"
        what = {"floor": kind == "floors", "candidate": kind == "candidates"}
        rows.append(Row(title, task, values, {0: pooled}, **what, **_intervals_of(pooled, primary)))
    return rows


def _pooled(paths: list[Path], load: Load) -> dict[str, Any]:
    """Return the predictions of several folds as those of one.

    Raises:
        ValueError: files that are not predictions, or of other classes, metrics or sizes than the first.
    """
    predictions = [load(path) for path in paths]
    first = predictions[0]
    for path, other in zip(paths, predictions, strict=True):
        both = {"scorer": (first["scorer"], other["scorer"])} | {
            name: (first["options"].get(name), other["options"].get(name)) for name in ("classes", "metric_names")
        }
        differing = [name for name, (one, two) in both.items() if one != two]
        if differing or other["scores"].shape[1] != first["scores"].shape[1]:
            what = ", ".join(differing) or "width of scores"
            raise ValueError(f"predictions of one row must agree, but {paths[0]} and {path} differ in: {what}.")
    joined = dict(first)
    for key in ("clip_ids", "labels", *(("groups",) if all("groups" in p for p in predictions) else ())):
        joined[key] = [value for p in predictions for value in p[key]]
    joined["scores"] = np.concatenate([p["scores"] for p in predictions])
    return joined


def _intervals_of(predictions: dict[str, Any], primary: str) -> dict[str, Any]:
    """Return the fields of a `Row` that hold 95 % intervals: of the primary metric first, and of `intervals_of`."""
    scorer: Scorer = predictions["scorer"]
    if not scorer.clipwise:
        return {"intervals": scorer.intervals(predictions["labels"], predictions["scores"])}
    values = score(predictions)
    # A task's own primary metric comes first.
    wanted = [n for n in dict.fromkeys((primary, "balanced_accuracy", *values)) if n in values][:1]
    wanted += [n for n in scorer.intervals_of if n in values and n not in wanted]
    by_metric = intervals(predictions, wanted, num_draws=scorer.num_draws)
    over = "speakers or recordings" if has_groups(predictions) else "clips"
    return {"intervals": by_metric, "over": over} if by_metric else {}


def class_ids(predictions: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted class ids of the labelled clips, where each has one class.

    Labels outside an open vocabulary are `sonolex.scores.base.NO_CLASS`.
    """
    known = [i for i, v in enumerate(predictions["labels"]) if v is not None]
    labels, scores_BC = [predictions["labels"][i] for i in known], np.asarray(predictions["scores"], float)[known]
    options = predictions["options"]
    return decisions(labels, scores_BC, options["classes"], open_vocabulary=options.get("open_vocabulary", False))


def best_row(table: Table, rows: Sequence[Row]) -> Row:
    """Return the row with the best primary metric."""
    sign = -1 if table.less_is_better else 1
    values = {id(r): r.mean(table.primary) for r in rows}
    return max(rows, key=lambda r: -np.inf if values[id(r)] is None else sign * float(values[id(r)] or 0.0))


def best_floor(table: Table) -> Row | None:
    """Return the best floor of a table, None without floors."""
    floors = [r for r in table.rows if r.floor and r.mean(table.primary) is not None]
    return best_row(table, floors) if floors else None


def is_below(table: Table, row: Row, floor: Row) -> bool:
    """Return whether a row's primary metric is worse than a floor's."""
    value, of_floor = row.mean(table.primary), floor.mean(table.primary)
    if value is None or of_floor is None:
        return False
    return value > of_floor if table.less_is_better else value < of_floor


def class_recalls(row: Row) -> dict[str, tuple[float, int]]:
    """Return the recall and the number of clips of every class that has some, where each clip has one."""
    if row.predictions is None or not row.predictions["scorer"].one_class:
        return {}
    true_B, predicted_B = class_ids(row.predictions)
    recalls = {}
    for i, name in enumerate(row.predictions["options"]["classes"]):
        own_B = true_B == i
        if own_B.any():
            recalls[name] = float(np.mean(predicted_B[own_B] == i)), int(own_B.sum())
    return recalls


def drawn_over(table: Table) -> str:
    """Return what the intervals of a table draw."""
    return next((r.over for r in table.rows if r.interval is not None), "clips")


def shown_metrics(table: Table) -> list[str]:
    """Return the columns of a table, the primary metric first."""
    names = dict.fromkeys([table.primary, *(n for r in table.rows for v in r.by_seed.values() for n in v)])
    return list(names)


def metric_title(table: Table, metric: str) -> str:
    """Return the metric's name, with the word papers use for it."""
    word = table.scorer.paper_words.get(metric)
    return f"{metric} ({word})" if word else metric


def cell(row: Row, metric: str) -> str:
    """Return mean ± deviation over seeds, or one seed's value with its interval."""
    value, deviation = row.mean(metric), row.deviation(metric)
    if value is None:
        return ""
    text = f"{value:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
    if metric in row.intervals and deviation is None:
        text += f" [{row.intervals[metric][0]:.3f}, {row.intervals[metric][1]:.3f}]"
    return text
