from __future__ import annotations

from dataclasses import replace

from sonolex.systems.ast import AstConfig
from tests.systems.cases.small import GRID, VIT
from tests.systems.cases.small import SPECTROGRAM as PROCESSOR

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [
    AstConfig(**VIT, grid=replace(GRID, stride_frames=3, stride_bins=3)),
    AstConfig(**VIT, grid=replace(GRID, partial="drop"), pool="mean_std"),
    AstConfig(**VIT, grid=GRID, attention="random_features"),
]
