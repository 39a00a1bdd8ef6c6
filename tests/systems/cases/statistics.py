from __future__ import annotations

from sonolex.processors.statistics import StatisticsProcessorConfig
from sonolex.systems.statistics import StatisticsConfig

PROCESSOR = StatisticsProcessorConfig(sets=("mfcc", "functionals"), fewest_clips=1)
CONFIGS = [
    StatisticsConfig(text_scale=3.0),
    StatisticsConfig(num_outputs=3, pairs=True, kernel="rbf", num_support=5, gamma=0.001),
]
