"""The authors' own files of AST, SSAST and DeiT: timm's names in torch's containers."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from sonolex.audio.patches import Grid
from sonolex.pretrained.ast import _released_name, encoder_names
from sonolex.systems.ast import Ast, AstConfig
from sonolex.systems.ssast import Ssast, SsastConfig
from sonolex.systems.vcr_ast import VcrAst, VcrAstConfig
from sonolex.types import Batch, Padded

SIZES = {"num_layers": 2, "width": 32, "num_heads": 2, "ffn_width": 64}


def timm_weights(num_positions, patch, *, channels=1, prefix="", specials=2):
    """A timm network of random weights, with the classifier that is never used."""
    torch.manual_seed(0)
    shapes = {"cls_token": (1, 1, 32), "pos_embed": (1, specials + num_positions, 32)}
    shapes |= {"dist_token": (1, 1, 32)} if specials == 2 else {}
    shapes |= {"patch_embed.proj.weight": (32, channels, *patch), "patch_embed.proj.bias": (32,)}
    for n in range(2):
        for part, shape in (
            ("attn.qkv", (96, 32)),
            ("attn.proj", (32, 32)),
            ("mlp.fc1", (64, 32)),
            ("mlp.fc2", (32, 64)),
        ):
            shapes |= {f"blocks.{n}.{part}.weight": shape, f"blocks.{n}.{part}.bias": shape[:1]}
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{n}.{norm}.weight": (32,), f"blocks.{n}.{norm}.bias": (32,)}
    shapes |= {"norm.weight": (32,), "norm.bias": (32,), "head.weight": (9, 32), "head.bias": (9,)}
    return {prefix + name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


def ssast_file(path, patch):
    """``module.`` of DataParallel, the input's size as 0-dimensional integers, and both heads."""
    size = patch[0] * patch[1]
    weights = timm_weights(128 * 64 // size, patch, prefix="v.")
    weights |= {
        "p_input_fdim": torch.tensor(128),
        "p_input_tdim": torch.tensor(64),
        "mask_embed": torch.randn(1, 1, 32),
    }
    for head in ("cpredlayer", "gpredlayer"):
        for layer, rows in ((0, 32), (2, size)):
            weights |= {f"{head}.{layer}.weight": torch.randn(rows, 32), f"{head}.{layer}.bias": torch.randn(rows)}
    torch.save({f"module.{name}": x for name, x in weights.items()}, path)
    return weights


def hugging_face(weights, *, stride):
    """transformers' AST with these weights."""
    from transformers import ASTConfig, ASTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    time = {"max_length": 64, "num_mel_bins": 128, "time_stride": stride, "frequency_stride": stride}
    theirs = ASTModel(ASTConfig(**sizes, **time, layer_norm_eps=1e-6)).eval()
    named = encoder_names(weights)
    state = {key: named[_released_name(key)] for key in theirs.state_dict()}
    theirs.load_state_dict(state)
    return theirs


def test_ast_of_the_authors_answers_as_transformers_does_with_the_same_weights(tmp_path):
    weights = timm_weights(12 * 5, (16, 16), prefix="v.")
    weights |= {"mlp_head.0.weight": torch.ones(32), "mlp_head.1.weight": torch.randn(9, 32)}
    file = tmp_path / "audioset_10_10_0.4593.pth?dl=1"
    torch.save({f"module.{name}": x for name, x in weights.items()}, file)
    grid = Grid(stride_frames=10, stride_bins=10, partial="drop")
    model = Ast(AstConfig(grid=grid, table_frames=64, **SIZES)).eval()
    (report,) = model.import_pretrained({"ast": str(file)}).values()
    assert not report.missing and set(report.unused) == {
        "head.weight",
        "head.bias",
        "mlp_head.0.weight",
        "mlp_head.1.weight",
    }
    frames = torch.randn(2, 64, 128)
    ours = model.encode(Batch(("a", "b"), frames=Padded.of(frames, torch.ones(2, 64, dtype=torch.bool))))
    with torch.no_grad():
        expected = hugging_face(weights, stride=10)(frames).pooler_output
    assert torch.allclose(ours.pooled_BD, expected, atol=1e-5)


@pytest.mark.parametrize("patch", [(16, 16), (128, 2)])
def test_ssast_brings_its_objectives_too(patch, tmp_path):
    weights = ssast_file(tmp_path / "SSAST-Base-Patch-400.pth", patch)
    grid = Grid(frames=patch[1], bins=patch[0])
    model = Ssast(SsastConfig(grid=grid, table_frames=64, **SIZES)).eval()
    (report,) = model.import_pretrained({"ssast": str(tmp_path)}).values()
    assert not report.missing and set(report.unused) == {"head.weight", "head.bias", "p_input_fdim", "p_input_tdim"}
    assert torch.equal(model.hidden_patch.vector_D, weights["mask_embed"].flatten())
    state = torch.randn(32)
    hidden = torch.relu(weights["gpredlayer.0.weight"] @ state + weights["gpredlayer.0.bias"])
    drawn = weights["gpredlayer.2.weight"] @ hidden + weights["gpredlayer.2.bias"]  # theirs: band by band
    by_frame = drawn.reshape(patch).T.flatten()
    assert torch.allclose(model.draw_head(state), by_frame, atol=1e-5)
    position = model.embedding.position.reshape(64 // patch[1], 128 // patch[0], 32)  # ours: time first
    theirs = weights["v.pos_embed"][0, 2:].reshape(128 // patch[0], 64 // patch[1], 32)
    assert torch.equal(position, theirs.transpose(0, 1))
    for other, config in ((Ast, AstConfig), (VcrAst, VcrAstConfig)):
        (report,) = (
            other(config(grid=grid, table_frames=64, **SIZES)).import_pretrained({"ssast": str(tmp_path)}).values()
        )
        assert not report.missing and "mask_embed" in report.unused


def test_deit_lies_under_model_and_without_distillation_it_is_refused(tmp_path):
    torch.save({"model": timm_weights(576, (16, 16), channels=3)}, tmp_path / "deit.pth")
    model = Ast(AstConfig(grid=Grid(), table_frames=128, **SIZES))
    (report,) = model.import_pretrained({"deit": str(tmp_path / "deit.pth")}).values()
    assert not report.missing
    torch.save({"model": timm_weights(576, (16, 16), channels=3, specials=1)}, tmp_path / "vit.pth")
    with pytest.raises(ValueError, match=r"must be a checkpoint of deit.*vit\.pth is of no kind that sonolex knows"):
        model.import_pretrained({"deit": str(tmp_path / "vit.pth")})
    weights = timm_weights(60, (16, 16), prefix="v.", specials=1) | {"mlp_head.0.weight": torch.ones(32)}
    torch.save(weights, tmp_path / "nokd.pth")
    with pytest.raises(ValueError, match="distillation token"):
        model.import_pretrained({"ast": str(tmp_path / "nokd.pth")})


@pytest.mark.parametrize("wrong", [{"time_stride": 0}, {"max_length": "long"}, {"num_mel_bins": None}, {}])
def test_a_config_of_no_sizes_is_refused_by_name(wrong, tmp_path):
    weights = timm_weights(60, (16, 16))
    named = {f"audio_spectrogram_transformer.{k}": v for k, v in encoder_names(weights).items()}
    save_file({k: v.contiguous() for k, v in named.items()}, tmp_path / "model.safetensors")
    sizes = {"max_length": 64, "time_stride": 10, "num_mel_bins": 128, "frequency_stride": 10} | wrong
    (tmp_path / "config.json").write_text(json.dumps(sizes if wrong else {"model_type": "ast"}))
    model = Ast(AstConfig(grid=Grid(stride_frames=10, stride_bins=10, partial="drop"), table_frames=64, **SIZES))
    with pytest.raises(ValueError, match=r"config\.json of .* must have sizes above 0"):
        model.import_pretrained({"ast": str(tmp_path)})
