"""Copy published weights in Hugging Face format into our modules, with every key accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.conv_stack import AudioProjection, ConvStack, conv_parameters
from sonolex.nn.embeddings import PatchEmbedding, TokenEmbedding, resize_positions
from sonolex.nn.fusion import JoinedEmbedding
from sonolex.nn.heads import TokenHead
from sonolex.weights import require_finite


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
    pairs = _embedding(embedding)
    for number, layer in enumerate(layers):
        pairs |= _post_norm_layer(layer, f"encoder.layer.{number}")
    return _copied({tuple(prefix + n for n in names): ours for names, ours in pairs.items()}, weights)


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
    return _copied(pairs, weights)


def import_conv_stack(stack: ConvStack, project: AudioProjection, weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy wav2vec2's convolutions, as many as we have, and its projection if its sizes are ours.

    Raises:
        ValueError: a shape of a convolution differs, by key.
    """
    weights = {key.removeprefix("wav2vec2."): value for key, value in weights.items()}
    pairs = {(f"feature_extractor.{name}",): ours for name, ours in conv_parameters(stack)}
    for part, module in (("layer_norm", project.norm), ("projection", project.linear)):
        for kind, ours in module.named_parameters():
            key = f"feature_projection.{part}.{kind}"
            if key in weights and weights[key].shape == ours.shape:
                pairs[(key,)] = ours
    return _copied(pairs, weights)


