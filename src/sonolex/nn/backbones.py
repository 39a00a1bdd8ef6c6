"""Import pretrained weights in Hugging Face format, with every key accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sonolex.nn.embeddings import TokenEmbedding


@dataclass(frozen=True)
class ImportReport:
    """What happened to every key: ``used`` theirs, ``unused`` theirs, ``missing`` ours that stay as they were."""

    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]


def import_roberta(
    embedding: TokenEmbedding, layers: Iterable[nn.Module], weights: Mapping[str, Tensor], *, prefix: str = ""
) -> ImportReport:
    """Copy a RoBERTa encoder's embedding and post-norm layers; return what was used.

    Raises:
        ValueError: a shape differs, by key.
    """
    used: list[str] = []
    missing: list[str] = []
    pairs: dict[tuple[str, ...], Tensor] = {
        ("embeddings.word_embeddings.weight",): embedding.token.weight,
        ("embeddings.position_embeddings.weight",): embedding.position.weight,
        ("embeddings.token_type_embeddings.weight",): embedding.modality.weight,
        ("embeddings.LayerNorm.weight",): embedding.norm.weight,
        ("embeddings.LayerNorm.bias",): embedding.norm.bias,
    }
    for number, layer in enumerate(layers):
        pairs |= _post_norm_layer(layer, f"encoder.layer.{number}")
    for names, ours in pairs.items():
        keys = [prefix + n for n in names]
        if not all(k in weights for k in keys):
            missing += keys
            continue
        theirs = torch.cat([weights[k] for k in keys])
        if theirs.shape != ours.shape:
            raise ValueError(f"{keys} must have shape {tuple(ours.shape)}, but have {tuple(theirs.shape)}.")
        with torch.no_grad():
            ours.copy_(theirs)
        used += keys
    ignorable = ("position_ids", "token_type_ids")  # buffers, not weights
    unused = [k for k in weights if k not in used and not k.endswith(ignorable)]
    return ImportReport(tuple(used), tuple(unused), tuple(missing))


def _post_norm_layer(layer: nn.Module, place: str) -> dict[tuple[str, ...], Tensor]:
    """Return our tensors of a post-norm layer by the keys of theirs; several keys are concatenated."""
    ours = dict(layer.named_parameters())
    pairs: dict[tuple[str, ...], Tensor] = {}
    for kind in ("weight", "bias"):
        query_key_value = tuple(f"{place}.attention.self.{n}.{kind}" for n in ("query", "key", "value"))
        pairs[query_key_value] = ours[f"attention.qkv.{kind}"]
        pairs |= {(f"{place}.{theirs}.{kind}",): ours[f"{mine}.{kind}"] for theirs, mine in _LAYER_NAMES.items()}
    return pairs


_LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "ffn_norm",
}
