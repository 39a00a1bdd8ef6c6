"""Sizes that several systems' cases share."""

from __future__ import annotations

from sonolex.audio.patches import Grid
from sonolex.processors.spectrogram import SpectrogramConfig
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig

VIT = {"table_frames": 64, "num_layers": 2, "width": 32, "num_heads": 4, "ffn_width": 64}
GRID = Grid(frames=4, bins=4, num_mels=16)
SPECTROGRAM = SpectrogramConfig(rate_hz=8000, num_mels=16, max_frames=400, mean=-8.0, std=3.0)
STREAMS = {"vocab_size": 300, "num_layers": 2, "width": 32, "num_heads": 4, "ffn_width": 64, "stem": "conv"}
STREAMS |= {"frames_per_step": 4, "max_frames": 400, "max_tokens": 40, "num_features": 40, "shortest_segment_frames": 4}
STREAMS |= {"longest_segment_frames": 10}
RECURRENT = {"width": 16, "frames_per_step": 2, "dropout": 0.0}
SPEECHT5 = {"width": 32, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4, "ffn_width": 64, "unit_width": 16}
SPEECHT5 |= {"conv_width": 16, "conv_positions": 8, "conv_groups": 2, "max_relative": 20, "codebook_entries": 10}
SPEECHT5 |= {"audio": "spectrogram"}
SPEECHLM = {n: v for n, v in SPEECHT5.items() if not n.startswith(("codebook", "num_decoder"))}
SPEECHLM |= {"num_speech_layers": 1, "num_layers": 1}
SPEECH_AND_LETTERS = SpeechAndLettersConfig(
    rate_hz=8000, num_mels=16, max_frames=400, max_tokens=300, audio="spectrogram", num_units=12
)
