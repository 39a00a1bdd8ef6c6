from __future__ import annotations

from sonolex.systems.ctal_rows.multi_hop import MultiHopConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import RECURRENT

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [MultiHopConfig(**RECURRENT), MultiHopConfig(**RECURRENT, num_hops=3)]
