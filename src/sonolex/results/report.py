"""Run folders in, one self-contained HTML page out: tables, curves, confusion matrices, a t-SNE.

Everything on the page that was read from a file is text: it is escaped, and the page may run nothing and load nothing.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonolex.files import write_text
from sonolex.results import plots
from sonolex.results.compare import (
    Table,
    best_floor,
    best_row,
    cell,
    class_recalls,
    compare_runs,
    drawn_over,
    is_below,
    metric_title,
    shown_metrics,
)
from sonolex.results.plots import Picture
from sonolex.results.saved import load_embeddings, load_robustness, read_results
from sonolex.terminal import visible

MAX_PROJECTIONS = 4
MOST_RECALLS = 6  # columns
MOST_PICTURES = 60  # in one row of the page


def write_html(folders: Sequence[str | Path], path: str | Path, *, trust_code: bool = False) -> Path:
    """Write one self-contained page: tables, learning curves, confusion matrices, label fractions, a t-SNE.

    Args:
        trust_code: see `sonolex.results.saved.load_predictions`.

    Raises:
        ImportError: matplotlib is missing (extra: report).
        ValueError: a file is not as a run writes it (`sonolex.results.saved`).
    """
    tables = compare_runs(folders, trust_code=trust_code)
    results = read_results(folders)
    title = _title(tables)
    parts = [f"<h1>{_text(title)}</h1>", *_conclusions(tables, results)]
    for table in tables:
        parts.append(_html_table(table))
        parts.append(_recalls(table))
        parts.append(_row_of(_confusions(table)))
        fractions = plots.fractions(table)
        parts += ["<h3>Label fractions</h3>", _row_of(fractions)] if fractions else []
    robust = _robustness(results)
    if robust:
        parts += ["<h2>Robustness</h2><p>Dotted: the recordings as they are.</p>", _row_of(robust)]
    curves = [c for c in (plots.learning_curves(results), plots.validation_curves(results)) if c is not None]
    if curves:
        parts += ["<h2>Learning curves</h2>", _row_of(curves)]
    projected = _projections(results)
    if projected:
        crossed = any(r.get("winners_by_fold") and r.get("fold") == "all" for r in results)
        learned = " The model has learned from these clips, so they lie further apart than new ones will." * crossed
        parts += [
            "<h2>How the model sees the clips</h2><p>Its vectors of reported clips in two dimensions, one colour a "
            f"label (or a speaker, where there is none): clips that lie apart differ to the model.{learned}</p>",
            _row_of([p for p in projected if isinstance(p, Picture)]),
            *(f"<p>{_text(sentence)}.</p>" for sentence in projected if isinstance(sentence, str)),
        ]
    parts.append(_environment_line(results))
    page = _PAGE.replace("TITLE", _text(title)).replace("BODY", "\n".join(parts))
    write_text(Path(path), page)
    return Path(path)


def _title(tables: Sequence[Table]) -> str:
    """Return the question that the page answers."""
    tasks = list(dict.fromkeys(t.task for t in tables))
    if not tasks:
        return "What are the results of the runs?"
    names = tasks[0] if len(tasks) == 1 else f"{', '.join(tasks[:3])}{', …' if len(tasks) > 3 else ''}"
    return f"How well can {names} be predicted?"


def _conclusions(tables: Sequence[Table], results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the page's conclusions: the verdicts of fits, else which row is best and whether it beats the floors."""
    parts = []
    for r in results:
        if r.get("verdict"):
            name = (
                f"<h3>{_text(r['row'])}, seed {_text(r['seed'])}</h3>"
                if len([1 for o in results if o.get("verdict")]) > 1
                else ""
            )
            parts.append(name + "".join(f"<p>{_text(line)}</p>" for line in r["verdict"]))
    if not parts:
        parts = [f"<p>{_text(line)}</p>" for line in map(_best_row, tables) if line]
    return [f'<div class="verdict">{"".join(parts)}</div>'] if parts else []


def _best_row(table: Table) -> str:
    rows = [r for r in table.rows if not (r.floor or r.published) and r.mean(table.primary) is not None]
    if not rows:
        return ""
    best, floor = best_row(table, rows), best_floor(table)
    line = f"{table.task}: the best row is {best.name}, {table.primary} {best.mean(table.primary):.3f}"
    if floor is not None:
        place = "below" if is_below(table, best, floor) else "above"
        of_floor = f"{floor.name.removeprefix('floor: ')}, has {floor.mean(table.primary):.3f}"
        line += f"; the best floor, {of_floor}, so it is {place} it"
    return f"{line}."


def _recalls(table: Table) -> str:
    """Return a table of the share of each class that is recognised, by the rows themselves and the best floor."""
    floor = best_floor(table)
    rows = [r for r in table.rows if r.runs] + ([floor] if floor is not None else [])
    rows = [r for r in rows if r.predictions is not None and r.predictions["scorer"].one_class][:MOST_RECALLS]
    if not rows or not rows[0].runs or len(rows[0].predictions["options"]["classes"]) > plots.MOST_CLASSES:  # type: ignore[index]
        return ""
    recalls = [class_recalls(r) for r in rows]
    heads = "".join(f"<th>{_breakable(r.name)}</th>" for r in rows)
    body = ""
    for name in recalls[0]:
        cells = "".join(f"<td>{of_row[name][0]:.2f}</td>" if name in of_row else "<td></td>" for of_row in recalls)
        body += f"<tr><td>{_text(name)}</td><td>{recalls[0][name][1]}</td>{cells}</tr>\n"
    return (
        "<h3>Share of each class that is recognised (recall)</h3>"
        f'<div class="wide"><table><tr><th></th><th>clips</th>{heads}</tr>\n{body}</table></div>'
    )


