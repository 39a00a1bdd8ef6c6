from __future__ import annotations

import pytest
import torch

from sonolex.systems.base import build_system
from sonolex.tasks.base import Model, build_task
from sonolex.train import optim
from sonolex.train.run import Optim
from tests.conftest import TINY
from tests.train.helpers import PITCH


def model() -> Model:
    system = build_system("ctal", TINY)
    return Model(system, {"pitch": build_task(PITCH, system.pooled_dim)})


def test_linear_schedule_rises_then_falls_to_nearly_zero():
    rates = [optim.rate_factor(s, 100, schedule="linear", warmup_share=0.1) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 and rates[-1] == pytest.approx(1 / 90)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_cosine_is_half_way_in_the_middle_and_constant_is_constant():
    assert optim.rate_factor(50, 100, schedule="cosine", warmup_share=0.0) == pytest.approx(0.5)
    assert optim.rate_factor(99, 100, schedule="constant", warmup_share=0.1) == 1.0


def test_biases_and_norms_have_no_weight_decay_and_groups_their_own_rate():
    m = model()
    built = optim.build_optimizer(m, Optim(lr=1e-3, weight_decay=0.1, group_rates={"heads": 10.0}))
    num_parameters = 0
    for group in built.param_groups:
        assert all((p.dim() > 1) == (group["weight_decay"] > 0) for p in group["params"])
        num_parameters += len(group["params"])
    assert num_parameters == len(list(m.parameters()))
    head = m.get_submodule("tasks.pitch.head.out").weight
    (head_group,) = [g for g in built.param_groups if any(p is head for p in g["params"])]
    assert head_group["lr"] == pytest.approx(1e-2)
    optim.set_rate(built, 5e-4)
    assert head_group["lr"] == pytest.approx(5e-3)


def test_layer_decay_slows_layers_the_more_the_nearer_they_are_to_the_input():
    m = model()
    built = optim.build_optimizer(m, Optim(lr=1e-3, layer_decay=0.5))
    rates = {id(p): g["lr"] for g in built.param_groups for p in g["params"]}
    first, second = (rates[id(m.get_submodule(f"system.audio_layers.{i}.ffn.up").weight)] for i in (0, 1))
    assert first == pytest.approx(second / 2) and rates[id(m.get_submodule("tasks.pitch.head.out").weight)] == 1e-3


def test_frozen_parts_have_no_gradient_and_stay_in_eval_mode():
    m = model()
    optim.freeze(m, ("audio_layer_0",))
    optim.training_mode(m)
    layer = m.get_submodule("system.audio_layers.0")
    assert not layer.training and m.get_submodule("system.audio_layers.1").training
    assert not any(p.requires_grad for p in layer.parameters())


def test_the_whole_system_may_be_frozen_by_one_name():
    m = model()
    optim.freeze(m, ("system",))
    assert not any(p.requires_grad for p in m.system.parameters())
    assert all(p.requires_grad for p in m.tasks.parameters())


def test_unknown_groups_and_an_empty_rest_are_refused():
    with pytest.raises(ValueError, match="layer groups"):
        optim.freeze(model(), ("audio",))
    with pytest.raises(ValueError, match="layer groups"):
        optim.build_optimizer(model(), Optim(group_rates={"nothing": 2.0}))
    m = model()
    optim.freeze(m, tuple(optim.layer_groups(m)))
    with pytest.raises(ValueError, match="leaves nothing"):
        optim.build_optimizer(m, Optim())


def test_optimizer_is_fused_adamw():
    built = optim.build_optimizer(model(), Optim())
    assert isinstance(built, torch.optim.AdamW) and built.defaults["fused"]


def test_lars_moves_weights_by_their_own_norm_and_biases_plainly():
    pytest.importorskip("pytorch_optimizer")
    m = model()
    built = optim.build_optimizer(m, Optim(algorithm="lars", lr=0.1, betas=(0.0, 0.999), weight_decay=0.0))
    head = m.get_submodule("tasks.pitch.head.out")
    before, bias_before = head.weight.detach().clone(), head.bias.detach().clone()
    head.weight.grad, head.bias.grad = torch.full_like(head.weight, 5.0), torch.full_like(head.bias, 5.0)
    built.step()
    moved = (head.weight - before).norm() / before.norm()
    assert moved.item() == pytest.approx(0.1 * 1e-3, rel=1e-3)  # rate times trust, whatever the gradient's size
    assert torch.allclose(head.bias, bias_before - 0.1 * 5.0)
