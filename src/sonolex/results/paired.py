"""Is one row of a table better than another? Differences over the same clips and the same seeds, with intervals.

A row's own interval shows how far its score may lie from that on other clips. Two rows were scored on the same clips,
so their difference is known much better than either score: clips (and seeds) are drawn together for both. Where
speakers or recordings are known, they are drawn whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonolex import terminal
from sonolex.results.compare import Row, Table, score
from sonolex.results.draws import RECALLS, drawn_recalls, groups_drawn, recall_counts

DRAWS = 1000


@dataclass(frozen=True)
class Difference:
    """A row's score minus the reference's, in the table's primary metric.

    Attributes:
        by_seed: of every seed both have; a row without seeds (a floor) counts for every seed of the other.
        interval: 95 %, by bootstrap over clips (or speakers, or recordings) and seeds; Student's over seeds where clips
            may not be drawn (`Scorer.clipwise`), None then for one seed.
    """

    row: str
    reference: str
    metric: str
    by_seed: tuple[float, ...]
    interval: tuple[float, float] | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.by_seed))

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def differences(table: Table, reference: str, *, num_draws: int = DRAWS, seed: int = 0) -> list[Difference]:
    """Return the difference of every other row with predictions from the row named ``reference``.

    Raises:
        ValueError: no such row; rows with different clips.
    """
    base = _row_named(table, reference)
    compared = [row for row in table.rows if row.saved and row is not base]
    return [_difference(table.primary, row, base, num_draws, seed) for row in compared]


def difference(table: Table, row: str, reference: str) -> Difference:
    """Return the difference of one row from another. Raises as `differences`."""
    return _difference(table.primary, _row_named(table, row), _row_named(table, reference), DRAWS, 0)


def _row_named(table: Table, name: str) -> Row:
    named = {r.name: r for r in table.rows if r.saved}
    if name not in named:
        rows_named = terminal.visible(f"{table.protocol} ({', '.join(named)})")
        raise ValueError(f"`against` must be a row of {rows_named}, but is {name!r}.")
    return named[name]


def difference_lines(tables: Sequence[Table], reference: str, *, markdown: bool = False) -> list[str]:
    """Return the differences of all tables as lines of text or Markdown."""
    lines = []
    for table in tables:
        row_differences = differences(table, reference)
        if not row_differences:
            continue
        over = "both" if _is_clipwise(table.rows) else "seeds"
        shown = terminal.markdown if markdown else terminal.visible
        what = shown(f"{table.protocol} · {table.task}: {table.primary} minus that of {reference!r}")
        lines += ["", f"{what}, same clips and seeds, 95 % interval over {over}", ""]
        if markdown:
            lines += ["| | difference | interval | by seed |", "|---|---|---|---|"]
        width = max(len(shown(d.row)) for d in row_differences)
        for d in row_differences:
            interval = f"[{d.interval[0]:+.3f}, {d.interval[1]:+.3f}]" if d.interval else ""
            seeds = " ".join(f"{v:+.3f}" for v in d.by_seed)
            mark = " *" if d.clear else ""
            if markdown:
                lines.append(f"| {shown(d.row)} | {d.mean:+.3f}{mark} | {interval} | {seeds} |")
            else:
                lines.append(f"  {shown(d.row):{width}}  {d.mean:+.3f}{mark:2}  {interval:18}  {seeds}")
    return lines


def _difference(metric: str, row: Row, base: Row, num_draws: int, seed: int) -> Difference:
    seeds = _common_seeds(row, base)
    pairs = [(_ready(_aligned(row.saved[a], base.saved[b]), metric), _ready(base.saved[b], metric)) for a, b in seeds]
    values = [(score(a).get(metric), score(b).get(metric)) for a, b in pairs]
    if any(a is None or b is None for a, b in values):
        raise ValueError(f"rows {row.name!r} and {base.name!r} must have {metric} to be compared, but one has not.")
    by_seed = tuple(a - b for a, b in values if a is not None and b is not None)
    if not _is_clipwise([row]):
        return Difference(row.name, base.name, metric, by_seed, _students_interval(by_seed))
    groups_N = groups_drawn(pairs[0][1])
    rng, count, drawn = np.random.default_rng(seed), int(groups_N.max()) + 1, []
    of_draws = [(rng.integers(0, count, count), rng.integers(0, len(pairs), len(pairs))) for _ in range(num_draws)]
    if pairs[0][0]["scorer"].one_class and metric in RECALLS:
        times_DG = np.stack([np.bincount(groups, minlength=count) for groups, _ in of_draws])
        of_pair = [
            drawn_recalls(metric, recall_counts(a, groups_N), times_DG)
            - drawn_recalls(metric, recall_counts(b, groups_N), times_DG)
            for a, b in pairs
        ]
        drawn = [np.mean([of_pair[s][d] for s in seeds]) for d, (_, seeds) in enumerate(of_draws)]
    else:
        members = [np.flatnonzero(groups_N == g) for g in range(count)]
        for groups, drawn_seeds in of_draws:
            clips = np.concatenate([members[g] for g in groups])
            values = [[score(_chosen(p, clips)).get(metric, np.nan) for p in pairs[s]] for s in drawn_seeds]
            drawn.append(float(np.mean([a - b for a, b in values])))
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return Difference(row.name, base.name, metric, by_seed, (float(low), float(high)))


def _is_clipwise(rows: Sequence[Row]) -> bool:
    return all(saved["scorer"].clipwise for row in rows for saved in row.saved.values())


def _students_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    from scipy import stats

    if len(differences) < 2:
        return None
    half = stats.t.ppf(0.975, len(differences) - 1) * np.std(differences, ddof=1) / len(differences) ** 0.5
    return float(np.mean(differences) - half), float(np.mean(differences) + half)


def _common_seeds(row: Row, base: Row) -> list[tuple[int, int]]:
    if row.floor or base.floor:
        return [(a, b) for a in row.saved for b in base.saved]
    common = sorted(set(row.saved) & set(base.saved))
    if not common:
        raise ValueError(f"rows {row.name!r} and {base.name!r} must share a seed to be compared, but do not.")
    return [(s, s) for s in common]


def _aligned(predictions: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return ``predictions`` in the clip order of ``other``."""
    place = {clip: i for i, clip in enumerate(predictions["clip_ids"])}
    if set(place) != set(other["clip_ids"]):
        raise ValueError("rows must have predictions of the same clips to be compared, but have others.")
    order = [place[c] for c in other["clip_ids"]]
    return predictions | {k: [predictions[k][i] for i in order] for k in _by_clip(predictions)}


def _ready(predictions: dict[str, Any], metric: str) -> dict[str, Any]:
    """Return predictions as arrays, which are quick to draw from, scored by this metric alone."""
    options = predictions["scorer"].only(predictions["options"], [metric])
    labels_B = np.empty(len(predictions["labels"]), object)
    labels_B[:] = predictions["labels"]
    arrays = {"clip_ids": np.array(predictions["clip_ids"]), "labels": labels_B}
    if "groups" in predictions:
        arrays["groups"] = np.array(predictions["groups"], object)
    return predictions | arrays | {"options": options, "scores": np.asarray(predictions["scores"], float)}


def _chosen(predictions: dict[str, Any], clips: np.ndarray) -> dict[str, Any]:
    return predictions | {k: predictions[k][clips] for k in _by_clip(predictions)}


def _by_clip(predictions: dict[str, Any]) -> list[str]:
    return [k for k in ("clip_ids", "labels", "scores", "groups") if k in predictions]
