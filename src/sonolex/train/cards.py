"""The model card (README.md of a model folder): data, classes, split, scores with intervals, limits.

It states what is known and nothing else. Above all it names no licence: owners of weights and recordings decide on it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.files import write_text
from sonolex.protocols.base import PARTS
from sonolex.systems.base import count_parameters
from sonolex.tasks.base import Model, Task, TaskConfig
from sonolex.terminal import markdown

CARD = "README.md"
MOST_CARD_BYTES = 1 << 20
DRAWS = 200
MOST_DRAWN_CLIPS = 20_000  # above it an interval is narrow, and takes minutes
CLASSES_LISTED = 50
FEW_SPEAKERS, FEW_CLIPS = 10, 30
FEWEST_DRAWN = 4  # speakers or clips; with fewer, an interval would look more certain than it is
LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")
CROSS_VALIDATED = (
    "Every clip was scored with a model that had not learned from it or its fold; this model, chosen in the same way, "
    "has learned from all clips."
)
NO_LICENCE = (
    "None is given here. Who trained the model decides on one, within the rights to the recordings and to the weights "
    "that the training started from."
)


def basic_card(model: Model, provenance: Mapping[str, Any]) -> str:
    """Return the card of a model whose training data are not known."""
    return "\n".join(
        [*_front(), *_model_lines(model), *_use_lines(), "## Licence", "", NO_LICENCE, "", _provenance_line(provenance)]
    )


def write_card(
    folder: Path,
    model: Model,
    provenance: Mapping[str, Any],
    *,
    parts: Mapping[str, Manifest],
    results: Mapping[str, Any],
    predicted: Mapping[str, tuple[Sequence[Any], np.ndarray, Sequence[Any] | None]],
    starts: Sequence[str] = (),
    cross_validated: bool = False,
) -> None:
    """Write the card of a trained model into its folder.

    Args:
        parts: clips by part: train, selection, report; train alone if ``cross_validated``.
        results: as results.json holds them: scores, floors, protocol, fingerprint, modalities.
        predicted: by task, labels, scores (B, C) and groups (speakers) of the report part, for intervals.
        starts: published or own weights that the training started from.
        cross_validated: the scores are those of models of other folds, and this model has learned from all clips.
    """
    lines = [*_front(), *_model_lines(model)]
    lines += _data_lines(model, parts, results)
    lines += _score_lines(model, results, predicted, cross_validated)
    lines += _limit_lines(parts, results, cross_validated)
    lines += _use_lines()
    lines += ["## Licence", "", NO_LICENCE, ""]
    if starts:
        lines += [f"Started from {', '.join(map(markdown, starts))}: the terms of these weights still apply.", ""]
    write_text(folder / CARD, "\n".join([*lines, _provenance_line(provenance)]))


def read_card(folder: Path) -> str:
    """Return the card in a model folder; nothing if there is none that can be read."""
    path = folder / CARD
    if not path.is_file() or path.stat().st_size > MOST_CARD_BYTES:
        return ""
    return path.read_bytes().decode("utf-8", "replace")


def with_licence(card: str, licence: str) -> str:
    """Return a card that names a licence in its header; without one, the card as it is.

    Raises:
        ValueError: ``licence`` is not an identifier of one.
    """
    if not licence:
        return card
    if not LICENCE.fullmatch(licence):
        raise ValueError(f"`licence` must be an identifier such as cc-by-4.0 or other, but is {licence!r:.80}.")
    text = re.sub(r"\A---\n(license:.*\n)?", "---\n", card).replace("---\n", f"---\nlicense: {licence}\n", 1)
    return text.replace(NO_LICENCE, f"{licence}, as given by whoever saved this copy.")


def _front() -> list[str]:
    return ["---", "library_name: sonolex", "tags:", "- audio", "- speech", "---", ""]


def _provenance_line(provenance: Mapping[str, Any]) -> str:
    return f"Made by sonolex: {markdown(json.dumps(configs.to_json(provenance), sort_keys=True))}\n"


def _model_lines(model: Model) -> list[str]:
    accepted = "; ".join(sorted(" + ".join(sorted(m)) for m in model.system.accepts))
    lines = [
        f"# {model.system.name}",
        "",
        f"{count_parameters(model):,} parameters. Its system can read: {accepted}.",
        "",
    ]
    for name, task in model.task_items():
        classes = [markdown(c) for c in task.config.classes]
        more = [f"and {len(classes) - CLASSES_LISTED} more"] * (len(classes) > CLASSES_LISTED)
        listed = f": {', '.join([*classes[:CLASSES_LISTED], *more])}" if classes else ""
        lines.append(f"- **{markdown(name)}** ({task.config.kind}){listed}")
    return [*lines, ""]


def _use_lines() -> list[str]:
    code = "import sonolex\n\nmodel = sonolex.load('this folder')\nmodel.predict(audio='clip.wav')"
    return ["## Use", "", "```python", code, "```", ""]


def _data_lines(model: Model, parts: Mapping[str, Manifest], results: Mapping[str, Any]) -> list[str]:
    lines = ["## Data and split", ""]
    if "protocol" in results:
        shown = markdown(Path(str(results["protocol"])).name)
        lines += [f"Protocol {shown}, fold {markdown(results.get('fold'))}, fingerprint {results['fingerprint']}.", ""]
    read = " and ".join(results.get("trained_modalities") or results.get("modalities") or ())
    lines += [
        f"Trained on {read or 'what the clips have'}.",
        "",
        "| part | clips | hours | speakers |",
        "|---|---|---|---|",
    ]
    for name in PARTS:
        if (part := parts.get(name)) is not None:
            lines.append(f"| {name} | {len(part)} | {part.hours:.2f} | {len(_speakers(part)) or 'not known'} |")
    shared = _speakers(parts["report"]) & _speakers(parts["train"]) if {"report", "train"} <= set(parts) else set()
    if shared:
        lines += ["", f"{len(shared)} of the report part's speakers are in the training part too."]
    return [*lines, "", *_class_lines(model, parts)]


def _class_lines(model: Model, parts: Mapping[str, Manifest]) -> list[str]:
    """Return how many clips of each class every part has."""
    lines: list[str] = []
    names = [n for n in PARTS if n in parts]
    for name, task in model.task_items():
        classes, column = task.config.classes, task.config.label
        if (
            not classes
            or len(classes) > CLASSES_LISTED
            or any(column not in parts[n].table.column_names for n in names)
        ):
            continue
        counts = [_class_counts(parts[n].column(column), task.config) for n in names]
        lines += [
            f"Clips of each class of {markdown(name)}:",
            "",
            f"| class | {' | '.join(names)} |",
            "|---" * (len(names) + 1) + "|",
        ]
        lines += [f"| {markdown(c)} | {' | '.join(str(of_part[str(c)]) for of_part in counts)} |" for c in classes]
        lines.append("")
    return lines


def _class_counts(labels: Sequence[Any], task: TaskConfig) -> Counter[str]:
    return Counter(name for v in labels if v is not None for name in task.classes_in(v))


def _score_lines(
    model: Model,
    results: Mapping[str, Any],
    predicted: Mapping[str, tuple[Sequence[Any], np.ndarray, Sequence[Any] | None]],
    cross_validated: bool,
) -> list[str]:
    lines = ["## Scores, cross-validated" if cross_validated else "## Scores on the report part", ""]
    if not results.get("scores"):
        return [*lines, "None: the training had no report part.", ""]
    if cross_validated:
        lines += [CROSS_VALIDATED, ""]
    by = "speakers" if any(g is not None for _, _, g in predicted.values()) else "clips"
    of = "" if cross_validated else " of the report part"
    lines += [f"Intervals (95 %) are over {by}{of}; they do not cover seeds or repeated training.", ""]
    lines += ["| task | metric | model | interval | best floor |", "|---|---|---|---|---|"]
    tasks = dict(model.task_items())
    for name, scores in results["scores"].items():
        floors = results.get("floors", {}).get(name, {})
        for metric, value in scores.items():
            interval = "" if name not in predicted else _interval(tasks[name], metric, *predicted[name])
            floor = _best_floor(tasks[name], metric, floors)
            lines.append(f"| {markdown(name)} | {markdown(metric)} | {value:.3f} | {interval} | {floor} |")
    return [*lines, ""]


def _best_floor(task: Task, metric: str, floors: Mapping[str, Mapping[str, float]]) -> str:
    values = {floor: scores[metric] for floor, scores in floors.items() if metric in scores}
    if not values:
        return ""
    best = (min if task.prefers_less(metric) else max)(values, key=values.__getitem__)
    return f"{values[best]:.3f} ({markdown(best)})"


def _interval(task: Task, metric: str, labels: Sequence[Any], scores: np.ndarray, groups: Sequence[Any] | None) -> str:
    """Return a bootstrap interval that draws whole speakers where they are known, else clips."""
    scorer = task.scorer
    if scorer is None or not scorer.clipwise or len(labels) > MOST_DRAWN_CLIPS or metric != task.primary_metric:
        return ""
    rows_of: dict[Any, list[int]] = {}
    for row in range(len(labels)):
        rows_of.setdefault(row if groups is None or groups[row] is None else ("group", groups[row]), []).append(row)
    members, rng, values = list(rows_of.values()), np.random.default_rng(0), []
    if len(members) < FEWEST_DRAWN:
        return "none: too few"
    options = task.scorer_options()
    if "metric_names" in options:  # the other metrics would cost most of a draw's time
        options |= {"metric_names": [name for name in options["metric_names"] if name == metric]}
    for _ in range(DRAWS):
        rows = [r for g in rng.integers(0, len(members), len(members)) for r in members[g]]
        drawn = scorer.score([labels[r] for r in rows], scores[rows], options)
        values.append(drawn.get(metric, np.nan))
    known = np.array(values)[np.isfinite(values)]
    return f"{np.quantile(known, 0.025):.3f} to {np.quantile(known, 0.975):.3f}" if len(known) > DRAWS // 2 else ""


def _limit_lines(parts: Mapping[str, Manifest], results: Mapping[str, Any], cross_validated: bool) -> list[str]:
    lines = ["## Limits", ""]
    report = parts.get("train" if cross_validated else "report")
    what = "The table" if cross_validated else "The report part"
    if report is not None:
        speakers = len(_speakers(report))
        if not speakers and cross_validated:
            lines.append("- Speakers are not known: the same voices may be in several folds.")
        elif not speakers:
            lines.append("- Speakers are not known: those it was trained on may be in the report part.")
        elif speakers < FEW_SPEAKERS:
            of = "one speaker" if speakers == 1 else f"{speakers} speakers"
            lines.append(f"- {what} has {of} only; on others the scores may be very different.")
        if len(report) < FEW_CLIPS:
            lines.append(f"- {what} has {len(report)} clips only.")
    languages = sorted({str(v) for p in parts.values() for v in p.column("language") if v is not None})
    lines.append(f"- Languages of the clips: {', '.join(map(markdown, languages)) or 'not stated'}.")
    if results.get("notes"):
        lines.append(f"- {markdown(results['notes'])}")
    lines.append("- Recordings, languages, microphones and rooms unlike those of the training clips were not tested.")
    lines.append("- Class scores are not calibrated probabilities. Every clip gets one of the classes.")
    return [*lines, ""]


def _speakers(part: Manifest) -> set[str]:
    return {str(s) for s in part.column("speaker") if s is not None}
