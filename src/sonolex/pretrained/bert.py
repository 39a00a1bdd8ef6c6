"""BERT and RoBERTa in Hugging Face format: embedding, post-norm layers, masked-token head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sonolex.nn.embeddings import TokenEmbedding
from sonolex.nn.fusion import JoinedEmbedding
from sonolex.nn.heads import TokenHead
from sonolex.pretrained.base import ImportReport, copy_found
from sonolex.pretrained.files import read_sizes

SIZES = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "width",
    "num_attention_heads": "num_heads",
    "intermediate_size": "ffn_width",
    "max_position_embeddings": "num_positions",
    "layer_norm_eps": "norm_eps",
}
"""Our names of the sizes in a BERT checkpoint's config.json."""
LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "ffn_norm",
}
"""Our names of a layer's parts by the checkpoint's; query, key and value are joined."""


def bert_sizes(place: str | Path) -> dict[str, Any]:
    """Return the sizes of a BERT checkpoint (folder or ``hub:ORG/NAME``) by our names.

    Old files leave out what then takes the library's default.
    """
    theirs = read_sizes(place, SIZES, defaults={"layer_norm_eps": 1e-12})
    return {ours: theirs[name] for name, ours in SIZES.items()}


def import_bert(
    embedding: JoinedEmbedding, layers: Iterable[nn.Module], head: TokenHead, weights: Mapping[str, Tensor]
) -> ImportReport:
    """Copy a BERT encoder in Hugging Face format and, where the checkpoint has it, its masked-token head.

    Key names may begin with "bert." (BertForPreTraining) or not (BertModel), and LayerNorms may be called gamma and
    beta, as in the first releases.

    Raises:
        ValueError: a shape differs, by key.
    """
    weights = {_bert_name(key): value for key, value in weights.items()}
    pairs = _embedding(embedding)
    for number, layer in enumerate(layers):
        pairs |= _post_norm_layer(layer, f"encoder.layer.{number}")
    ours = dict(head.named_parameters())
    for kind in ("weight", "bias"):
        pairs[(f"cls.predictions.transform.dense.{kind}",)] = ours[f"dense.{kind}"]
        pairs[(f"cls.predictions.transform.LayerNorm.{kind}",)] = ours[f"norm.{kind}"]
    pairs[("cls.predictions.bias",)] = ours["bias"]
    return copy_found(pairs, weights)


def import_roberta(
    embedding: TokenEmbedding, layers: Iterable[nn.Module], weights: Mapping[str, Tensor], *, prefix: str = ""
) -> ImportReport:
    """Copy a RoBERTa encoder's embedding and post-norm layers; return the report.

    Raises:
        ValueError: a shape differs, by key.
    """
    pairs = _embedding(embedding)
    for number, layer in enumerate(layers):
        pairs |= _post_norm_layer(layer, f"encoder.layer.{number}")
    return copy_found({tuple(prefix + n for n in names): ours for names, ours in pairs.items()}, weights)


def _embedding(embedding: TokenEmbedding | JoinedEmbedding) -> dict[tuple[str, ...], Tensor]:
    """Return our tensors of BERT's or RoBERTa's embedding by their keys."""
    return {
        ("embeddings.word_embeddings.weight",): embedding.token.weight,
        ("embeddings.position_embeddings.weight",): embedding.position.weight,
        ("embeddings.token_type_embeddings.weight",): embedding.modality.weight,
        ("embeddings.LayerNorm.weight",): embedding.norm.weight,
        ("embeddings.LayerNorm.bias",): embedding.norm.bias,
    }


def _post_norm_layer(layer: nn.Module, place: str) -> dict[tuple[str, ...], Tensor]:
    """Return our tensors of a post-norm layer by the checkpoint's keys; several keys are concatenated."""
    ours = dict(layer.named_parameters())
    pairs: dict[tuple[str, ...], Tensor] = {}
    for kind in ("weight", "bias"):
        query_key_value = tuple(f"{place}.attention.self.{n}.{kind}" for n in ("query", "key", "value"))
        pairs[query_key_value] = ours[f"attention.qkv.{kind}"]
        pairs |= {(f"{place}.{published}.{kind}",): ours[f"{mine}.{kind}"] for published, mine in LAYER_NAMES.items()}
    return pairs


def _bert_name(key: str) -> str:
    key = key.removeprefix("bert.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", key))
