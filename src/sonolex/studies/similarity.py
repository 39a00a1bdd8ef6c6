"""Do speech and its text look alike inside a model? Paired clips of a protocol, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonolex.data.loader import Loader, Loading
from sonolex.data.sampler import Sampler
from sonolex.devices import AUTO, find_device
from sonolex.files import save_json
from sonolex.protocols.base import find_fold, find_protocol
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.manifests import batching_s, protocol_manifest
from sonolex.types import Encoding

BATCH_S, BATCH_CLIPS = 120.0, 128
PAIR = ("audio", "text")


def similarity(
    model: str | Path,
    protocol: str,
    *,
    fold: str | None = None,
    root: str | None = None,
    out: str | Path | None = None,
    device: str = AUTO,
    trust_code: bool = False,
) -> list[dict[str, Any]]:
    """Return, for every layer and for the pooled vectors, how alike a clip's audio and its text are.

    Both are read alone. "cka" is `linear_cka` of the clips' mean states; "recall_at_1" is how often a clip's audio is
    nearest (cosine, each modality's mean subtracted) to its own text, among the different texts; "chance" is 1 over
    their number. ``trust_code`` as in `sonolex.studies.evaluate.evaluate_model`.

    Raises:
        ValueError: the system does not read both modalities alone, or there is no such device.
    """
    place = find_device(device)
    rules = find_protocol(protocol, trust_code=trust_code)
    manifest = protocol_manifest(rules, (("root", root),) if root else ())
    clips = find_fold(rules, manifest, fold).report
    trained, processor, _ = load_model(model_folder(model), trust_code=trust_code)
    trained = trained.to(place)
    for name in PAIR:
        if frozenset({name}) not in trained.system.accepts:
            raise ValueError(f"`model` must read {name} alone to be compared, but {trained.system.name} does not.")
    vectors_of = {name: _vectors(trained.eval().system, processor, clips, name, place) for name in PAIR}
    texts = [str(t) for t in clips.column("text")]
    rows = []
    for layer in vectors_of["audio"]:
        if layer in vectors_of["text"]:
            audio_ND, text_ND = (vectors_of[n][layer] for n in PAIR)
            rows.append({"place": layer, "cka": linear_cka(audio_ND, text_ND), **_recall(audio_ND, text_ND, texts)})
    if out is not None:
        save_json(Path(out) / "similarity.json", {"model": str(model), "protocol": protocol, "rows": rows})
    return rows


def linear_cka(first_ND: np.ndarray, second_ND: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two sets of vectors of the same clips, 0 to 1.

    Source: Kornblith et al. 2019, section 3: |XᵀY|² / (|XᵀX| · |YᵀY|) of centred X and Y. 1 for vectors that differ by
    a rotation and a factor; constant vectors give 0.
    """
    x_ND, y_ND = (v.astype(np.float64) - v.astype(np.float64).mean(0) for v in (first_ND, second_ND))
    scale = np.linalg.norm(x_ND.T @ x_ND) * np.linalg.norm(y_ND.T @ y_ND)
    return float(np.linalg.norm(x_ND.T @ y_ND) ** 2 / scale) if scale > 1e-12 else 0.0


def similarity_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows as lines of text."""
    lines = [f"{'':14} {'CKA':>6} {'recall@1':>9} {'chance':>7}"]
    return lines + [f"{r['place']:14} {r['cka']:6.3f} {r['recall_at_1']:9.3f} {r['chance']:7.3f}" for r in rows]


@torch.inference_mode()
def _vectors(system: Any, processor: Any, clips: Any, modality: str, device: torch.device) -> dict[str, np.ndarray]:
    """Return the mean states of every layer, and the pooled vectors, of one modality, in the clips' order."""
    loader = Loader(clips, processor, loading=Loading(modalities=(modality,)), prepare=lambda batch: batch)
    rows: dict[str, dict[str, np.ndarray]] = {}
    for batch in loader.batches(Sampler(batching_s(clips), BATCH_S, BATCH_CLIPS).evaluation()):
        if batch is None:
            continue
        for place, x_BD in _places(system.encode(batch.to(device)), modality).items():
            rows.setdefault(place, {}).update(zip(batch.clip_ids, x_BD.float().cpu().numpy(), strict=True))
    return {place: np.stack([of_clip[i] for i in clips.column("id")]) for place, of_clip in rows.items()}


def _places(encoding: Encoding, modality: str) -> dict[str, Tensor]:
    states = encoding.layers.get(modality, ())
    valid_BT1 = encoding.valid[modality][..., None] if states else None
    means = {}
    for number, x_BTD in enumerate(states):
        assert valid_BT1 is not None
        means[f"layer {number}" if number else "input"] = (x_BTD * valid_BT1).sum(1) / valid_BT1.sum(1).clamp_min(1)
    return means | {"pooled": encoding.pooled_BD}


def _recall(audio_ND: np.ndarray, text_ND: np.ndarray, texts: Sequence[str]) -> dict[str, float]:
    names, first_N, which_N = np.unique(texts, return_index=True, return_inverse=True)
    candidates_MD = _unit(text_ND[first_N] - text_ND[first_N].mean(0))
    nearest_N = (_unit(audio_ND - audio_ND.mean(0)) @ candidates_MD.T).argmax(1)
    return {"recall_at_1": float((nearest_N == which_N).mean()), "chance": 1 / len(names)}


def _unit(x_ND: np.ndarray) -> np.ndarray:
    return x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
