"""SpeechT5 in Hugging Face format: the entrances of speech and text, encoder and decoder, each copied whole or not."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from sonolex.pretrained.base import ImportReport, copy_all

PARTS = {
    "speech": "speecht5.encoder.prenet.",
    "text": "speecht5.encoder.prenet.",
    "encoder": "speecht5.encoder.wrapped_encoder.",
    "decoder": "speecht5.decoder.wrapped_decoder.",
}
"""Prefixes of the keys of each part."""


def import_speecht5(modules: Mapping[str, nn.Module], weights: Mapping[str, Tensor]) -> ImportReport:
    """Copy parts of a SpeechT5 checkpoint in Hugging Face format: "speech", "text", "encoder" and "decoder".

    Raises:
        ValueError: a key of one of these parts is missing, or a shape differs.
    """
    pairs: dict[tuple[str, ...], Tensor] = {}
    for part, module in modules.items():
        pairs |= {(PARTS[part] + name,): ours for name, ours in module.named_parameters()}
    renamed = {weight_norm_name(key): value for key, value in weights.items()}
    return copy_all(pairs, renamed, whole=f"a SpeechT5 checkpoint ({', '.join(modules)})")


def weight_norm_name(key: str) -> str:
    """Return a key under torch's newer names of a weight's norm and direction."""
    key = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", key)
    return re.sub(r"\.weight_v$", ".parametrizations.weight.original1", key)