def import_speecht5(modules: Mapping[str, nn.Module], weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy parts of a SpeechT5 checkpoint in Hugging Face format: "speech", "text", "encoder" and "decoder".

    Raises:
        ValueError: a key of one of these parts is missing, or a shape differs.
    """
    pairs: dict[tuple[str, ...], Tensor] = {}
    for part, module in modules.items():
        pairs |= {(_SPEECHT5_PARTS[part] + name,): ours for name, ours in module.named_parameters()}
    renamed = {weight_norm_name(key): value for key, value in weights.items()}
    return copy_all(pairs, renamed, whole=f"a SpeechT5 checkpoint ({', '.join(modules)})")


def copy_all(pairs: Mapping[tuple[str, ...], Tensor], weights: Mapping[str, Tensor], *, whole: str) -> ImportReport:
    """Copy their tensors into ours, all of them or none.

    Args:
        pairs: our tensors by the keys of theirs; several keys are concatenated.
        whole: what the checkpoint is, for the error.

    Raises:
        ValueError: a key is missing, or a shape differs.
    """
    missing = [key for keys in pairs for key in keys if key not in weights]
    if missing:
        raise ValueError(
            f"{whole} must have {missing[0]!r} ({len(missing)} keys are missing) "
            f"but has keys such as {next(iter(weights), None)!r}."
        )
    return _copied(pairs, weights)


class _Found:
    """Copies a checkpoint's tensors into ours, and remembers which keys were used and which were not there."""

    def __init__(self, weights: Mapping[str, Tensor]):
        self._weights = weights
        self._used: list[str] = []
        self._missing: list[str] = []

    def take(self, names: Iterable[str], ours: Tensor, change: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Fill ``ours`` with the changed concatenation of these tensors. Raises ValueError if its shape differs."""
        names = list(names)
        if not all(n in self._weights for n in names):
            self._missing.extend(names)
            return
        _copy(names, change(torch.cat([self._weights[n] for n in names])), ours)
        self._used.extend(names)

    def report(self) -> ImportReport:
        """Return what was used, what was not, and what was not there. Raises ValueError if hardly any was."""
        unused = [k for k in self._weights if k not in self._used]
        return _require_matched(ImportReport(tuple(dict.fromkeys(self._used)), tuple(unused), tuple(self._missing)))


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
    """Copy an AST or DeiT encoder in Hugging Face format (either generation of key names); return what was used.

    Positions are cut from the middle where ours are fewer and interpolated where they are more, time first, then
    frequency, as AST's code does.

    Args:
        size: patches along time and band of *their* position table: (101, 12) for AST on AudioSet, (14, 14) or (24, 24)
            for DeiT (rows of an image are bands).
        patch: frames and bands of our patch.
        channels: how colour channels become one: "sum" (AST's code) or "mean" (its document).

    Raises:
        ValueError: a shape differs, by key; our patches are normalised.
    """
    if not isinstance(embedding.project, nn.Linear):
        raise ValueError("`patch_norm` must be 'none' to import AST or DeiT, whose patches are projected linearly.")
    weights = {_released_name(k.removeprefix(prefix)): v for k, v in weights.items() if k.startswith(prefix)}
    found = _Found(weights)
    take = found.take
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
            for theirs, mine in _PRE_NORM_NAMES.items():
                take([f"encoder.layer.{number}.{theirs}.{kind}"], ours[f"{mine}.{kind}"])
    for kind, parameter in norm.named_parameters():
        take([f"layernorm.{kind}"], parameter)
    return found.report()


def _embedding(embedding: TokenEmbedding | JoinedEmbedding) -> dict[tuple[str, ...], Tensor]:
    """Return our tensors of BERT's or RoBERTa's embedding by their keys."""
    return {
        ("embeddings.word_embeddings.weight",): embedding.token.weight,
        ("embeddings.position_embeddings.weight",): embedding.position.weight,
        ("embeddings.token_type_embeddings.weight",): embedding.modality.weight,
        ("embeddings.LayerNorm.weight",): embedding.norm.weight,
        ("embeddings.LayerNorm.bias",): embedding.norm.bias,
    }


def _copied(pairs: Mapping[tuple[str, ...], Tensor], weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy their tensors, concatenated by our names for them, into ours."""
    used: list[str] = []
    missing: list[str] = []
    for keys, ours in pairs.items():
        if not all(k in weights for k in keys):
            missing += keys
            continue
        _copy(keys, weights[keys[0]] if len(keys) == 1 else torch.cat([weights[k] for k in keys]), ours)
        used += keys
    ignorable = ("position_ids", "token_type_ids")  # buffers, not weights
    unused = [k for k in weights if k not in used and not k.endswith(ignorable)]
    return _require_matched(ImportReport(tuple(used), tuple(unused), tuple(missing)))


def _require_matched(report: ImportReport) -> ImportReport:
    """Return the report of an import that found most of what it looked for.

    Raises:
        ValueError: it found nothing, or less than half: the checkpoint is of another kind, or of other names.
    """
    if len(report.used) <= len(report.missing):
        raise ValueError(
            f"the checkpoint must hold the tensors of this part, but has {len(report.used)} of "
            f"{len(report.used) + len(report.missing)}: it lacks {_first(report.missing)}; it has besides "
            f"{_first(report.unused)}. Is it of another kind of model?"
        )
    return report


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more or "nothing"


def _copy(keys: Iterable[str], theirs: Tensor, ours: Tensor) -> None:
    """Copy one tensor of theirs into ours. Raises ValueError if shape or kind differ, or a number is not finite."""
    if theirs.shape != ours.shape:
        raise ValueError(f"{list(keys)} must have shape {tuple(ours.shape)}, but have {tuple(theirs.shape)}.")
    if theirs.is_floating_point() != ours.is_floating_point():
        raise ValueError(f"{list(keys)} must hold {ours.dtype} numbers or alike, but hold {theirs.dtype}.")
    require_finite("the checkpoint", " and ".join(keys), theirs)
    with torch.no_grad():
        ours.copy_(theirs)


def _bert_name(key: str) -> str:
    key = key.removeprefix("bert.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", key))


def weight_norm_name(key: str) -> str:
    """Return a key under torch's newer names of a weight's norm and direction."""
    key = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", key)
    return re.sub(r"\.weight_v$", ".parametrizations.weight.original1", key)


def _released_name(key: str) -> str:
    """Return a key under the names of released checkpoints; transformers 5 renamed modules in memory."""
    for new, old in _RENAMED_IN_5.items():
        key = re.sub(new, old, key)
    return key


def _positions(table_PD: Tensor, size: tuple[int, int], embedding: PatchEmbedding) -> Tensor:
    """Return their table (band first) as ours (time first), cut from the middle or interpolated to our size."""
    columns, rows = size
    if len(table_PD) != columns * rows:
        raise ValueError(f"`size` must multiply to their {len(table_PD)} positions, but is {columns} × {rows}.")
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


def _post_norm_layer(layer: nn.Module, place: str) -> dict[tuple[str, ...], Tensor]:
    """Return our tensors of a post-norm layer by the keys of theirs; several keys are concatenated."""
    ours = dict(layer.named_parameters())
    pairs: dict[tuple[str, ...], Tensor] = {}
    for kind in ("weight", "bias"):
        query_key_value = tuple(f"{place}.attention.self.{n}.{kind}" for n in ("query", "key", "value"))
        pairs[query_key_value] = ours[f"attention.qkv.{kind}"]
        pairs |= {(f"{place}.{theirs}.{kind}",): ours[f"{mine}.{kind}"] for theirs, mine in _LAYER_NAMES.items()}
    return pairs


_SPEECHT5_PARTS = {
    "speech": "speecht5.encoder.prenet.",
    "text": "speecht5.encoder.prenet.",
    "encoder": "speecht5.encoder.wrapped_encoder.",
    "decoder": "speecht5.decoder.wrapped_decoder.",
}
_LAYER_NAMES = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
    "output.LayerNorm": "ffn_norm",
}
_PRE_NORM_NAMES = {
    "attention.output.dense": "attention.out",
    "layernorm_before": "attention_norm",
    "layernorm_after": "ffn_norm",
    "intermediate.dense": "ffn.up",
    "output.dense": "ffn.down",
}
_RENAMED_IN_5 = {
    r"^layers\.(\d+)\.attention\.q_proj": r"encoder.layer.\1.attention.attention.query",
    r"^layers\.(\d+)\.attention\.k_proj": r"encoder.layer.\1.attention.attention.key",
    r"^layers\.(\d+)\.attention\.v_proj": r"encoder.layer.\1.attention.attention.value",
    r"^layers\.(\d+)\.attention\.o_proj": r"encoder.layer.\1.attention.output.dense",
    r"^layers\.(\d+)\.mlp\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"^layers\.(\d+)\.mlp\.fc2": r"encoder.layer.\1.output.dense",
    r"^layers\.(\d+)\.layernorm": r"encoder.layer.\1.layernorm",
}
