"""SpeechT5's config: sizes, objectives, and how a clip is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sonolex.nn.readers import READERS
from sonolex.systems.base import SystemConfig, one_of

OBJECTIVES = ("units", "penalty", "spectrogram", "stop", "infilling", "diversity")
PAIRED = ("transcription", "alignment")


@dataclass(frozen=True)
class SpeechT5Config(SystemConfig):
    """SpeechT5's sizes (base by default), its objectives, and how a clip is read.

    Attributes:
        audio: entrance: "waveform", or "spectrogram": a linear map of each filter-bank frame, for small data.
        conv_width: of the seven convolutions.
        max_relative: relative positions are clipped there.
        conv_positions, conv_groups: kernel and groups of the convolution that adds positions to speech.
        reader: "decoder" (published: one zero query), or "mean", "max", "attention", "gru" of the encoder's states.
        weighted_layers: the reader sees a learned weighted sum of the encoder's layers, not the last one.
        objectives: of pre-training. Published: "units" (masked units), "penalty" (squared convolution features),
            "spectrogram" and "stop" (drawn by the decoder), "infilling" (text), "diversity" (of the codebook). Ours,
            for clips with both: "transcription" (CTC of speech to letters, as in the released recogniser) and
            "alignment" (NT-Xent between the encoder's mean states of a clip and of its transcript).
        mask_share, mask_run: chance that a step starts a hidden run, times its length. Published: 0.8 and 10.
        mix_share: of the encoder's steps that the decoder sees quantised. Published: 0.5 in the paper, 0.1 in scripts.
        infill_share, infill_run: letters hidden, in runs whose mean length is this. Published: 0.3 and 3.5.
    """

    vocab_size: int = 81
    num_letters: int = 79
    mask_id: int = 79
    blank_id: int = 80
    pad_id: int = 1
    end_id: int = 2
    first_letter_id: int = 4
    width: int = 768
    num_layers: int = 12
    num_decoder_layers: int = 6
    num_heads: int = 12
    ffn_width: int = 3072
    dropout: float = 0.1
    norm_eps: float = 1e-5
    audio: str = "waveform"
    rate_hz: int = 16_000
    num_mels: int = 80
    conv_width: int = 512
    max_relative: int = 160
    conv_positions: int = 128
    conv_groups: int = 16
    max_frames: int = 3000
    max_tokens: int = 600
    reader: str = "decoder"
    weighted_layers: bool = False
    objectives: tuple[str, ...] = ()
    num_units: int = 0
    unit_width: int = 256
    unit_temperature: float = 0.1
    mask_share: float = 0.8
    mask_run: int = 10
    mix_share: float = 0.5
    codebook_groups: int = 2
    codebook_entries: int = 100
    codebook_temperature: float = 1.0
    spectrogram_reduction: int = 2
    infill_share: float = 0.3
    infill_run: float = 3.5
    random_letters: float = 0.1
    alignment_temperature: float = 0.1

    def __post_init__(self) -> None:
        one_of("audio", self.audio, ("waveform", "spectrogram"))
        one_of("reader", self.reader, ("decoder", *READERS))
        for objective in self.objectives:
            one_of("objectives", objective, (*OBJECTIVES, *PAIRED))
        if self.weighted_layers and self.reader == "decoder":
            raise ValueError("`weighted_layers` must be False for reader='decoder', which reads the last layer.")
        if self.reads("spectrogram") != self.reads("stop"):
            raise ValueError("`objectives` must have both spectrogram and stop, or neither.")
        if self.reads("diversity") and not self.reads("spectrogram", "infilling"):
            raise ValueError("`objectives` must have spectrogram or infilling with diversity: they read the codebook.")

    def reads(self, *objectives: str) -> bool:
        """Return whether any of these objectives is trained."""
        return any(o in self.objectives for o in objectives)

    @property
    def decodes(self) -> bool:
        """Whether anything uses the decoder."""
        return self.reader == "decoder" or self.reads("spectrogram", "infilling")

    @classmethod
    def base(cls, **changes: Any) -> SpeechT5Config:
        """Return SpeechT5-Base."""
        return cls(**changes)

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechT5Config:
        """Return a size for two cores: 3 layers of 128 over filter banks."""
        sizes: dict[str, Any] = {"width": 128, "num_layers": 3, "num_decoder_layers": 1, "num_heads": 4}
        sizes |= {"ffn_width": 512, "conv_width": 64, "conv_positions": 16, "conv_groups": 4, "audio": "spectrogram"}
        sizes |= {"unit_width": 64, "max_relative": 40}
        return cls(**(sizes | changes))
