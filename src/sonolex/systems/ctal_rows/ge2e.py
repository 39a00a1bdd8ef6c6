"""GE2E: a speaker's recordings near their centre and far from others' (Wan et al., ICASSP 2018): CTAL's table 3.

Three LSTMs over filter banks; the last state, projected and of length 1, is a clip's vector. It is trained by the
generalised end-to-end loss over all clips of an effective batch, or by a task's head.

Differs: CTAL's log-mel with its derivative, and batches do not hold equally many clips of each speaker: a clip
whose speaker has no other one in the batch only serves as a negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.embeddings import stack_frames
from sonolex.nn.recurrent import states_of
from sonolex.objectives.contrastive import ge2e_sum
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig, LogMelAndTokensProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Term

SPEAKER_COLUMNS = 2  # of 24 bits each, which float32 holds exactly


@dataclass(frozen=True)
class Ge2eConfig(SystemConfig):
    """Sizes.

    Attributes:
        num_features: filled in from the processor.
        frames_per_step: frames that enter the LSTMs at once. Published: 1.
        width, embedding_dim, num_layers: of the LSTMs and of the vector, as published.
        speaker: the manifest's column of speakers.
    """

    num_features: int = 160
    frames_per_step: int = 1
    width: int = 768
    embedding_dim: int = 256
    num_layers: int = 3
    speaker: str = "speaker"


class Similarity(nn.Module):
    """Scale and offset of cosines, learned; both start as published."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.offset = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(-5.0))


class Ge2e(System):
    """LSTMs, a projection, and the scale and offset of similarities."""

    name = "ge2e"
    config_type = Ge2eConfig
    processor_type = LogMelAndTokensProcessor
    accepts = frozenset({frozenset({"audio"})})
    objectives = ("ge2e",)
    joint_objectives = ("ge2e",)
    config: Ge2eConfig

    def __init__(self, config: Ge2eConfig):
        super().__init__()
        self.config = c = config
        self.audio = nn.LSTM(c.num_features * c.frames_per_step, c.width, c.num_layers, batch_first=True)
        self.project = nn.Linear(c.width, c.embedding_dim)
        self.similarity = Similarity()

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        return replace(config, num_features=processor.num_features)

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Ge2eConfig, LogMelAndTokensConfig]:
        max_frames = max(1600, 1 + round(80 * min(longest_s, LONGEST_STARTER_S)))
        config = Ge2eConfig(frames_per_step=4, width=128, embedding_dim=128) if num_clips < 20_000 else Ge2eConfig()
        return config, LogMelAndTokensConfig(vocab_size=1000, max_frames=max_frames, normalise="fixed")

    @property
    def pooled_dim(self) -> int:
        return self.config.embedding_dim

    def encode(self, batch: Batch) -> Encoding:
        states_BTD, valid_BT, vector_BD = self._encoded(batch)
        return Encoding(vector_BD, {"audio": states_BTD}, {"audio": valid_BT})

    def corrupt(self, batch: Batch) -> Batch:
        return batch

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        names = batch.labels.get(self.config.speaker, (None,) * len(batch))
        numbers_BN = torch.tensor([_number(name) for name in names]).to(self.project.weight)
        return {"speakers": torch.cat([numbers_BN, self._encoded(batch)[2]], 1)}

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        numbers_BN, vectors_BD = rows["speakers"].float().split([SPEAKER_COLUMNS, self.config.embedding_dim], 1)
        same_BB = (numbers_BN[:, None] == numbers_BN).all(-1)
        similarity = {"scale": self.similarity.scale, "offset": self.similarity.offset}
        loss, count = ge2e_sum(vectors_BD, same_BB, numbers_BN[:, 0] >= 0, **similarity)
        return {"ge2e": Term(loss, count)}

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"audio": [self.audio], "project": [self.project], "similarity": [self.similarity]}

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        if batch.frames is None:
            raise ValueError(f"a batch must have audio, but clips {batch.clip_ids} have none.")
        stacked_BTF, valid_BT = stack_frames(batch.frames.values, batch.frames.valid, self.config.frames_per_step)
        states_BTD, last_BD = states_of(self.audio, stacked_BTF, valid_BT)
        return states_BTD, valid_BT, F.normalize(self.project(last_BD), dim=-1)


def _number(name: Any) -> list[float]:
    """Return a speaker's name as numbers that float32 holds; -1 for no name."""
    if name is None:
        return [-1.0] * SPEAKER_COLUMNS
    digest = hashlib.sha256(str(name).encode()).digest()
    return [float(int.from_bytes(digest[3 * i : 3 * i + 3], "big")) for i in range(SPEAKER_COLUMNS)]


SYSTEM = Ge2e
