"""Pictures of results as PNG, each with a sentence as alternative text.

Names come from files and tables that are not trusted: nothing in them is typeset, reordered or hidden, and long ones
are cut in pictures (never in tables). Needs matplotlib (extra: report).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import metrics
from sonolex.files import atomic_file
from sonolex.results.compare import Row, Table, class_ids
from sonolex.results.saved import load_similarity, load_sweep
from sonolex.terminal import visible
from sonolex.train.journal import training_curve

SMOOTHED_STEPS = 20
MOST_POINTS = 5000  # of a curve: more than a picture has columns
MOST_CHARACTERS = 36  # of a name in a picture
MOST_CLASSES = 20  # of a confusion matrix
MOST_GROUPS = 20  # with a colour of their own
MOST_PROJECTED = 600
FEWEST_FOR_TSNE = 12  # t-SNE needs neighbourhoods; for fewer clips, principal components show more
FRACTION = re.compile(r", (?P<percent>[0-9]{1,3}(\.[0-9]{1,6})?) % of labels")
ZERO_SHOT = ", asked with "
FEW_PERCENT = 10  # curves with shares below it are drawn over the logarithm of the share
# For scripts that matplotlib's own font lacks, whichever of them is there.
WORLD_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR", "Hiragino Sans",
    "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "IPAGothic",
    "Noto Sans Devanagari", "Nirmala UI", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Thai",
    "Arial Unicode MS", "Unifont", "Noto Emoji", "Symbola",
)  # fmt: skip
Curves = Mapping[str, Sequence[tuple[float, float, float]]]


@dataclass(frozen=True)
class Picture:
    """A PNG. ``lacks_characters``: some are drawn as boxes, because no font of this machine has them."""

    png: bytes
    alt: str
    lacks_characters: bool = False


def shown(name: object, *, most: int = MOST_CHARACTERS) -> str:
    """Return a name as pictures show it: hidden characters are made visible, and long names are cut."""
    text = visible(name)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves names with a leading "_" out of legends


def confusion(row: Row, predictions: dict[str, Any]) -> Picture:
    """Draw how often each class was predicted as each."""
    classes = predictions["options"]["classes"]
    true_B, predicted_B = class_ids(predictions)
    kept = true_B >= 0  # open vocabularies have labels outside the classes
    counts = metrics.confusion_counts(true_B[kept], predicted_B[kept], len(classes))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(3.0, 1.5 + 0.25 * len(classes))
    with _figure(side + 0.2, side) as (figure, axes):
        axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
        for i, j in np.ndindex(counts.shape):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
        names = [shown(c, most=16) for c in classes]
        axes.set_xticks(range(len(classes)), names, rotation=60, fontsize=7)
        axes.set_yticks(range(len(classes)), names, fontsize=7)
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true", fontsize=8)
        axes.set_title(shown(row.name), fontsize=9)
        right = f"{np.trace(counts)} of {counts.sum()} clips are on the diagonal"
        return _picture(figure, f"Confusion matrix of {row.name}: {right}.")


def fractions(table: Table) -> list[Picture]:
    """Draw curves over rows named "NAME, 50 % of labels", a picture for each set of scored modalities.

    A row "A, asked with B" uses no label of B's: 0 % of the curve "A, then B" if there is one, else a dashed line.
    """
    pictures = []
    for modalities in sorted({row.modalities for row in table.rows if FRACTION.search(row.name)}):
        rows = [row for row in table.rows if row.modalities == modalities and row.mean(table.primary) is not None]
        curves = fraction_curves(rows, table.primary)
        if any(len(points) > 1 for points in curves.values()):
            pictures.append(_fractions(curves, modalities, table))
    return pictures


def fraction_curves(rows: Sequence[Row], metric: str) -> dict[str, list[tuple[float, float, float]]]:
    """Return (percent, mean, deviation over seeds) of each curve's points; a lone one at 0 % is a zero-shot row."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        match = FRACTION.search(row.name)
        before, _, target = row.name.partition(ZERO_SHOT)
        if match:
            name, percent = row.name[: match.start()], float(match["percent"])
        elif target:
            name, percent = f"{before}, then {target}", 0.0
        else:
            continue
        curves.setdefault(name, []).append((percent, row.mean(metric) or 0.0, row.deviation(metric) or 0.0))
    return {name: sorted(points) for name, points in curves.items()}


