"""Recurrent networks over padded rows, with the states that torch's GRU or LSTM gives each row alone.

torch's packed sequences need the lengths on the CPU, which stops a device, and cannot be exported. Padding is at the
end, so a forward network reads all valid steps before any padding; for the backward one, each row is first reversed by
its own length.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.pooling import at


def recurrent(kind: Any, size: int, width: int, *, both_ways: bool) -> Any:
    """Return a GRU or LSTM whose states have ``width`` values, in both directions together where there are two."""
    return kind(size, width // (1 + both_ways), batch_first=True, bidirectional=both_ways)


def states_of(network: nn.GRU | nn.LSTM, x_BTF: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return a network's states (B, T, D) and its last ones (B, D), of both directions; zeros for an empty row.

    A network of both directions has one layer.
    """
    lengths_B1 = valid_BT.sum(1, keepdim=True)
    last_B1 = (lengths_B1 - 1).clamp_min(0)
    forwards_BTD = _forwards(network, x_BTF)
    states_BTD, last_BD = forwards_BTD, at(forwards_BTD, last_B1)[:, 0]
    if network.bidirectional:
        place_T = torch.arange(valid_BT.shape[1], device=valid_BT.device)
        turned_BT = torch.where(place_T < lengths_B1, last_B1 - place_T, place_T)
        backwards_BTD = _one_way(network, at(x_BTF, turned_BT), "l0_reverse")
        states_BTD = torch.cat([forwards_BTD, at(backwards_BTD, turned_BT)], -1)
        last_BD = torch.cat([last_BD, at(backwards_BTD, last_B1)[:, 0]], -1)
    return states_BTD * valid_BT[..., None], last_BD * valid_BT.any(1, keepdim=True)


def _forwards(network: nn.GRU | nn.LSTM, x_BTF: Tensor) -> Tensor:
    """Return the states (B, T, H) of the last layer, read from the start."""
    for number in range(network.num_layers):
        x_BTF = _one_way(network, x_BTF, f"l{number}")
    return x_BTF


def _one_way(network: nn.GRU | nn.LSTM, x_BTF: Tensor, layer: str) -> Tensor:
    """Return the states (B, T, H) of one layer in one direction."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(network, f"{name}_{layer}") for name in names]
    if torch.compiler.is_exporting():
        return _scanned(isinstance(network, nn.GRU), x_BTF, *weights)
    x_TBF, start_1BH = x_BTF.transpose(0, 1), x_BTF.new_zeros(1, x_BTF.shape[0], network.hidden_size)
    options = (True, 1, 0.0, network.training, False, False)  # biases, 1 layer, dropout, …, both ways, batch first
    if isinstance(network, nn.GRU):
        return torch.gru(x_TBF, start_1BH, weights, *options)[0].transpose(0, 1)
    return torch.lstm(x_TBF, [start_1BH, start_1BH], weights, *options)[0].transpose(0, 1)


def _scanned(
    gated: bool, x_BTF: Tensor, input_weight: Tensor, state_weight: Tensor, input_bias: Tensor, state_bias: Tensor
) -> Tensor:
    """Return the states of a GRU (``gated``) or LSTM, step by step; torch's kernels would export a fixed length."""
    from torch._higher_order_ops.scan import scan  # not public yet

    def gru_step(state: tuple[Tensor, ...], inputs_BG: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        (h_BH,) = state
        states_BG = F.linear(h_BH, state_weight, state_bias)
        (reset, update, new), (own_reset, own_update, own_new) = inputs_BG.chunk(3, -1), states_BG.chunk(3, -1)
        update = torch.sigmoid(update + own_update)
        new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        h_BH = (1 - update) * new + update * h_BH
        return (h_BH,), h_BH.clone()

    def lstm_step(state: tuple[Tensor, ...], inputs_BG: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        h_BH, cell_BH = state
        enter, forget, new, leave = (inputs_BG + F.linear(h_BH, state_weight, state_bias)).chunk(4, -1)
        cell_BH = torch.sigmoid(forget) * cell_BH + torch.sigmoid(enter) * torch.tanh(new)
        h_BH = torch.sigmoid(leave) * torch.tanh(cell_BH)
        return (h_BH, cell_BH), h_BH.clone()

    start_BH = x_BTF.new_zeros(x_BTF.shape[0], state_weight.shape[1])
    inputs_TBG = F.linear(x_BTF, input_weight, input_bias).transpose(0, 1)
    start = (start_BH,) if gated else (start_BH, start_BH.clone())
    return scan(gru_step if gated else lstm_step, start, inputs_TBG)[1].transpose(0, 1)
