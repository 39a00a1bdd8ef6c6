from __future__ import annotations

from sonolex.systems.ctal_rows.ge2e import Ge2eConfig
from tests.conftest import TINY_PROCESSOR as PROCESSOR

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [Ge2eConfig(width=16, embedding_dim=12, num_layers=2, frames_per_step=2, speaker="mood")]
