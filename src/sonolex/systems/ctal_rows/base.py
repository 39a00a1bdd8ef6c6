"""Parts that rows share. Transformers are `Ctal` with other encoders: sizes, corruption, tasks and fusion are CTAL's.
Recurrent rows share CTAL's input and networks that never see padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout
from sonolex.nn.embeddings import stack_frames
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig, LogMelAndTokensProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.systems.ctal import CtalConfig
from sonolex.types import Batch


@dataclass(frozen=True)
class CtalRowConfig(CtalConfig):
    """CTAL's sizes, tasks and fusion, for rows of its table 4."""

    audio_attention: ClassVar[str] = "bidirectional"  # type: ignore[misc]  # no field: only CTAL's checkpoints are causal


@dataclass(frozen=True)
class RecurrentConfig(SystemConfig):
    """Sizes of a baseline with one recurrent network a modality.

    Attributes:
        vocab_size, num_features: filled in from the processor.
        width: of word vectors and of the networks' states, in both directions together where there are two.
        frames_per_step: frames that enter the network at once.
    """

    vocab_size: int = 30_000
    num_features: int = 160
    width: int = 256
    frames_per_step: int = 4
    dropout: float = 0.1


class RecurrentSystem(System):
    """A system of words and frames, without a pre-training objective."""

    config_type = RecurrentConfig
    processor_type = LogMelAndTokensProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: RecurrentConfig

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.width)
        self.dropout = Dropout(config.dropout)

    @property
    def pooled_dim(self) -> int:
        return 2 * self.config.width

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        vocab_size = processor.tokenizer.get_vocab_size()
        return replace(config, vocab_size=vocab_size, num_features=processor.num_features)

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Any, LogMelAndTokensConfig]:
        max_frames = max(1600, 1 + round(80 * min(longest_s, LONGEST_STARTER_S)))
        vocab_size = 1000 if num_clips < 20_000 else 8000
        processor = LogMelAndTokensConfig(vocab_size=vocab_size, max_frames=max_frames, normalise="fixed")
        return cls.config_type(width=128 if num_clips < 20_000 else 256), processor  # type: ignore[call-arg]

    def inputs(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return stacked frames and word vectors with their validity; a modality that no clip has is one empty step.

        Raises:
            ValueError: there is no modality at all.
        """
        if batch.tokens is None and batch.frames is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        c = self.config
        some_BT = next(x.valid for x in (batch.tokens, batch.frames) if x is not None)
        nothing_B1 = torch.zeros_like(some_BT[:, :1])
        nothing_B11 = nothing_B1[..., None].to(self.words.weight)
        inputs = {
            "audio": (nothing_B11.expand(-1, -1, c.frames_per_step * c.num_features), nothing_B1),
            "text": (nothing_B11.expand(-1, -1, c.width), nothing_B1),
        }
        if batch.frames is not None:
            inputs["audio"] = stack_frames(batch.frames.values, batch.frames.valid, c.frames_per_step)
        if batch.tokens is not None:
            inputs["text"] = self.dropout(self.words(batch.tokens.values)), batch.tokens.valid
        return inputs
