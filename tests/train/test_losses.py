"""Losses are read some steps later, which changes nothing; fp16 trains with scaled gradients."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from sonolex.train import loop
from sonolex.train.journal import read_journal
from sonolex.train.loop import train
from sonolex.train.run import Budget, Optim
from tests.train.helpers import PITCH, final_weights, small_run

BUDGET = Budget(epochs=2, batch_s=8, batch_clips=8)
READS = ("item", "tolist", "__float__", "__int__", "__bool__", "__index__", "nonzero", "cpu", "numpy")


def lines(folder):
    return [{n: v for n, v in e.items() if n not in ("time_s", "load_s")} for e in read_journal(folder)]


def test_however_many_steps_are_read_at_once_the_journal_is_the_same(corpus, tmp_path):
    for number in (1, 4, 1000):
        run = small_run(corpus.root, budget=replace(BUDGET, journal_steps=number))
        train(run, tmp_path / str(number), quiet=True)
    assert lines(tmp_path / "1") == lines(tmp_path / "4") == lines(tmp_path / "1000")
    train(small_run(corpus.root, budget=replace(BUDGET, journal_steps=2)), tmp_path / "1", quiet=True)  # the same run


def test_a_run_of_an_older_version_goes_on(corpus, tmp_path):
    """Its recipe.json lacks settings that came later; one that has its default is no difference, another one is."""
    run = small_run(corpus.root, budget=BUDGET)
    train(run, tmp_path, quiet=True)
    file = tmp_path / "recipe.json"
    settings = json.loads(file.read_text())
    for place, name in (("budget", "journal_steps"), ("config", "mask_id"), ("processor", "tokenizer")):
        del settings[place][name]
    del settings["tasks"][0]["weight"]
    file.write_text(json.dumps(settings))
    assert train(run, tmp_path, quiet=True)["steps"] > 0
    with pytest.raises(ValueError, match="mask_id"):
        train(replace(run, config=replace(run.config, mask_id=7)), tmp_path, quiet=True)


@contextmanager
def nothing_is_read(monkeypatch):
    """Inside, whatever asks a tensor for its numbers fails."""
    with monkeypatch.context() as inside:
        for name in READS:

            def refuse(*args, _name=name, **kwargs):
                raise AssertionError(f"a step read a number back ({_name})")

            inside.setattr(torch.Tensor, name, refuse)
        yield


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_reads_nothing_back_from_the_device(accumulate, corpus, tmp_path, monkeypatch):
    step, steps = loop._Training._step, []

    def guarded(self, batches):
        with nothing_is_read(monkeypatch):
            step(self, batches)
        steps.append(len(batches))

    monkeypatch.setattr(loop._Training, "_step", guarded)
    budget = replace(BUDGET, journal_steps=1000, accumulate=accumulate)
    run = small_run(corpus.root, budget=budget)
    run = replace(run, data=replace(run.data, loading=replace(run.data.loading, num_workers=0)))  # this thread alone
    results = train(run, tmp_path, quiet=True)
    assert steps and max(steps) == accumulate and results["losses"]["total"] > 0


def test_a_loss_that_is_not_finite_is_found_before_anything_is_saved(corpus, tmp_path):
    """Steps after it have run by then; its own number and clips are named, and no checkpoint is of later weights."""
    budget = Budget(epochs=4, batch_s=8, batch_clips=8, journal_steps=1000)
    run = small_run(corpus.root, budget=budget, optim=Optim(lr=1e30, clip_norm=0.0, warmup_share=0.0))
    with pytest.raises(ValueError, match=r"finite.* at step \d+ \(clips \['clip"):
        train(run, tmp_path, quiet=True)
    assert not list((tmp_path / "checkpoints").glob("step-*"))
    whole = [e["step"] for e in read_journal(tmp_path) if e["event"] == "step"]
    assert whole == list(range(1, len(whole) + 1))


def test_fp16_scales_gradients_leaves_out_steps_that_overflow_and_resumes_exactly(corpus, tmp_path, monkeypatch):
    budget = Budget(epochs=3, batch_s=8, batch_clips=8)
    run = small_run(corpus.root, precision="16-mixed", budget=budget, tasks=(PITCH,))
    results = train(run, tmp_path / "whole", quiet=True)
    assert results["losses"]["total"] < 1.0

    def ended(step, value):
        if step > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "parts", quiet=True, watch=ended)
    train(run, tmp_path / "parts", quiet=True)
    first, second = final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts")
    assert all(torch.equal(first[name], second[name]) for name in first)

    class Eager(torch.amp.GradScaler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, init_scale=2.0**24)  # every gradient overflows at first

    monkeypatch.setattr(torch.amp, "GradScaler", Eager)
    train(run, tmp_path / "overflowing", quiet=True)
    norms = [e["gradient_norm"] for e in read_journal(tmp_path / "overflowing") if e["event"] == "step"]
    assert norms[0] is None and norms[-1] is not None  # halved after each overflow, until gradients fit
