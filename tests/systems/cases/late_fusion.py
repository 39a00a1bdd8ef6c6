from __future__ import annotations

from sonolex.systems.ctal_rows.base import CtalRowConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import STREAMS

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [CtalRowConfig(**STREAMS)]
