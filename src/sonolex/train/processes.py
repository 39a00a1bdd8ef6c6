"""The processes, the device and the precision of a run."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision.amp import MixedPrecision
from lightning_fabric.strategies import DDPStrategy

from sonolex.devices import AUTO, auto_precision, find_device
from sonolex.train.run import Run


def launched(run: Run, *, device: str = AUTO) -> Fabric:
    """Return Fabric for this process and its device; processes that torchrun started each take a CUDA device.

    Raises:
        ValueError: a device that this machine does not have, or one device or too few for several processes.
    """
    wanted = find_device(device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    options: dict[str, Any] = {"devices": [wanted.index] if wanted.type == "cuda" else 1}
    if processes > 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
        _require_one_each(device, wanted, here)
        # Counts and losses that are on the CPU already go from CPU to CPU.
        backend = "cpu:gloo,cuda:nccl" if wanted.type == "cuda" else "gloo"
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend=backend)
        options = {"devices": here, "strategy": strategy}
    precision = _precision(run, wanted)
    if precision == "16-mixed" and wanted.type == "cpu":  # Fabric itself offers it on GPUs only
        options["plugins"] = MixedPrecision("16-mixed", "cpu")
    else:
        options["precision"] = precision
    fabric = Fabric(accelerator=wanted.type, **options)
    fabric.launch()
    return fabric


def _require_one_each(name: str, wanted: torch.device, processes: int) -> None:
    if wanted.type == "cpu":
        return
    devices = torch.cuda.device_count() if wanted.type == "cuda" else 1
    if ":" in name or devices < processes:
        raise ValueError(
            f"`device` must be cpu, or cuda with a device for each of {processes} processes, but is {name!r} on a "
            f"machine with {devices}."
        )


def _precision(run: Run, device: torch.device) -> Any:
    """Return the run's precision on a device."""
    return auto_precision(device) if run.precision == "auto" else run.precision