def _html_table(table: Table) -> str:
    names = shown_metrics(table)
    heads = "".join(f"<th>{_text(metric_title(table, n))}</th>" for n in names)
    body, floor = "", best_floor(table)
    for row in table.rows:
        kind = "floor" if row.floor else "published" if row.published else "candidate" if row.candidate else "run"
        below = floor is not None and not (row.floor or row.published) and is_below(table, row, floor)
        mark = ' <span class="below">below the best floor</span>' if below else ""
        mark = ' <span class="best">best floor</span>' if row is floor else mark
        cells = "".join(f"<td>{_text(cell(row, n))}</td>" for n in names)
        seeds = "" if row.published or row.floor else len(row.by_seed)
        body += f'<tr class="{kind}"><td>{_breakable(row.title)}{mark}</td>{cells}<td>{seeds}</td></tr>\n'
    return (
        f"<h2>{_heading(table)}</h2>"
        f"<p>{table.num_clips} clips, fingerprint <code>{_text(table.fingerprint)}</code>. ± is the deviation over "
        f"seeds; […] a 95 % bootstrap interval over {drawn_over(table)} of the first seed. "
        f"{_text(table.notes)}</p>\n"
        f'<div class="wide"><table><tr><th></th>{heads}<th>seeds</th></tr>\n{body}</table></div>'
    )


def _heading(table: Table) -> str:
    names = [table.protocol] if table.protocol.startswith(f"{table.task},") else [table.protocol, table.task]
    return " · ".join(f"<bdi>{_text(n)}</bdi>" for n in names)


def _confusions(table: Table) -> list[Picture]:
    pictures = []
    for row in table.rows:
        p = row.predictions
        if p is None or not p["scorer"].one_class or not row.runs or len(pictures) > MOST_PICTURES:
            continue
        if len(p["options"]["classes"]) <= plots.MOST_CLASSES:
            pictures.append(plots.confusion(row, p))
    return pictures


def _robustness(results: Sequence[dict[str, Any]]) -> list[Picture]:
    """Return curves of `sonolex.studies.robustness`, for runs whose folder has them."""
    pictures = []
    for r in results:
        path = r["folder"] / "robustness.json"
        robust = load_robustness(path) if path.exists() else {"sweeps": {}}
        pictures += [
            plots.robustness(r["run"], robust, name) for name in robust["sweeps"] if len(pictures) <= MOST_PICTURES
        ]
    return pictures


def _projections(results: Sequence[dict[str, Any]]) -> list[Picture | str]:
    """Return pooled vectors in two dimensions (CTAL figure 4), of one run for each of the first rows."""
    pictures: dict[str, Picture | str] = {}
    compared = [r for r in results if "fingerprint" in r]  # not the single trainings of a fit
    for r in compared or results:
        path = r["folder"] / "predictions" / "embeddings.npz"
        if len(pictures) < MAX_PROJECTIONS and r["row"] not in pictures and path.exists():
            pictures[r["row"]] = plots.projection(r["row"], *load_embeddings(path))
    return list(pictures.values())


def _row_of(pictures: Sequence[Picture]) -> str:
    """Return pictures side by side, and a sentence where some are left out or lack characters."""
    if not pictures:
        return ""
    drawn = "\n".join(
        f'<img alt="{_text(p.alt)}" src="data:image/png;base64,{base64.b64encode(p.png).decode()}">'
        for p in pictures[:MOST_PICTURES]
    )
    left_out = "<p>More pictures than these are left out.</p>" if len(pictures) > MOST_PICTURES else ""
    if any(p.lacks_characters for p in pictures[:MOST_PICTURES]):
        left_out += "<p>Some characters are drawn as boxes: no font of the machine that drew them has them.</p>"
    return f'<div class="row">{drawn}</div>{left_out}'


def _environment_line(results: Sequence[dict[str, Any]]) -> str:
    e = results[0]["environment"]
    commit = (e["git_commit"] or "unknown")[:10] + (" with changes" if e["git_dirty"] else "")
    cpus = "an unknown number of" if e["num_cpus"] is None else e["num_cpus"]
    versions = f"sonolex {e['sonolex']} · commit {commit} · torch {e['torch']}"
    return f"<p>{len(results)} runs · {_text(versions)} · {cpus} CPUs</p>"


def _breakable(name: str) -> str:
    """Return a name that a narrow page breaks behind its underscores."""
    return _text(name).replace("_", "_<wbr>")


def _text(value: object) -> str:
    """Return a value from a file, escaped as text or as an attribute of the page."""
    return html.escape(visible(value), quote=True)


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width"><title>TITLE</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
.verdict { background: #f3f6f9; border-left: 4px solid #2a6db0; padding: .2rem 1rem; margin: 1rem 0; }
.verdict p { margin: .6rem 0; } .verdict p:first-of-type { font-size: 1.1em; }
.below { color: #b3261e; font-size: .85em; white-space: nowrap; } .best { font-size: .85em; white-space: nowrap; }
tr.candidate td { color: #555; } tr.run td { font-weight: 600; }
h2, p { overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem; text-align: right; }
td { white-space: nowrap; } th { max-width: 14rem; overflow-wrap: break-word; } .wide { overflow-x: auto; }
td:first-child { white-space: normal; min-width: 12rem; max-width: 30rem; overflow-wrap: anywhere; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid #ddd; }
tr.floor td, tr.published td { color: #777; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
img { max-width: 100%; height: auto; }
@media (max-width: 600px) { body { margin: 1rem auto; } h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; }
 td, th { padding: .25rem .4rem; font-size: 13px; } td:first-child { min-width: 7.5rem; max-width: 9rem; }
 td:first-child, th:first-child { position: sticky; left: 0; background: #fff; } }</style></head><body>
BODY
</body></html>
"""
