"""MDRE: two recurrent encoders, concatenated (Yoon, Byun and Jung, SLT 2018): a baseline of CTAL's table 1.

Differs: CTAL's log-mel in place of MFCC, and no prosodic features beside the audio's last state.
"""

from __future__ import annotations

import torch
from torch import nn

from sonolex.nn.recurrent import recurrent, states_of
from sonolex.systems.ctal_rows.base import RecurrentConfig, RecurrentSystem
from sonolex.types import Batch, Encoding


class Mdre(RecurrentSystem):
    """One GRU over frames and one over words; the last states of both."""

    name = "mdre"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        c = config
        self.audio = recurrent(nn.GRU, c.num_features * c.frames_per_step, c.width, both_ways=False)
        self.text = recurrent(nn.GRU, c.width, c.width, both_ways=False)

    def encode(self, batch: Batch) -> Encoding:
        inputs = self.inputs(batch)
        audio_BTD, heard_BD = states_of(self.audio, *inputs["audio"])
        text_BLD, read_BD = states_of(self.text, *inputs["text"])
        valid = {name: pair[1] for name, pair in inputs.items()}
        return Encoding(torch.cat([heard_BD, read_BD], -1), {"audio": audio_BTD, "text": text_BLD}, valid)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"text": [self.words, self.text], "audio": [self.audio]}


SYSTEM = Mdre
