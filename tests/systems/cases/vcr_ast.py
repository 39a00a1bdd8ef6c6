from __future__ import annotations

from sonolex.audio.views import Views
from sonolex.systems.vcr_ast import VcrAstConfig
from tests.systems.cases.small import GRID, VIT
from tests.systems.cases.small import SPECTROGRAM as PROCESSOR

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [
    VcrAstConfig(**VIT, grid=GRID, hidden_share=0.5, hidden_patches="dropped", expander_width=48),
    VcrAstConfig(**VIT, grid=GRID, mask_range="published", reduction="paper", expander_width=48),
    VcrAstConfig(
        **VIT,
        grid=GRID,
        hidden_share=0.0,
        views=Views(speed=0.2, crop_share=0.3, equalise_db=6),
        patch_norm="dual",
        keep_patches=0.5,
        pool="mean_std",
        expander_width=48,
    ),
]
