"""fairseq's checkpoints: names and shapes of the released models, and pickles that would run something."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.pretrained.fairseq import speecht5_names
from sonolex.systems.base import build_system
from sonolex.systems.speechlm import SpeechLmConfig
from sonolex.systems.speecht5 import SpeechT5Config
from sonolex.types import Batch, Padded

WIDTH, FFN, CONV, HEADS = 24, 48, 8, 2
SIZES = {"width": WIDTH, "ffn_width": FFN, "num_heads": HEADS, "conv_width": CONV, "conv_positions": 8}
SIZES |= {"conv_groups": 2, "max_relative": 10}
KERNELS = (10, 3, 3, 3, 3, 2, 2)


def linear(name, width, out):
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def norm(name, width=WIDTH):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def layer(place, *, crossing=False):
    shapes = {}
    for attention in ("self_attn", "encoder_attn") if crossing else ("self_attn",):
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= linear(f"{place}.{attention}.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{place}.{attention}_layer_norm")
    shapes |= linear(f"{place}.fc1", WIDTH, FFN) | linear(f"{place}.fc2", FFN, WIDTH)
    return shapes | norm(f"{place}.final_layer_norm")


def entrance(prefix, positions):
    shapes = {
        f"{prefix}feature_extractor.conv_layers.{i}.0.weight": (CONV, CONV if i else 1, k)
        for i, k in enumerate(KERNELS)
    }
    shapes |= norm(f"{prefix}feature_extractor.conv_layers.0.2", CONV) | norm(f"{prefix}layer_norm", CONV)
    shapes |= linear(f"{prefix}post_extract_proj", CONV, WIDTH) | {f"{prefix}mask_emb": (WIDTH,)}
    return shapes | {
        f"{positions}pos_conv.0.weight_g": (1, 1, 8),
        f"{positions}pos_conv.0.weight_v": (WIDTH, WIDTH // 2, 8),
        f"{positions}pos_conv.0.bias": (WIDTH,),
    }


def speecht5_shapes():
    shapes = entrance("speech_encoder_prenet.", "speech_encoder_prenet.")
    shapes |= {"text_encoder_prenet.encoder_prenet.0.weight": (81, WIDTH)}
    shapes |= {"text_encoder_prenet.encoder_prenet.1.alpha": (1,)}
    shapes |= layer("encoder.layers.0") | norm("encoder.layers.0.norm_k", WIDTH // HEADS) | norm("encoder.layer_norm")
    shapes |= {"encoder.pos_emb.pe_k.weight": (20, WIDTH // HEADS), "encoder.version": (1,)}
    return (
        shapes
        | layer("decoder.layers.0", crossing=True)
        | {"text_decoder_postnet.output_projection.weight": (81, WIDTH)}
    )


def speechlm_shapes(units=9):
    shapes = entrance("", "encoder.") | layer("encoder.layers.0") | norm("encoder.layer_norm")
    shapes |= {
        "encoder.pos_emb.pe_k.weight": (20, WIDTH // HEADS),
        "unit_encoder.pos_emb.pe_k.weight": (20, WIDTH // HEADS),
    }
    shapes |= {
        "unit_encoder.embed_tokens.weight": (4 + units + 1, WIDTH),
        "unit_encoder.embed_positions.weight": (52, WIDTH),
    }
    shapes |= norm("unit_encoder.layernorm_embedding") | layer("unit_encoder.layers.0")
    return shapes | linear("final_proj_list.0", WIDTH, 12) | {"label_embs_list.0": (units, 12)}


def tensors(shapes):
    generator = torch.Generator().manual_seed(0)
    return {
        k: torch.randn(s, generator=generator).squeeze(0) if s == (1,) else torch.randn(s, generator=generator)
        for k, s in shapes.items()
    }


def checkpoint(path, weights, **more):
    torch.save({"args": argparse.Namespace(arch="t5_transformer_base"), "cfg": None, "model": weights} | more, path)
    return str(path)


@pytest.fixture
def speecht5():
    return build_system("speecht5", SpeechT5Config(**SIZES, num_layers=1, num_decoder_layers=1))


def letters():
    return tuple((i % 9,) for i in range(12))


@pytest.fixture
def speechlm():
    sizes = {"num_layers": 1, "num_speech_layers": 1, "num_units": 9, "unit_positions": 50}
    return build_system(
        "speechlm", SpeechLmConfig(**SIZES, **sizes, vocab_size=12, blank_id=11, letter_units=letters())
    )


def test_speecht5s_names_fill_both_entrances_encoder_and_decoder(speecht5, tmp_path):
    weights = tensors(speecht5_shapes())
    place = checkpoint(tmp_path / "speecht5_base.pt", weights)
    reports = speecht5.import_pretrained({"speech": place, "text": place})
    ours = dict(speecht5.named_parameters())
    filled = {n for n in ours if n.startswith(("speech.", "text.", "encoder.", "decoder."))}
    assert sum(len(r.used) for r in reports.values()) == len(filled)
    convolutions = "speech_encoder_prenet.feature_extractor.conv_layers"
    for name, key in {
        "speech.feature_encoder.conv_layers.0.layer_norm.bias": f"{convolutions}.0.2.bias",
        "speech.pos_conv_embed.conv.parametrizations.weight.original1": "speech_encoder_prenet.pos_conv.0.weight_v",
        "text.encode_positions.alpha": "text_encoder_prenet.encoder_prenet.1.alpha",
        "encoder.layers.0.layer_norm.weight": "encoder.layers.0.self_attn_layer_norm.weight",
        "encoder.layers.0.attention.q_proj.bias": "encoder.layers.0.self_attn.q_proj.bias",
        "encoder.embed_positions.pe_k.weight": "encoder.pos_emb.pe_k.weight",
        "decoder.layers.0.self_attn.q_proj.bias": "decoder.layers.0.self_attn.q_proj.bias",
        "decoder.layers.0.self_attn_layer_norm.weight": "decoder.layers.0.self_attn_layer_norm.weight",
        "decoder.layers.0.feed_forward.output_dense.bias": "decoder.layers.0.fc2.bias",
    }.items():
        assert torch.equal(ours[name], weights[key]), name
    assert "text_decoder_postnet.output_projection.weight" in reports["speech"].unused
    assert "encoder.layers.0.norm_k.weight" not in speecht5_names(weights)  # renamed with its layer, and unused


def test_speechlms_names_fill_both_transformers_and_the_units(speechlm, tmp_path):
    weights = tensors(speechlm_shapes())
    report = speechlm.import_pretrained({"speechlm": checkpoint(tmp_path / "speechlm.pt", weights)})["speechlm"]
    ours = dict(speechlm.named_parameters())
    assert torch.equal(ours["unit_embedding.weight"], weights["unit_encoder.embed_tokens.weight"][4:13])
    assert torch.equal(ours["unit_position.weight"], weights["unit_encoder.embed_positions.weight"][2:])
    assert torch.equal(ours["shared_layers.layer_norm.bias"], weights["unit_encoder.layernorm_embedding.bias"])
    assert torch.equal(
        ours["speech_layers.layers.0.feed_forward.intermediate_dense.weight"], weights["encoder.layers.0.fc1.weight"]
    )
    assert set(report.unused) == {"mask_emb", "final_proj_list.0.weight", "final_proj_list.0.bias", "label_embs_list.0"}
    with pytest.raises(ValueError, match="pretrained"):
        speechlm.import_pretrained({"speech": "speechlm.pt"})


def test_another_number_of_units_is_refused_not_cut(speechlm, tmp_path):
    """Once the first rows of 364 phones became whatever units there were."""
    place = checkpoint(tmp_path / "speechlm.pt", tensors(speechlm_shapes(units=20)))
    with pytest.raises(ValueError, match=r"`num_units` must be the checkpoint's 20.*but is 9"):
        speechlm.import_pretrained({"speechlm": place})


def test_a_cleaned_file_fills_the_speech_side_alone(speechlm, tmp_path):
    weights = {
        k: v for k, v in tensors(speechlm_shapes()).items() if not k.startswith(("unit_encoder.embed_tokens", "label_"))
    }
    torch.save({"cfg": {"model": {}}, "model": weights}, tmp_path / "speechlmp_base_checkpoint_clean.pt")
    with pytest.raises(ValueError, match=r"`reads_text` must be False.*Take the full file"):
        speechlm.import_pretrained({"speechlm": str(tmp_path)})
    config = replace(speechlm.config, reads_text=False, objectives=(), audio="waveform")
    hearing = build_system("speechlm", config).eval()
    report = hearing.import_pretrained({"speechlm": str(tmp_path)})["speechlm"]
    assert not report.missing and hearing.accepts == {frozenset({"audio"})}
    batch = Batch(("a",), samples=Padded.of(torch.randn(1, 4000), torch.ones(1, 4000, dtype=torch.bool)))
    assert hearing.encode(batch).pooled_BD.isfinite().all()
    with pytest.raises(ValueError, match="`objectives` must not have units"):
        replace(config, objectives=("units",))


@pytest.mark.parametrize("system", ["speecht5", "speechlm"])
def test_one_wrong_prefix_fails_loudly_and_changes_nothing(system, tmp_path, request):
    built = request.getfixturevalue(system)
    part, shapes = ("speech", speecht5_shapes()) if system == "speecht5" else ("speechlm", speechlm_shapes())
    weights = {k.replace("encoder.layers.0.fc1", "encoder.layer.0.fc1"): v for k, v in tensors(shapes).items()}
    before = {n: p.clone() for n, p in built.named_parameters()}
    with pytest.raises(ValueError, match=r"feed_forward\.intermediate_dense"):
        built.import_pretrained({part: checkpoint(tmp_path / "x.pt", weights)})
    assert all(torch.equal(before[n], p) for n, p in built.named_parameters())


def test_nothing_in_a_file_is_run_or_imported(tmp_path, monkeypatch):
    module = types.ModuleType("fairseq_stranger")
    touched = tmp_path / "touched"

    class Runs:
        def __reduce__(self):
            return Path.touch, (touched,)

    class Settings(dict):
        def __init__(self, **values):
            super().__init__(values)
            self.kept = values

    Settings.__module__, Settings.__qualname__ = "fairseq_stranger", "Settings"
    module.Settings = Settings
    monkeypatch.setitem(sys.modules, "fairseq_stranger", module)
    weights = {"encoder.layer_norm.weight": nn.Parameter(torch.ones(3)), "encoder.version": torch.tensor([3.0])}
    place = checkpoint(tmp_path / "odd.pt", weights, cfg=Settings(a=1), harm=Runs(), names={Settings: [Settings()]})
    del sys.modules["fairseq_stranger"]
    found = open_checkpoint(place).weights
    assert torch.equal(found["encoder.layer_norm.weight"], torch.ones(3)) and not touched.exists()
    assert "fairseq" not in sys.modules


def test_older_files_are_read_and_others_refused(tmp_path):
    old = tmp_path / "old.pt"
    torch.save(
        {"model": {"a": torch.ones(2)}, "args": argparse.Namespace(b=1)}, old, _use_new_zipfile_serialization=False
    )
    assert torch.equal(open_checkpoint(old).weights["a"], torch.ones(2))
    empty = tmp_path / "empty.pt"
    torch.save({"state": 1}, empty)
    with pytest.raises(ValueError, match="has no weights"):
        open_checkpoint(empty)
    (tmp_path / "text.pt").write_text("no pickle")
    with pytest.raises(ValueError, match="must be a torch checkpoint"):
        open_checkpoint(tmp_path / "text.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="must be a torch checkpoint"):
        open_checkpoint(tmp_path / "pickle.pt")
