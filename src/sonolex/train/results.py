"""results.json: scores with everything a reader needs to trust or repeat them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import find_protocol
from sonolex.systems.base import count_parameters, save_json
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import environment
from sonolex.train.evaluation import Evaluation, write_predictions
from sonolex.train.floors import floors_of_fold
from sonolex.train.run import Run
from sonolex.train.sources import load_sources, protocol_manifest


def write_results(
    folder: Path, run: Run, model: Model, state: dict[str, Any], report: Manifest | None, evaluation: Evaluation | None
) -> dict[str, Any]:
    """Write results.json and the predictions, and return the results."""
    results: dict[str, Any] = {
        "run": run.name,
        "system": run.system,
        "seed": run.seed,
        "modalities": list(run.data.loading.modalities),
        "init_from": run.init_from,
        "num_parameters": count_parameters(model.system),
        "steps": state["step"],
        "selected_step": state.get("best_step", state["step"]) if run.budget.select == "best" else state["step"],
        "selection_value": state["best"],
        "train_s": round(state["train_s"], 2),
        "environment": environment(),
    }
    if evaluation is not None and report is not None:
        results |= {"scores": evaluation.metrics, "losses": evaluation.losses, "num_report_clips": len(report)}
        write_predictions(folder / "predictions", model, evaluation)
    if run.data.protocol is not None and evaluation is not None:
        results |= _protocol_results(run)
    save_json(folder / "results.json", results)
    return configs.to_json(results)


def _protocol_results(run: Run) -> dict[str, Any]:
    assert run.data.protocol is not None
    protocol = find_protocol(run.data.protocol)
    options = tuple(sorted(run.data.report[0].options.items()))
    manifest = protocol_manifest(protocol, options)
    fold = next(f for f in protocol.folds(manifest) if f.name == run.data.fold)
    used = {str(c) for c in load_sources(run.data.train).column("id")}
    seen = used & set(fold.report.column("id"))
    if seen:
        raise ValueError(f"run {run.name}: clips of the report part must not be trained on, but {len(seen)} were.")
    return {
        "protocol": protocol.name,
        "fold": fold.name,
        "fingerprint": protocol.fingerprint(manifest),
        "floors": floors_of_fold(protocol, fold, protocol.fingerprint(manifest)),
    }
