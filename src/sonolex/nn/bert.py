"""BERT over one joined sequence (`sonolex.nn.fusion`): states of its layers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from sonolex.nn.dropout import drawn_in_parts
from sonolex.nn.fusion import Joined
from sonolex.nn.transformer import attends_to_valid


def layer_states(layers: Iterable[nn.Module], joined: Joined) -> tuple[Tensor, ...]:
    """Return the states of embedded tokens before and after every layer."""
    attends_B1LL, states = attends_to_valid(joined.valid_BL), [joined.x_BLD]
    with drawn_in_parts(*joined.parts):
        for layer in layers:
            states.append(layer(states[-1], attends_B1LL))
    return tuple(states)
