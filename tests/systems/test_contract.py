"""What every system must satisfy. Systems are found by their folder, and their cases in `tests.systems.cases`."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from sonolex.configs import module_names
from sonolex.data.loader import clip_seed
from sonolex.nn.dropout import Dropout, drawn_from
from sonolex.systems.base import build_system, system_type
from sonolex.systems.ctal import CtalConfig
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.types import Batch
from tests.conftest import TINY
from tests.other_device import moved, on_other_device

CASES_OF = "tests.systems.cases"


def _cases(name: str) -> Any:
    return import_module(f"{CASES_OF}.{name}")


SYSTEMS = {name: _cases(name).CONFIGS for name in module_names("systems") if find_spec(f"{CASES_OF}.{name}")}
PROCESSORS = {name: _cases(name).PROCESSOR for name in SYSTEMS}
CASES = [pytest.param(name, config, id=f"{name}-{i}") for name, cs in SYSTEMS.items() for i, config in enumerate(cs)]
MODALITIES = ({"audio", "text"}, {"audio"}, {"text"})


def created(name, config, corpus):
    transcripts = corpus.column("text")
    waves = [np.sin(np.linspace(0, 100 * i, 8000)).astype(np.float32) for i in range(1, 6)]
    return system_type(name).processor_type.create(
        config, transcripts=transcripts, waves=iter(waves), pairs=zip(waves, transcripts, strict=False)
    )


@pytest.fixture(scope="module")
def processors(corpus):
    return {name: created(name, config, corpus) for name, config in PROCESSORS.items()}


@pytest.mark.parametrize("name", module_names("systems"))
def test_every_system_is_under_contract(name):
    assert name in SYSTEMS, f"write {CASES_OF.replace('.', '/')}/{name}.py, with CONFIGS and PROCESSOR"
    assert all(type(config) is system_type(name).config_type for config in SYSTEMS[name])


def examples(processor, corpus, modalities, rows=range(6)):
    made = []
    for row in rows:
        clip = corpus[row]
        front = None
        if "audio" in modalities:
            from sonolex.audio.io import read_audio

            front = processor.front(read_audio(clip.audio, rate_hz=processor.config.rate_hz))
        text = clip.text if "text" in modalities else None
        made.append(processor.example(clip.id, front=front, text=text, labels=clip.labels, seed=row + 1))
    return made


def built(name, config, processor, seed=0):
    return build_system(name, system_type(name).matched(config, processor), seed=seed).eval()


def accepted(system):
    return [m for m in MODALITIES if frozenset(m) in system.accepts]


def richest(system):
    return max(accepted(system), key=len)


def pretraining_terms(system, batch):
    """The terms a batch has by itself, and those that compare its clips with each other."""
    prepared = system.corrupt(batch)
    return system.pretraining_losses(prepared), system.joint_losses(system.pretraining_rows(prepared))


@pytest.mark.parametrize(("name", "config"), CASES)
def test_padding_batch_order_and_batch_size_change_nothing(name, config, processors, corpus):
    processor = processors[name]
    system = built(name, config, processor)
    for modalities in accepted(system):
        made = examples(processor, corpus, modalities)
        together = system.encode(processor.collate(made)).pooled_BD
        backwards = system.encode(processor.collate(made[::-1])).pooled_BD.flip(0)
        alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in made])
        assert torch.allclose(together, alone, atol=1e-5)
        assert torch.allclose(together, backwards, atol=1e-5)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_batch_may_mix_clips_with_and_without_a_modality(name, config, processors, corpus):
    processor = processors[name]
    system = built(name, config, processor)
    mixed = [examples(processor, corpus, m, rows=[i])[0] for i, m in enumerate(accepted(system) * 2)]
    together = system.encode(processor.collate(mixed)).pooled_BD
    alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in mixed])
    assert together.isfinite().all()
    assert torch.allclose(together, alone, atol=1e-5)


DROPPED = {"dropout": 0.3, "attention_dropout": 0.3}


@pytest.mark.parametrize(("name", "config"), CASES)
def test_dropout_depends_on_a_clip_and_not_on_its_batch_or_its_padding(name, config, processors, corpus):
    """Sums of losses, vectors for joint objectives and gradients of a batch are those of its clips one by one."""
    processor = processors[name]
    config = replace(config, **{k: v for k, v in DROPPED.items() if hasattr(config, k)})
    heads = {"mood": ClassificationConfig("mood", label="mood", classes=("good", "bad"), dropout=0.3)}
    if system_type(name).objectives != () and built(name, config, processor).objectives:
        heads["pretraining"] = PretrainingConfig("pretraining")
    system = built(name, config, processor)
    model = Model(system, {n: build_task(c, system.pooled_dim) for n, c in heads.items()}).train()
    for module in model.modules():  # of its batch they are meant to depend
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    kinds = [richest(system), *accepted(system), richest(system)]
    made = [examples(processor, corpus, m, rows=[i])[0] for i, m in enumerate(kinds)]

    def passed(some, seeds, known=None):
        """Return the sums of the terms, the rows (of clips that have something for them), and the gradient of both."""
        batch = model.prepare(processor.collate(some))
        with drawn_from(seeds, torch.device("cpu")):
            terms, rows = model.separate_losses(batch).terms, model.rows(batch)
        rows = {n: x * known[n] if known else x for n, x in rows.items() if x.requires_grad}
        total = sum(t.sum for t in terms.values()) + sum(x.sum() for x in rows.values())
        model.zero_grad()
        total.backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return {n: t.sum.detach() for n, t in terms.items()}, rows, grads

    seeds = list(range(100, 100 + len(made)))
    alone = [passed([e], [s]) for e, s in zip(made, seeds, strict=True)]
    rows = {n: torch.cat([a[1].get(n, torch.zeros_like(x)) for a in alone]) for n, x in alone[0][1].items()}
    known = {n: x.any(1, keepdim=True) for n, x in rows.items()}
    together = passed(made, seeds, known)
    for term, value in together[0].items():
        torch.testing.assert_close(value, sum(a[0].get(term, 0) for a in alone), rtol=1e-4, atol=1e-5)
    for row, values_BD in together[1].items():
        torch.testing.assert_close(values_BD, rows[row], rtol=1e-4, atol=1e-5)
    for parameter, gradient in together[2].items():
        expected = sum(a[2][parameter] for a in alone if parameter in a[2])
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4 * max(1, float(gradient.abs().max())))
    if any(isinstance(m, Dropout) and m.p for m in system.modules()):
        other = passed(made, [s + 1000 for s in seeds], known)
        assert any(not torch.equal(other[0][n], together[0][n]) for n in together[0])


@pytest.mark.parametrize(("name", "config"), CASES)
def test_every_parameter_gets_a_finite_gradient(name, config, processors, corpus):
    processor = processors[name]
    system = built(name, config, processor).train()
    heads = {"mood": build_task(ClassificationConfig("mood", label="mood", classes=("good", "bad")), system.pooled_dim)}
    model = Model(system, heads)
    batch = processor.collate(examples(processor, corpus, richest(system)))
    total = model(model.prepare(batch)).total
    for terms in pretraining_terms(system, batch) if system.objectives else ():
        total = total + sum(t.weight * t.mean for t in terms.values())
    total.backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    # A softmax over speakers is the same whatever is added to all of them: only rounding ever moved GE2E's offset.
    silent = [n for n, p in model.named_parameters() if p.grad.abs().sum() == 0 and n != "system.similarity.offset"]
    assert not silent


@pytest.mark.parametrize(("name", "config"), CASES)
def test_pretraining_losses_depend_on_the_clips_seed_and_nothing_else(name, config, processors, corpus):
    processor = processors[name]
    system = built(name, config, processor)
    if not system.objectives:
        with pytest.raises(ValueError, match="no pre-training objective"):
            system.corrupt(Batch(("clip-1",)))
        return
    made = examples(processor, corpus, richest(system))
    batch = system.corrupt(processor.collate(made))
    singles = [system.corrupt(processor.collate([e])) for e in made]
    for term_name, term in system.pretraining_losses(batch).items():
        parts = [system.pretraining_losses(s)[term_name] for s in singles]
        assert term.count == pytest.approx(sum(p.count for p in parts))
        assert term.sum.item() == pytest.approx(sum(p.sum.item() for p in parts), rel=1e-4)
    assert batch.counts == {n: t.count for n, t in system.pretraining_losses(batch).items()}
    for row_name, rows_BD in system.pretraining_rows(batch).items():
        alone = torch.cat([system.pretraining_rows(s)[row_name] for s in singles])
        assert torch.allclose(rows_BD, alone, atol=1e-5)
    separate, joint = pretraining_terms(system, processor.collate(made))
    assert {*separate, *(n for n, t in joint.items() if t.weight)} == set(system.objectives)
    assert {n for n, t in joint.items() if t.weight} == set(system.joint_objectives)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone(name, config, processors):
    processor = processors[name]
    before = torch.get_rng_state()
    first, again, other = (built(name, config, processor, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_encoding_again_gives_the_same_bits(name, config, processors, corpus):
    processor = processors[name]
    system = built(name, config, processor)
    batch = processor.collate(examples(processor, corpus, richest(system)))
    assert torch.equal(system.encode(batch).pooled_BD, system.encode(batch).pooled_BD)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_on_another_device_nothing_is_left_on_the_cpu(name, config, processors, corpus, monkeypatch):
    processor = processors[name]
    system = built(name, config, processor)
    tasks = {"mood": build_task(ClassificationConfig("mood", label="mood", classes=("good", "bad")), system.pooled_dim)}
    if system.objectives:
        tasks["pretraining"] = build_task(PretrainingConfig("pretraining"), system.pooled_dim)
    model, made = Model(system, tasks), examples(processor, corpus, richest(system))
    batch = model.prepare(processor.collate(made))
    seeds = [clip_seed(0, 0, clip_id) for clip_id in batch.clip_ids]
    with torch.no_grad(), drawn_from(seeds, torch.device("cpu")):
        trained = float(model.train()(batch).total)  # first: it changes running statistics
        expected_BD, loss = model.eval().system.encode(batch).pooled_BD, float(model(batch).total)
    moved(model)
    with on_other_device(monkeypatch) as there:
        batch = model.prepare(processor.collate(made)).to(there)  # prepared by the loader's threads, on the CPU
        with torch.no_grad():
            encoding = model.system.encode(batch)
        parts = [encoding.pooled_BD, *encoding.streams.values(), *encoding.valid.values(), *encoding.aligned.values()]
        assert {x.device for x in parts} == {there}
        assert torch.allclose(encoding.pooled_BD.cpu(), expected_BD, atol=1e-5)
        total = model(batch).total
        total.backward()
        assert float(total) == pytest.approx(loss, rel=1e-5)
        with drawn_from(seeds, there):
            total = model.train()(batch).total
        total.backward()
        assert float(total) == pytest.approx(trained, rel=1e-4)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_batch_without_any_modality_is_refused(name, config, processors):
    processor = processors[name]
    with pytest.raises(ValueError, match=r"must have audio.*clip-1"):
        built(name, config, processor).encode(Batch(("clip-1",)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_layer_groups_cover_every_parameter_once(name, processors):
    system = built(name, SYSTEMS[name][0], processors[name])
    grouped = [id(p) for parts in system.layer_groups().values() for part in parts for p in part.parameters()]
    assert sorted(grouped) == sorted(id(p) for p in system.parameters())


@pytest.mark.parametrize("num_clips", [200, 50_000, 500_000])
@pytest.mark.parametrize("name", SYSTEMS)
def test_starter_configs_grow_with_the_data(name, num_clips):
    config, processor = system_type(name).starter(num_clips=num_clips, longest_s=3.0)
    assert isinstance(config, system_type(name).config_type)
    assert isinstance(processor, system_type(name).processor_type.config_type)


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="audio_attention"):
        CtalConfig(audio_attention="sideways")


def test_silence_and_a_single_frame_give_finite_vectors(processor):
    system = built("ctal", TINY, processor)
    for wave in (np.zeros(4000, np.float32), np.zeros(1, np.float32)):
        example = processor.example("quiet", front=processor.front(wave), text=None)
        assert system.encode(processor.collate([example])).pooled_BD.isfinite().all()
