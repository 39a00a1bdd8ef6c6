"""Run folders in, one self-contained HTML page out: tables, curves, confusion matrices, a t-SNE.

Everything on the page that was read from a file is text: it is escaped, and the page may run nothing and load nothing.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonolex import plots
from sonolex.compare import Table, cell, compare_runs, metric_title, shown_metrics
from sonolex.files import write_text
from sonolex.plots import Picture
from sonolex.saved import load_embeddings, load_robustness, read_results
from sonolex.terminal import visible

MAX_PROJECTIONS = 4
MOST_PICTURES = 60  # in one row of the page


def write_html(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write one self-contained page: tables, learning curves, confusion matrices, label fractions, a t-SNE.

    Raises:
        ImportError: matplotlib is missing (extra: report).
        ValueError: files that are not what a run leaves (`sonolex.saved`).
    """
    tables = compare_runs(folders)
    results = read_results(folders)
    parts = ["<h1>sonolex report</h1>", _environment_line(results)]
    for table in tables:
        parts.append(_html_table(table))
        parts.append(_row_of(_confusions(table)))
        fractions = plots.fractions(table)
        parts += ["<h3>Label fractions</h3>", _row_of(fractions)] if fractions else []
    robust = _robustness(results)
    if robust:
        parts += ["<h2>Robustness</h2><p>Dotted: the recordings as they are.</p>", _row_of(robust)]
    parts += ["<h2>Learning curves</h2>", _row_of([plots.learning_curves(results)])]
    projected = _projections(results)
    if projected:
        parts += [
            "<h2>Embeddings of the report part</h2><p>Pooled vectors, one colour a speaker.</p>",
            _row_of([p for p in projected if isinstance(p, Picture)]),
            *(f"<p>{_text(sentence)}.</p>" for sentence in projected if isinstance(sentence, str)),
        ]
    write_text(Path(path), _PAGE.replace("BODY", "\n".join(parts)))
    return Path(path)


def _html_table(table: Table) -> str:
    names = shown_metrics(table)
    heads = "".join(f"<th>{_text(metric_title(n))}</th>" for n in names)
    body = ""
    for row in table.rows:
        kind = "floor" if row.floor else "published" if row.published else "run"
        cells = "".join(f"<td>{_text(cell(row, n))}</td>" for n in names)
        seeds = "" if row.published or row.floor else len(row.by_seed)
        body += f'<tr class="{kind}"><td>{_text(row.title)}</td>{cells}<td>{seeds}</td></tr>\n'
    return (
        f"<h2><bdi>{_text(table.protocol)}</bdi> · <bdi>{_text(table.task)}</bdi></h2>"
        f"<p>{table.num_clips} clips, fingerprint <code>{_text(table.fingerprint)}</code>. ± is the deviation over "
        "seeds; […] a 95 % bootstrap interval over clips of the first seed. "
        f"{_text(table.notes)}</p>\n"
        f'<div class="wide"><table><tr><th></th>{heads}<th>seeds</th></tr>\n{body}</table></div>'
    )


def _confusions(table: Table) -> list[Picture]:
    pictures = []
    for row in table.rows:
        p = row.predictions
        if p is None or p["scorer"] != "classification" or not row.runs or len(pictures) > MOST_PICTURES:
            continue
        if len(p["options"]["classes"]) <= plots.MOST_CLASSES:
            pictures.append(plots.confusion(row, p))
    return pictures


def _robustness(results: Sequence[dict[str, Any]]) -> list[Picture]:
    """Return curves of `sonolex.robustness`, for runs whose folder has them."""
    pictures = []
    for r in results:
        path = r["folder"] / "robustness.json"
        found = load_robustness(path) if path.exists() else {"sweeps": {}}
        pictures += [
            plots.robustness(r["run"], found, name) for name in found["sweeps"] if len(pictures) <= MOST_PICTURES
        ]
    return pictures


def _projections(results: Sequence[dict[str, Any]]) -> list[Picture | str]:
    """Return pooled vectors in two dimensions (CTAL figure 4), of one run for each of the first rows."""
    found: dict[str, Picture | str] = {}
    for r in results:
        path = r["folder"] / "predictions" / "embeddings.npz"
        if len(found) < MAX_PROJECTIONS and r["row"] not in found and path.exists():
            found[r["row"]] = plots.projection(r["row"], *load_embeddings(path))
    return list(found.values())


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


def _text(value: object) -> str:
    """Return what was read from a file as text of the page, in an attribute too."""
    return html.escape(visible(value), quote=True)


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width"><title>sonolex report</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h2, p { overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem; text-align: right; }
td { white-space: nowrap; } th { max-width: 14rem; overflow-wrap: break-word; } .wide { overflow-x: auto; }
td:first-child { white-space: normal; min-width: 12rem; max-width: 30rem; overflow-wrap: anywhere; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid #ddd; }
tr.floor td, tr.published td { color: #777; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
img { max-width: 100%; }</style></head><body>
BODY
</body></html>
"""
