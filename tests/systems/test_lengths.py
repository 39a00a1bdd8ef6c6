"""No system reads a number back from the device: what it needs to count was counted while the batch was made."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_impls import register_op_impl
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.types import Batch, Padded
from tests.systems.test_contract import (
    CASES,
    PROCESSORS,
    SYSTEMS,
    accepted,
    built,
    created,
    examples,
    processors,
    richest,
)

__all__ = ["processors"]  # a fixture
SHORTEST_S, LONGEST_S = 0.3, 60
WHOLE_CLIPS = ("statistics", "average")  # they read one vector a clip, so there is no length to be free in
READING = [case for case in CASES if case.values[0] not in WHOLE_CLIPS]
OTHER_INPUTS = ("ctal-3", "ast-1", "calm-1")  # another way from frames to steps than the first config's
EXPORTED = [case for case in READING if str(case.id).endswith("-0") or case.id in OTHER_INPUTS]  # seconds each


# ---- A training step, forward and backward --------------------------------------------------------------------------


def faked(value, mode):
    """A batch, or a part of one, whose tensors have a shape and no numbers: reading one raises."""
    if isinstance(value, Tensor):
        return mode.from_tensor(value)
    if isinstance(value, Padded):
        return Padded(mode.from_tensor(value.values), mode.from_tensor(value.valid), value.lengths)
    if isinstance(value, dict):
        return {name: faked(part, mode) for name, part in value.items()}
    if isinstance(value, Batch):
        return replace(value, **{f.name: faked(getattr(value, f.name), mode) for f in fields(value)})
    return value


@register_op_impl(torch.ops.aten._ctc_loss.default)
def _ctc_shapes(mode, _, log_TNV, letters_NL, steps, lengths, *options):
    """The shapes of CTC's loss, which torch does not know although all lengths are plain numbers."""
    num_steps, size, _ = log_TNV.shape
    with mode:
        return log_TNV.new_empty(size), log_TNV.new_empty(size, num_steps, 2 * max(lengths) + 1)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_training_step_reads_nothing_back(name, config, processors, corpus):
    require_nothing_read(built(name, config, processors[name]), processors[name], corpus)


def require_nothing_read(system, processor, corpus):
    heads = {"mood": ClassificationConfig("mood", label="mood", classes=("good", "bad"))}
    if system.objectives:
        heads["pretraining"] = PretrainingConfig("pretraining")
    model = Model(system, {n: build_task(c, system.pooled_dim) for n, c in heads.items()}).train()
    kinds = [richest(system), *accepted(system), richest(system)]
    made = [examples(processor, corpus, m, rows=[i])[0] for i, m in enumerate(kinds)]
    made[1] = replace(made[1], labels={})  # a clip without a label
    prepared = model.prepare(processor.collate(made))
    mode = FakeTensorMode()
    state = {n: mode.from_tensor(x) for n, x in (*model.named_parameters(), *model.named_buffers())}
    with mode:
        losses = torch.func.functional_call(model, state, (faked(prepared, mode),))
        losses.total.backward()


# ---- An exported program for every length and every size of batch ---------------------------------------------------


class Encoder(nn.Module):
    """`System.encode` as a function of tensors, in the order of a batch's fields."""

    def __init__(self, system, names):
        super().__init__()
        self.system, self.names = system, names

    def forward(self, *tensors):
        pairs = zip(tensors[::2], tensors[1::2], strict=True)
        found = self.system.encode(
            Batch((), **dict(zip(self.names, map(Padded, *zip(*pairs, strict=True)), strict=True)))
        )
        return found.pooled_BD, found.streams


