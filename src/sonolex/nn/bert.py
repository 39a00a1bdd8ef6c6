"""BERT over one joined sequence (`sonolex.nn.fusion`): states of its layers, and sizes of published checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sonolex.nn import published
from sonolex.nn.dropout import drawn_in_parts
from sonolex.nn.fusion import Joined
from sonolex.nn.transformer import attends_to_valid

SIZES = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "width",
    "num_attention_heads": "num_heads",
    "intermediate_size": "ffn_width",
    "max_position_embeddings": "num_positions",
    "layer_norm_eps": "norm_eps",
}
"""Our names of what a BERT checkpoint's config.json says."""


def layer_states(layers: Iterable[nn.Module], joined: Joined) -> tuple[Tensor, ...]:
    """Return the states of embedded tokens before and after every layer."""
    attends_B1LL, states = attends_to_valid(joined.valid_BL), [joined.x_BLD]
    with drawn_in_parts(*joined.parts):
        for layer in layers:
            states.append(layer(states[-1], attends_B1LL))
    return tuple(states)


def published_sizes(place: str | Path) -> dict[str, Any]:
    """Return the sizes of a BERT checkpoint (folder or ``hub:ORG/NAME``) by our names."""
    theirs = published.read_sizes(place, SIZES)
    return {ours: theirs[name] for name, ours in SIZES.items()}
