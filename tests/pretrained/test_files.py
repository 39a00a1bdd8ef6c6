"""Published checkpoints: which files are read, and what is refused before a training starts on it."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from sonolex.pretrained.bert import import_bert
from sonolex.pretrained.files import read_config, read_sizes, read_weights
from sonolex.pretrained.wav2vec2 import import_conv_stack
from sonolex.systems.ast import Ast, AstConfig
from sonolex.systems.base import build_system
from sonolex.systems.spectrobert import SpectroBertConfig
from tests.conftest import TINY
from tests.pretrained.test_bert import weights

SIZES = {"num_layers": 2, "width": 32, "num_heads": 2, "ffn_width": 64}


def part(number: float) -> dict[str, torch.Tensor]:
    return {f"tensor{number:g}": torch.full((2,), number)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def index(folder, places, name="model.safetensors.index.json"):
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_the_file_is_read_that_an_index_or_its_name_says(folder, capsys):
    """All safetensors files of a folder were merged, adapters and older steps included."""
    save_file(part(1), folder / "other.safetensors")
    assert set(read_weights(folder)) == {"tensor1"}
    save_file(part(2), folder / "model.safetensors")
    assert set(read_weights(folder)) == {"tensor2"}
    assert "reading model.safetensors, not other.safetensors" in capsys.readouterr().err
    for number in (3, 4):
        save_file(part(number), folder / f"model-0000{number}.safetensors")
    index(folder, {"tensor3": "model-00003.safetensors", "tensor4": "model-00004.safetensors"})
    assert {k: v.tolist() for k, v in read_weights(folder).items()} == {"tensor3": [3, 3], "tensor4": [4, 4]}


def test_several_files_without_index_and_name_are_refused(folder):
    for number in (1, 2):
        save_file(part(number), folder / f"step{number}.safetensors")
    with pytest.raises(ValueError, match=r"step1\.safetensors, step2\.safetensors\. Leave the wanted one"):
        read_weights(folder)


@pytest.mark.parametrize(
    "places",
    [None, {}, [], {"tensor1": 3}, {"tensor1": "../outside.safetensors"}, {"tensor1": "/etc/passwd"},
     {"tensor1": "nothing.safetensors"}, {"tensor2": "model-1.safetensors"}, {"tensor1": ""}, {"tensor1": ".."}],
)  # fmt: skip
def test_a_wrong_index_is_refused(places, folder):
    save_file(part(1), folder / "model-1.safetensors")
    save_file(part(1), folder.parent / "outside.safetensors")
    index(folder, places)
    with pytest.raises((ValueError, FileNotFoundError), match=str(folder)):
        read_weights(folder)


def test_shards_of_torch_files_have_an_index_too(folder):
    for number in (1, 2):
        torch.save(part(number), folder / f"pytorch_model-{number}.bin")
    index(folder, {f"tensor{n}": f"pytorch_model-{n}.bin" for n in (1, 2)}, "pytorch_model.bin.index.json")
    assert set(read_weights(folder)) == {"tensor1", "tensor2"}


def test_a_config_without_its_sizes_says_which(folder):
    with pytest.raises(ValueError, match=r"config\.json .* vocab_size \(None\).* max_position_embeddings \(None\)"):
        SpectroBertConfig.like(folder)
    for value in (0, -1, True, "12", 1.5, 1 << 40, [12]):
        (folder / "config.json").write_text(json.dumps({"patch_size": value}))
        with pytest.raises(ValueError, match="patch_size"):
            read_sizes(folder, ["patch_size"])
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json must hold an object"):
        read_config(folder)


# ---- imports that match nothing


def test_a_vit_as_deit_is_refused_with_names_of_both_sides(folder):
    """0 tensors were used and 40 missing, and the training went on from random weights."""
    vit = {f"vit.encoder.layers.{i}.attention.q_proj.weight": torch.zeros(32, 32) for i in range(3)}
    save_file(vit, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"image_size": 32, "patch_size": 8}))
    model = Ast(AstConfig(table_frames=64, **SIZES))
    with pytest.raises(ValueError, match=r"must be a checkpoint of deit.*no kind.*such as 'vit\.encoder\.layers\.0"):
        model.import_pretrained({"deit": str(folder)})


def test_other_models_as_bert_or_wav2vec2_are_refused():
    bert = build_system(
        "spectrobert", SpectroBertConfig(num_layers=2, width=32, num_heads=2, ffn_width=64, vocab_size=60)
    )
    for given in ({}, {"model.encoder.layers.0.fc1.weight": torch.zeros(3)}):
        with pytest.raises(ValueError, match=r"it lacks 'embeddings\.word_embeddings\.weight'"):
            import_bert(bert.embedding, bert.layers, bert.mlm_head, given)
    waves = build_system(
        "spectrobert",
        SpectroBertConfig(
            audio="waveform", conv_width=16, num_layers=1, width=32, num_heads=2, ffn_width=64, vocab_size=60
        ),
    )
    with pytest.raises(ValueError, match=r"it lacks 'feature_extractor\.conv_layers\.0\.conv\.weight'"):
        import_conv_stack(waves.audio.stack, waves.audio.project, {"encoder.x": torch.zeros(3)})


def test_most_layers_missing_is_refused_and_a_missing_head_is_not():
    from sonolex.pretrained.bert import import_roberta

    model = build_system("ctal", TINY)
    given = weights(model)
    embedding_alone = {k: v for k, v in given.items() if k.startswith("embeddings.")}
    with pytest.raises(ValueError, match=r"has 5 of \d+: it lacks 'encoder\.layer\.0"):
        import_roberta(model.text_embedding, model.text_layers, embedding_alone)
    assert not import_roberta(model.text_embedding, model.text_layers, given).missing


def test_a_layer_that_would_stay_random_is_refused_by_its_name():
    from sonolex.pretrained.bert import import_roberta

    model = build_system("ctal", TINY)
    given = weights(model)
    last = f"encoder.layer.{TINY.num_layers - 1}"
    shorter = {k: v for k, v in given.items() if not k.startswith(f"{last}.")}
    with pytest.raises(ValueError, match=rf"lacks '{re.escape(last)}', which would stay random"):
        import_roberta(model.text_embedding, model.text_layers, shorter)
    one = {k: v for k, v in given.items() if k != f"{last}.output.dense.bias"}
    assert import_roberta(model.text_embedding, model.text_layers, one).missing == (f"{last}.output.dense.bias",)


def test_weights_that_are_no_finite_numbers_are_refused_by_name():
    from sonolex.pretrained.bert import import_roberta

    model = build_system("ctal", TINY)
    given, key = weights(model), "encoder.layer.1.output.dense.bias"
    for wrong, match in (
        (torch.full((TINY.width,), float("nan")), rf"'{key}' holds NaN"),
        (torch.zeros(TINY.width, dtype=torch.int32), "torch.int32"),
    ):
        with pytest.raises(ValueError, match=match):
            import_roberta(model.text_embedding, model.text_layers, given | {key: wrong})
    halves = {k: v.half() for k, v in given.items()}
    import_roberta(model.text_embedding, model.text_layers, halves)
    assert torch.equal(model.text_embedding.token.weight, halves["embeddings.word_embeddings.weight"].float())
