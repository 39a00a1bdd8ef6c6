"""Checkpoints are opened by their bytes and known by the names of their tensors."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from sonolex.pretrained.checkpoint import KINDS, kind_of, open_checkpoint
from sonolex.systems.ast import Ast, AstConfig
from sonolex.systems.ctal import Ctal, CtalConfig

BERT = {"bert.embeddings.word_embeddings.weight": torch.ones(3, 2)}


@pytest.mark.parametrize("name", ["model.bin", "model.pth?dl=1", "states-100.ckpt", "weights.safetensors", "odd"])
@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors", "under model", "half"])
def test_the_bytes_decide_what_a_file_is(name, container, tmp_path):
    file = tmp_path / name
    if container == "safetensors":
        save_file(BERT, file)
    else:
        content = {"model": BERT, "epoch": 3} if container == "under model" else BERT
        content = {n: x.half() for n, x in BERT.items()} if container == "half" else content
        torch.save(content, file, _use_new_zipfile_serialization=container != "legacy")
    checkpoint = open_checkpoint(file)
    assert checkpoint.kind == "bert" and checkpoint.weights[next(iter(BERT))].sum() == 6 and checkpoint.config == {}


def test_a_folder_without_config_has_one_file_of_weights(tmp_path):
    (tmp_path / "README.md").write_text("no weights")
    with pytest.raises(FileNotFoundError, match="holds none"):
        open_checkpoint(tmp_path)
    torch.save({f"module.{n}": x for n, x in BERT.items()}, tmp_path / "a.pth")
    assert open_checkpoint(tmp_path).kind == "bert"  # without DataParallel's prefix
    torch.save(BERT, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"a\.pth, b\.pth\. Name the file itself"):
        open_checkpoint(tmp_path)


def test_what_is_no_checkpoint_is_said(tmp_path):
    for content, words in (
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS pointer"),
        (b"hello", "cannot be read"),
    ):
        (tmp_path / "model.pth").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            open_checkpoint(tmp_path / "model.pth")


def test_every_kind_is_told_from_the_others():
    names = {
        "ctal": ["semantic_model.roberta.embeddings.x", "acoustic_model.acoustic.embeddings.x"],
        "speechlm": ["unit_encoder.layers.0.fc1.weight", "unit_embed_tokens.weight"],
        "speechlm_clean": ["unit_encoder.layers.0.fc1.weight", "encoder.layers.0.fc1.weight"],
        "ssast": ["v.pos_embed", "v.dist_token", "p_input_fdim"],
        "ast_timm": ["v.pos_embed", "mlp_head.0.weight"],
        "deit_timm": ["pos_embed", "dist_token"],
        "wavlm": [
            "feature_extractor.conv_layers.0.conv.weight",
            "encoder.pos_conv_embed.conv.bias",
            "x.gru_rel_pos_linear.bias",
        ],
        "wav2vec2": [
            "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
            "wav2vec2.encoder.pos_conv_embed.conv.bias",
        ],
        "": ["conv1.weight", "layer4.0.bn1.bias"],
    }
    assert {key: kind_of(dict.fromkeys(tensors)) for key, tensors in names.items()} == {key: key for key in names}
    assert set(names) - {""} <= set(KINDS)


@pytest.mark.parametrize("config", [AstConfig, CtalConfig])
@pytest.mark.parametrize("shape", [(), (3,), (0, 0)])
def test_tensors_of_other_shapes_are_one_error(config, shape, tmp_path):
    names = ["v.pos_embed", "v.dist_token", "mlp_head.0.weight", "v.patch_embed.proj.weight"]
    if config is CtalConfig:
        names = ["roberta.embeddings.word_embeddings.weight", "roberta.embeddings.position_embeddings.weight"]
    torch.save({name: torch.ones(shape) for name in names}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth"):
        config.like(tmp_path / "odd.pth")


def test_networks_saved_without_a_head_are_known_too(tmp_path):
    """They have no prefix: AST and DeiT differ by the colours of a patch, RoBERTa and BERT by config.json."""
    from transformers import ASTConfig, ASTModel, DeiTConfig, DeiTModel, RobertaConfig, RobertaModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    models = {
        "ast": ASTModel(ASTConfig(**sizes, max_length=64)),
        "deit": DeiTModel(DeiTConfig(**sizes, image_size=64)),
        "roberta": RobertaModel(RobertaConfig(**sizes, vocab_size=50, max_position_embeddings=20)),
    }
    for kind, model in models.items():
        model.save_pretrained(tmp_path / kind)
        assert open_checkpoint(tmp_path / kind).kind == kind
    for part in ("ast", "deit"):
        made = Ast(AstConfig.like(tmp_path / part, table_frames=64))
        assert not made.import_pretrained({part: str(tmp_path / part)})[part].missing
    made = Ctal(CtalConfig.like(tmp_path / "roberta", objectives=("mcam",)))
    assert not made.import_pretrained({"roberta": str(tmp_path / "roberta")})["roberta"].missing


def test_a_header_whose_length_looks_like_a_web_page_is_none(tmp_path):
    """The first bytes of safetensors are a number: 0x3C20 is a space and "<"."""
    size, tensor = 0x3C20, torch.ones(2)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(size)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", size) + header + tensor.numpy().tobytes())
    assert torch.equal(open_checkpoint(tmp_path / "x.safetensors").weights["w"], tensor)
