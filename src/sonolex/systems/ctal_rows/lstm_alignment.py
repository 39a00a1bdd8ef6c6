"""LSTM alignment: every word gets the audio it was spoken with (Xu et al., Interspeech 2019): CTAL's table 1.

Attention from words to frames takes the place of a forced alignment; a second LSTM reads words and their audio
together, and the maximum over words is a clip's vector.

Differs: CTAL's log-mel in place of MFCC. A clip without words has one empty word that all its audio belongs to, so that
it has a vector too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sonolex.nn.pooling import masked_max
from sonolex.nn.recurrent import recurrent, states_of
from sonolex.systems.ctal_rows.base import RecurrentConfig, RecurrentSystem
from sonolex.types import Batch, Encoding


class LstmAlignment(RecurrentSystem):
    """Two bidirectional LSTMs, additive attention, and a third LSTM over words with their audio."""

    name = "lstm_alignment"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        c = config
        self.audio = recurrent(nn.LSTM, c.num_features * c.frames_per_step, c.width, both_ways=True)
        self.text = recurrent(nn.LSTM, c.width, c.width, both_ways=True)
        self.attention = AdditiveAttention(c.width)
        self.joint = recurrent(nn.LSTM, 2 * c.width, c.width, both_ways=True)

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    def encode(self, batch: Batch) -> Encoding:
        inputs = self.inputs(batch)
        audio_BTD, _ = states_of(self.audio, *inputs["audio"])
        text_BLD, _ = states_of(self.text, *inputs["text"])
        valid = {name: pair[1] for name, pair in inputs.items()}
        words_BL = valid["text"].clone()
        words_BL[:, 0] = True
        spoken_BLD = self.attention(text_BLD, audio_BTD, valid["audio"])
        joint_BLD, _ = states_of(self.joint, torch.cat([text_BLD, spoken_BLD], -1), words_BL)
        return Encoding(masked_max(joint_BLD, words_BL), {"audio": audio_BTD, "text": text_BLD}, valid)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"text": [self.words, self.text], "audio": [self.audio], "joint": [self.attention, self.joint]}


class AdditiveAttention(nn.Module):
    """softmax over frames of u · tanh(W s + V h): for each word, the mean of the frames it was spoken with."""

    def __init__(self, width: int):
        super().__init__()
        self.of_frames = nn.Linear(width, width)
        self.of_words = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, words_BLD: Tensor, frames_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """Return (B, L, D); zeros for a clip without frames."""
        both_BLTD = torch.tanh(self.of_words(words_BLD)[:, :, None] + self.of_frames(frames_BTD)[:, None])
        score_BLT = self.score(both_BLTD)[..., 0].float()
        weights_BLT = torch.softmax(score_BLT.masked_fill(~valid_BT[:, None], torch.finfo(torch.float32).min), -1)
        return weights_BLT.to(frames_BTD.dtype) @ frames_BTD  # frames of an empty row are zeros


SYSTEM = LstmAlignment
