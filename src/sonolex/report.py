"""Run folders in, one self-contained HTML page out: tables, curves, confusion matrices, a t-SNE."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import metrics
from sonolex.compare import Row, Table, cell, compare_runs, decisions, metric_title, read_results, shown_metrics
from sonolex.files import atomic_file, write_text
from sonolex.train.journal import training_curve

SMOOTHED_STEPS = 20
MAX_PROJECTIONS = 4
FRACTION = re.compile(r", (?P<percent>[\d.]+) % of labels")
ZERO_SHOT = ", asked with "
FEW_PERCENT = 10  # curves with shares below it are drawn over the logarithm of the share


def write_html(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write one self-contained page: tables, learning curves, confusion matrices, label fractions, a t-SNE.

    Raises:
        ImportError: matplotlib is missing (extra: report).
    """
    tables = compare_runs(folders)
    results = read_results(folders)
    parts = ["<h1>sonolex report</h1>", _environment_line(results)]
    for table in tables:
        parts.append(_html_table(table))
        parts += _table_figures(table)
        parts += _fraction_figures(table)
    parts += _robustness_figures(results)
    parts += ["<h2>Learning curves</h2>", _figure(_curves_figure(results))]
    projected = _projection_figures(results)
    if projected:
        parts += [
            "<h2>Embeddings of the report part</h2><p>t-SNE of pooled vectors, one colour a speaker.</p>",
            f'<div class="row">{"".join(projected)}</div>',
        ]
    page = _PAGE.format(body="\n".join(parts))
    path = Path(path)
    write_text(path, page)
    return path


def plot_sweep(folder: str | Path) -> Path:
    """Draw a sweep: scores in the order of trials, how much each value matters, and scores over each value.

    Raises:
        ImportError: matplotlib is missing (extra: report).
    """
    found = json.loads((Path(folder) / "sweep.json").read_text(encoding="utf-8"))
    done = [t for t in found["trials"] if t["value"] is not None and t["state"] == "complete"]
    names = list(found["best"])
    figure, _ = _new_figure(4.0 * (2 + len(names)), 3.2)
    figure.clear()
    axes = figure.subplots(1, 2 + len(names))
    scores = [t["value"] for t in done]
    axes[0].plot([t["number"] for t in done], scores, "o", label="trial")
    axes[0].plot([t["number"] for t in done], np.maximum.accumulate(scores), label="best so far")
    axes[0].set(xlabel="trial", ylabel="selection value")
    axes[0].legend()
    shares = [found["importance"].get(n, 0.0) for n in names]
    axes[1].barh(names, shares)
    axes[1].set(xlabel="share of the variance")
    for axis, name in zip(axes[2:], names, strict=True):
        values = [t["values"][name] for t in done]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        axis.plot(values if numeric else list(map(str, values)), scores, "o")
        axis.set(xlabel=name)
        if numeric and min(values) > 0 and max(values) > 30 * min(values):
            axis.set_xscale("log")
    return _drawn(figure, Path(folder) / "sweep.png")


def _html_table(table: Table) -> str:
    names = shown_metrics(table)
    heads = "".join(f"<th>{html.escape(metric_title(n))}</th>" for n in names)
    body = ""
    for row in table.rows:
        kind = "floor" if row.name.startswith("floor") else "published" if row.published else ""
        cells = "".join(f"<td>{cell(row, n)}</td>" for n in names)
        seeds = "" if row.published or kind == "floor" else len(row.by_seed)
        body += f'<tr class="{kind}"><td>{html.escape(row.title)}</td>{cells}<td>{seeds}</td></tr>'
    return (
        f"<h2>{html.escape(table.protocol)} · {html.escape(table.task)}</h2>"
        f"<p>{table.num_clips} clips, fingerprint <code>{table.fingerprint}</code>. ± is the deviation over seeds; "
        "[…] a 95 % bootstrap interval over clips of the first seed. "
        f"{html.escape(table.notes)}</p><table><tr><th></th>{heads}<th>seeds</th></tr>{body}</table>"
    )


def _table_figures(table: Table) -> list[str]:
    figures = []
    for row in table.rows:
        p = row.predictions
        if p is not None and p["scorer"] == "classification" and row.runs and len(p["options"]["classes"]) <= 20:
            figures.append(_figure(_confusion_figure(row, p)))
    return [f'<div class="row">{"".join(figures)}</div>'] if figures else []


