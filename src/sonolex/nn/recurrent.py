"""Recurrent networks over padded rows: what a GRU or LSTM of torch says about each row alone.

torch's packed sequences need the lengths on the CPU, which stops a device, and cannot be exported. Padding is at the
end, so a network that reads forwards has passed all that counts before it meets padding; backwards, each row is turned
around by its own length first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def recurrent(kind: Any, size: int, width: int, *, both_ways: bool) -> Any:
    """Return a GRU or LSTM whose states have ``width`` values, in both directions together where there are two."""
    return kind(size, width // (1 + both_ways), batch_first=True, bidirectional=both_ways)


def states_of(network: nn.GRU | nn.LSTM, x_BTF: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return a network's states (B, T, D) and its last ones (B, D), of both directions; zeros for an empty row.

    A network of both directions has one layer.
    """
    lengths_B1 = valid_BT.sum(1, keepdim=True)
    last_B1 = (lengths_B1 - 1).clamp_min(0)
    if not network.bidirectional:
        forwards_BTD = network(x_BTF)[0]
        return forwards_BTD * valid_BT[..., None], _at(forwards_BTD, last_B1)[:, 0] * valid_BT.any(1, keepdim=True)
    place_T = torch.arange(valid_BT.shape[1], device=valid_BT.device)
    turned_BT = torch.where(place_T < lengths_B1, last_B1 - place_T, place_T)
    forwards_BTD = _one_way(network, x_BTF, "l0")
    backwards_BTD = _at(_one_way(network, _at(x_BTF, turned_BT), "l0_reverse"), turned_BT)
    states_BTD = torch.cat([forwards_BTD, backwards_BTD], -1) * valid_BT[..., None]
    last_BD = torch.cat([_at(forwards_BTD, last_B1)[:, 0], backwards_BTD[:, 0]], -1)
    return states_BTD, last_BD * valid_BT.any(1, keepdim=True)


def _at(x_BTD: Tensor, places_BN: Tensor) -> Tensor:
    """Return each row's values at its places, (B, N, D)."""
    return x_BTD.gather(1, places_BN[..., None].expand(-1, -1, x_BTD.shape[-1]))


def _one_way(network: nn.GRU | nn.LSTM, x_BTF: Tensor, layer: str) -> Tensor:
    """Return the states (B, T, H) of one direction of a network that has two."""
    weights = [getattr(network, f"{name}_{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    start_1BH = x_BTF.new_zeros(1, x_BTF.shape[0], network.hidden_size)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, network.training, False, True)
    if isinstance(network, nn.GRU):
        return torch.gru(x_BTF, start_1BH, weights, *options)[0]
    return torch.lstm(x_BTF, [start_1BH, start_1BH], weights, *options)[0]
