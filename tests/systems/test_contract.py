"""What every system must satisfy (design.md, rule 28). A new system adds one entry to SYSTEMS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sonolex.configs import module_names
from sonolex.systems.base import build_system, system_type
from sonolex.systems.ctal import CtalConfig
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.types import Batch
from tests.conftest import TINY

SYSTEMS = {
    "ctal": [
        TINY,
        replace(TINY, stem="linear", frames_per_step=1, fusion="code", orthogonal="code", replace_level="frame"),
        replace(TINY, audio_attention="causal"),
        replace(TINY, stem="conv2d", frames_per_step=4),
    ]
}
CASES = [pytest.param(name, config, id=f"{name}-{i}") for name, cs in SYSTEMS.items() for i, config in enumerate(cs)]
MODALITIES = ({"audio", "text"}, {"audio"}, {"text"})


def test_every_system_is_under_contract():
    assert set(SYSTEMS) == set(module_names("systems"))


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


@pytest.mark.parametrize(("name", "config"), CASES)
def test_padding_batch_order_and_batch_size_change_nothing(name, config, processor, corpus):
    system = built(name, config, processor)
    for modalities in accepted(system):
        made = examples(processor, corpus, modalities)
        together = system.encode(processor.collate(made)).pooled_BD
        backwards = system.encode(processor.collate(made[::-1])).pooled_BD.flip(0)
        alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in made])
        assert torch.allclose(together, alone, atol=1e-5)
        assert torch.allclose(together, backwards, atol=1e-5)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_batch_may_mix_clips_with_and_without_a_modality(name, config, processor, corpus):
    system = built(name, config, processor)
    mixed = [examples(processor, corpus, m, rows=[i])[0] for i, m in enumerate(accepted(system) * 2)]
    together = system.encode(processor.collate(mixed)).pooled_BD
    alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in mixed])
    assert together.isfinite().all()
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_every_parameter_gets_a_finite_gradient(name, config, processor, corpus):
    system = built(name, config, processor).train()
    heads = {"mood": build_task(ClassificationConfig("mood", label="mood", classes=("good", "bad")), system.pooled_dim)}
    model = Model(system, heads)
    batch = processor.collate(examples(processor, corpus, {"audio", "text"}))
    pretraining = system.pretraining_losses(system.corrupt(batch))
    total = model(model.prepare(batch)).total + sum(t.mean for t in pretraining.values())
    total.backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    silent = [n for n, p in model.named_parameters() if p.grad.abs().sum() == 0]
    assert not silent


@pytest.mark.parametrize(("name", "config"), CASES)
def test_pretraining_losses_depend_on_the_clips_seed_and_nothing_else(name, config, processor, corpus):
    system = built(name, config, processor)
    made = examples(processor, corpus, {"audio", "text"})
    batch = system.corrupt(processor.collate(made))
    singles = [system.corrupt(processor.collate([e])) for e in made]
    for term_name, term in system.pretraining_losses(batch).items():
        parts = [system.pretraining_losses(s)[term_name] for s in singles]
        assert term.count == pytest.approx(sum(p.count for p in parts))
        assert term.sum.item() == pytest.approx(sum(p.sum.item() for p in parts), rel=1e-4)
    assert batch.counts == {n: t.count for n, t in system.pretraining_losses(batch).items()}


@pytest.mark.parametrize(("name", "config"), CASES)
def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone(name, config, processor):
    before = torch.get_rng_state()
    first, again, other = (built(name, config, processor, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_encoding_again_gives_the_same_bits(name, config, processor, corpus):
    system = built(name, config, processor)
    batch = processor.collate(examples(processor, corpus, {"audio", "text"}))
    assert torch.equal(system.encode(batch).pooled_BD, system.encode(batch).pooled_BD)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_batch_without_any_modality_is_refused(name, config, processor):
    with pytest.raises(ValueError, match="neither"):
        built(name, config, processor).encode(Batch(("clip-1",)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_layer_groups_cover_every_parameter_once(name, processor):
    system = built(name, SYSTEMS[name][0], processor)
    grouped = [id(p) for parts in system.layer_groups().values() for part in parts for p in part.parameters()]
    assert sorted(grouped) == sorted(id(p) for p in system.parameters())


@pytest.mark.parametrize("num_clips", [200, 50_000, 500_000])
@pytest.mark.parametrize("name", SYSTEMS)
def test_starter_configs_grow_with_the_data(name, num_clips):
    config, processor = system_type(name).starter(num_clips=num_clips, longest_s=3.0)
    assert isinstance(config, system_type(name).config_type)
    assert isinstance(processor, system_type(name).processor_type.config_type)


def test_long_clips_are_refused_by_name_or_cut_when_told(processor):
    from sonolex.systems.ctal import CtalProcessor

    front = torch.randn(500, 20)
    with pytest.raises(ValueError, match=r"400 frames.*clip-9"):
        processor.finish(front, "clip-9")
    with pytest.raises(ValueError, match=r"40 tokens.*clip-9"):
        processor.tokens("word " * 60, "clip-9")
    cutting = CtalProcessor(replace(processor.config, long_clip="cut"), processor.tokenizer)
    assert cutting.finish(front, "clip-9").shape == (400, 40)
    assert len(cutting.tokens("word " * 60, "clip-9")) == 40


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="audio_attention"):
        CtalConfig(audio_attention="sideways")


def test_silence_and_a_single_frame_give_finite_vectors(processor):
    system = built("ctal", TINY, processor)
    for wave in (np.zeros(4000, np.float32), np.zeros(1, np.float32)):
        example = processor.example("quiet", front=processor.front(wave), text=None)
        assert system.encode(processor.collate([example])).pooled_BD.isfinite().all()
