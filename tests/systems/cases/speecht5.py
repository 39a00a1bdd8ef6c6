from __future__ import annotations

from sonolex.systems.speecht5 import OBJECTIVES, PAIRED, SpeechT5Config
from tests.systems.cases.small import SPEECH_AND_LETTERS as PROCESSOR
from tests.systems.cases.small import SPEECHT5

__all__ = ["CONFIGS", "PROCESSOR"]
CONFIGS = [
    SpeechT5Config(**SPEECHT5, objectives=tuple(o for o in (*OBJECTIVES, *PAIRED) if o != "penalty")),
    SpeechT5Config(**SPEECHT5, reader="gru", weighted_layers=True),
    SpeechT5Config(**SPEECHT5, reader="attention", objectives=("units", "transcription", "alignment")),
]
