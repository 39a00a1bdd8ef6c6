"""What SpeechT5 and SpeechLM share: sizes, the speech entrance, and one vector from speech, text or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sonolex.configs import one_of
from sonolex.processors.speech_and_letters import SpeechAndLettersProcessor
from sonolex.systems._speecht5_parts import num_conv_steps, theirs
from sonolex.systems.base import System, SystemConfig
from sonolex.types import Batch, Encoding

TINY: dict[str, Any] = {"width": 128, "num_heads": 4, "ffn_width": 512, "audio": "spectrogram", "unit_width": 64}
TINY |= {"conv_width": 64, "conv_positions": 16, "conv_groups": 4, "max_relative": 40}


@dataclass(frozen=True)
class SpeechConfig(SystemConfig):
    """Sizes of the base models, and how a clip is read.

    Attributes:
        vocab_size, blank_id, pad_id, end_id, num_mels, max_frames, max_tokens: filled in from the processor.
        audio: entrance: "waveform", or "spectrogram": a linear map of each filter-bank frame, for small data.
        conv_width: of the seven convolutions.
        max_relative: relative positions are clipped there.
        conv_positions, conv_groups: kernel and groups of the convolution that adds positions to speech.
        reader: what makes one vector of the states: "mean", "max", "attention" or "gru".
        weighted_layers: the reader sees a learned weighted sum of the layers, not the last one.
        objectives: of pre-training.
        num_units, unit_width, unit_temperature: hidden units; width and temperature of their cosine scores.
        mask_share, mask_run: chance that a step starts a hidden run, times its length. Published: 0.8 and 10.
    """

    vocab_size: int = 81
    blank_id: int = 80
    pad_id: int = 1
    end_id: int = 2
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    ffn_width: int = 3072
    dropout: float = 0.1
    norm_eps: float = 1e-5
    audio: str = "waveform"
    num_mels: int = 80
    conv_width: int = 512
    max_relative: int = 160
    conv_positions: int = 128
    conv_groups: int = 16
    max_frames: int = 3000
    max_tokens: int = 600
    reader: str = "mean"
    weighted_layers: bool = False
    objectives: tuple[str, ...] = ()
    num_units: int = 0
    unit_width: int = 256
    unit_temperature: float = 0.1
    mask_share: float = 0.8
    mask_run: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("waveform", "spectrogram"))

    def reads(self, *objectives: str) -> bool:
        """Return whether any of these objectives is trained."""
        return any(o in self.objectives for o in objectives)

    @classmethod
    def base(cls, **changes: Any) -> Any:
        """Return the published base size."""
        return cls(**changes)


class SpeechSystem(System):
    """A system that is entered by speech or by text."""

    processor_type = SpeechAndLettersProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: SpeechConfig

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.objectives

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    @classmethod
    def import_extras(cls) -> None:
        theirs()

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        tokenizer, p = processor.tokenizer, processor.config
        if config.audio != p.audio:
            raise ValueError(f"`audio` must be the processor's {p.audio!r}, but is {config.audio!r}.")
        if config.reads("units") and not processor.num_units:
            raise ValueError("`num_units` of the processor must be above 0 for the objective 'units', but is 0.")
        return replace(
            config,
            vocab_size=tokenizer.get_vocab_size(),
            blank_id=tokenizer.token_to_id("<ctc_blank>"),
            pad_id=processor.special.pad,
            end_id=processor.special.end,
            num_mels=p.num_mels,
            num_units=processor.num_units,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
        )

    def audio_input(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """Return samples or frames, and their validity."""
        waveform = self.config.audio == "waveform"
        audio = batch.samples_BS if waveform else batch.frames_BTF
        valid = batch.samples_valid_BS if waveform else batch.frames_valid_BT
        return None if audio is None or valid is None else (audio, valid)

    def steps_of(self, batch: Batch) -> list[int]:
        """Return the steps that each clip's audio becomes; 0 without audio."""
        audio = self.audio_input(batch)
        lengths_B = [0] * len(batch) if audio is None else audio[1].sum(1).tolist()
        waveform = self.config.audio == "waveform"
        return [num_conv_steps(n) if n and waveform else n for n in lengths_B]

    def joined(
        self,
        batch: Batch,
        layers: Mapping[str, tuple[Tensor, ...]],
        valid: Mapping[str, Tensor],
        vectors: Mapping[str, Tensor],
    ) -> Encoding:
        """Return the encoding; a clip's vector is the mean of those that its modalities give.

        Raises:
            ValueError: there is no modality.
        """
        if not vectors:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        present = {n: v.any(1, keepdim=True) for n, v in valid.items()}
        total_BD = torch.stack([x * present[n] for n, x in vectors.items()]).sum(0)
        pooled_BD = total_BD / torch.stack(list(present.values())).sum(0)
        return Encoding(pooled_BD, {n: x[-1] for n, x in layers.items()}, valid, layers=layers)
