from __future__ import annotations

from sonolex.audio.patches import Grid
from sonolex.systems.ssast import SsastConfig
from tests.systems.cases.small import GRID, VIT
from tests.systems.cases.small import SPECTROGRAM as PROCESSOR

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [
    SsastConfig(**VIT, grid=GRID, hidden_share=0.5),
    SsastConfig(**VIT, grid=Grid(frames=2, bins=16, num_mels=16), sampler="uniform", masks="separate"),
    SsastConfig(**VIT, grid=GRID, hidden_share=0.5, sampler="ssast_code", nce_axis="code"),
]
