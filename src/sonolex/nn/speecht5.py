"""SpeechT5's modules as transformers has them, with our dropout, and the speech entrance that SpeechLM shares.

transformers is imported where it is used (extra: speecht5). Padding must not change a number, and nothing may be read
back from the device, but transformers normalises the first convolution over padding and inspects masks. So the
convolutions, the encoder and the decoder are run here, layer by layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.conv_stack import SHORTEST, normalised_over_time
from sonolex.nn.dropout import Dropout
from sonolex.nn.transformer import attends_to_valid
from sonolex.types import Padded

STEP_SAMPLES = 320  # total stride of the seven convolutions


def theirs() -> Any:
    """Return transformers' SpeechT5 module."""
    try:
        from transformers.models.speecht5 import modeling_speecht5
    except ImportError as error:
        raise ImportError("SpeechT5 needs transformers: pip install 'sonolex[speecht5]'.") from error
    return modeling_speecht5


def their_config(config: Any, *, num_layers: int, num_decoder_layers: int = 1, reduction: int = 2) -> Any:
    """Return our sizes as transformers' config; ``reduction`` is frames a step of the spectrogram decoder."""
    from transformers import SpeechT5Config

    c = config
    sizes = SpeechT5Config(
        vocab_size=c.vocab_size,
        hidden_size=c.width,
        encoder_layers=num_layers,
        encoder_attention_heads=c.num_heads,
        encoder_ffn_dim=c.ffn_width,
        encoder_layerdrop=0.0,  # draws from the global generator in another order with every batch
        decoder_layers=num_decoder_layers,
        decoder_ffn_dim=c.ffn_width,
        decoder_attention_heads=c.num_heads,
        decoder_layerdrop=0.0,
        positional_dropout=c.dropout,
        hidden_dropout=c.dropout,
        attention_dropout=c.dropout,
        activation_dropout=c.dropout,
        feat_proj_dropout=0.0,
        layer_norm_eps=c.norm_eps,
        conv_dim=(c.conv_width,) * 7,
        num_conv_pos_embeddings=c.conv_positions,
        num_conv_pos_embedding_groups=c.conv_groups,
        mask_time_prob=0.0,
        mask_feature_prob=0.0,
        num_mel_bins=c.num_mels,
        reduction_factor=reduction,
        encoder_max_relative_position=c.max_relative,
        max_speech_positions=c.max_frames,
        max_text_positions=c.max_tokens,
        pad_token_id=c.pad_id,
        eos_token_id=c.end_id,
    )
    sizes._attn_implementation = "eager"  # the only one with relative positions
    return sizes


