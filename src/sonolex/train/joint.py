"""Gradient caching: objectives that compare clips see the whole effective batch, at the memory of one batch.

Every batch of a step is embedded without gradient; the rows of all batches and processes are joined; the objective's
gradient with respect to the rows is computed once; then each batch is embedded again with gradient, and its rows carry
their part of it back through the network. The result is the gradient of one big batch (Gao et al. 2021), tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sonolex.tasks.base import Model
from sonolex.types import Batch, Losses, Term

Rows = Mapping[str, Tensor]


@dataclass(frozen=True)
class JointPass:
    """Terms over all rows of a step, and the gradient of each batch's rows; empty if no objective compares clips."""

    terms: Mapping[str, Term] = field(default_factory=dict)
    gradients: Sequence[Rows | None] = ()

    def of_batch(self, number: int) -> Rows | None:
        return self.gradients[number] if self.gradients else None


def joint_pass(
    model: Model,
    batches: Sequence[Batch | None],
    *,
    device: torch.device,
    autocast: Callable[[], Any],
    drawing: Callable[[Batch], AbstractContextManager[None]],
    gather: Callable[[Any], list[Any]],
    rank: int,
    world_size: int = 1,
    scaler: torch.amp.GradScaler | None = None,
) -> JointPass:
    """Return the terms and row gradients of one step; the objectives' own parameters get their gradient here.

    Args:
        batches: of this process; None where it has no clips.
        drawing: decides dropout, so that both embeddings of a batch are the same.
        gather: every process's value, on every process; ``rank`` is this one's place among ``world_size``.
        scaler: of gradients; those of the objectives' own parameters are scaled, as all others, those of rows are not.
    """
    local: list[dict[str, Tensor]] = []
    for batch in batches:
        if batch is None:
            local.append({})
            continue
        with torch.no_grad(), autocast(), drawing(batch):
            local.append({n: x.float() for n, x in model.rows(batch.to(device)).items()})
    # Between processes rows travel through the CPU.
    by_process = gather([{n: x.cpu() for n, x in rows.items()} for rows in local]) if world_size > 1 else [local]
    # Every process joins the same rows in the same order: first by batch, then by process, as one process would.
    order = [rows for by_batch in zip(*by_process, strict=True) for rows in by_batch if rows]
    if not order:  # no clip of the step could be used
        return JointPass()
    joined = {n: torch.cat([rows[n] for rows in order]).to(device).requires_grad_() for n in order[0]}
    scale = torch.ones((), device=device) if scaler is None else scaler.scale(torch.ones((), device=device))
    with autocast():
        terms = model.joint_losses(joined)
        (Losses(terms).total * scale).backward()
    gradients: list[Rows | None] = []
    start = 0
    for by_batch in zip(*by_process, strict=True):
        for process, rows in enumerate(by_batch):
            size = len(next(iter(rows.values()), ()))
            if process == rank:
                part = {n: x.grad[start : start + size] / scale for n, x in joined.items() if x.grad is not None}
                # A process without clips passes some clip forward, and no gradient back.
                gradients.append(part if size else {n: x.new_zeros(()) for n, x in part.items()})
            start += size
    return JointPass({n: Term(t.sum.detach(), t.count, t.weight) for n, t in terms.items()}, gradients)
