"""Build a model without memory: its names and shapes are known before any of its numbers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode


@contextmanager
def shapes_only(*, most_parts: int) -> Iterator[None]:
    """Context: modules built inside have shapes and no memory (torch's meta device), and stay few.

    Raises:
        ValueError: more than ``most_parts`` modules and parameters are built, as a million layers would be.
    """
    count, here = 0, threading.get_ident()

    def registered(*_: Any) -> None:
        nonlocal count
        count += threading.get_ident() == here  # torch calls this for every module of the process
        if count > most_parts:
            raise ValueError(f"it has more parts than the weights beside it ({most_parts} and more)")

    handles = [
        hooks.register_module_module_registration_hook(registered),
        hooks.register_module_parameter_registration_hook(registered),
    ]
    try:
        with torch.device("meta"), _Unfilled():
            yield
    finally:
        for handle in handles:
            handle.remove()


def needs_values(module: nn.Module) -> bool:
    """Return whether a module built by `shapes_only` holds tensors that no file of weights fills."""
    filled = module.state_dict(keep_vars=True)
    known = {id(value) for value in filled.values()}  # an LSTM lists its weights twice
    buffers = any(name not in filled for name, _ in module.named_buffers())
    return buffers or any(id(t) not in known for part in module.modules() for t in _plain_tensors(part))


def _plain_tensors(part: nn.Module) -> Iterator[Tensor]:
    """Yield tensors that are plain attributes of a module, or in lists and dictionaries that are."""
    for name, value in vars(part).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
        yield from (v for v in held if isinstance(v, Tensor))


class _Unfilled(TorchFunctionMode):
    """Skips functions that fill tensors, which have no memory here; torch takes a second to load its substitutes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FILLS or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_FILLS = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_})
