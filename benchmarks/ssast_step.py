"""SSAST and VCR-AST steps at the thesis's size (AST-Base, 256 patches, 250 hidden): ours against the steps as released.

"As released" is the same network with the released code's habits: one pass and one mask per objective, attention
written out, unfused Adam, fp32. "Hidden by value" replaces patches by a vector, so the encoder computes all of them;
"dropped" leaves them out. All steps have one encoder size, one batch and one run.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks._released import as_released
from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.systems.base import System
from sonolex.systems.ssast import Ssast, SsastConfig
from sonolex.systems.vcr_ast import VcrAst, VcrAstConfig
from sonolex.types import Batch, Losses, Padded

BATCH, FRAMES = 2, 512
SIZES = {"table_frames": FRAMES, "hidden_share": 250 / 256}


def run() -> None:
    torch.manual_seed(0)
    shared = SsastConfig.base(**SIZES)
    zeroed = VcrAstConfig.base(**SIZES)
    models: dict[str, System] = {
        "SSAST as released, fp32": Ssast(replace(shared, masks="separate")),
        "SSAST ours, fp32": Ssast(shared),
        "VICReg hidden by value, fp32": VcrAst(zeroed),
        "VICReg half dropped, fp32": VcrAst(_dropping(zeroed, 0.5)),
        "VICReg 250 dropped, fp32": VcrAst(_dropping(zeroed, 250 / 256)),
    }
    released = models["SSAST as released, fp32"]
    as_released(released)
    steps = {n: _step_of(m.train(), fused=m is not released) for n, m in models.items()}
    for name in ("SSAST ours, fp32", "VICReg half dropped, fp32", "VICReg 250 dropped, fp32"):
        steps[name.replace("fp32", "bf16")] = _step_of(models[name], fused=True, bf16=True)
    seconds = interleaved(steps, rounds=3)
    table(seconds, what="s per clip", scale=1.0, unit=BATCH)
    official, by_value = "SSAST as released, fp32", "VICReg hidden by value, fp32"
    claim("SSAST step fp32 over as released", ratio(seconds, "SSAST ours, fp32", official), 2.1)
    claim("SSAST step bf16 over as released fp32", ratio(seconds, "SSAST ours, bf16", official), 3.6)
    claim("VICReg half dropped fp32 over hidden by value", ratio(seconds, "VICReg half dropped, fp32", by_value), 1.7)
    claim("VICReg half dropped bf16 over hidden by value", ratio(seconds, "VICReg half dropped, bf16", by_value), 2.5)
    claim("VICReg 250 dropped fp32 over SSAST as released", ratio(seconds, "VICReg 250 dropped, fp32", official), 2.3)


def _dropping(config: VcrAstConfig, share: float) -> VcrAstConfig:
    return replace(config, hidden_share=share, hidden_patches="dropped")


def _step_of(model: System, *, fused: bool, bf16: bool = False):
    """Return a whole training step: masks and views, forward, backward, optimiser; features excluded."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=fused, foreach=None if fused else False)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        tuple(f"clip{i}" for i in range(BATCH)),
        frames=Padded.of(
            torch.randn(BATCH, FRAMES, 128, generator=generator), torch.ones(BATCH, FRAMES, dtype=torch.bool)
        ),
        seeds=tuple(range(BATCH)),
    )

    def step() -> None:
        prepared = model.corrupt(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            terms = model.pretraining_losses(prepared) or model.joint_losses(model.pretraining_rows(prepared))
        Losses(terms).total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
