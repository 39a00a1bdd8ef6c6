"""Run folders in, tables, plots and one self-contained HTML page out. Reads saved predictions; needs no model.

Runs of one protocol, row and modalities form a table row: folds are pooled per seed, seeds give mean and deviation.
Results with different fingerprints are never put into one column.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import metrics

BOOTSTRAP_DRAWS = 300
EER_DRAWS = 30
INTERVAL_OF = ("balanced_accuracy", "eer")
FRACTION = re.compile(r", (?P<percent>[\d.]+) % of labels")


@dataclass
class Row:
    """One line of a table: metric values per seed, and the predictions of the first seed for intervals and plots."""

    name: str
    task: str
    by_seed: dict[int, dict[str, float]]
    predictions: dict[str, Any] | None = None
    published: bool = False
    interval: tuple[float, float] | None = None
    notes: str = ""
    runs: list[Path] = field(default_factory=list)

    def mean(self, metric: str) -> float | None:
        values = [v[metric] for v in self.by_seed.values() if metric in v]
        return float(np.mean(values)) if values else None

    def deviation(self, metric: str) -> float | None:
        values = [v[metric] for v in self.by_seed.values() if metric in v]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass
class Table:
    """All rows that may be compared: one protocol, one fingerprint, one task."""

    protocol: str
    fingerprint: str
    task: str
    primary: str
    rows: list[Row]
    num_clips: int
    notes: str = ""


def read_results(folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Return the results of every finished run under the folders, each with its ``folder``.

    Raises:
        FileNotFoundError: a folder without finished runs.
    """
    results = []
    for place in folders:
        found = sorted(Path(place).rglob("results.json"))
        if not found:
            raise FileNotFoundError(f"`folders` must hold finished runs (results.json), but {place} does not.")
        for path in found:
            results.append(json.loads(path.read_text(encoding="utf-8")) | {"folder": path.parent})
    return results


def compare(folders: Sequence[str | Path]) -> list[Table]:
    """Return tables of all runs, one per task.

    Raises:
        ValueError: runs of one protocol have different fingerprints; the message says which fields differ.
    """
    results = [r for r in read_results(folders) if "fingerprint" in r]
    first: dict[str, dict[str, Any]] = {}
    for r in results:
        other = first.setdefault(r["protocol"], r)
        if r["fingerprint"] != other["fingerprint"]:
            differing = [k for k in sorted({*r["card"], *other["card"]}) if r["card"].get(k) != other["card"].get(k)]
            raise ValueError(
                f"results must have one fingerprint to be compared, but {other['folder']} has {other['fingerprint']} "
                f"and {r['folder']} has {r['fingerprint']}. They differ in: {', '.join(differing)}."
            )
    tables = []
    for protocol in sorted(first):
        runs = [r for r in results if r["protocol"] == protocol]
        for task in sorted({t for r in runs for t in r.get("scores", {})}):
            tables.append(_table(protocol, task, [r for r in runs if task in r.get("scores", {})]))
    return tables


def text_tables(tables: Sequence[Table]) -> str:
    """Return the tables as plain text for a terminal."""
    lines = []
    for table in tables:
        names = _shown_metrics(table)
        lines += [
            "",
            f"{table.protocol} · {table.task} · {table.num_clips} clips · fingerprint {table.fingerprint}",
        ]
        width = max([len(r.name) for r in table.rows] + [4])
        heads = [f"{_head(n):>24}" for n in names]
        lines.append(f"  {'':{width}}{''.join(heads)}  seeds")
        for row in table.rows:
            cells = [f"{_cell(row, n):>24}" for n in names]
            lines.append(f"  {row.name:{width}}{''.join(cells)}  {'' if row.published else len(row.by_seed) or ''}")
        if table.notes:
            lines.append(f"  {table.notes}")
    return "\n".join(lines)


