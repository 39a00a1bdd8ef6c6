"""AST, SSAST and DeiT on any grid of patches, in Hugging Face's format (either generation of names) or their authors'.

The authors' networks are timm's: one tensor for query, key and value, and other names. SSAST's file also has its patch
size, the vector of hidden patches and the heads of both objectives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.embeddings import PatchEmbedding, resize_positions
from sonolex.pretrained.base import Found, ImportReport
from sonolex.pretrained.checkpoint import Checkpoint, expecting, open_checkpoint
from sonolex.pretrained.files import sizes_in

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
TIMM_NAMES = {
    r"^cls_token$": "embeddings.cls_token",
    r"^dist_token$": "embeddings.distillation_token",
    r"^pos_embed$": "embeddings.position_embeddings",
    r"^patch_embed\.proj\.": "embeddings.patch_embeddings.projection.",
    r"^blocks\.(\d+)\.norm1\.": r"encoder.layer.\1.layernorm_before.",
    r"^blocks\.(\d+)\.norm2\.": r"encoder.layer.\1.layernorm_after.",
    r"^blocks\.(\d+)\.attn\.proj\.": r"encoder.layer.\1.attention.output.dense.",
    r"^blocks\.(\d+)\.mlp\.fc1\.": r"encoder.layer.\1.intermediate.dense.",
    r"^blocks\.(\d+)\.mlp\.fc2\.": r"encoder.layer.\1.output.dense.",
    r"^norm\.": "layernorm.",
}
"""Names of Hugging Face by those of timm, below the ``v.`` of AST and SSAST."""
NUM_BANDS, HEAD_WIDTH = 128, 64  # of all these models; their own files do not say it
AST_STRIDES = (10, 12, 14, 16)
"""Of the authors' models, whose files do not say theirs."""
PARTS = ("ast", "ssast", "deit")
CONFIG_SIZES = ("time_stride", "frequency_stride", "num_mel_bins", "num_attention_heads", "layer_norm_eps")


def import_ast_or_deit(
    sources: Mapping[str, str],
    embedding: PatchEmbedding,
    layers: nn.ModuleList,
    norm: nn.LayerNorm,
    *,
    patch: tuple[int, int],
    name: str,
    objectives: Mapping[str, nn.Module] | None = None,
) -> dict[str, ImportReport]:
    """Fill the encoder of system ``name`` from one AST, SSAST or DeiT: a file, a local folder or ``hub:ORG/NAME``.

    Args:
        patch: frames and bands of our patches.
        objectives: what SSAST's objectives have, by its own names: "mask_embed", "cpredlayer" and "gpredlayer".

    Raises:
        ValueError: another part, or a checkpoint of another kind.
    """
    reports = {}
    for part, place in sources.items():
        if part not in PARTS:
            raise ValueError(f"`pretrained` must name {', '.join(PARTS)} for {name}, but names {part!r}.")
        checkpoint = open_checkpoint(place)
        if checkpoint.kind.removesuffix("_timm") != part:
            raise ValueError(
                f"`pretrained` ({part}) must be a checkpoint of {part}, but {checkpoint.path} is {checkpoint.title}."
            )
        with expecting(checkpoint):
            weights = encoder_names(checkpoint.weights)
            size = _table_size(checkpoint, weights)
        reports[part] = import_ast(embedding, layers, norm, weights, size=size, patch=patch, objectives=objectives)
    return reports


