"""AST: Audio Spectrogram Transformer (Gong et al. 2021), the network of SSAST and VCR-AST (reference D1, D2).

What is unusual about it:

- It is an image transformer: filter banks are cut into patches, which overlap, and weights may come from DeiT, whose
  three colour channels are joined into one (the documents say averaged, the code sums).
- Every clip is padded to 1024 frames *before* normalisation, so padding has the value 0.467 and is attended to. Here
  clips keep their length; the processor's ``frames="fixed"`` is the published way, for checkpoint parity.
- It answers with the mean of class and distillation token.

It has no pre-training objective of its own; `sonolex.systems.ssast` and `sonolex.systems.vcr_ast` have.
"""

from __future__ import annotations

from dataclasses import dataclass

from sonolex.audio.patches import Grid
from sonolex.systems._spectrogram_transformer import SpectrogramTransformer, TransformerConfig

OVERLAPPING = Grid(stride_frames=10, stride_bins=10)


@dataclass(frozen=True)
class AstConfig(TransformerConfig):
    """AST-Base: 16 × 16 patches every 10 frames and bands, 12 × 101 of them at 1024 frames."""

    grid: Grid = OVERLAPPING
    pool: str = "tokens"


class Ast(SpectrogramTransformer):
    """Trained with labels, from random or imported weights (`sonolex.nn.backbones.import_ast`)."""

    name = "ast"
    config_type = AstConfig
    config: AstConfig


SYSTEM = Ast
