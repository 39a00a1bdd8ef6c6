"""wav2vec2's feature encoder and projection (Baevski et al. 2020), of any length; padding changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
NORM_EPS = 1e-5
SHORTEST = 400  # samples that seven layers need for one step


class ConvStack(nn.Module):
    """wav2vec2's feature encoder: strided 1-D convolutions with GELU, the first one's channels normalised over time.

    Rows are right-padded signals; the normalisation looks at each row's own steps only, so padding changes nothing
    (transformers' GroupNorm looks at padding too). Only as many layers are built as a signal of ``longest`` has steps
    for.
    """

    def __init__(self, width: int, *, longest: int):
        super().__init__()
        sizes = [longest]
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            if sizes[-1] < kernel:
                break
            sizes.append(1 + (sizes[-1] - kernel) // stride)
        self.num_layers = len(sizes) - 1
        if not self.num_layers:
            raise ValueError(f"a signal must have at least {KERNELS[0]} values to be convolved, but has {longest}.")
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width if i else 1, width, KERNELS[i], stride=STRIDES[i], bias=False)
            for i in range(self.num_layers)
        )
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]

    def num_steps(self, length: int) -> int:
        """Return the number of steps for a signal of ``length`` values."""
        for kernel, stride in zip(KERNELS[: self.num_layers], STRIDES, strict=False):
            length = 0 if length < kernel else 1 + (length - kernel) // stride
        return length

    def forward(self, signal_NS: Tensor, lengths_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return steps (N, T, width) and their validity (N, T). Without ``lengths_N`` no row is padded (faster)."""
        x_NCT = signal_NS[:, None]
        for i, convolution in enumerate(self.convolutions):
            x_NCT = convolution(x_NCT)
            if lengths_N is not None:
                lengths_N = torch.div(lengths_N - KERNELS[i], STRIDES[i], rounding_mode="floor").add(1).clamp_min(0)
            if i == 0:
                x_NCT = normalised_over_time(x_NCT, lengths_N, self.norm_weight, self.norm_bias)
            x_NCT = F.gelu(x_NCT)
        x_NTC = x_NCT.transpose(1, 2)
        if lengths_N is None:
            return x_NTC, torch.ones(x_NTC.shape[:2], dtype=torch.bool, device=x_NTC.device)
        return x_NTC, torch.arange(x_NTC.shape[1], device=x_NTC.device) < lengths_N[:, None]


def normalised_over_time(x_NCT: Tensor, steps_N: Tensor | None, weight_C: Tensor, bias_C: Tensor) -> Tensor:
    """Return each row's channels with mean 0 and deviation 1 over its own steps; of all of them without ``steps_N``."""
    if steps_N is None:
        return F.group_norm(x_NCT, x_NCT.shape[1], weight_C, bias_C, NORM_EPS)
    valid_N1T = (torch.arange(x_NCT.shape[-1], device=x_NCT.device) < steps_N[:, None])[:, None]
    x_NCT = x_NCT.float()
    count_N11 = steps_N.clamp_min(1)[:, None, None]
    mean_NC1 = (x_NCT * valid_N1T).sum(-1, keepdim=True) / count_N11
    variance_NC1 = ((x_NCT - mean_NC1).square() * valid_N1T).sum(-1, keepdim=True) / count_N11
    normal_NCT = (x_NCT - mean_NC1) * torch.rsqrt(variance_NC1 + NORM_EPS)
    return normal_NCT * weight_C[:, None] + bias_C[:, None]


class AudioProjection(nn.Module):
    """wav2vec2's feature projection: LayerNorm, linear to the model's width."""

    def __init__(self, num_features: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(num_features, eps=1e-5)
        self.linear = nn.Linear(num_features, width)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return (B, T, D)."""
        return self.linear(self.norm(x_BTF))


def conv_parameters(stack: ConvStack) -> Sequence[tuple[str, Tensor]]:
    """Return wav2vec2's key names (below ``feature_extractor``) with our tensors."""
    pairs: list[tuple[str, Tensor]] = [
        (f"conv_layers.{i}.conv.weight", c.weight)  # type: ignore[misc]
        for i, c in enumerate(stack.convolutions)
    ]
    return [
        *pairs,
        ("conv_layers.0.layer_norm.weight", stack.norm_weight),
        ("conv_layers.0.layer_norm.bias", stack.norm_bias),
    ]