def write_html(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write one self-contained page: tables, learning curves, confusion matrices, label fractions, a t-SNE.

    Raises:
        ImportError: matplotlib is missing (extra: report).
    """
    tables = compare(folders)
    results = read_results(folders)
    parts = ["<h1>sonolex report</h1>", _environment_line(results)]
    for table in tables:
        parts.append(_html_table(table))
        parts += _table_figures(table)
        parts += _fraction_figures(table)
    parts += ["<h2>Learning curves</h2>", _figure(_curves_figure(results))]
    projected = _projection_figure(results)
    if projected is not None:
        parts += ["<h2>Embeddings of the report part</h2>", projected]
    page = _PAGE.format(body="\n".join(parts))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def score(predictions: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of saved predictions, whatever their task."""
    labels, scores = predictions["labels"], np.asarray(predictions["scores"], float)
    known = [i for i, v in enumerate(labels) if v is not None]
    if not known:
        return {}
    if predictions["kind"] == "classification":
        true_B, predicted_B = _decisions(predictions)
        return {name: metric(true_B, predicted_B) for name, metric in metrics.CLASSIFICATION.items()}
    if predictions["kind"] == "regression":
        true_B = np.array([float(labels[i]) for i in known])
        return {n: metrics.REGRESSION[n](true_B, scores[known, 0]) for n in predictions["metric_names"]}
    if predictions["kind"] == "verification":
        return {"eer": metrics.eer(*metrics.all_pairs(np.array([str(labels[i]) for i in known]), scores[known]))}
    return {}


def _table(protocol: str, task: str, runs: list[dict[str, Any]]) -> Table:
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in runs:
        groups.setdefault(r["row"], []).append(r)
    folds = {r["fold"] for r in runs}
    rows = [_row(name, task, rs, folds) for name, rs in groups.items()]
    widest = max(groups.values(), key=lambda rs: len({r["fold"] for r in rs}))
    rows = _floor_rows(task, widest) + rows
    for name, values in runs[0].get("published", {}).items():
        rows.append(Row(f"published: {name}", task, {0: dict(values)}, published=True))
    primary = runs[0]["primary"]
    primary = primary if any(r.mean(primary) is not None for r in rows) else next(iter(rows[-1].by_seed[0]))
    num_clips = max(len(r.predictions["clip_ids"]) for r in rows if r.predictions)
    notes = runs[0].get("notes", "")
    return Table(protocol, runs[0]["fingerprint"], task, primary, rows, num_clips, notes)


def _row(name: str, task: str, runs: list[dict[str, Any]], folds: set[str]) -> Row:
    by_seed, pooled_of = {}, {}
    for seed in sorted({r["seed"] for r in runs}):
        own = [r for r in runs if r["seed"] == seed]
        pooled_of[seed] = _pooled([_load(r["folder"] / "predictions" / f"{task}.json") for r in own])
        by_seed[seed] = score(pooled_of[seed])
    have = {r["fold"] for r in runs}
    notes = "" if have == folds else f"{len(have)} of {len(folds)} folds"
    pooled = pooled_of[min(pooled_of)]
    shown = f"{name} ({notes})" if notes else name
    return Row(
        shown,
        task,
        by_seed,
        pooled,
        notes=notes,
        interval=_interval(pooled),
        runs=[r["folder"] for r in runs],
    )


def _floor_rows(task: str, runs: list[dict[str, Any]]) -> list[Row]:
    one_seed = [r for r in runs if r["seed"] == runs[0]["seed"]]
    rows = []
    for path in sorted((one_seed[0]["folder"] / "floors").glob(f"{task}.*.json")):
        pooled = _pooled([_load(r["folder"] / "floors" / path.name) for r in one_seed])
        rows.append(
            Row(
                f"floor: {path.stem.split('.')[1]}",
                task,
                {0: score(pooled)},
                pooled,
                interval=_interval(pooled),
            )
        )
    return rows


def _pooled(predictions: list[dict[str, Any]]) -> dict[str, Any]:
    joined = dict(predictions[0])
    for key in ("clip_ids", "labels", "scores"):
        joined[key] = [value for p in predictions for value in p[key]]
    return joined


def _interval(predictions: dict[str, Any]) -> tuple[float, float] | None:
    if predictions["kind"] == "verification":
        speakers = np.array([str(label) for label in predictions["labels"]])
        same, scores = metrics.all_pairs(speakers, np.asarray(predictions["scores"], np.float32))
        pairs = np.stack(np.triu_indices(len(speakers), k=1), 1)
        return metrics.eer_interval(same, scores, pairs, num_draws=EER_DRAWS)
    if predictions["kind"] != "classification":
        return None
    true_B, predicted_B = _decisions(predictions)
    return metrics.bootstrap_interval(metrics.balanced_accuracy, true_B, predicted_B, num_draws=BOOTSTRAP_DRAWS)


def _decisions(predictions: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    classes = {name: i for i, name in enumerate(predictions["classes"])}
    known = [i for i, v in enumerate(predictions["labels"]) if v is not None]
    true_B = np.array([classes[_class_name(predictions["labels"][i])] for i in known])
    return true_B, np.asarray(predictions["scores"], float)[known].argmax(1)


def _class_name(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _shown_metrics(table: Table) -> list[str]:
    names = dict.fromkeys([table.primary, *(n for r in table.rows for v in r.by_seed.values() for n in v)])
    return list(names)


def _head(metric: str) -> str:
    word = metrics.PAPER_WORDS.get(metric)
    return f"{metric} ({word})" if word else metric


def _cell(row: Row, metric: str) -> str:
    value, deviation = row.mean(metric), row.deviation(metric)
    if value is None:
        return ""
    text = f"{value:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
    if row.interval is not None and metric in INTERVAL_OF and deviation is None:
        text += f" [{row.interval[0]:.3f}, {row.interval[1]:.3f}]"
    return text


def _html_table(table: Table) -> str:
    names = _shown_metrics(table)
    heads = "".join(f"<th>{html.escape(_head(n))}</th>" for n in names)
    body = ""
    for row in table.rows:
        kind = "floor" if row.name.startswith("floor") else "published" if row.published else ""
        cells = "".join(f"<td>{_cell(row, n)}</td>" for n in names)
        seeds = "" if row.published or kind == "floor" else len(row.by_seed)
        body += f'<tr class="{kind}"><td>{html.escape(row.name)}</td>{cells}<td>{seeds}</td></tr>'
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
        if p is not None and p["kind"] == "classification" and row.runs and len(p["classes"]) <= 20:
            figures.append(_figure(_confusion_figure(row, p)))
    return [f'<div class="row">{"".join(figures)}</div>'] if figures else []


def _confusion_figure(row: Row, predictions: dict[str, Any]) -> Any:
    figure, axes = _new_figure(3.2, 3.0)
    classes = predictions["classes"]
    true_B, predicted_B = _decisions(predictions)
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
    """Curves over rows named "NAME, 50 % of labels" (CTAL figures 2 and 3), with the deviation over seeds."""
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for row in table.rows:
        match = FRACTION.search(row.name)
        value = row.mean(table.primary)
        if match and value is not None:
            name = row.name[: match.start()]
            curves.setdefault(name, []).append((float(match["percent"]), value, row.deviation(table.primary) or 0.0))
    if not any(len(points) > 1 for points in curves.values()):
        return []
    figure, axes = _new_figure(6, 3.4)
    for name, points in curves.items():
        shares, values, deviations = zip(*sorted(points), strict=True)
        axes.errorbar(shares, values, yerr=deviations, marker="o", capsize=3, label=name)
    axes.set_xlabel("% of labels")
    axes.set_ylabel(table.primary)
    axes.legend(fontsize=7)
    return ["<h3>Label fractions</h3>", _figure(figure)]


def _curves_figure(results: list[dict[str, Any]]) -> Any:
    figure, axes = _new_figure(8, 3.4)
    for r in results:
        steps, values = _smooth_curve(r["folder"] / "journal.jsonl")
        if steps:
            axes.plot(steps, values, label=r["run"], linewidth=1)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("training loss (mean of 20 steps)")
    axes.set_yscale("log")
    if len(results) <= 12:
        axes.legend(fontsize=7)
    return figure


def _smooth_curve(path: Path) -> tuple[list[int], list[float]]:
    by_step: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("event") == "step":
            by_step[event["step"]] = event["total"]
    steps = sorted(by_step)
    if len(steps) < 20:
        return steps, [by_step[s] for s in steps]
    values = np.convolve([by_step[s] for s in steps], np.ones(20) / 20, mode="valid")
    return steps[19:], values.tolist()


def _projection_figure(results: list[dict[str, Any]]) -> str | None:
    """t-SNE of pooled vectors (CTAL figure 4) of the first run that saved them, coloured by speaker if known."""
    for r in results:
        path = r["folder"] / "predictions" / "embeddings.npz"
        if path.is_file():
            with np.load(path) as saved:
                vectors, groups = saved["pooled"], saved["groups"]
            return _figure(_tsne_figure(r["run"], vectors, groups))
    return None


def _tsne_figure(name: str, vectors: np.ndarray, groups: np.ndarray) -> Any:
    from sklearn.manifold import TSNE

    kept = np.random.default_rng(0).permutation(len(vectors))[:600]
    points = TSNE(perplexity=min(30, max(2, len(kept) // 4)), init="pca", random_state=0).fit_transform(vectors[kept])
    figure, axes = _new_figure(5.5, 4.5)
    for group in list(dict.fromkeys(groups[kept].tolist()))[:20]:
        rows = groups[kept] == group
        axes.scatter(points[rows, 0], points[rows, 1], s=8, label=str(group))
    axes.legend(fontsize=6, ncol=2)
    axes.set_title(f"{name}: t-SNE of pooled vectors", fontsize=9)
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
