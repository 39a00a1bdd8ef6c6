from __future__ import annotations

from sonolex.systems.ctal_rows.base import RecurrentConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR
from tests.systems.cases.small import RECURRENT

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [RecurrentConfig(**RECURRENT)]