def robustness(run: str, results: dict[str, Any], sweep: str) -> Picture:
    """Draw one sweep of a robustness.json: scores over the strength of a degradation."""
    with _figure(3.6, 2.8) as (figure, axes):
        for task, clean in results["scores"].items():
            if not clean:
                continue
            metric = results["primary"] if results["primary"] in clean else next(iter(clean))
            points = results["sweeps"][sweep]
            values = [_drawable(p["scores"][task][metric]) for p in points]
            (line,) = axes.plot([p["amount"] for p in points], values, marker="o", label=shown(f"{task}, {metric}"))
            axes.axhline(_drawable(clean[metric]), linestyle=":", color=line.get_color())
        axes.set_xlabel(shown(results["units"][sweep]), fontsize=8)
        axes.set_title(shown(f"{run}: {sweep}"), fontsize=9)
        _legend(axes, fontsize=7)
        return _picture(figure, f"Scores of {run} over {results['units'][sweep]}.")


def learning_curves(results: Sequence[dict[str, Any]]) -> Picture | None:
    """Draw the training loss of every run over optimiser steps; None if no run has any."""
    if not any(training_curve(r["folder"], "step", "total")[0] for r in results):
        return None
    with _figure(5.0, 4.4) as (figure, axes):
        lowest, drawn = np.inf, 0
        for r in results:
            steps, values = _smooth_curve(r["folder"])
            if steps:
                axes.plot(steps, values, label=shown(_curve_name(r)), linewidth=1)
                lowest, drawn = min(lowest, *values), drawn + 1
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(f"training loss (mean of {SMOOTHED_STEPS} steps)")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if 0 < lowest < np.inf:
            _log_scale(axes, axes.yaxis, "y")
        if drawn <= 12:
            _legend_below(figure, axes)
        return _picture(figure, f"Training loss of {drawn} runs over optimiser steps.")


def validation_curves(results: Sequence[dict[str, Any]]) -> Picture | None:
    """Draw the score on the selection part over optimiser steps, larger is better; None if no run was evaluated."""
    curves = [(r, *training_curve(r["folder"], "selection", "value")) for r in results]
    curves = [(r, steps, values) for r, steps, values in curves if steps]
    if not curves:
        return None
    with _figure(5.0, 4.4) as (figure, axes):
        for r, steps, values in curves:
            axes.plot(steps, [_drawable(v) for v in values], marker=".", label=shown(_curve_name(r)), linewidth=1)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("score on the selection part")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if len(curves) <= 12:
            _legend_below(figure, axes)
        return _picture(figure, f"Selection scores of {len(curves)} runs over optimiser steps.")


def _curve_name(result: Mapping[str, Any]) -> str:
    """Return a run's name, with the folder it lies in where a fit trained it several times."""
    folder = Path(result["folder"]).name
    return f"{result['run']} {folder}" if folder.startswith("without ") else str(result["run"])


