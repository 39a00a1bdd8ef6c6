"""What rows share. Transformers are `Ctal` with other encoders: sizes, corruption, tasks and fusion are CTAL's.
Recurrent ones share CTAL's input, and networks that never see padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

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
    """A system of words and frames, without an objective of pre-training."""

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
        """Return stacked frames and word vectors with their validity; a modality no clip has is one empty step.

        Raises:
            ValueError: there is no modality at all.
        """
        if batch.tokens_BL is None and batch.frames_BTF is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        c, device = self.config, self.words.weight.device
        nothing_B1 = torch.zeros(len(batch), 1, dtype=torch.bool, device=device)
        inputs = {
            "audio": (torch.zeros(len(batch), 1, c.frames_per_step * c.num_features, device=device), nothing_B1),
            "text": (torch.zeros(len(batch), 1, c.width, device=device), nothing_B1),
        }
        if batch.frames_BTF is not None and batch.frames_valid_BT is not None:
            inputs["audio"] = stack_frames(batch.frames_BTF, batch.frames_valid_BT, c.frames_per_step)
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            inputs["text"] = self.dropout(self.words(batch.tokens_BL)), batch.tokens_valid_BL
        return inputs


def recurrent(kind: Any, size: int, width: int, *, both_ways: bool) -> Any:
    """Return a GRU or LSTM whose states have ``width`` values, in both directions together where there are two."""
    return kind(size, width // (1 + both_ways), batch_first=True, bidirectional=both_ways)


def states_of(network: Any, x_BTF: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return a network's states (B, T, D) and its last ones (B, D), of both directions; zeros for an empty row."""
    lengths_B = valid_BT.sum(1).clamp_min(1).cpu()
    packed = pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    out, last = network(packed)
    states_BTD, _ = pad_packed_sequence(out, batch_first=True, total_length=x_BTF.shape[1])
    last_NBH = last[0] if isinstance(last, tuple) else last  # an LSTM has states and cells
    last_BD = last_NBH[-(1 + network.bidirectional) :].transpose(0, 1).flatten(1)
    present_B1 = valid_BT.any(1, keepdim=True)
    return states_BTD * valid_BT[..., None], last_BD * present_B1
