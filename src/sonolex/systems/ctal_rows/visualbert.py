"""VisualBERT-style: words and frames in one sequence through one stack (Li et al. 2019; a row of CTAL's table 4).

Words and frames attend to each other from the first layer on. Audio frames stand for image regions.
"""

from __future__ import annotations

import torch

from sonolex.nn.dropout import drawn_in_parts
from sonolex.nn.transformer import PostNormLayer
from sonolex.systems.ctal import Ctal, States, audio_embedding, encoding_layers, linguistic_embedding, through
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.types import Padded


class VisualBert(Ctal):
    """Two embeddings, one stack of self-attention, and fusion of its two parts."""

    name = "visualbert"
    config_type = CtalRowConfig
    config: CtalRowConfig

    def build_encoders(self) -> None:
        self.text_embedding = linguistic_embedding(self.config)
        self.audio_embedding = audio_embedding(self.config)
        self.joint_layers = encoding_layers(self.config, PostNormLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return the states of words and of frames, cut from the joint sequence."""
        parts: States = {}
        if tokens is not None:
            parts["text"] = self.text_embedding(tokens.values), tokens.valid
        if frames is not None:
            parts["audio"] = self.audio_embedding(frames)
        if not parts:
            return {}
        joint_BTD, valid_BT = (torch.cat([pair[i] for pair in parts.values()], 1) for i in (0, 1))
        lengths = {name: valid.shape[1] for name, (_, valid) in parts.items()}
        with drawn_in_parts(lengths.get("text", 0), lengths.get("audio", 0)):
            joint_BTD, _ = through(self.joint_layers, joint_BTD, valid_BT)
        split = joint_BTD.split(list(lengths.values()), 1)
        return {n: (x, parts[n][1]) for n, x in zip(parts, split, strict=True)}


SYSTEM = VisualBert
