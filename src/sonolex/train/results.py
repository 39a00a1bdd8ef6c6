"""results.json: scores with everything a reader needs to trust or repeat them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonolex import configs
from sonolex.data.checks import require_unchanged
from sonolex.data.manifest import Manifest
from sonolex.files import save_json
from sonolex.names import spelled
from sonolex.protocols.base import Fold, Protocol, digest, find_fold, find_protocol
from sonolex.systems.base import count_parameters
from sonolex.tasks.base import Model
from sonolex.train.cards import write_card
from sonolex.train.checkpoint import environment, provenance_of
from sonolex.train.evaluation import Evaluation, groups_of, write_embeddings, write_predictions, write_scores
from sonolex.train.floors import floors_of_fold
from sonolex.train.journal import training_curve
from sonolex.train.manifests import load_sources, protocol_manifest
from sonolex.train.run import Run


def write_results(
    folder: Path,
    run: Run,
    model: Model,
    state: dict[str, Any],
    report: Manifest | None,
    evaluation: Evaluation | None,
    *,
    modalities: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write results.json and the predictions, and return the results.

    Args:
        modalities: one of ``Data.also_report``, scored as a row of its own, in a folder within the run's.
    """
    trained_clips = int(sum(training_curve(folder, "step", "clips")[1]))
    row = run.row or run.name
    selected = state.get("best_step") if run.budget.select == "best" else None
    if modalities:
        folder, row = folder / "asked" / "+".join(modalities), f"{row}, asked with {' and '.join(modalities)}"
    results: dict[str, Any] = {
        "run": run.name,
        "row": row,
        "system": run.system,
        "seed": run.seed,
        "modalities": list(modalities or run.data.loading.modalities),
        "trained_modalities": list(run.data.loading.modalities),
        "init_from": run.init_from,
        "num_parameters": count_parameters(model.system),
        "steps": state["step"],
        "selected_step": state["step"] if selected is None else selected,
        "selection_value": state["best"],
        "train_s": round(state["train_s"], 2),
        "load_s": round(state["load_s"], 2) if "load_s" in state else None,
        "trained_clips": trained_clips,
        "environment": environment(),
    }
    if evaluation is not None and report is not None:
        results |= {
            "scores": evaluation.metrics,
            "losses": evaluation.losses,
            "num_report_clips": len(report),
        }
        write_predictions(folder / "predictions", model, evaluation)
        write_embeddings(folder / "predictions" / "embeddings.npz", report, evaluation)
    if run.data.protocol is not None and evaluation is not None:
        results |= _results_of_run(folder, run, model)
    if not modalities:
        _write_card(folder / "model", run, model, results, report, evaluation)
    save_json(folder / "results.json", results)
    return configs.to_json(results)


def _write_card(
    folder: Path,
    run: Run,
    model: Model,
    results: dict[str, Any],
    report: Manifest | None,
    evaluation: Evaluation | None,
) -> None:
    """Write the model card of a finished run."""
    sources = {"train": run.data.train, "selection": run.data.selection}
    parts = {name: load_sources(of_part) for name, of_part in sources.items() if of_part}
    parts |= {} if report is None else {"report": report}
    predicted = {}
    if evaluation is not None:
        predicted = {n: (evaluation.labels[n], s, evaluation.groups.get(n)) for n, s in evaluation.scores.items()}
    starts = [*([run.init_from] if run.init_from else []), *run.pretrained.values()]
    provenance = provenance_of(run, step=results["selected_step"], clips=parts["train"])
    write_card(folder, model, provenance, parts=parts, results=results, predicted=predicted, starts=starts)


def protocol_results(
    protocol: Protocol, fold: Fold, manifest: Manifest, model: Model, folder: Path | None
) -> dict[str, Any]:
    """Return the fields that tie scores to their protocol; write the floors' predictions under ``folder``, if any."""
    if protocol.own_clips:
        require_unchanged(fold.report)
    card = protocol.card(manifest)
    floors: dict[str, Any] = {}
    for task, by_floor in floors_of_fold(protocol, fold, digest(card)).items():
        if task not in dict(model.task_items()):
            continue
        scorer = dict(model.task_items())[task]
        label = scorer.config.label
        clip_ids, labels, groups = fold.report.column("id"), fold.report.column(label), groups_of(fold.report, label)
        for floor, scores in by_floor.items():
            if folder is not None:
                place = folder / "floors" / f"{spelled(task)}.{floor}.json"
                write_scores(place, model, task, clip_ids, labels, scores, groups=groups)
            floors.setdefault(task, {})[floor] = scorer.metrics(labels, scores, groups)
    return {
        "protocol": protocol.name,
        "fold": fold.name,
        "fingerprint": digest(card),
        "card": card,
        "primary": protocol.primary,
        "floors": floors,
        "published": protocol.published,
        "notes": protocol.notes,
    }


def _results_of_run(folder: Path, run: Run, model: Model) -> dict[str, Any]:
    assert run.data.protocol is not None
    protocol = find_protocol(run.data.protocol)
    manifest = protocol_manifest(protocol, tuple(run.data.report[0].options.items()))
    fold = find_fold(protocol, manifest, run.data.fold)
    return protocol_results(protocol, fold, manifest, model, folder)
