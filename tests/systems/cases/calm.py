from __future__ import annotations

from sonolex.audio.patches import Blocks, Grid
from sonolex.systems.calm import CalmConfig, CalmProcessorConfig

SMALL = {"num_layers": 2, "width": 32, "num_heads": 4, "ffn_width": 64, "max_tokens": 40}
SMALL |= {"blocks": (Blocks(12, 6),), "grid": Grid(6, 8, 3, 4, num_mels=16), "spectran_width": 16}
PROCESSOR = CalmProcessorConfig(rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200)
CONFIGS = [
    CalmConfig(**SMALL, learn_temperature=True, block_fill="learned"),
    CalmConfig(
        **(SMALL | {"blocks": (Blocks(12, 6), Blocks(20, 20))}),
        align="clip",
        spaces="standardised",
        symmetric=False,
    ),
    CalmConfig(
        **SMALL,
        stem="normalised",
        align="transformer",
        summary="cls",
        denominator="without_positive",
        same_text="negative",
    ),
    CalmConfig(**(SMALL | {"grid": Grid(8, 8, 4, 4, num_mels=16)}), stem="conv2d"),
]
