from __future__ import annotations

from dataclasses import replace

from sonolex.configs import to_json
from sonolex.systems.average import AverageConfig, AverageProcessorConfig, Member
from sonolex.systems.ctal_rows.base import RecurrentConfig
from tests.conftest import TINY_PROCESSOR
from tests.systems.cases import statistics
from tests.systems.cases.small import RECURRENT

AT_16_KHZ = replace(TINY_PROCESSOR, rate_hz=16_000, fft_samples=512)
PROCESSOR = AverageProcessorConfig(
    members=(Member("statistics", to_json(statistics.PROCESSOR)), Member("mdre", to_json(AT_16_KHZ)))
)
MEMBERS = (Member("statistics"), Member("mdre", to_json(RecurrentConfig(**RECURRENT))))
CONFIGS = [AverageConfig(MEMBERS, of=of) for of in ("classes", "tags", "values")]
