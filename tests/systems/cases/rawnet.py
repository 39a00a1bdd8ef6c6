from __future__ import annotations

from sonolex.processors.speech_and_letters import SpeechAndLettersConfig
from sonolex.systems.ctal_rows.rawnet import RawNetConfig

PROCESSOR = SpeechAndLettersConfig(rate_hz=8000, max_frames=400)
CONFIGS = [RawNetConfig(channels=(8, 8, 12), width=16, embedding_dim=12)]
