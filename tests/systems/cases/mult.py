from __future__ import annotations

from sonolex.systems.ctal_rows.mult import MulTConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import RECURRENT

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [MulTConfig(**RECURRENT, num_layers=1, num_self_layers=1, num_heads=2, ffn_width=32)]
