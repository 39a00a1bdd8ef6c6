"""Parameter groups, freezing and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from sonolex.tasks.base import Model
from sonolex.train.run import Optim

HEADS = "heads"
WHOLE_SYSTEM = "system"  # every layer group but the heads


def layer_groups(model: Model) -> dict[str, list[nn.Module]]:
    """Return the system's layer groups and the tasks' heads."""
    heads: list[nn.Module] = [task for _, task in model.task_items()]
    return {**model.system.layer_groups(), HEADS: heads}


def freeze(model: Model, names: tuple[str, ...]) -> None:
    """Stop training the named layer groups: no gradient, and eval mode for good (no dropout drift).

    Raises:
        ValueError: a name is not a layer group.
    """
    groups = layer_groups(model)
    unknown = sorted(set(names) - {*groups, WHOLE_SYSTEM})
    if unknown:
        raise ValueError(f"`frozen` must name layer groups ({', '.join(groups)}), but has {', '.join(unknown)}.")
    if WHOLE_SYSTEM in names:
        names = tuple(n for n in groups if n != HEADS)
    for name in names:
        for part in groups[name]:
            part.requires_grad_(False)


def training_mode(model: Model, held: Collection[str] = ()) -> None:
    """Switch to training mode, except parts whose parameters are all frozen and the groups that are ``held``."""
    model.train()
    for name, parts in layer_groups(model).items():
        for part in parts:
            parameters = list(part.parameters())
            if name in held or (parameters and not any(p.requires_grad for p in parameters)):
                part.eval()


def held_groups(model: Model, optim: Optim, epoch: int) -> list[str]:
    """Return the groups that gradual unfreezing still holds in an epoch (counted from 0).

    Raises:
        ValueError: a name is not a layer group.
    """
    groups = layer_groups(model)
    unknown = sorted(set(optim.trained_from) - set(groups))
    if unknown:
        raise ValueError(f"`trained_from` must name layer groups ({', '.join(groups)}), but has {', '.join(unknown)}.")
    return [name for name, first in optim.trained_from.items() if epoch + 1 < first]


def drop_gradients(model: Model, held: Collection[str]) -> None:
    """Forget the gradients of held groups, so that the optimiser leaves their weights as they are.

    DistributedDataParallel computes them anyway: it fixes at the start which parameters have gradients.
    """
    groups = layer_groups(model)
    for name in held:
        for part in groups[name]:
            for p in part.parameters():
                p.grad = None


def build_optimizer(model: Model, optim: Optim) -> torch.optim.Optimizer:
    """Return the optimiser, with no weight decay on biases and normalisation (BERT, CTAL C4) and per-group rates."""
    groups = layer_groups(model)
    unknown = sorted(set(optim.group_rates) - set(groups))
    if unknown:
        raise ValueError(f"`group_rates` must name layer groups ({', '.join(groups)}), but has {', '.join(unknown)}.")
    factor_of: dict[int, float] = {}
    for depth, (name, parts) in enumerate(groups.items()):
        decay = optim.layer_decay ** max(0, len(groups) - 1 - depth)  # heads, the last group, keep the whole rate
        for part in parts:
            for p in part.parameters():
                factor_of[id(p)] = optim.group_rates.get(name, 1.0) * decay
    buckets: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for p in model.parameters():
        if p.requires_grad:
            buckets.setdefault((factor_of.get(id(p), 1.0), p.dim() > 1), []).append(p)
    if not buckets:
        raise ValueError("`frozen` must leave something to train, but leaves nothing.")
    parameter_groups = [
        {"params": ps, "lr": optim.lr * f, "factor": f, "weight_decay": optim.weight_decay if decays else 0.0}
        for (f, decays), ps in sorted(buckets.items(), key=lambda item: item[0])
    ]
    if optim.algorithm == "lars":
        try:
            from pytorch_optimizer import LARS
        except ImportError as e:
            raise ImportError("algorithm='lars' needs pytorch-optimizer: pip install 'sonolex[lars]'") from e
        return LARS(parameter_groups, lr=optim.lr, momentum=optim.betas[0])
    if optim.algorithm == "radam":
        return torch.optim.RAdam(
            parameter_groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, decoupled_weight_decay=True
        )
    return torch.optim.AdamW(parameter_groups, lr=optim.lr, betas=optim.betas, eps=optim.eps, fused=True)


def rate(optim: Optim, num_steps: int, *, step: int, epoch: int, halvings: int) -> float:
    """Return the learning rate of an optimiser step, before the factors of parameter groups.

    Args:
        num_steps: of the whole run.
        step, epoch: counted from 0.
        halvings: how often a plateau halved the rate.
    """
    factor = rate_factor(step, num_steps, schedule=optim.schedule, warmup_share=optim.warmup_share)
    factor *= 0.5**halvings
    factor *= optim.epoch_decay ** max(0, epoch + 2 - optim.first_decayed_epoch)
    return optim.lr * factor


def rate_factor(step: int, num_steps: int, *, schedule: str, warmup_share: float) -> float:
    """Return the share of the peak rate at optimiser step ``step`` (from 0) of ``num_steps``.

    >>> [rate_factor(s, 10, schedule="linear", warmup_share=0.2) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    warmup = round(num_steps * warmup_share)
    if step < warmup:
        return (step + 1) / warmup
    if schedule in ("constant", "plateau"):
        return 1.0
    remaining = (num_steps - step) / max(1, num_steps - warmup)
    return remaining if schedule == "linear" else 0.5 * (1 - math.cos(math.pi * remaining))


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's rate to ``lr`` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