def projection(
    name: str, vectors_ND: np.ndarray, groups_N: np.ndarray, labels_N: np.ndarray | None = None
) -> Picture | str:
    """Draw vectors in two dimensions, a colour for each label, or group; return a sentence if there is nothing to draw.

    t-SNE (CTAL figure 4) from `FEWEST_FOR_TSNE` vectors on, else two principal components.
    """
    kept = np.random.default_rng(0).permutation(len(vectors_ND))[:MOST_PROJECTED]
    points_N2, how = _projected(vectors_ND[kept])
    if points_N2 is None:
        return f"no picture of {name}: {how}"
    groups = (groups_N if labels_N is None else labels_N)[kept]
    named = sorted(set(groups.tolist()), key=lambda g: (-int((groups == g).sum()), g))
    with _figure(5.0, 4.6) as (figure, axes):
        for group in named[:MOST_GROUPS]:
            rows = groups == group
            axes.scatter(points_N2[rows, 0], points_N2[rows, 1], s=8, label=shown(group))
        rest = ~np.isin(groups, named[:MOST_GROUPS])
        if rest.any():
            label = f"{len(named) - MOST_GROUPS} others"
            axes.scatter(points_N2[rest, 0], points_N2[rest, 1], s=8, color="lightgrey", label=label)
        if len(named) > 1:
            _legend_below(figure, axes)
        axes.set_title(f"{shown(name)} ({how})", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        return _picture(figure, f"{len(kept)} pooled vectors of {name} in two dimensions ({how}).")


def plot_sweep(folder: str | Path) -> Path:
    """Draw a sweep: scores in the order of trials, how much each value matters, and scores over each value.

    Raises:
        ImportError: matplotlib is missing (extra: report).
        ValueError: sweep.json is not what a sweep writes.
    """
    summary = load_sweep(Path(folder) / "sweep.json")
    done = [t for t in summary["trials"] if t["value"] is not None and t["state"] == "complete"]
    names = list(summary["best"])[:12]
    with _figure(4.0 * (2 + len(names)), 3.2) as (figure, _):
        figure.clear()
        axes = figure.subplots(1, 2 + len(names))
        scores = [t["value"] for t in done]
        axes[0].plot([t["number"] for t in done], scores, "o", label="trial")
        axes[0].plot([t["number"] for t in done], np.maximum.accumulate(scores), label="best so far")
        axes[0].set(xlabel="trial", ylabel="selection value")
        _legend(axes[0])
        axes[1].barh(range(len(names)), [summary["importance"].get(n, 0.0) for n in names])
        axes[1].set_yticks(range(len(names)), [shown(n) for n in names])
        axes[1].set(xlabel="share of the variance")
        for axis, name in zip(axes[2:], names, strict=True):
            values = [t["values"][name] for t in done]
            numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
            axis.plot(values if numeric else [shown(v) for v in values], scores, "o")
            axis.set(xlabel=shown(name))
            if numeric and values and min(values) > 0 and max(values) > 30 * min(values):
                _log_scale(axis, axis.xaxis, "x")
        return _written(figure, Path(folder) / "sweep.png")


def plot_similarity(folder: str | Path) -> Path:
    """Draw similarity.json: how alike speech and its text are in each layer.

    Raises:
        ImportError: matplotlib is missing (extra: report).
        ValueError: similarity.json is not what a study writes.
    """
    rows = load_similarity(Path(folder) / "similarity.json")
    with _figure(min(60.0, 3.0 + 0.5 * len(rows)), 3.2) as (figure, axes):
        places = range(len(rows))
        axes.plot(places, [r["cka"] for r in rows], "o-", label="CKA")
        axes.plot(places, [r["recall_at_1"] for r in rows], "o-", label="recall at 1")
        axes.plot(places, [r["chance"] for r in rows], "--", color="grey", label="recall by chance")
        axes.set_xticks(places, [shown(r["place"]) for r in rows], rotation=45)
        axes.set(ylim=(-0.02, 1.02))
        _legend(axes)
        return _written(figure, Path(folder) / "similarity.png")


def _fractions(curves: Curves, modalities: Sequence[str], table: Table) -> Picture:
    shares = sorted({percent for points in curves.values() for percent, _, _ in points})
    with _figure(6, 3.4) as (figure, axes):
        for name, points in curves.items():
            if len(points) == 1 and points[0][0] == 0:
                label = shown(name.replace(", then ", ZERO_SHOT))
                axes.axhline(points[0][1], ls="--", lw=1, color=axes.plot([], [])[0].get_color(), label=label)
            else:
                percents, values, deviations = zip(*points, strict=True)
                axes.errorbar(percents, values, yerr=deviations, marker="o", capsize=3, label=shown(name))
        if any(0 < share < FEW_PERCENT for share in shares):
            axes.set_xscale("symlog", linthresh=min(share for share in shares if share))
            axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.set_xlabel("% of labels")
        axes.set_ylabel(shown(table.primary))
        axes.set_title(shown(f"asked with {' and '.join(modalities)}" if modalities else ""), fontsize=8)
        _legend(axes, fontsize=7)
        return _picture(figure, f"{table.primary} of {len(curves)} rows over the share of labels they learned from.")


def _projected(vectors_ND: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return points (N, 2) and the method, or None and why there are none."""
    if len(vectors_ND) < 3:
        return None, f"too few clips ({len(vectors_ND)})"
    if not np.isfinite(vectors_ND).all():
        return None, "it has vectors that are not finite"
    largest = np.abs(vectors_ND.astype(np.float64)).max(initial=0.0) or 1.0
    centred_ND = vectors_ND / largest - (vectors_ND / largest).mean(0)
    size = np.abs(centred_ND).max(initial=0.0)
    if size <= 1e-7:  # t-SNE ends the process, without a message, where all vectors are the same
        return None, "all its vectors are the same"
    centred_ND = np.pad(centred_ND / size, ((0, 0), (0, max(0, 2 - centred_ND.shape[1]))))
    if len(centred_ND) < FEWEST_FOR_TSNE:
        _, _, directions_DD = np.linalg.svd(centred_ND, full_matrices=False)
        return centred_ND @ directions_DD[:2].T, "principal components"
    from sklearn.manifold import TSNE

    perplexity = min(30, max(2, len(centred_ND) // 4))
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0)
    return tsne.fit_transform(centred_ND.astype(np.float32)), "t-SNE"


def _smooth_curve(folder: Path) -> tuple[list[int], list[float]]:
    steps, values = training_curve(folder, "step", "total")
    if len(steps) >= SMOOTHED_STEPS:
        means = np.convolve(values, np.ones(SMOOTHED_STEPS) / SMOOTHED_STEPS, mode="valid")
        steps, values = steps[SMOOTHED_STEPS - 1 :], means.tolist()
    every = -(-len(steps) // MOST_POINTS) or 1
    return steps[::every], values[::every]


def _drawable(value: float) -> float:
    return value if np.isfinite(value) else np.nan


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """Context: a figure and its axes; no text inside is typeset as a formula."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager
    except ImportError as e:
        raise ImportError("plots need matplotlib: pip install 'sonolex[report]'") from e
    there = set(fontManager.get_font_names())
    settings: dict[Any, Any] = {
        "text.parse_math": False,
        "text.usetex": False,
        "axes.formatter.use_mathtext": False,
        "font.family": ["DejaVu Sans", *(name for name in WORLD_FONTS if name in there)],
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def _legend(axes: Any, **options: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**options)


def _legend_below(figure: Any, axes: Any) -> None:
    """Draw the legend below the axes, where it hides nothing and stays readable on a narrow page."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = 2 if max(map(len, labels)) > 12 else 4
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def _log_scale(axes: Any, axis: Any, name: str) -> None:
    """Set a logarithmic scale with plain numbers; matplotlib's own are formulas."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


def _picture(figure: Any, alt: str) -> Picture:
    png = io.BytesIO()
    lacks_characters = _saved(figure, png, dpi=110)
    return Picture(png.getvalue(), alt, lacks_characters)


def _written(figure: Any, path: Path) -> Path:
    with atomic_file(path) as building:
        _saved(figure, building, dpi=100)
    return path


def _saved(figure: Any, place: Any, *, dpi: int) -> bool:
    """Save a figure as PNG; return whether some characters are in no font."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(place, format="png", dpi=dpi)
    for warning in caught:
        if not str(warning.message).startswith("Glyph"):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return any(str(warning.message).startswith("Glyph") for warning in caught)
