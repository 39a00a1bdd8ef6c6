"""Encoder: two layers of BERT-base width against this run's matmul rate, fp32 and bf16, and transformers."""

from __future__ import annotations

import torch

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.nn.transformer import PostNormLayer, attends_to_valid

BATCH, TOKENS, WIDTH, FFN, LAYERS = 8, 250, 768, 3072, 2


def run() -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    layers = torch.nn.ModuleList(
        PostNormLayer(WIDTH, 12, FFN, dropout=0.0, attention_dropout=0.0, eps=1e-12) for _ in range(LAYERS)
    )
    bert = BertModel(BertConfig(num_hidden_layers=LAYERS, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
    x = torch.randn(BATCH, TOKENS, WIDTH)
    attends = attends_to_valid(torch.ones(BATCH, TOKENS, dtype=torch.bool))
    a, b = torch.randn(BATCH * TOKENS, WIDTH), torch.randn(FFN, WIDTH)
    a16, b16 = a.bfloat16(), b.bfloat16()

    def ours() -> None:
        y = x
        for layer in layers:
            y = layer(y, attends)
        y.square().mean().backward()

    def ours_bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            ours()

    def theirs() -> None:
        bert.encoder(x)[0].square().mean().backward()

    def theirs_bf16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            theirs()

    seconds = interleaved(
        {
            "matmul fp32": lambda: [torch.nn.functional.linear(a, b) for _ in range(8)],
            "matmul bf16": lambda: [torch.nn.functional.linear(a16, b16) for _ in range(8)],
            "HF Bert sdpa fp32, step": theirs,
            "ours fp32, step": ours,
            "HF Bert sdpa bf16 autocast, step": theirs_bf16,
            "ours bf16 autocast, step": ours_bf16,
        },
        rounds=5,
    )
    table(seconds)
    matmul = 8 * 2 * BATCH * TOKENS * WIDTH * FFN
    per_layer = 2 * BATCH * TOKENS * (4 * WIDTH**2 + 2 * WIDTH * FFN) + 4 * BATCH * TOKENS**2 * WIDTH
    step = 3 * LAYERS * per_layer
    for kind, case, target in (("fp32", "ours fp32, step", 0.90), ("bf16", "ours bf16 autocast, step", 0.65)):
        share = step / matmul * ratio(seconds, case, f"matmul {kind}")
        claim(f"encoder step {kind}, share of the matmul rate of an idle machine", share, target)
    claim("encoder step fp32 over HF Bert sdpa", ratio(seconds, "ours fp32, step", "HF Bert sdpa fp32, step"), 0.9)
    ours_over_hf = ratio(seconds, "ours bf16 autocast, step", "HF Bert sdpa bf16 autocast, step")
    claim("encoder step bf16 over HF Bert sdpa bf16", ours_over_hf, 0.9)
