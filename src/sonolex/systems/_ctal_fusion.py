"""CTAL's fusion: one vector from two streams, and the penalty that keeps their vectors apart."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.pooling import AttentionPool, masked_max


class CtalFusion(nn.Module):
    """h_fuse = (a_attn + w_start) ⊕ (a_max + w_max), and the orthogonal penalty. Source: CTAL section 3.3.

    A clip without one modality contributes zeros for it, and no penalty. Without ``max_pools`` the maxima are zeros,
    and only the first of the two penalties is left.

    Args:
        config: with ``width``, ``fusion``, ``fusion_streams``, ``orthogonal`` and ``max_pools``.
        streams: those that there will ever be.
    """

    def __init__(self, config: Any, streams: tuple[str, ...] = ("audio", "text")):
        super().__init__()
        self.config, width, coded = config, config.width, config.fusion == "code"
        self.audio_project = nn.Linear(width, width) if coded and "audio" in streams else None
        self.text_project = nn.Linear(width, width) if coded and "text" in streams else None
        self.audio_pool = AttentionPool(width) if "audio" in streams else None
        self.joint = nn.Linear(2 * width, 2 * width) if coded else None

    def forward(self, streams: dict[str, Tensor], valid: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, 2D) and the penalty summed over clips that have both modalities."""
        vectors = {}
        if "audio" in streams:
            vectors["audio"] = self._audio_vectors(streams["audio"], valid["audio"])
        if "text" in streams:
            vectors["text"] = self._text_vectors(streams["text"], valid["text"])
        used = [torch.cat(v, -1) for name, v in vectors.items() if self.config.fusion_streams in ("both", name)]
        if not used:
            raise ValueError(f"no clip of the batch has {self.config.fusion_streams}, which `fusion_streams` asks for.")
        pooled_BD = torch.stack(used).sum(0)
        if self.joint is not None:
            pooled_BD = torch.tanh(self.joint(pooled_BD))
        return pooled_BD, self._penalty(vectors, valid)

    def _audio_vectors(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        if self.audio_project is not None:
            x_BTD = torch.tanh(self.audio_project(x_BTD))
        assert self.audio_pool is not None
        return self.audio_pool(x_BTD, valid_BT), self._max(x_BTD, valid_BT)

    def _text_vectors(self, x_BLD: Tensor, valid_BL: Tensor) -> tuple[Tensor, Tensor]:
        pooled_BL = valid_BL
        if self.text_project is not None:
            x_BLD = torch.tanh(self.text_project(x_BLD))
            pooled_BL = F.pad(valid_BL[:, 1:], (1, 0))  # the code's max pooling skips the start token
        return x_BLD[:, 0] * valid_BL[:, :1], self._max(x_BLD, pooled_BL)

    def _max(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        return masked_max(x_BTD, valid_BT) if self.config.max_pools else torch.zeros_like(x_BTD[:, 0])

    def _penalty(self, vectors: dict[str, tuple[Tensor, Tensor]], valid: dict[str, Tensor]) -> Tensor:
        if len(vectors) < 2 or self.config.orthogonal == "none":
            return torch.zeros((), device=next(iter(valid.values())).device)
        both_B = valid["audio"].any(1) & valid["text"].any(1)
        form = self.config.orthogonal
        first_B, second_B = (orthogonal_term(a, w, form) for a, w in zip(*vectors.values(), strict=True))
        return ((first_B + second_B) * both_B).sum()


def orthogonal_term(audio_BD: Tensor, text_BD: Tensor, form: str) -> Tensor:
    """Return |aᵀw| / (‖a‖ ‖w‖) per clip, (B,). Source: CTAL section 3.3.1.

    Differs with ``form="code"``: both norms are the audio norm, |aᵀw| / ‖a‖², so the text vector may shrink.
    """
    audio_BD, text_BD = audio_BD.float(), text_BD.float()
    second_BD = text_BD if form == "paper" else audio_BD
    norms_B = audio_BD.norm(dim=-1) * second_BD.norm(dim=-1)
    return (audio_BD * text_BD).sum(-1).abs() / norms_B.clamp_min(1e-8)
