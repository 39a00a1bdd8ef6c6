from __future__ import annotations

from dataclasses import replace

from sonolex.systems.speechlm import SpeechLmConfig
from tests.systems.cases.small import SPEECH_AND_LETTERS, SPEECHLM

PROCESSOR = replace(SPEECH_AND_LETTERS, spoken_letters=True)
CONFIGS = [
    SpeechLmConfig(**SPEECHLM, objectives=("units", "text_ctc", "speech_ctc")),
    SpeechLmConfig(**SPEECHLM, reader="gru", weighted_layers=True, objectives=("units", "text_ctc")),
]
