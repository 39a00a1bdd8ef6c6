"""Audio to a short sequence of tokens of a language model's width: interchangeable parts of SpectroBERT.

Each is a module with ``forward(features, valid) -> (tokens_BTD, valid_BT)`` and ``num_tokens(length)``; padding enters
none of its numbers. All end in wav2vec2's LayerNorm and projection, so a wav2vec2 checkpoint fills them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.pooling import masked_mean

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
AT_ONCE_BYTES = 16 << 20  # larger tensors are mapped anew in every step, which costs more than their arithmetic
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
        """Return the steps of a signal of so many values."""
        for kernel, stride in zip(KERNELS[: self.num_layers], STRIDES, strict=False):
            length = 0 if length < kernel else 1 + (length - kernel) // stride
        return length

    def forward(self, signal_NS: Tensor, lengths_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return steps (N, T, width) and their validity (N, T)."""
        x_NCT = signal_NS[:, None]
        for i, convolution in enumerate(self.convolutions):
            x_NCT = convolution(x_NCT)
            lengths_N = torch.div(lengths_N - KERNELS[i], STRIDES[i], rounding_mode="floor").add(1).clamp_min(0)
            if i == 0:
                x_NCT = self._normalised(x_NCT, lengths_N)
            x_NCT = F.gelu(x_NCT)
        valid_NT = torch.arange(x_NCT.shape[-1], device=x_NCT.device) < lengths_N[:, None]
        return x_NCT.transpose(1, 2), valid_NT

    def _normalised(self, x_NCT: Tensor, lengths_N: Tensor) -> Tensor:
        """Return the channels with mean 0 and deviation 1 over each row's valid steps."""
        if bool((lengths_N == x_NCT.shape[-1]).all()):
            return F.group_norm(x_NCT, x_NCT.shape[1], self.norm_weight, self.norm_bias, 1e-5)
        valid_N1T = (torch.arange(x_NCT.shape[-1], device=x_NCT.device) < lengths_N[:, None])[:, None]
        x_NCT = x_NCT.float()
        count_N11 = lengths_N.clamp_min(1)[:, None, None]
        mean_NC1 = (x_NCT * valid_N1T).sum(-1, keepdim=True) / count_N11
        variance_NC1 = ((x_NCT - mean_NC1).square() * valid_N1T).sum(-1, keepdim=True) / count_N11
        normal_NCT = (x_NCT - mean_NC1) * torch.rsqrt(variance_NC1 + 1e-5)
        return normal_NCT * self.norm_weight[:, None] + self.norm_bias[:, None]


class AudioProjection(nn.Module):
    """wav2vec2's feature projection: LayerNorm, linear to the model's width."""

    def __init__(self, num_features: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(num_features, eps=1e-5)
        self.linear = nn.Linear(num_features, width)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return (B, T, D)."""
        return self.linear(self.norm(x_BTF))


class PatchTokens(nn.Module):
    """Patches of a spectrogram, each read as a signal by a `ConvStack`; its steps are averaged or stacked.

    Patches of 128 × 16 (full-height slices, stride 10) give 101 tokens for 1024 frames and 6 steps a token: the only
    reading of the thesis that fits its budget. For 16 × 16 patches, ``together`` averages so many consecutive tokens
    (one column of 12 at stride 10).

    Args:
        patch_size: values of a patch.
        together: consecutive patches that become one token.
        steps: "mean" of a patch's steps, or "stacked" (their order is kept).
    """

    def __init__(self, patch_size: int, conv_width: int, width: int, *, together: int = 1, steps: str = "mean"):
        super().__init__()
        self.together, self.steps = together, steps
        self.stack = ConvStack(conv_width, longest=patch_size)
        num_steps = self.stack.num_steps(patch_size) if steps == "stacked" else 1
        self.project = AudioProjection(conv_width * num_steps, width)
        first_step_bytes = 4 * conv_width * (1 + (patch_size - KERNELS[0]) // STRIDES[0])
        self._rows_at_once = max(1, AT_ONCE_BYTES // first_step_bytes)

    def num_tokens(self, num_patches: int) -> int:
        """Return the tokens of so many patches."""
        return -(-num_patches // self.together)

    def forward(self, patches_BPK: Tensor, valid_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, T, D) and their validity (B, T)."""
        signal_NS = patches_BPK[valid_BP]  # padding is not computed
        parts = signal_NS.split(self._rows_at_once) if len(signal_NS) else [signal_NS]
        features_NF = torch.cat([self._features(part_NS) for part_NS in parts])
        x_BPF = features_NF.new_zeros(*valid_BP.shape, features_NF.shape[-1])
        x_BPF[valid_BP] = features_NF
        x_BPD = self.project(x_BPF)
        return _averaged(x_BPD, valid_BP, self.together)

    def _features(self, signal_NS: Tensor) -> Tensor:
        lengths_N = torch.full((len(signal_NS),), signal_NS.shape[1], device=signal_NS.device)
        steps_NTC, _ = self.stack(signal_NS, lengths_N)
        return steps_NTC.flatten(1) if self.steps == "stacked" else steps_NTC.mean(1)


class WaveTokens(nn.Module):
    """Samples through the whole `ConvStack` (a step is 20 ms at 16 kHz); ``together`` steps are averaged to a token."""

    def __init__(self, conv_width: int, width: int, *, together: int = 1):
        super().__init__()
        self.together = together
        self.stack = ConvStack(conv_width, longest=SHORTEST)
        self.project = AudioProjection(conv_width, width)

    def num_tokens(self, num_samples: int) -> int:
        """Return the tokens of so many samples; a signal shorter than `SHORTEST` is padded to it."""
        return -(-self.stack.num_steps(max(SHORTEST, num_samples)) // self.together)

    def forward(self, samples_BS: Tensor, valid_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, T, D) and their validity (B, T)."""
        samples_BS = F.pad(samples_BS * valid_BS, (0, max(0, SHORTEST - samples_BS.shape[1])))
        lengths_B = valid_BS.sum(1)
        lengths_B = torch.where(lengths_B > 0, lengths_B.clamp_min(SHORTEST), lengths_B)
        x_BTC, valid_BT = self.stack(samples_BS, lengths_B)
        return _averaged(self.project(x_BTC), valid_BT, self.together)


def _averaged(x_BTD: Tensor, valid_BT: Tensor, together: int) -> tuple[Tensor, Tensor]:
    """Return means of ``together`` consecutive valid rows, and the validity of those."""
    if together == 1:
        return x_BTD, valid_BT
    size, length, width = x_BTD.shape
    short = -length % together
    x_BTD, valid_BT = F.pad(x_BTD, (0, 0, 0, short)), F.pad(valid_BT, (0, short))
    groups_NRD = x_BTD.reshape(-1, together, width)
    means_ND = masked_mean(groups_NRD, valid_BT.reshape(-1, together))
    return means_ND.view(size, -1, width), valid_BT.view(size, -1, together).any(-1)


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
