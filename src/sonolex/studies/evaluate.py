"""Score a saved model under a protocol, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sonolex.audio.degrade import Degradation
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.devices import AUTO, find_device
from sonolex.files import save_json
from sonolex.protocols.base import Protocol, find_fold, find_protocol
from sonolex.systems.base import count_parameters
from sonolex.terminal import visible
from sonolex.train.checkpoint import environment, load_model, model_folder
from sonolex.train.evaluation import evaluate, write_embeddings, write_predictions
from sonolex.train.manifests import protocol_manifest
from sonolex.train.results import protocol_results

BATCH_S, BATCH_CLIPS = 120.0, 128


def evaluate_model(
    model: str | Path,
    protocol: str,
    *,
    fold: str | None = None,
    root: str | None = None,
    out: str | None = None,
    degradation: Degradation | None = None,
    device: str = AUTO,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Return the results of a model on the report part of one fold, beside the floors.

    Args:
        degradation: of the recordings or transcripts (`sonolex.studies.robustness`).
        device: what computes: auto, cpu, cuda, cuda:1 or mps.
        trust_code: the model folder and a protocol.json may name code of their own, which then runs.

    Raises:
        ValueError: the protocol has several folds and none is named, the model lacks its tasks or has learned from the
            clips it would be scored on, or there is no such device.
    """
    place = find_device(device)
    rules = find_protocol(protocol, trust_code=trust_code)
    manifest = protocol_manifest(rules, (("root", root),) if root else ())
    part = find_fold(rules, manifest, fold)
    trained, processor, info = load_model(model_folder(model), trust_code=trust_code)
    _require_not_trained_on(info.get("provenance", {}), rules, manifest)
    missing = [t.name for t in rules.tasks if t.name not in dict(trained.task_items())]
    if missing:
        raise ValueError(f"`model` must have the tasks of {protocol}, but lacks {', '.join(missing)}.")
    modalities = trained.system.readable(rules.modalities)
    evaluation = evaluate(
        trained.to(place),
        processor,
        part.report,
        loading=Loading(modalities=modalities, degradation=degradation),
        batch_s=BATCH_S,
        batch_clips=BATCH_CLIPS,
        device=place,
    )
    results: dict[str, Any] = {
        "run": str(info.get("provenance", {}).get("run", model)),
        "row": visible(model),
        "system": trained.system.name,
        "seed": info.get("provenance", {}).get("seed", 0),
        "modalities": list(modalities),
        "num_parameters": count_parameters(trained.system),
        "train_s": 0.0,
        "scores": evaluation.metrics,
        "num_report_clips": len(part.report),
        "environment": environment(),
    }
    folder = Path(out) if out else None
    results |= protocol_results(rules, part, manifest, trained, folder)
    if folder is not None:
        write_predictions(folder / "predictions", trained, evaluation)
        write_embeddings(folder / "predictions" / "embeddings.npz", part.report, evaluation)
        save_json(folder / "results.json", results)
    return results


def _require_not_trained_on(provenance: Any, rules: Protocol, manifest: Manifest) -> None:
    """Raise ValueError if the model is the final one of a cross-validation by this protocol: it saw all its clips."""
    if not isinstance(provenance, dict) or not provenance.get("learned_from_report"):
        return
    if provenance.get("fingerprint") == rules.fingerprint(manifest):
        raise ValueError(
            f"`protocol` must hold clips that the model has not learned from, but it has learned from all of "
            f"{visible(rules.name)}. Its cross-validated scores are in the fit's results.json and report.html; to "
            "score it anew, name a protocol of other clips."
        )
