from __future__ import annotations

from sonolex.systems.ctal_rows.lxmert import LxmertConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import STREAMS

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [LxmertConfig(**STREAMS)]
