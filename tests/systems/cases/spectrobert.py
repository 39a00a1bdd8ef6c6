from __future__ import annotations

from sonolex.audio.patches import Grid
from sonolex.systems.spectrobert import SpectroBertConfig, SpectroBertProcessorConfig

SMALL = {"num_layers": 2, "width": 32, "num_heads": 4, "ffn_width": 64, "conv_width": 16, "num_positions": 160}
SMALL |= {"window_positions": 400, "max_tokens": 40}
PROCESSOR = SpectroBertProcessorConfig(
    rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200, mean=-8.0, std=3.0
)
CONFIGS = [
    SpectroBertConfig(**SMALL, grid=Grid(frames=8, bins=16, stride_frames=4, num_mels=16)),
    SpectroBertConfig(**SMALL, audio="patches", grid=Grid(frames=8, bins=8, num_mels=16), together=2, steps="stacked"),
    SpectroBertConfig(
        **(SMALL | {"window_positions": 40}), grid=Grid(frames=8, bins=16, num_mels=16), mlm_on="matched"
    ),
]
