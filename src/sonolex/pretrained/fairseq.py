"""Read released fairseq checkpoints (SpeechT5, SpeechLM) without fairseq, and without running anything in them.

A fairseq file is a pickle: tensors beside settings, which are objects of argparse, omegaconf or fairseq itself. Only
tensors and plain containers are built (`sonolex.torch_file`); any other object becomes an inert one.

Names of keys are those of the released models' modules. No released file was at hand when this was written: the
tests make files with these names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from sonolex.pretrained.base import ImportReport, copy_all
from sonolex.pretrained.speecht5 import weight_norm_name

SPECIAL_UNITS = 4  # rows of a fairseq dictionary before its first unit: <s>, <pad>, </s>, <unk>; <mask> comes last
FIRST_POSITION = 2  # row of fairseq's first learned position: those before belong to padding


def speecht5_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return fairseq's SpeechT5 weights under the names of transformers; names that have none stay as they are."""
    return {_renamed(key, _SPEECHT5): value for key, value in weights.items()}


def import_speechlm(system: nn.Module, weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy SpeechLM's speech transformer, unit embedding and shared transformer.

    Heads of its objectives are not copied: they are listed as unused.

    Raises:
        ValueError: a key is missing, a shape differs, or there are more or fewer units.
    """
    renamed = {weight_norm_name(_renamed(key, _SPEECHLM)): value for key, value in weights.items()}
    ours = dict(system.named_parameters())
    if "unit_embedding.weight" in renamed and "unit_embedding.weight" in ours:
        num_units, wanted = (
            len(renamed["unit_embedding.weight"]) - SPECIAL_UNITS - 1,
            len(ours["unit_embedding.weight"]),
        )
        if num_units != wanted:
            raise ValueError(
                f"`num_units` must be the checkpoint's {num_units}, each of which has its own meaning, but is {wanted}."
            )
        renamed["unit_embedding.weight"] = renamed["unit_embedding.weight"][SPECIAL_UNITS : SPECIAL_UNITS + num_units]
    if "unit_position.weight" in renamed:
        last = FIRST_POSITION + len(ours["unit_position.weight"])
        renamed["unit_position.weight"] = renamed["unit_position.weight"][FIRST_POSITION:last]
    parts = ("speech.", "speech_layers.", "unit_embedding.", "unit_position.", "shared_layers.")
    pairs = {(name,): parameter for name, parameter in ours.items() if name.startswith(parts)}
    return copy_all(pairs, renamed, whole="a SpeechLM checkpoint")


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, name in rules:
        key, changed = re.subn(pattern, name, key)
        if changed:
            break
    for pattern, name in _FEED_FORWARD if ".wrapped_decoder." in key else (*_ATTENTION, *_FEED_FORWARD):
        key = re.sub(pattern, name, key)
    return key


_CONVOLUTIONS = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_encoder.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.0\.2\.", r"feature_encoder.conv_layers.0.layer_norm."),
)
_FEED_FORWARD = ((r"\.fc1\.", ".feed_forward.intermediate_dense."), (r"\.fc2\.", ".feed_forward.output_dense."))
_ATTENTION = ((r"\.self_attn\.", ".attention."), (r"\.self_attn_layer_norm\.", ".layer_norm."))
_ENTRANCE, _ENCODER, _DECODER = "speecht5.encoder.prenet.", "speecht5.encoder.wrapped_encoder.", "speecht5.decoder."
_SPEECHT5 = (
    *((rf"^speech_encoder_prenet\.{old}", _ENTRANCE + new) for old, new in _CONVOLUTIONS),
    (r"^speech_encoder_prenet\.layer_norm\.", f"{_ENTRANCE}feature_projection.layer_norm."),
    (r"^speech_encoder_prenet\.post_extract_proj\.", f"{_ENTRANCE}feature_projection.projection."),
    (r"^speech_encoder_prenet\.pos_conv\.0\.", f"{_ENTRANCE}pos_conv_embed.conv."),
    (r"^text_encoder_prenet\.encoder_prenet\.0\.", f"{_ENTRANCE}embed_tokens."),
    (r"^text_encoder_prenet\.encoder_prenet\.1\.", f"{_ENTRANCE}encode_positions."),
    (r"^encoder\.pos_emb\.", f"{_ENCODER}embed_positions."),
    (r"^encoder\.(?=layers\.|layer_norm\.)", _ENCODER),
    (r"^decoder\.layers\.", f"{_DECODER}wrapped_decoder.layers."),
)
_SPEECHLM = (
    *((rf"^{old}", f"speech.{new}") for old, new in _CONVOLUTIONS),
    (r"^layer_norm\.", "speech.feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "speech.feature_projection.projection."),
    (r"^encoder\.pos_conv\.0\.", "speech.pos_conv_embed.conv."),
    (r"^encoder\.pos_emb\.", "speech_layers.embed_positions."),
    (r"^encoder\.(?=layers\.|layer_norm\.)", "speech_layers."),
    (r"^unit_encoder\.embed_tokens\.", "unit_embedding."),
    (r"^unit_encoder\.embed_positions\.", "unit_position."),
    (r"^unit_encoder\.layernorm_embedding\.", "shared_layers.layer_norm."),
    (r"^unit_encoder\.pos_emb\.", "shared_layers.embed_positions."),
    (r"^unit_encoder\.layers\.", "shared_layers.layers."),
)
