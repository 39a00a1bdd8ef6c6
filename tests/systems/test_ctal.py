from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sonolex.pretrained.bert import import_roberta
from sonolex.systems.base import build_system, count_parameters
from sonolex.systems.ctal import Ctal, CtalConfig, orthogonal_term
from sonolex.types import Batch, Padded
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("config", "encoders", "with_heads"),
    [(CtalConfig.base(), 75_485_952, 76_823_248), (CtalConfig.large(), 125_104_896, 126_442_192)],
)
def test_published_sizes_have_the_counted_parameters(config, encoders, with_heads):
    """75.5M / 76.8M for N = 3 (to the parameter, the released code), 125.1M / 126.4M for N = 6."""
    with torch.device("meta"):
        model = Ctal(config)
    fusion, heads = count_parameters(model.fusion), count_parameters(model.mlm_head) + count_parameters(model.mcam_head)
    assert count_parameters(model) - fusion == with_heads
    assert count_parameters(model) - fusion - heads == encoders


def test_the_text_stream_equals_transformers_roberta():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = transformers.RobertaModel(
        transformers.RobertaConfig(
            vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=42, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-12,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():  # so that biases and normalisation are tested too
        torch.nn.init.normal_(parameter, std=0.2)
    ours = build_system("ctal", replace(TINY, vocab_size=60, num_layers=3, max_tokens=40)).eval()
    report = import_roberta(ours.text_embedding, ours.text_layers, theirs.state_dict())
    assert not report.unused and not report.missing
    tokens_BL = torch.randint(5, 60, (3, 17))
    valid_BL = torch.arange(17)[None] < torch.tensor([[17], [9], [2]])
    tokens_BL[~valid_BL] = 1
    with torch.inference_mode():
        expected = theirs(tokens_BL, attention_mask=valid_BL.long()).last_hidden_state
        found, _ = ours.states(Padded.of(tokens_BL, valid_BL), None)["text"]
    assert (expected - found)[valid_BL].abs().max() < 1e-5


def test_causal_audio_attention_hears_no_future_and_bidirectional_does():
    frames = torch.randn(1, 20, TINY.num_features)
    changed = frames.clone()
    changed[:, 15:] += 1.0
    valid = torch.ones(1, 20, dtype=torch.bool)
    for attention, expect_same in (("causal", True), ("bidirectional", False)):
        config = replace(TINY, audio_attention=attention, stem="linear", frames_per_step=1)
        model = build_system("ctal", config).eval()
        first, _ = model.states(None, Padded.of(frames, valid))["audio"]
        second, _ = model.states(None, Padded.of(changed, valid))["audio"]
        assert torch.allclose(first[:, :15], second[:, :15], atol=1e-6) == expect_same


def test_orthogonal_term_by_hand_in_both_forms():
    audio, text = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    assert orthogonal_term(audio, text, "paper").item() == pytest.approx(8 / (5 * 2))
    assert orthogonal_term(audio, text, "code").item() == pytest.approx(8 / 25)


def test_the_orthogonal_penalty_counts_only_clips_with_both_modalities():
    model = build_system("ctal", TINY).eval()
    batch = Batch(
        ("a", "b"),
        frames=Padded.of(torch.randn(2, 12, TINY.num_features), torch.ones(2, 12, dtype=torch.bool)),
        tokens=Padded.of(torch.tensor([[0, 7, 2], [1, 1, 1]]), torch.tensor([[True] * 3, [False] * 3])),
    )
    term = model.encode(batch).penalties["orthogonal"]
    assert term.count == 1.0 and 0.0 <= term.sum.item() <= 2.0


def test_fusion_streams_leave_the_other_modality_out_of_the_vector():
    frames, valid = torch.randn(1, 12, TINY.num_features), torch.ones(1, 12, dtype=torch.bool)
    tokens, tokens_valid = torch.tensor([[0, 7, 2]]), torch.ones(1, 3, dtype=torch.bool)
    for uses, moves_with_audio in (("text", False), ("audio", True), ("both", True)):
        model = build_system("ctal", replace(TINY, fusion_streams=uses)).eval()
        vectors = [
            model.encode(Batch(("a",), frames=Padded.of(f, valid), tokens=Padded.of(tokens, tokens_valid))).pooled_BD
            for f in (frames, frames + torch.randn_like(frames))
        ]
        assert torch.allclose(*vectors) != moves_with_audio


def test_every_short_clip_keeps_a_masked_span():
    model = build_system("ctal", TINY)
    for num_frames in (1, 2, 5, 30, 80, 160):
        for seed in range(20):
            batch = model.corrupt(
                Batch(
                    ("a",),
                    frames=Padded.of(
                        torch.randn(1, num_frames, TINY.num_features), torch.ones(1, num_frames, dtype=torch.bool)
                    ),
                    seeds=(seed,),
                )
            )
            chosen = int(batch.extras["hidden_frames_N"].numel())
            assert chosen >= 1 and (num_frames < 8 or chosen <= num_frames // 2)
