"""CTAL's released checkpoints (``states-N.ckpt``): both streams and both heads of pre-training, into our `Ctal`.

The file holds two networks of transformers: "semantic_model" (RoBERTa with its head) and "acoustic_model" (embedding of
frames, layers with cross-attention, head). Its optimiser and its settings, an argparse object, are not read. Its audio
stream has a causal mask: build `Ctal` with ``audio_attention="causal"``, as `ctal_sizes` says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sonolex.pretrained.base import Found, ImportReport
from sonolex.pretrained.checkpoint import Checkpoint, expecting, open_checkpoint
from sonolex.pretrained.files import sizes_in

TEXT, AUDIO = "semantic_model.roberta.", "acoustic_model.acoustic."
HEAD_WIDTH = 64  # of one attention head, in the released sizes; the file does not say it
LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "crossattention.self.query": "cross.query",
    "crossattention.output.dense": "cross.out",
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "ffn_norm",
}
"""Our names of a layer's parts, by theirs. Ours joins query, key and value (of cross-attention: key and value)."""


def ctal_sizes(place: str | Path) -> dict[str, Any]:
    """Return the sizes of a released checkpoint, or of a RoBERTa folder for the text stream, by our names.

    Raises:
        ValueError: a checkpoint of another kind.
    """
    checkpoint = open_checkpoint(place)
    prefix = TEXT if checkpoint.kind == "ctal" else "roberta."
    if checkpoint.kind not in ("ctal", "roberta"):
        raise ValueError(
            f"`path` must be a checkpoint of CTAL or RoBERTa, but {checkpoint.path} is {checkpoint.title}."
        )
    with expecting(checkpoint):
        sizes = _sizes(checkpoint, prefix)
    return sizes


def _sizes(checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    weights = checkpoint.weights
    names = [n for n in ("num_attention_heads", "layer_norm_eps") if n in checkpoint.config]
    config = sizes_in(checkpoint.config, names, place=checkpoint.path)
    vocab_size, width = weights[f"{prefix}embeddings.word_embeddings.weight"].shape
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "width": width,
        "num_layers": _num_layers(weights, prefix),
        "num_heads": config.get("num_attention_heads", max(1, width // HEAD_WIDTH)),
        "ffn_width": weights[f"{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0],
        "norm_eps": config.get("layer_norm_eps", 1e-12),
        "max_tokens": len(weights[f"{prefix}embeddings.position_embeddings.weight"]) - 2,
    }
    if checkpoint.kind == "ctal":
        sizes["max_frames"] = len(weights[f"{AUDIO}embeddings.position_embeddings.weight"])
        sizes |= {"num_features": weights[f"{AUDIO}embeddings.dense.weight"].shape[1], "audio_attention": "causal"}
    return sizes


def import_ctal(system: Any, checkpoint: Checkpoint) -> ImportReport:
    """Copy both streams and their heads; the fusion, which pre-training does not have, stays as it is.

    Raises:
        ValueError: the audio embedding is not a linear map of single frames, or a shape differs.
    """
    if system.audio_embedding.project is None or system.audio_embedding.frames_per_step != 1:
        raise ValueError(
            "`stem` must be 'linear' and `frames_per_step` 1 for a released CTAL, whose frames are single."
        )
    found = Found(checkpoint.weights)
    _take_text(found, system.text_embedding, system.text_layers, TEXT)
    _take_embedding(found, system.audio_embedding, AUDIO)
    _take(found, f"{AUDIO}embeddings.dense", system.audio_embedding.project)
    _take_layers(found, system.audio_layers, AUDIO)
    for ours, theirs in (("mlm_head", "semantic_model.lm_head."), ("mcam_head", "acoustic_model.am_head.")):
        if hasattr(system, ours):
            _take_head(found, getattr(system, ours), theirs)
    return found.report()


def import_roberta(system: Any, checkpoint: Checkpoint) -> ImportReport:
    """Copy a RoBERTa into the text stream, and its head into that of MLM where there is one.

    Raises:
        ValueError: a shape differs.
    """
    found = Found(checkpoint.weights)
    _take_text(found, system.text_embedding, system.text_layers, "roberta.")
    if hasattr(system, "mlm_head"):
        _take_head(found, system.mlm_head, "lm_head.")
    return found.report()


def _take_text(found: Found, embedding: nn.Module, layers: nn.ModuleList, prefix: str) -> None:
    table = embedding.get_parameter("token.weight")
    found.take([f"{prefix}embeddings.word_embeddings.weight"], table)
    _take_embedding(found, embedding, prefix)
    _take_layers(found, layers, prefix)


def _take_embedding(found: Found, embedding: nn.Module, prefix: str) -> None:
    """Copy positions (the first ones, where ours are fewer), the first row of types, and LayerNorm."""
    for theirs, ours in (("position_embeddings", "position"), ("token_type_embeddings", "modality")):
        table = embedding.get_parameter(f"{ours}.weight")
        num_rows = len(table)
        found.take([f"{prefix}embeddings.{theirs}.weight"], table, lambda x, rows=num_rows: x[:rows])
    _take(found, f"{prefix}embeddings.LayerNorm", embedding.get_submodule("norm"))


def _take_layers(found: Found, layers: nn.ModuleList, prefix: str) -> None:
    for number, layer in enumerate(layers):
        place, ours = f"{prefix}encoder.layer.{number}.", dict(layer.named_parameters())
        for kind in ("weight", "bias"):
            joined = [f"{place}attention.self.{n}.{kind}" for n in ("query", "key", "value")]
            found.take(joined, ours[f"attention.qkv.{kind}"])
            if f"cross.key_value.{kind}" in ours:
                joined = [f"{place}crossattention.self.{n}.{kind}" for n in ("key", "value")]
                found.take(joined, ours[f"cross.key_value.{kind}"])
            for theirs, mine in LAYER_NAMES.items():
                if f"{mine}.{kind}" in ours:
                    found.take([f"{place}{theirs}.{kind}"], ours[f"{mine}.{kind}"])


def _take_head(found: Found, head: nn.Module, prefix: str) -> None:
    """Copy a head's hidden layer, LayerNorm and output; MLM's output is the table of tokens and a bias."""
    _take(found, f"{prefix}dense", head.get_submodule("dense"))
    _take(found, f"{prefix}layer_norm", head.get_submodule("norm"))
    ours = dict(head.named_parameters())
    if "bias" in ours:
        found.take([f"{prefix}bias"], ours["bias"])
    else:
        _take(found, f"{prefix}decoder", head.get_submodule("out"))


def _take(found: Found, prefix: str, module: nn.Module) -> None:
    for kind, ours in module.named_parameters():
        found.take([f"{prefix}.{kind}"], ours)


def _num_layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    numbers = (re.match(re.escape(prefix) + r"encoder\.layer\.(\d+)\.", name) for name in weights)
    return 1 + max(int(n[1]) for n in numbers if n)