def random_batch(system, processor, *, size, longest_s, seed=0):
    """Features of clips of several lengths, the longest of so many seconds, and words: the tensors of a batch."""
    generator = torch.Generator().manual_seed(seed)
    c, pairs = processor.config, {}
    if "audio" in richest(system):
        samples = getattr(processor, "reads_samples", False)
        longest = round(longest_s * processor.positions_per_second)
        lengths = [longest, *torch.randint(longest // 3, longest + 1, (size - 1,), generator=generator).tolist()]
        shape = (size, longest) if samples else (size, longest, getattr(processor, "num_features", 0) or c.num_mels)
        values = torch.randn(shape, generator=generator)
        valid = torch.arange(longest) < torch.tensor(lengths)[:, None]
        pairs["samples" if samples else "frames"] = Padded.of(values, valid)
    if "text" in richest(system):
        longest = min(c.max_tokens, 4 + int(longest_s))
        lengths = [longest, *torch.randint(3, longest + 1, (size - 1,), generator=generator).tolist()]
        most = min(50, processor.tokenizer.get_vocab_size())
        values = torch.randint(5, most, (size, longest), generator=generator)
        pairs["tokens"] = Padded.of(values, torch.arange(longest) < torch.tensor(lengths)[:, None])
    return pairs


def for_a_minute(config, processor_config):
    """Both with room for the longest clips that are tried."""
    steps = {"max_frames": LONGEST_S * 100, "time_positions": LONGEST_S * 100, "num_positions": LONGEST_S * 100}
    kept = {n: v for n, v in steps.items() if hasattr(config, n) and getattr(config, n)}
    return replace(config, **kept), replace(processor_config, max_frames=LONGEST_S * 100)


@pytest.mark.parametrize(("name", "config"), EXPORTED)
def test_encode_is_exported_for_every_length_and_batch(name, config, corpus):
    config, processor_config = for_a_minute(config, PROCESSORS[name])
    processor = created(name, processor_config, corpus)
    require_export(built(name, config, processor).requires_grad_(False), processor)


def require_export(system, processor):
    example = random_batch(system, processor, size=3, longest_s=2.0)
    model = Encoder(system, tuple(example))
    size = Dim("size", min=1, max=64)
    rate = processor.positions_per_second
    ends = {n: (int(SHORTEST_S * rate), LONGEST_S * rate) for n in ("frames", "samples")}
    ends["tokens"] = 3, min(getattr(processor.config, "max_tokens", 40), 4 + LONGEST_S)
    lengths = {n: Dim(n, min=ends[n][0], max=ends[n][1]) for n in example}
    shapes = tuple({0: size, 1: lengths[n]} for n in example for _ in range(2))
    options = {"dynamic_shapes": (shapes,), "strict": False, "prefer_deferred_runtime_asserts_over_guards": True}
    program = torch.export.export(model, flat(example), **options).module()
    for longest_s, size in ((SHORTEST_S, 1), (SHORTEST_S, 8), (2.5, 3), (11.0, 8), (LONGEST_S, 1)):
        pairs = random_batch(system, processor, size=size, longest_s=longest_s, seed=1)
        with torch.no_grad():
            expected = system.encode(Batch(("a clip",) * size, **pairs))
            pooled, streams = program(*flat(pairs))
        assert torch.allclose(pooled, expected.pooled_BD, atol=1e-5, rtol=1e-5)
        for modality, states in expected.streams.items():
            valid = expected.valid[modality]
            assert torch.allclose(streams[modality][valid], states[valid], atol=1e-5, rtol=1e-5)


def test_statistics_are_exported_for_every_size_of_batch(processors, corpus):
    processor = processors["statistics"]
    system = built("statistics", SYSTEMS["statistics"][0], processor).requires_grad_(False)
    batches = [processor.collate(examples(processor, corpus, richest(system), rows=range(n))) for n in (3, 1, 8)]
    pairs = [{n: getattr(b, n) for n in ("frames", "tokens") if getattr(b, n) is not None} for b in batches]
    size = Dim("size", min=1, max=64)
    lengths = {"frames": None, "tokens": Dim("tokens", min=1, max=1000)}
    shapes = tuple({0: size, 1: lengths[n]} for n in pairs[0] for _ in range(2))
    model = Encoder(system, tuple(pairs[0]))
    program = torch.export.export(model, flat(pairs[0]), dynamic_shapes=(shapes,), strict=False).module()
    for batch, some in zip(batches, pairs, strict=True):
        assert torch.allclose(program(*flat(some))[0], system.encode(batch).pooled_BD, atol=1e-5)


def flat(pairs):
    return tuple(x for pair in pairs.values() for x in pair[:2])
