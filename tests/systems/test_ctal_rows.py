"""What CTAL is compared with: numbers worked by hand, who hears whom, parameter counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sonolex.processors.log_mel_and_tokens import LogMelAndTokensProcessor
from sonolex.systems.base import build_system, count_parameters, system_type
from sonolex.systems.ctal import CtalConfig, CtalFusion
from sonolex.systems.ctal_rows.base import CtalRowConfig
from sonolex.systems.ctal_rows.lstm_alignment import AdditiveAttention
from sonolex.systems.ctal_rows.multi_hop import MultiHopConfig, found_in
from sonolex.types import Batch, Padded
from tests.systems.cases.small import RECURRENT, STREAMS


def test_what_a_hop_finds_by_hand():
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    valid = torch.tensor([[True, True, False]])
    found = found_in(states, valid, torch.tensor([[math.log(3.0), 0.0]]))  # weights 3 : 1, the third is padding
    assert torch.allclose(found, torch.tensor([[0.75, 0.25]]))


def test_hops_look_into_words_and_audio_in_turn():
    batch = Batch(
        ("a",),
        tokens=Padded.of(torch.tensor([[0, 7, 2]]), torch.ones(1, 3, dtype=torch.bool)),
        frames=Padded.of(torch.randn(1, 8, 6), torch.ones(1, 8, dtype=torch.bool)),
    )
    sizes = RECURRENT | {"num_features": 6, "vocab_size": 20}
    one, two = (build_system("multi_hop", MultiHopConfig(**sizes, num_hops=n)).eval().encode(batch) for n in (1, 2))
    heard, read = one.pooled_BD.chunk(2, -1)  # the audio's last state, and what it finds in the words
    assert torch.allclose(read, found_in(one.streams["text"], one.valid["text"], heard))
    first, second = two.pooled_BD.chunk(2, -1)
    assert torch.allclose(first, read)  # the same weights: the finding of the first hop
    assert torch.allclose(second, found_in(two.streams["audio"], two.valid["audio"], read))


def test_a_word_is_given_its_frames_by_hand():
    attention = AdditiveAttention(2)
    with torch.no_grad():
        attention.of_frames.weight.copy_(torch.eye(2))
        attention.of_frames.bias.zero_()
        attention.of_words.weight.zero_()
        attention.score.weight.copy_(torch.tensor([[2.0, 0.0]]))
    frames = torch.tensor([[[math.atanh(0.5), 0.0], [0.0, 4.0], [5.0, 5.0]]])
    valid = torch.tensor([[True, True, False]])
    found = attention(torch.zeros(1, 1, 2), frames, valid)[0, 0]
    weight = math.e / (math.e + 1)  # scores 2 · 0.5 and 0
    assert found.tolist() == pytest.approx([weight * math.atanh(0.5), (1 - weight) * 4.0])


def streams_batch(audio_shift=0.0, word=7):
    return Batch(
        ("a",),
        tokens=Padded.of(torch.tensor([[0, word, 9, 2]]), torch.ones(1, 4, dtype=torch.bool)),
        frames=Padded.of(
            torch.linspace(0, 1, 16 * 40).view(1, 16, 40) + audio_shift, torch.ones(1, 16, dtype=torch.bool)
        ),
    )


@pytest.mark.parametrize(
    ("name", "words_hear", "frames_read"),
    [("ctal", False, True), ("late_fusion", False, False), ("lxmert", True, True), ("visualbert", True, True)],
)
def test_who_hears_whom(name, words_hear, frames_read):
    system = build_system(name, system_type(name).config_type(**STREAMS)).eval()
    first, louder, other = (system.encode(streams_batch(*c)).streams for c in ((0.0, 7), (0.5, 7), (0.0, 8)))
    assert torch.allclose(first["text"], louder["text"], atol=1e-6) != words_hear
    assert torch.allclose(first["audio"], other["audio"], atol=1e-6) != frames_read


def test_late_fusion_by_hand():
    """h = (a_attn + w_start) ⊕ (a_max + w_max): even attention is the mean of the frames."""
    fusion = CtalFusion(CtalRowConfig(width=2, orthogonal="paper"))
    with torch.no_grad():
        fusion.audio_pool.score.weight.zero_()
    streams = {"audio": torch.tensor([[[1.0, 0.0], [3.0, 2.0]]]), "text": torch.tensor([[[0.0, 4.0], [5.0, -1.0]]])}
    valid = dict.fromkeys(streams, torch.ones(1, 2, dtype=torch.bool))
    pooled, penalty = fusion(streams, valid)
    assert pooled[0].tolist() == pytest.approx([2.0 + 0.0, 1.0 + 4.0, 3.0 + 5.0, 2.0 + 4.0])
    attended = (2 * 0 + 1 * 4) / (math.hypot(2, 1) * 4)
    largest = (3 * 5 + 2 * 4) / (math.hypot(3, 2) * math.hypot(5, 4))
    assert penalty.item() == pytest.approx(attended + largest)
    fusion.config = replace(fusion.config, max_pools=False)  # row d as released
    pooled, penalty = fusion(streams, valid)
    assert pooled[0].tolist() == pytest.approx([2.0, 5.0, 0.0, 0.0]) and penalty.item() == pytest.approx(attended)


@pytest.mark.parametrize("objective", ["mlm", "mcam"])
def test_without_an_objective_nothing_of_its_modality_is_hidden(objective):
    system = build_system("ctal", CtalConfig(**STREAMS, objectives=(objective,)))
    batch = system.corrupt(replace(streams_batch(), seeds=(3,)))
    assert set(batch.counts) == {objective} == set(system.pretraining_losses(batch))
    assert hasattr(system, "mlm_head") == (objective == "mlm") and hasattr(system, "mcam_head") == (objective == "mcam")


def test_a_second_derivative_is_mockingjays_input(processor):
    config = replace(processor.config, derivatives=2)
    with_two = LogMelAndTokensProcessor(config, processor.tokenizer)
    front = torch.randn(40, config.num_mels)
    assert with_two.finish(front, "a").shape == (40, 3 * config.num_mels) == (40, with_two.num_features)
    with pytest.raises(ValueError, match="`derivatives` must be 0, 1 or 2"):
        replace(config, derivatives=3)
    with pytest.raises(ValueError, match="`derivatives` must be 1 for stem='conv2d'"):
        system_type("mockingjay").matched(CtalRowConfig(stem="conv2d"), with_two)


def test_layers_at_published_sizes():
    """Layers alone: one of self-attention has 7.09M parameters, a cross-modal one 9.45M (arithmetic)."""
    layer, cross = 7_087_872, 9_451_776
    counted = {}
    for name, config in (
        ("late_fusion", CtalRowConfig()),
        ("ctal", CtalConfig()),
        ("mockingjay", system_type("mockingjay").config_type()),
        ("roberta", system_type("roberta").config_type.base()),
        ("lxmert", system_type("lxmert").config_type(num_layers=2)),
        ("visualbert", CtalRowConfig(num_layers=6)),
    ):
        with torch.device("meta"):
            system = system_type(name)(config)
        counted[name] = sum(count_parameters(m) for n, m in system.named_children() if n.endswith("_layers"))
    assert counted["ctal"] == 3 * layer + 3 * cross
    assert counted["late_fusion"] == 6 * layer == counted["visualbert"]
    assert counted["mockingjay"] == 3 * layer and counted["roberta"] == 12 * layer
    assert counted["lxmert"] == 2 * layer + 4 * cross
