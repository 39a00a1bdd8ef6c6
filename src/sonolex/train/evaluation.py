"""Score a model on a manifest, and write results that carry their protocol, floors and environment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex.arrays import save_arrays
from sonolex.data.loader import FeatureCache, Loader, Loading
from sonolex.data.manifest import Manifest
from sonolex.data.sampler import Sampler
from sonolex.files import write_text
from sonolex.labels import class_name
from sonolex.names import spelled
from sonolex.processors.base import Processor
from sonolex.tasks.base import Model
from sonolex.train import group
from sonolex.train.manifests import batching_s
from sonolex.types import Term

EVALUATION_SEED = 20_260_101
COLLAPSED_STD = 1e-4
EMBEDDINGS_KEPT = 1000


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one manifest, in the manifest's order of ``clip_ids``.

    ``groups`` are, by task, the clips' speakers or recordings (`groups_of`); ``weights`` are those of the loss terms.
    """

    clip_ids: list[str]
    labels: dict[str, list[Any]]
    scores: dict[str, np.ndarray]
    pooled_BD: np.ndarray
    metrics: dict[str, dict[str, float]]
    losses: dict[str, float]
    weights: dict[str, float] = field(default_factory=dict)
    groups: dict[str, list[str | None] | None] = field(default_factory=dict)

    @property
    def collapsed(self) -> bool:
        """True if all clips have nearly the same pooled vector."""
        if len(self.pooled_BD) < 8:
            return False
        spread = self.pooled_BD.std(0).mean()
        return bool(spread < COLLAPSED_STD * max(1e-12, np.abs(self.pooled_BD).mean()))