class RelativeAttention(nn.Module):
    """transformers' SpeechT5Attention with our dropout on its weights instead of one from torch's generator.

    It keeps the four projections under their names, so that checkpoints fit, and returns the same states. Attention
    weights are not returned and earlier keys not cached, because nothing here needs them.
    """

    def __init__(self, attention: Any):
        super().__init__()
        self.num_heads, self.scaling = attention.num_heads, attention.scaling
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj
        self.dropout = Dropout(attention.dropout)

    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        past_key_values: None = None,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        output_attentions: bool = False,
        cache_position: None = None,
    ) -> tuple[Tensor, None]:
        """Return states (B, T, D), and None for the weights; ``position_bias`` is (T, T, D / heads)."""
        others_BSD = hidden_states if key_value_states is None else key_value_states
        query = self._heads(self.q_proj(hidden_states) * self.scaling)
        scores = query @ self._heads(self.k_proj(others_BSD)).transpose(-1, -2)
        if position_bias is not None:
            # (B, H, T, D / H) x (T, S, D / H) -> (B, H, T, S)
            scores = scores + (query.transpose(1, 2) @ position_bias.transpose(-1, -2)).transpose(1, 2)
        if attention_mask is not None:
            scores = scores + attention_mask
        mixed = self.dropout(scores.softmax(-1)) @ self._heads(self.v_proj(others_BSD))
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None

    def _heads(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return x_BTD.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def replace_attention(module: nn.Module) -> None:
    """Replace transformers' attention by `RelativeAttention` inside their modules."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is theirs().SpeechT5Attention:
                setattr(parent, name, RelativeAttention(child))


class SpectrogramEntrance(nn.Module):
    """Filter banks to states, instead of the convolutions: a linear map, then the same two kinds of position."""

    def __init__(self, sizes: Any):
        super().__init__()
        modules = theirs()
        self.project = nn.Linear(sizes.num_mel_bins, sizes.hidden_size)
        self.pos_conv_embed = modules.SpeechT5PositionalConvEmbedding(sizes)
        self.pos_sinusoidal_embed = modules.SpeechT5SinusoidalPositionalEmbedding(
            sizes.max_speech_positions + sizes.pad_token_id + 1, sizes.hidden_size, sizes.pad_token_id
        )


def speech_features(entrance: Any, audio: Padded) -> tuple[Padded, Tensor | None]:
    """Return states before positions (B, T', D), and the convolutions' features (B, T', C; waveform only)."""
    if isinstance(entrance, SpectrogramEntrance):
        return audio.with_values(entrance.project(audio.values)), None
    samples_BS = audio.values * audio.valid
    short: Any = torch.sym_max(0, SHORTEST - samples_BS.shape[1])
    samples_BS = F.pad(samples_BS, (0, short))
    lengths_B, longest = audio.valid.sum(1), samples_BS.shape[1]
    alike = audio.lengths is not None and all(max(n, SHORTEST) == longest for n in audio.lengths)
    features_BTC = _convolved(entrance.feature_encoder, samples_BS, None if alike else lengths_B.clamp_min(SHORTEST))
    states_BTD, _ = entrance.feature_projection(features_BTC)
    steps_B = torch.where(lengths_B > 0, 1 + (lengths_B - SHORTEST).clamp_min(0) // STEP_SAMPLES, 0)
    valid_BT = torch.arange(states_BTD.shape[1], device=steps_B.device) < steps_B[:, None]
    return Padded(states_BTD, valid_BT, audio.lengths and tuple(map(num_conv_steps, audio.lengths))), features_BTC


def _convolved(encoder: Any, samples_BS: Tensor, lengths_B: Tensor | None) -> Tensor:
    """Return features (B, T', C); ``lengths_B`` is None where no row is padded, which is faster."""
    first, *layers = encoder.conv_layers
    x_BCT = first.conv(samples_BS[:, None])
    steps_B = None if lengths_B is None else (lengths_B - first.conv.kernel_size[0]) // first.conv.stride[0] + 1
    x_BCT = normalised_over_time(x_BCT, steps_B, first.layer_norm.weight, first.layer_norm.bias)
    x_BCT = first.activation(x_BCT)
    for layer in layers:
        x_BCT = layer(x_BCT)
    return x_BCT.transpose(1, 2)


def num_conv_steps(num_samples: int) -> int:
    """Return the steps of the seven convolutions, at least one for a clip that has a sample, 0 for none."""
    return 1 + max(num_samples - SHORTEST, 0) // STEP_SAMPLES if num_samples else 0


def with_convolved_positions(entrance: Any, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return states with the positions of a convolution; padding enters it as zeros."""
    x_BTD = x_BTD * valid_BT[..., None].to(x_BTD.dtype)
    return x_BTD + entrance.pos_conv_embed(x_BTD)


def with_positions(entrance: Any, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Return states with convolved and sinusoidal positions."""
    x_BTD = with_convolved_positions(entrance, x_BTD, valid_BT)
    return x_BTD + entrance.pos_sinusoidal_embed((~valid_BT).long())


def encoder_states(encoder: Any, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, ...]:
    """Return an encoder's states before and after every layer."""
    options = {"attention_mask": _added(attends_to_valid(valid_BT), x_BTD.dtype)}
    options["position_bias"] = encoder.embed_positions(x_BTD)
    states = [encoder.dropout(encoder.layer_norm(x_BTD))]
    for layer in encoder.layers:
        states.append(layer(states[-1], **options)[0])
    return tuple(states)


def decoder_states(
    decoder: Any, x_BTD: Tensor, valid_BT: Tensor, states_BSD: Tensor, states_valid_BS: Tensor
) -> Tensor:
    """Return a decoder's last states (B, T, D): each position sees those before it, and an encoder's states."""
    past = _added(attends_to_valid(valid_BT, causal=True), x_BTD.dtype)
    options = {"encoder_hidden_states": states_BSD}
    options["encoder_attention_mask"] = _added(attends_to_valid(states_valid_BS), states_BSD.dtype)
    for layer in decoder.layers:
        x_BTD = layer(x_BTD, past, **options)[0]
    return x_BTD


def _added(attends: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias that is added to scores: 0 where a query may look, elsewhere the lowest number."""
    return torch.zeros_like(attends, dtype=dtype).masked_fill(~attends, torch.finfo(dtype).min)


class UnitHead(nn.Module):
    """HuBERT's scores of hidden units: cosines of the projected state with each unit's vector, over a temperature."""

    def __init__(self, width: int, unit_width: int, num_units: int, temperature: float):
        super().__init__()
        self.project = nn.Linear(width, unit_width)
        self.units = nn.Parameter(torch.empty(num_units, unit_width).uniform_())
        self.temperature = temperature

    def forward(self, x_ND: Tensor) -> Tensor:
        """Return logits (N, units)."""
        return F.normalize(self.project(x_ND), dim=-1) @ F.normalize(self.units, dim=-1).T / self.temperature