def _confusion_figure(row: Row, predictions: dict[str, Any]) -> Any:
    figure, axes = _new_figure(3.2, 3.0)
    classes = predictions["options"]["classes"]
    true_B, predicted_B = decisions(predictions)
    counts = metrics.confusion_counts(true_B, predicted_B, len(classes))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for i, j in np.ndindex(counts.shape):
        axes.text(
            j,
            i,
            counts[i, j],
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[i, j] > 0.5 else "black",
        )
    axes.set_xticks(range(len(classes)), classes, rotation=60, fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    axes.set_title(row.name, fontsize=9)
    return figure


def _fraction_figures(table: Table) -> list[str]:
    """Curves over rows named "NAME, 50 % of labels", a figure for each set of modalities that is asked.

    "A, asked with B" is what no label of B's gives: 0 % of the curve "A, then B" if there is one, else a dashed line.
    """
    figures = []
    for asked in sorted({row.modalities for row in table.rows if FRACTION.search(row.name)}):
        rows = [row for row in table.rows if row.modalities == asked and row.mean(table.primary) is not None]
        curves = _fraction_curves(rows, table.primary)
        if any(len(points) > 1 for points in curves.values()):
            figures.append(_figure(_fraction_figure(curves, asked, table)))
    return ["<h3>Label fractions</h3>", f'<div class="row">{"".join(figures)}</div>'] if figures else []


def _fraction_curves(rows: Sequence[Row], metric: str) -> dict[str, list[tuple[float, float, float]]]:
    """Return (percent, mean, deviation over seeds) of each curve's points; a lone one at 0 % is a zero-shot row."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        match = FRACTION.search(row.name)
        before, _, asked = row.name.partition(ZERO_SHOT)
        if match:
            name, percent = row.name[: match.start()], float(match["percent"])
        elif asked:
            name, percent = f"{before}, then {asked}", 0.0
        else:
            continue
        curves.setdefault(name, []).append((percent, row.mean(metric) or 0.0, row.deviation(metric) or 0.0))
    return {name: sorted(points) for name, points in curves.items()}


def _fraction_figure(curves: dict[str, list[tuple[float, float, float]]], asked: Sequence[str], table: Table) -> Any:
    figure, axes = _new_figure(6, 3.4)
    shares = sorted({percent for points in curves.values() for percent, _, _ in points})
    for name, points in curves.items():
        if len(points) == 1 and points[0][0] == 0:
            label = name.replace(", then ", ZERO_SHOT)
            axes.axhline(points[0][1], ls="--", lw=1, color=axes.plot([], [])[0].get_color(), label=label)
        else:
            percents, values, deviations = zip(*points, strict=True)
            axes.errorbar(percents, values, yerr=deviations, marker="o", capsize=3, label=name)
    if any(0 < share < FEW_PERCENT for share in shares):
        axes.set_xscale("symlog", linthresh=min(share for share in shares if share))
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.set_xlabel("% of labels")
    axes.set_ylabel(table.primary)
    axes.set_title(f"asked with {' and '.join(asked)}" if asked else "", fontsize=8)
    axes.legend(fontsize=7)
    return figure


def _robustness_figures(results: list[dict[str, Any]]) -> list[str]:
    """Curves of `sonolex.robustness`, for runs whose folder has them."""
    figures = []
    for r in results:
        path = r["folder"] / "robustness.json"
        if not path.is_file():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        for name, points in found["sweeps"].items():
            figure, axes = _new_figure(3.6, 2.8)
            for task, clean in found["scores"].items():
                metric = found["primary"] if found["primary"] in clean else next(iter(clean))
                amounts = [p["amount"] for p in points]
                line = axes.plot(
                    amounts, [p["scores"][task][metric] for p in points], marker="o", label=f"{task}, {metric}"
                )
                axes.axhline(clean[metric], linestyle=":", color=line[0].get_color())
            axes.set_xlabel(found["units"][name], fontsize=8)
            axes.set_title(f"{r['run']}: {name}", fontsize=9)
            axes.legend(fontsize=7)
            figures.append(_figure(figure))
    head = "<h2>Robustness</h2><p>Dotted: the recordings as they are.</p>"
    return [head, f'<div class="row">{"".join(figures)}</div>'] if figures else []


def _curves_figure(results: list[dict[str, Any]]) -> Any:
    figure, axes = _new_figure(8, 3.4)
    for r in results:
        steps, values = _smooth_curve(r["folder"])
        if steps:
            axes.plot(steps, values, label=r["run"], linewidth=1)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(f"training loss (mean of {SMOOTHED_STEPS} steps)")
    axes.set_yscale("log")
    if len(results) <= 12:
        axes.legend(fontsize=7)
    return figure


def plot_similarity(folder: str | Path) -> Path:
    """Draw similarity.json: what each layer makes of speech and its text.

    Raises:
        ImportError: matplotlib is missing (extra: report).
    """
    rows = json.loads((Path(folder) / "similarity.json").read_text(encoding="utf-8"))["rows"]
    places = [r["place"] for r in rows]
    figure, axes = _new_figure(3.0 + 0.5 * len(rows), 3.2)
    axes.plot(places, [r["cka"] for r in rows], "o-", label="CKA")
    axes.plot(places, [r["recall_at_1"] for r in rows], "o-", label="recall at 1")
    axes.plot(places, [r["chance"] for r in rows], "--", color="grey", label="recall by chance")
    axes.set(ylim=(-0.02, 1.02))
    axes.tick_params(axis="x", rotation=45)
    axes.legend()
    return _drawn(figure, Path(folder) / "similarity.png")


def _smooth_curve(folder: Path) -> tuple[list[int], list[float]]:
    steps, values = training_curve(folder, "step", "total")
    if len(steps) < SMOOTHED_STEPS:
        return steps, values
    means = np.convolve(values, np.ones(SMOOTHED_STEPS) / SMOOTHED_STEPS, mode="valid")
    return steps[SMOOTHED_STEPS - 1 :], means.tolist()


def _projection_figures(results: list[dict[str, Any]]) -> list[str]:
    """t-SNE of pooled vectors (CTAL figure 4), one run a row of the tables, coloured by speaker where one is known."""
    figures, shown = [], set()
    for r in results:
        path = r["folder"] / "predictions" / "embeddings.npz"
        if len(figures) == MAX_PROJECTIONS or r["row"] in shown or not path.is_file():
            continue
        with np.load(path) as saved:
            figures.append(_figure(_tsne_figure(r["row"], saved["pooled"], saved["groups"])))
        shown.add(r["row"])
    return figures


def _tsne_figure(name: str, vectors: np.ndarray, groups: np.ndarray) -> Any:
    from sklearn.manifold import TSNE

    kept = np.random.default_rng(0).permutation(len(vectors))[:600]
    points = TSNE(perplexity=min(30, max(2, len(kept) // 4)), init="pca", random_state=0).fit_transform(vectors[kept])
    figure, axes = _new_figure(6.5, 4.2)
    for group in list(dict.fromkeys(groups[kept].tolist()))[:20]:
        rows = groups[kept] == group
        axes.scatter(points[rows, 0], points[rows, 1], s=8, label=str(group))
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title(name, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def _new_figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("plots need matplotlib: pip install 'sonolex[report]'") from e
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _drawn(figure: Any, path: Path) -> Path:
    with atomic_file(path) as building:
        figure.savefig(building, dpi=100)
    return path


def _figure(figure: Any) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return f'<img src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'


def _environment_line(results: list[dict[str, Any]]) -> str:
    e = results[0]["environment"]
    commit = (e.get("git_commit") or "unknown")[:10] + (" with changes" if e.get("git_dirty") else "")
    versions = f"sonolex {e['sonolex']} · commit {commit} · torch {e['torch']} · {e['num_cpus']} CPUs"
    return f"<p>{len(results)} runs · {versions}</p>"


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sonolex report</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 1rem 0; }} td, th {{ padding: .25rem .8rem; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }} tr {{ border-bottom: 1px solid #ddd; }}
tr.floor td, tr.published td {{ color: #777; }} .row {{ display: flex; flex-wrap: wrap; gap: 1rem; }}
img {{ max-width: 100%; }}</style></head><body>{body}</body></html>
"""
