"""SpeechT5's shared codebook: states of speech and of text as the same few vectors (SpeechT5 section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Codebook(nn.Module):
    """Gumbel-softmax choice of one entry in each group; the chosen entries side by side are the quantised state."""

    def __init__(self, width: int, *, groups: int, entries: int, temperature: float):
        super().__init__()
        if width % groups:
            raise ValueError(f"`width` must be a multiple of the codebook's groups ({groups}), but is {width}.")
        self.groups, self.entries, self.temperature = groups, entries, temperature
        self.choose = nn.Linear(width, groups * entries)
        self.vectors = nn.Parameter(torch.empty(groups, entries, width // groups).uniform_())

    def forward(self, x_ND: Tensor, noise_NGV: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return quantised states (N, D), hard forwards and soft backwards, and probabilities (N, G, V).

        Args:
            noise_NGV: of Gumbel's distribution; None takes the likeliest entries.
        """
        logits_NGV = self.choose(x_ND).float().unflatten(1, (self.groups, self.entries))
        probabilities_NGV = logits_NGV.softmax(-1)
        noisy_NGV = logits_NGV if noise_NGV is None else logits_NGV + noise_NGV
        soft_NGV = (noisy_NGV / self.temperature).softmax(-1)
        hard_NGV = F.one_hot(soft_NGV.argmax(-1), self.entries).to(soft_NGV)
        chosen_NGV = hard_NGV + soft_NGV - soft_NGV.detach()
        # (N, G, V) x (G, V, D / G) -> (N, D)
        return torch.einsum("ngv,gvd->ngd", chosen_NGV, self.vectors).flatten(1), probabilities_NGV


def code_diversity_loss(probabilities_NGV: Tensor) -> Tensor:
    """Return (G·V − Σ_g perplexity of the mean choice) / (G·V): 0 where all entries are used alike.

    >>> round(float(code_diversity_loss(torch.full((3, 2, 4), 0.25))), 6)
    0.0
    """
    mean_GV = probabilities_NGV.float().mean(0)
    perplexity_G = torch.exp(-(mean_GV * torch.log(mean_GV + 1e-7)).sum(-1))
    return (mean_GV.numel() - perplexity_G.sum()) / mean_GV.numel()
