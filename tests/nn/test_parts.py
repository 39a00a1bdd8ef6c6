from __future__ import annotations

import pytest
import torch

from sonolex.nn.embeddings import FrameEmbedding, stack_frames
from sonolex.nn.heads import ClassHead, FrameHead, TokenHead
from sonolex.nn.pooling import AttentionPool, masked_max, masked_mean
from sonolex.nn.transformer import CrossAttention, SelfAttention, attends_to_valid
from sonolex.types import Padded

VALID = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])


def test_pools_ignore_padding_and_give_zeros_for_nothing():
    x = torch.tensor([[[1.0], [2.0], [6.0]], [[-5.0], [9.0], [9.0]], [[9.0], [9.0], [9.0]]])
    assert masked_mean(x, VALID).flatten().tolist() == [3.0, -5.0, 0.0]
    assert masked_max(x, VALID).flatten().tolist() == [6.0, -5.0, 0.0]
    pooled = AttentionPool(1)(x, VALID)
    assert 1.0 <= pooled[0].item() <= 6.0 and pooled[1].item() == -5.0 and pooled[2].item() == 0.0


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_max_pool_works_in_half_precision(kind):
    assert masked_max(torch.ones(3, 3, 2, dtype=kind), VALID).isfinite().all()


def test_attention_by_hand_with_identity_projections():
    attention = SelfAttention(2, 1)
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.eye(2).repeat(3, 1))
        attention.qkv.bias.zero_()
        attention.out.weight.copy_(torch.eye(2))
        attention.out.bias.zero_()
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    weights = torch.softmax(torch.eye(2) / 2**0.5, -1)
    assert torch.allclose(attention(x, attends_to_valid(torch.ones(1, 2, dtype=torch.bool))), weights @ x, atol=1e-6)


def test_cross_attention_to_nothing_is_zero_with_a_finite_gradient():
    cross = CrossAttention(8, 2)
    x = torch.randn(3, 4, 8, requires_grad=True)
    out = cross(x, torch.randn(3, 3, 8), VALID)
    assert (out[2] == 0).all() and (out[0] != 0).any()
    out.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_causal_attention_looks_at_the_past_only():
    attends = attends_to_valid(torch.ones(1, 3, dtype=torch.bool), causal=True)[0, 0]
    assert attends.tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_widths_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of num_heads"):
        SelfAttention(10, 3)


def test_stacking_loses_no_frame_and_zeroes_padding():
    frames = torch.arange(1.0, 6.0).view(1, 5, 1)
    stacked, valid = stack_frames(frames, torch.tensor([[True] * 3 + [False] * 2]), 2)
    assert stacked.tolist() == [[[1.0, 2.0], [3.0, 0.0], [0.0, 0.0]]] and valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("stem", "step"),
    [("linear", 1), ("linear", 3), ("conv", 1), ("conv", 4), ("conv2d", 1), ("conv2d", 2), ("conv2d", 4)],
)
def test_a_frame_embedding_is_the_same_alone_and_padded(stem, step):
    embed = FrameEmbedding(6, 50, 8, stem=stem, frames_per_step=step, dropout=0.0, eps=1e-6).eval()
    clip = torch.randn(1, 17, 6)
    alone, alone_valid = embed(Padded.of(clip, torch.ones(1, 17, dtype=torch.bool)))
    padded = torch.cat([clip, torch.randn(1, 9, 6)], 1)
    together, valid = embed(Padded.of(padded, torch.arange(26)[None] < 17))
    assert valid.sum() == alone_valid.sum() == -(-17 // step)
    assert torch.allclose(together[:, : alone.shape[1]], alone, atol=1e-6)


def test_heads_have_their_shapes_and_the_token_head_is_tied():
    embedding = torch.nn.Parameter(torch.randn(11, 8))
    assert TokenHead(8, 11, eps=1e-6)(torch.randn(3, 8), embedding).shape == (3, 11)
    assert FrameHead(8, 5, eps=1e-6)(torch.randn(3, 8)).shape == (3, 5)
    assert ClassHead(8, 4, hidden=6, dropout=0.1)(torch.randn(3, 8)).shape == (3, 4)
