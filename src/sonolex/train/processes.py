"""The processes, the device and the precision of a run."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from sonolex.train.run import Run


def launched(run: Run) -> Fabric:
    """Return one process and device, or those that torchrun started."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    options: dict[str, Any] = {"devices": 1}
    if processes > 1:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend=backend)
        options = {"devices": int(os.environ.get("LOCAL_WORLD_SIZE", processes)), "strategy": strategy}
    fabric = Fabric(accelerator="auto", precision=_precision(run), **options)
    fabric.launch()
    return fabric


def _precision(run: Run) -> Any:
    if run.precision != "auto":
        return run.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"
