"""A device that is not the CPU, on machines that have none: real numbers, but mixing them with the CPU's is an error.

Tensors that lie there say their device is "meta"; what is computed with them is computed on the CPU, unless an
operation also reads a tensor of the CPU, which CUDA would refuse. Nothing here knows how CUDA rounds, or what it lacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

THERE = torch.device("meta")
aten = torch.ops.aten
TRANSFERS = (aten._to_copy.default, aten.copy_.default)
READS_INDICES_HERE = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
PACKS = aten._pack_padded_sequence.default  # its lengths and its batch sizes are the CPU's on every device


class ThereTensor(Tensor):
    """A tensor on the other device; ``numbers`` holds what it holds."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> ThereTensor:
        made = Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(), dtype=real.dtype, device=THERE)
        made.numbers = real
        return made

    def tolist(self) -> Any:
        return self.numbers.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


def moved(module: nn.Module) -> nn.Module:
    """Return the module with copies of its weights and buffers on the other device."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(ThereTensor(weight.detach().clone()), weight.requires_grad)
        part._buffers.update({n: ThereTensor(b.clone()) for n, b in part._buffers.items() if b is not None})
    return module


@contextlib.contextmanager
def on_other_device(monkeypatch: Any) -> Iterator[torch.device]:
    """Context: the other device exists; gives its name for ``.to`` and ``device=``."""
    autocast = torch.autocast
    with monkeypatch.context() as patch, _Making(), _Computing():
        patch.setattr(
            torch,
            "autocast",
            lambda kind, *args, **options: (
                contextlib.nullcontext() if kind == THERE.type else autocast(kind, *args, **options)
            ),
        )
        yield THERE


class _Making(TorchFunctionMode):
    """Python numbers become tensors without an operation, so their device is looked at before."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and _is_there(kwargs):
            made = func(*args, **{n: v for n, v in kwargs.items() if n != "device"})
            return made if isinstance(made, ThereTensor) else ThereTensor(made)
        if func is Tensor.new_tensor and isinstance(args[0], ThereTensor):
            return ThereTensor(args[0].numbers.new_tensor(*args[1:], **kwargs))
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            return func(args[0], torch.tensor(args[1]))
        return func(*args, **kwargs)


class _Computing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, ThereTensor)]
    if there and func not in (*TRANSFERS, PACKS):
        foreign = [t for t in tensors if not isinstance(t, ThereTensor) and t.dim()]
        if foreign and not (func in READS_INDICES_HERE and isinstance(args[0], ThereTensor)):
            raise RuntimeError(f"{func} mixes devices: the CPU has tensors of {[tuple(t.shape) for t in foreign]}.")
    own = {**kwargs, "device": torch.device("cpu")} if _is_there(kwargs) else kwargs
    found = func(*tree_map(_real, args), **tree_map(_real, own))
    if func is aten.copy_.default:
        return args[0]
    if func is PACKS:
        return (ThereTensor(found[0]), found[1]) if there else found
    stays = bool(there) if kwargs.get("device") is None else _is_there(kwargs)
    given = {id(t.numbers): t for t in there}  # what is changed in place stays the same object

    def placed(x: Any) -> Any:
        return given[id(x)] if id(x) in given else ThereTensor(x) if isinstance(x, Tensor) else x

    return tree_map(placed, found) if stays else found


def _is_there(kwargs: dict) -> bool:
    return kwargs.get("device") is not None and torch.device(kwargs["device"]) == THERE


def _real(x: Any) -> Any:
    return x.numbers if isinstance(x, ThereTensor) else x