def encoder_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's tensors under Hugging Face's names without prefix; those of heads keep their own names."""
    named: dict[str, Tensor] = {}
    for key, value in weights.items():
        name = re.sub(r"^(audio_spectrogram_transformer|deit|v)\.", "", key)
        layer = re.match(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", name)
        if layer is not None:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                named[f"encoder.layer.{layer[1]}.attention.attention.{part}.{layer[2]}"] = third
            continue
        for theirs, released in TIMM_NAMES.items():
            name = re.sub(theirs, released, name)
        named[_released_name(name)] = value
    return named


def ast_sizes(place: str | Path) -> dict[str, Any]:
    """Return the sizes of an AST, SSAST or DeiT checkpoint by our names; "grid" has those of its patches.

    Raises:
        ValueError: a checkpoint of another kind.
    """
    checkpoint = open_checkpoint(place)
    if checkpoint.kind.removesuffix("_timm") not in PARTS:
        raise ValueError(
            f"`path` must be a checkpoint of AST, SSAST or DeiT, but {checkpoint.path} is {checkpoint.title}."
        )
    with expecting(checkpoint):
        sizes = _sizes(checkpoint, encoder_names(checkpoint.weights))
    return sizes


def _sizes(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    names = [n for n in CONFIG_SIZES if n in checkpoint.config]
    config = sizes_in(checkpoint.config, names, place=checkpoint.path)
    columns, _ = _table_size(checkpoint, weights)
    width, _, bands, frames = weights["embeddings.patch_embeddings.projection.weight"].shape
    stride = config.get("time_stride", _stride(checkpoint, weights))
    grid = {"frames": frames, "bins": bands, "num_mels": config.get("num_mel_bins", NUM_BANDS)}
    if stride < frames:
        grid |= {"stride_frames": stride, "stride_bins": config.get("frequency_stride", stride), "partial": "drop"}
    sizes: dict[str, Any] = {
        "grid": grid,
        "width": width,
        "num_layers": 1 + max(int(n[1]) for name in weights if (n := re.match(r"encoder\.layer\.(\d+)\.", name))),
        "num_heads": config.get("num_attention_heads", max(1, width // HEAD_WIDTH)),
        "ffn_width": weights["encoder.layer.0.intermediate.dense.weight"].shape[0],
        "norm_eps": config.get("layer_norm_eps", 1e-6),
    }
    return sizes if checkpoint.kind.startswith("deit") else sizes | {"table_frames": frames + (columns - 1) * stride}


def _table_size(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return how many patches along time and band a checkpoint's table of positions has.

    Raises:
        ValueError: it has one special token (DeiT without distillation), or fits no stride of AST's.
    """
    if "embeddings.distillation_token" not in weights:
        raise ValueError(f"{checkpoint.path} must have a distillation token beside the class token, but has none.")
    config, kind = checkpoint.config, checkpoint.kind
    num_positions = weights["embeddings.position_embeddings"].shape[1] - 2
    bands, frames = weights["embeddings.patch_embeddings.projection.weight"].shape[2:]
    if kind.startswith("deit"):
        side = math.isqrt(num_positions)
        return side, side
    if kind == "ssast":
        return int(weights["p_input_tdim"]) // frames, int(weights["p_input_fdim"]) // bands
    if config:
        length = "time_dimension" if "time_dimension" in config else "max_length"  # the former of an old converter
        sizes = sizes_in(config, (length, "time_stride", "num_mel_bins", "frequency_stride"), place=checkpoint.path)
        columns = 1 + (sizes[length] - frames) // sizes["time_stride"]
        return columns, 1 + (sizes["num_mel_bins"] - bands) // sizes["frequency_stride"]
    rows = 1 + (NUM_BANDS - bands) // _stride(checkpoint, weights)
    return num_positions // rows, rows


def _stride(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> int:
    """Return the stride of a checkpoint's patches, which the authors' file of AST does not say.

    Raises:
        ValueError: its table of positions fits none of the published strides.
    """
    bands, frames = weights["embeddings.patch_embeddings.projection.weight"].shape[2:]
    if checkpoint.kind != "ast_timm":
        return frames
    num_positions = weights["embeddings.position_embeddings"].shape[1] - 2
    for stride in AST_STRIDES:
        if num_positions % (1 + (NUM_BANDS - bands) // stride) == 0:
            return stride
    raise ValueError(f"{checkpoint.path} must have a table for {NUM_BANDS} bands, but has {num_positions} positions.")


def import_ast(
    embedding: PatchEmbedding,
    layers: Iterable[nn.Module],
    norm: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    size: tuple[int, int],
    patch: tuple[int, int],
    channels: str = "sum",
    objectives: Mapping[str, nn.Module] | None = None,
) -> ImportReport:
    """Copy an AST, SSAST or DeiT encoder under the names of `encoder_names`; return what was used.

    Positions are cut from the middle where ours are fewer and interpolated where they are more, time first, then
    frequency, as AST's code does.

    Args:
        size: patches along time and band of the *checkpoint's* position table: (101, 12) for AST on AudioSet, (14, 14)
            or (24, 24) for DeiT (rows of an image are bands).
        patch: frames and bands of our patch.
        channels: how colour channels become one: "sum" (AST's code) or "mean" (its document).
        objectives: see `import_ast_or_deit`.

    Raises:
        ValueError: a shape differs, by key; our patches are normalised.
    """
    if not isinstance(embedding.project, nn.Linear):
        raise ValueError("`patch_norm` must be 'none' to import AST or DeiT, whose patches are projected linearly.")
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
    if objectives is not None and "mask_embed" in weights:
        _take_objectives(copies, objectives, patch)
    return copies.report()


def _take_objectives(found: Found, objectives: Mapping[str, nn.Module], patch: tuple[int, int]) -> None:
    """Copy SSAST's vector of hidden patches and both heads, whose outputs are a patch band by band."""
    (hidden_D,) = objectives["mask_embed"].parameters()
    found.take(["mask_embed"], hidden_D, lambda x: x.flatten())
    for name in ("cpredlayer", "gpredlayer"):
        for kind, ours in objectives[name].named_parameters():
            last = kind.startswith("2.")
            found.take([f"{name}.{kind}"], ours, lambda x, last=last: _by_frame(x, patch) if last else x)


def _by_frame(x_KD: Tensor, patch: tuple[int, int]) -> Tensor:
    """Return the rows of a patch's values (bands · frames, …) frame by frame."""
    frames, bands = patch
    return x_KD.unflatten(0, (bands, frames)).transpose(0, 1).flatten(0, 1)


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
