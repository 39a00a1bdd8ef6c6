"""CTAL training step at the published width: ours against the step as released, and bucketed against random batches.

"As released" is the same model with the released code's habits: vocabulary logits at every position, attention written
out with dropout on its probabilities, unfused AdamW, fp32. Its loader sorts by length too, so the sorted rows compare
steps, and the random rows say what sorting is worth.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks._released import as_released
from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.data.sampler import Sampler
from sonolex.nn.dropout import drawn_from, number_dropouts
from sonolex.systems.ctal import Ctal, CtalConfig
from sonolex.types import Batch, Padded

FRAMES_PER_S, LETTERS_PER_S = 80, 4
BATCH_CLIPS = 4


def run() -> None:
    torch.manual_seed(0)
    ours = Ctal(CtalConfig.base()).train()
    number_dropouts(ours)
    released = Ctal(CtalConfig(attention_dropout=0.1, replace_level="frame")).train()
    as_released(released)
    durations = np.clip(np.random.default_rng(0).lognormal(np.log(4.5), 0.55, 2000), 2, 12)
    sampler = Sampler(durations, 1e9, BATCH_CLIPS)
    pool = np.concatenate(sampler.epoch(0))
    random = [pool[np.random.default_rng(1).permutation(len(pool))][:BATCH_CLIPS]]
    bucketed = [min(sampler.epoch(0), key=lambda b: abs(durations[b].mean() - durations[random[0]].mean()))]
    batches = {"random": _batch(durations[random[0]]), "bucketed": _batch(durations[bucketed[0]])}
    useful = {name: float(b.frames.valid.sum()) for name, b in batches.items()}  # type: ignore[union-attr]
    for name, batch in batches.items():
        print(f"  {name}: useful share {useful[name] / batch.frames.valid.numel():.2f}")  # type: ignore[union-attr]
    fused = torch.optim.AdamW(ours.parameters(), lr=1e-5, fused=True)
    plain = torch.optim.AdamW(released.parameters(), lr=1e-5, fused=False, foreach=False)
    seconds = interleaved(
        {
            "as released, fp32, random": lambda: _step_as_released(released, plain, batches["random"]),
            "as released, fp32, bucketed": lambda: _step_as_released(released, plain, batches["bucketed"]),
            "ours, fp32, random": lambda: _step(ours, fused, batches["random"]),
            "ours, fp32, bucketed": lambda: _step(ours, fused, batches["bucketed"]),
            "ours, bf16, bucketed": lambda: _step(ours, fused, batches["bucketed"], bf16=True),
        },
        rounds=3,
    )
    for name in seconds:  # per useful frame, so that batches of different length compare
        seconds[name] = [s / useful[name.split(", ")[-1]] for s in seconds[name]]
    table(seconds, what="µs per useful frame", scale=1e6)
    peer = "as released, fp32, bucketed"
    claim("CTAL step fp32, sorted batch, over as released", ratio(seconds, "ours, fp32, bucketed", peer), 1.1)
    claim("CTAL step bf16, sorted batch, over as released fp32", ratio(seconds, "ours, bf16, bucketed", peer), 2.0)
    share = useful["random"] / batches["random"].frames.valid.numel()  # type: ignore[union-attr]
    claim(
        "variable length, fp32: bucketed over randomly ordered",
        ratio(seconds, "ours, fp32, bucketed", "ours, fp32, random"),
        round(0.93 / share, 2),
    )


def _batch(durations_s: np.ndarray) -> Batch:
    frames = torch.from_numpy((durations_s * FRAMES_PER_S).astype(np.int64))
    tokens = torch.from_numpy((durations_s * LETTERS_PER_S).astype(np.int64)) + 2
    generator = torch.Generator().manual_seed(0)
    frames_BTF = torch.randn(len(frames), int(frames.max()), 160, generator=generator)
    tokens_BL = torch.randint(5, 30_000, (len(tokens), int(tokens.max())), generator=generator)
    return Batch(
        tuple(f"clip{i}" for i in range(len(frames))),
        frames=Padded.of(frames_BTF, torch.arange(int(frames.max()))[None] < frames[:, None]),
        tokens=Padded.of(tokens_BL, torch.arange(int(tokens.max()))[None] < tokens[:, None]),
        seeds=tuple(range(len(frames))),
    )


def _step(model: Ctal, optimizer: torch.optim.Optimizer, batch: Batch, *, bf16: bool = False) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), drawn_from(batch.seeds, torch.device("cpu")):
        total = sum(t.mean for t in model.pretraining_losses(model.corrupt(batch)).values())
    _update(model, optimizer, total)  # type: ignore[arg-type]


def _step_as_released(model: Ctal, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """The same losses from logits and frames at every position, masked afterwards, as the released code does."""
    batch = model.corrupt(batch)
    extras = batch.extras
    tokens, frames = batch.tokens, batch.frames
    assert tokens is not None and frames is not None
    states = model.states(
        tokens.with_values(extras["corrupted_tokens_BL"]), frames.with_values(extras["corrupted_frames_BTF"])
    )
    logits = model.mlm_head(states["text"][0], model.text_embedding.token.weight)
    targets = tokens.values.masked_fill(~_chosen(extras["hidden_tokens_N"], tokens.valid), -100)
    mlm = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    predicted = model.mcam_head(states["audio"][0])
    chosen = _chosen(extras["hidden_frames_N"], frames.valid)[..., None]
    mcam = ((predicted - frames.values).abs() * chosen).sum() / chosen.expand_as(predicted).sum()
    _update(model, optimizer, mlm + mcam)


def _chosen(places_N: torch.Tensor, valid_BT: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(valid_BT).flatten().index_fill(0, places_N, True).view_as(valid_BT)


def _update(model: Ctal, optimizer: torch.optim.Optimizer, total: torch.Tensor) -> None:
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
