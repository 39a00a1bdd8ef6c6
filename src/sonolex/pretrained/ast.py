"""AST and DeiT in Hugging Face format (either generation of key names), on any grid of patches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.embeddings import PatchEmbedding, resize_positions
from sonolex.pretrained.base import Found, ImportReport
from sonolex.pretrained.files import read_sizes, read_weights

AST_SIZES = ("patch_size", "max_length", "time_stride", "num_mel_bins", "frequency_stride")
DEIT_SIZES = ("image_size", "patch_size")
LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "layernorm_before": "attention_norm",
    "layernorm_after": "ffn_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
}
"""Our names of a layer's parts by the checkpoint's; query, key and value are joined."""
RENAMED_IN_5 = {
    r"^layers\.(\d+)\.attention\.q_proj": r"encoder.layer.\1.attention.attention.query",
    r"^layers\.(\d+)\.attention\.k_proj": r"encoder.layer.\1.attention.attention.key",
    r"^layers\.(\d+)\.attention\.v_proj": r"encoder.layer.\1.attention.attention.value",
    r"^layers\.(\d+)\.attention\.o_proj": r"encoder.layer.\1.attention.output.dense",
    r"^layers\.(\d+)\.mlp\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"^layers\.(\d+)\.mlp\.fc2": r"encoder.layer.\1.output.dense",
    r"^layers\.(\d+)\.layernorm": r"encoder.layer.\1.layernorm",
}
"""Names of released files by those that transformers 5 writes."""


def import_ast_or_deit(
    sources: Mapping[str, str],
    embedding: PatchEmbedding,
    layers: nn.ModuleList,
    norm: nn.LayerNorm,
    *,
    patch: tuple[int, int],
    name: str,
) -> dict[str, ImportReport]:
    """Fill the encoder of system ``name`` from one "ast" or "deit" checkpoint: a local folder or ``hub:ORG/NAME``.

    Args:
        patch: frames and bands of our patches.

    Raises:
        ValueError: another part.
    """
    reports = {}
    for part, place in sources.items():
        if part not in ("ast", "deit"):
            raise ValueError(f"`pretrained` must name ast or deit for {name}, but names {part!r}.")
        sizes = read_sizes(place, AST_SIZES if part == "ast" else DEIT_SIZES)
        if part == "ast":
            columns = 1 + (sizes["max_length"] - sizes["patch_size"]) // sizes["time_stride"]
            rows = 1 + (sizes["num_mel_bins"] - sizes["patch_size"]) // sizes["frequency_stride"]
        else:
            columns = rows = sizes["image_size"] // sizes["patch_size"]
        weights = read_weights(place)
        prefix = "audio_spectrogram_transformer." if part == "ast" else "deit."
        prefix = prefix if any(k.startswith(prefix) for k in weights) else ""
        size = (columns, rows)
        reports[part] = import_ast(embedding, layers, norm, weights, size=size, patch=patch, prefix=prefix)
    return reports


def import_ast(
    embedding: PatchEmbedding,
    layers: Iterable[nn.Module],
    norm: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    size: tuple[int, int],
    patch: tuple[int, int],
    prefix: str = "",
    channels: str = "sum",
) -> ImportReport:
    """Copy an AST or DeiT encoder in Hugging Face format (either generation of key names); return the report.

    Positions are cut from the middle where ours are fewer and interpolated where they are more, time first, then
    frequency, as AST's code does.

    Args:
        size: patches along time and band of the *checkpoint's* position table: (101, 12) for AST on AudioSet, (14, 14)
            or (24, 24) for DeiT (rows of an image are bands).
        patch: frames and bands of our patch.
        channels: how colour channels become one: "sum" (AST's code) or "mean" (its document).

    Raises:
        ValueError: a shape differs, by key; our patches are normalised.
    """
    if not isinstance(embedding.project, nn.Linear):
        raise ValueError("`patch_norm` must be 'none' to import AST or DeiT, whose patches are projected linearly.")
    weights = {_released_name(k.removeprefix(prefix)): v for k, v in weights.items() if k.startswith(prefix)}
    copies = Found(weights)
    take = copies.take
    take(["embeddings.cls_token"], embedding.special[:1], lambda x: x[0])
    take(["embeddings.distillation_token"], embedding.special[1:], lambda x: x[0])
    positions = "embeddings.position_embeddings"
    take([positions], embedding.special_position, lambda x: x[0, :2])
    take([positions], embedding.position, lambda x: _positions(x[0, 2:], size, embedding))
    projection = "embeddings.patch_embeddings.projection"
    take([f"{projection}.weight"], embedding.project.weight, lambda x: _patch_weights(x, patch, channels))
    take([f"{projection}.bias"], embedding.project.bias)
    for number, layer in enumerate(layers):
        ours = dict(layer.named_parameters())
        for kind in ("weight", "bias"):
            qkv = [f"encoder.layer.{number}.attention.attention.{n}.{kind}" for n in ("query", "key", "value")]
            take(qkv, ours[f"attention.qkv.{kind}"])
            for published, mine in LAYER_NAMES.items():
                take([f"encoder.layer.{number}.{published}.{kind}"], ours[f"{mine}.{kind}"])
    for kind, parameter in norm.named_parameters():
        take([f"layernorm.{kind}"], parameter)
    return copies.report()


def _positions(table_PD: Tensor, size: tuple[int, int], embedding: PatchEmbedding) -> Tensor:
    """Return the checkpoint's table (band first) as ours (time first): its middle part, or interpolated."""
    columns, rows = size
    if len(table_PD) != columns * rows:
        raise ValueError(f"`size` must multiply to its {len(table_PD)} positions, but is {columns} × {rows}.")
    # (rows * columns, D) -> (columns, rows, D)
    table_CRD = table_PD.reshape(rows, columns, -1).transpose(0, 1)
    for axis, wanted in ((0, embedding.num_columns), (1, embedding.num_rows)):
        have = table_CRD.shape[axis]
        if wanted < have:
            table_CRD = table_CRD.narrow(axis, (have - wanted) // 2, wanted)
        elif wanted > have:
            target = (wanted, table_CRD.shape[1]) if axis == 0 else (table_CRD.shape[0], wanted)
            flat_PD = resize_positions(table_CRD.flatten(0, 1), (table_CRD.shape[0], table_CRD.shape[1]), target)
            table_CRD = flat_PD.reshape(*target, -1)
    return table_CRD.flatten(0, 1)


def _patch_weights(weight: Tensor, patch: tuple[int, int], channels: str) -> Tensor:
    """Return convolution weights (D, channels, bands, frames) as linear weights (D, frames · bands)."""
    if channels not in ("sum", "mean"):
        raise ValueError(f"`channels` must be sum or mean, but is {channels!r}.")
    joined = weight.sum(1) if channels == "sum" else weight.mean(1)
    if joined.shape[1:] != (patch[1], patch[0]):
        joined = F.interpolate(joined[:, None], (patch[1], patch[0]), mode="bilinear", align_corners=False)[:, 0]
    # (D, bands, frames) -> (D, frames * bands)
    return joined.transpose(1, 2).flatten(1)


def _released_name(key: str) -> str:
    """Return a key under the names of released checkpoints; transformers 5 renamed modules in memory."""
    for new, old in RENAMED_IN_5.items():
        key = re.sub(new, old, key)
    return key
