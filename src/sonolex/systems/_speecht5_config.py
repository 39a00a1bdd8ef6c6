"""SpeechT5's config: sizes, objectives, and how a clip is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sonolex.configs import one_of
from sonolex.nn.readers import READERS
from sonolex.systems._speech_system import TINY, SpeechConfig

OBJECTIVES = ("units", "penalty", "spectrogram", "stop", "infilling", "diversity")
PAIRED = ("transcription", "alignment")


@dataclass(frozen=True)
class SpeechT5Config(SpeechConfig):
    """SpeechT5's sizes (base by default), its objectives, and how a clip is read.

    Attributes:
        reader: "decoder" (published: one zero query), or a reader of the encoder's states.
        objectives: of pre-training. Published: "units" (masked units), "penalty" (squared convolution features),
            "spectrogram" and "stop" (drawn by the decoder), "infilling" (text), "diversity" (of the codebook). Ours,
            for clips with both: "transcription" (CTC of speech to letters, as in the released recogniser) and
            "alignment" (NT-Xent between the encoder's mean states of a clip and of its transcript).
        mix_share: of the encoder's steps that the decoder sees quantised. Published: 0.5 in the paper, 0.1 in scripts.
        infill_share, infill_run: letters hidden, in runs whose mean length is this. Published: 0.3 and 3.5.
    """

    num_letters: int = 79
    mask_id: int = 79
    first_letter_id: int = 4
    rate_hz: int = 16_000
    num_decoder_layers: int = 6
    reader: str = "decoder"
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
        super().__post_init__()
        one_of("reader", self.reader, ("decoder", *READERS))
        for objective in self.objectives:
            one_of("objectives", objective, (*OBJECTIVES, *PAIRED))
        if self.weighted_layers and self.reader == "decoder":
            raise ValueError("`weighted_layers` must be False for reader='decoder', which reads the last layer.")
        if self.reads("spectrogram") != self.reads("stop"):
            raise ValueError("`objectives` must have both spectrogram and stop, or neither.")
        if self.reads("diversity") and not self.reads("spectrogram", "infilling"):
            raise ValueError("`objectives` must have spectrogram or infilling with diversity: they read the codebook.")

    @property
    def decodes(self) -> bool:
        """Whether anything uses the decoder."""
        return self.reader == "decoder" or self.reads("spectrogram", "infilling")

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechT5Config:
        """Return a size for two cores: 3 layers of 128 over filter banks."""
        sizes: dict[str, Any] = TINY | {"num_layers": 3, "num_decoder_layers": 1}
        return cls(**(sizes | changes))
