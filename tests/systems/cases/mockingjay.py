from __future__ import annotations

from sonolex.systems.ctal_rows.mockingjay import MockingjayConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import STREAMS

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [MockingjayConfig(**STREAMS)]
