"""wav2vec2 in Hugging Face format: its convolutions and their projection."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sonolex.nn.conv_stack import AudioProjection, ConvStack, conv_parameters
from sonolex.pretrained.base import ImportReport, copy_found


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
    return copy_found(pairs, weights)
