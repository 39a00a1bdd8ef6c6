from __future__ import annotations

import pytest
import torch

from sonolex.pretrained.bert import import_roberta
from sonolex.systems.base import build_system
from tests.conftest import TINY


def weights(model) -> dict[str, torch.Tensor]:
    """Return RoBERTa-named weights that fit the text stream of ``model``, made by hand."""
    width, ffn = model.config.width, model.config.ffn_width
    made = {
        "embeddings.word_embeddings.weight": torch.randn(model.config.vocab_size, width),
        "embeddings.position_embeddings.weight": torch.randn(model.config.max_tokens + 2, width),
        "embeddings.token_type_embeddings.weight": torch.randn(1, width),
        "embeddings.LayerNorm.weight": torch.randn(width),
        "embeddings.LayerNorm.bias": torch.randn(width),
    }
    for i in range(model.config.num_layers):
        place = f"encoder.layer.{i}."
        for name, rows, columns in (
            ("attention.self.query", width, width), ("attention.self.key", width, width),
            ("attention.self.value", width, width), ("attention.output.dense", width, width),
            ("intermediate.dense", ffn, width), ("output.dense", width, ffn),
        ):  # fmt: skip
            made |= {f"{place}{name}.weight": torch.randn(rows, columns), f"{place}{name}.bias": torch.randn(rows)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made |= {f"{place}{name}.weight": torch.randn(width), f"{place}{name}.bias": torch.randn(width)}
    return made


def test_every_key_is_accounted_for():
    model = build_system("ctal", TINY)
    given = {f"roberta.{k}": v for k, v in weights(model).items()}
    del given["roberta.encoder.layer.1.output.dense.bias"]
    given["lm_head.bias"] = torch.zeros(3)
    report = import_roberta(model.text_embedding, model.text_layers, given, prefix="roberta.")
    assert report.missing == ("roberta.encoder.layer.1.output.dense.bias",)
    assert report.unused == ("lm_head.bias",)
    assert set(report.used) | set(report.unused) == set(given)
    assert torch.equal(model.text_embedding.token.weight, given["roberta.embeddings.word_embeddings.weight"])


def test_another_shape_is_refused_by_key():
    model = build_system("ctal", TINY)
    given = weights(model) | {"embeddings.LayerNorm.bias": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"embeddings\.LayerNorm\.bias.*\(32,\).*\(3,\)"):
        import_roberta(model.text_embedding, model.text_layers, given)
