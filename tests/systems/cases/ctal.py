from __future__ import annotations

from dataclasses import replace

from tests.conftest import TINY
from tests.conftest import TINY_PROCESSOR as PROCESSOR

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [
    TINY,
    replace(TINY, stem="linear", frames_per_step=1, fusion="code", orthogonal="code", replace_level="frame"),
    replace(TINY, audio_attention="causal"),
    replace(TINY, stem="conv2d", frames_per_step=4),
]