@torch.inference_mode()
def evaluate(
    model: Model,
    processor: Processor,
    manifest: Manifest,
    *,
    loading: Loading,
    batch_s: float,
    batch_clips: int,
    device: torch.device,
    with_losses: bool = True,
    cache: FeatureCache | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Evaluation:
    """Return scores, metrics and losses; batches in order of length, split over processes, joined by clip id."""
    model.eval()
    loader = Loader(manifest, processor, loading=loading, prepare=model.prepare, seed=EVALUATION_SEED, cache=cache)
    batches = Sampler(batching_s(manifest), batch_s, batch_clips).evaluation()[rank::world_size]
    needs_encoding = any(task.needs_encoding for _, task in model.task_items())
    rows: dict[str, dict[str, Any]] = {}
    sums: dict[str, list[float]] = {}
    compared: dict[str, dict[str, torch.Tensor]] = {}
    for batch in loader.batches(batches):
        if batch is None:
            continue
        batch = batch.to(device)
        if with_losses:
            for name, term in model.separate_losses(batch).terms.items():
                entry = sums.setdefault(name, [0.0, 0.0, term.weight])
                entry[0], entry[1] = entry[0] + float(term.sum), entry[1] + float(term.count)
            for name, x_BD in model.rows(batch).items():
                for clip_id, row in zip(batch.clip_ids, x_BD.float().cpu(), strict=True):
                    compared.setdefault(clip_id, {})[name] = row
        scores, pooled_BD = model.predict(batch) if needs_encoding else ({}, None)
        outputs = scores if pooled_BD is None else scores | {"pooled": pooled_BD}
        outputs = {name: x.cpu().numpy() for name, x in outputs.items()}
        for i, clip_id in enumerate(batch.clip_ids):
            rows[clip_id] = {"pooled": None} | {name: x[i] for name, x in outputs.items()}
    local = (rows, sums, compared)
    rows, sums, compared = _joined([local] if world_size == 1 else group.gathered(local))
    # Objectives that compare clips see the whole part at once, so that the division into batches changes nothing.
    for name, term in _joint_terms(model, compared, device).items():
        sums[name] = [float(term.sum), float(term.count), term.weight]
    return _scored(model, manifest, rows, sums)


def write_predictions(folder: Path, model: Model, evaluation: Evaluation) -> None:
    """Write the scores of every task, so that tables need no model."""
    for name in evaluation.scores:
        write_scores(
            folder / f"{spelled(name)}.json",
            model,
            name,
            evaluation.clip_ids,
            evaluation.labels[name],
            evaluation.scores[name],
            groups=evaluation.groups.get(name),
        )


def write_embeddings(path: Path, manifest: Manifest, evaluation: Evaluation) -> None:
    """Write pooled vectors of up to EMBEDDINGS_KEPT clips with their speakers and labels, for a report's t-SNE.

    Labels are those of the only task, where it has some.
    """
    if not len(evaluation.pooled_BD):
        return
    rows = manifest.rows_of(evaluation.clip_ids)
    speakers = np.array([str(s) for s in manifest.column("speaker")])[rows]
    kept = np.random.default_rng(0).permutation(len(rows))[:EMBEDDINGS_KEPT]
    arrays = {"pooled": evaluation.pooled_BD[kept].astype(np.float32), "groups": speakers[kept]}
    if len(evaluation.labels) == 1:
        (labels,) = evaluation.labels.values()
        arrays["labels"] = np.array(["none" if v is None else class_name(v) for v in labels])[kept]
    save_arrays(path, arrays)


def write_scores(
    path: Path,
    model: Model,
    task_name: str,
    clip_ids: list[str],
    labels: list,
    scores: np.ndarray,
    *,
    groups: list[str | None] | None = None,
) -> None:
    """Write clip ids, labels, groups and scores of one task as JSON, with what their scorer needs."""
    task = dict(model.task_items())[task_name]
    saved = {
        "scorer": task.scorer_name(),
        "options": task.scorer_options(),
        "clip_ids": clip_ids,
        "labels": labels,
        "scores": np.round(scores, 5).tolist(),
        **({} if groups is None else {"groups": groups}),
    }
    write_text(path, json.dumps(saved) + "\n")


def groups_of(manifest: Manifest, label: str) -> list[str | None] | None:
    """Return each clip's speaker, or recording if no speaker is known; None if neither is, or is the label."""
    for name in ("speaker", "source_id"):
        values = manifest.column(name)
        if name != label and any(v is not None for v in values):
            return [None if v is None else str(v) for v in values]
    return None


def _scored(
    model: Model, manifest: Manifest, rows: Mapping[str, Mapping[str, Any]], sums: Mapping[str, list[float]]
) -> Evaluation:
    clip_ids = [i for i in manifest.column("id") if i in rows]
    kept = manifest if len(clip_ids) == len(manifest) else manifest.take(manifest.rows_of(clip_ids))
    labels, scores, metrics, groups = {}, {}, {}, {}
    for name, task in model.task_items():
        column = task.config.label
        if not column or not clip_ids or name not in rows[clip_ids[0]]:
            continue
        labels[name] = kept.column(column) if column in kept.table.column_names else [None] * len(kept)
        scores[name] = np.stack([rows[i][name] for i in clip_ids])
        groups[name] = groups_of(kept, column)
        metrics[name] = task.metrics(labels[name], scores[name], groups[name])
    pooled = [rows[i]["pooled"] for i in clip_ids if rows[i]["pooled"] is not None]
    losses = {name: total / max(count, 1.0) for name, (total, count, _) in sums.items()}
    losses["total"] = sum(sums[name][2] * losses[name] for name in sums)
    pooled_BD = np.stack(pooled) if pooled else np.zeros((0, 0))
    weights = {name: weight for name, (_, _, weight) in sums.items()}
    return Evaluation(clip_ids, labels, scores, pooled_BD, metrics, losses, weights, groups)


def _joint_terms(
    model: Model, compared: Mapping[str, Mapping[str, torch.Tensor]], device: torch.device
) -> Mapping[str, Term]:
    if not compared:
        return {}
    in_order = [compared[clip_id] for clip_id in sorted(compared)]
    return model.joint_losses({n: torch.stack([r[n] for r in in_order]).to(device) for n in in_order[0]})


def _joined(parts: Sequence[tuple[dict, dict, dict]]) -> tuple[dict, dict, dict]:
    """Return rows, sums and compared rows of all processes, as if one process had scored every clip."""
    all_rows: dict = {}
    all_compared: dict = {}
    all_sums: dict[str, list[float]] = {}
    for part_rows, part_sums, part_compared in parts:
        all_rows |= part_rows
        all_compared |= part_compared
        for name, (total, count, weight) in part_sums.items():
            entry = all_sums.setdefault(name, [0.0, 0.0, weight])
            entry[0], entry[1] = entry[0] + total, entry[1] + count
    return all_rows, all_sums, all_compared
