"""SpectroBERT against transformers' BERT and wav2vec2, its budget, its windows and its freezing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sonolex import text as text_
from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.nn.conv_stack import AudioProjection, ConvStack
from sonolex.places import places_where
from sonolex.pretrained.bert import import_bert
from sonolex.pretrained.files import read_config, read_weights
from sonolex.pretrained.wav2vec2 import import_conv_stack
from sonolex.systems.base import count_parameters
from sonolex.systems.spectrobert import (
    FREEZING,
    SpectroBert,
    SpectroBertConfig,
    SpectroBertProcessor,
    SpectroBertProcessorConfig,
    frozen_groups,
)
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.train import optim
from sonolex.train.run import Optim
from sonolex.types import Batch, Padded
from tests.systems import test_lengths

SIZES = {"num_layers": 2, "width": 32, "num_heads": 2, "ffn_width": 64, "conv_width": 8, "dropout": 0.0}
SIZES |= {"attention_dropout": 0.0, "num_positions": 64, "max_tokens": 16, "window_positions": 100}
GRID = Grid(frames=16, bins=8, stride_frames=10, num_mels=8)
SPECIAL = {"vocab_size": 60, "start_id": 2, "end_id": 3, "mask_id": 4, "first_word_id": 5}


def small(**changes):
    torch.manual_seed(0)
    return SpectroBert(SpectroBertConfig(**(SIZES | SPECIAL | {"grid": GRID} | changes))).eval()


def full(values):
    return Padded.of(values, torch.ones(values.shape[:2], dtype=torch.bool))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    model = BertForPreTraining(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(55))]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder, model


def test_states_of_words_equal_transformers_bert(bert_folder):
    folder, theirs = bert_folder
    ours = small()
    report = import_bert(ours.embedding, ours.layers, ours.mlm_head, read_weights(folder))
    assert not report.missing
    assert all(k.startswith(("pooler.", "cls.seq_relationship", "cls.predictions.decoder")) for k in report.unused)
    tokens = torch.randint(5, 60, (3, 12))
    valid = torch.arange(12) < torch.tensor([[12], [5], [1]])
    with torch.no_grad():
        found = ours.encode(Batch(("a", "b", "c"), tokens=Padded.of(tokens, valid)))
        output = theirs(input_ids=tokens, attention_mask=valid.long(), output_hidden_states=True)
    assert torch.allclose(found.streams["text"][valid], output.hidden_states[-1][valid], atol=1e-5)
    assert torch.allclose(found.pooled_BD, output.hidden_states[-1][:, 0], atol=1e-5)
    logits = ours.mlm_head(found.streams["text"][valid], ours.embedding.token.weight)
    assert torch.allclose(logits, output.prediction_logits[valid], atol=1e-5)


def test_a_run_starts_from_a_bert_folder_with_its_vocabulary(bert_folder):
    folder, _ = bert_folder
    config = SpectroBertProcessorConfig(tokenizer=str(folder), num_mels=8, max_tokens=16)
    processor = SpectroBertProcessor.create(config, transcripts=["never read"])
    assert processor.tokens("word0 word3", "c").tolist() == [2, 5, 8, 3]
    sizes = SpectroBertConfig.like(folder, grid=GRID, conv_width=8, max_tokens=16, window_positions=100)
    assert (sizes.width, sizes.num_layers, sizes.num_positions) == (32, 2, 64) and read_config(folder)[
        "vocab_size"
    ] == 60
    model = SpectroBert(SpectroBert.matched(sizes, processor))
    before = model.embedding.token.weight.clone()
    reports = model.import_pretrained({"bert": str(folder)})
    assert set(reports) == {"bert"} and not torch.equal(before, model.embedding.token.weight)
    with pytest.raises(ValueError, match="bert or wav2vec2"):
        model.import_pretrained({"gpt": str(folder)})
    with pytest.raises(FileNotFoundError, match="Hugging Face checkpoint"):
        model.import_pretrained({"bert": str(folder / "nowhere")})


def test_pickled_weights_are_read_without_running_code(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert read_weights(tmp_path)["a"].tolist() == [1.0, 1.0]
    torch.save({"a": np.random.default_rng}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        read_weights(tmp_path)
    save_file({"b": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert set(read_weights(tmp_path)) == {"b"}


def test_convolutions_equal_wav2vec2_and_ignore_padding():
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        conv_dim=(16,) * 7, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    theirs = Wav2Vec2Model(config).eval()
    stack, project = ConvStack(16, longest=2000).eval(), AudioProjection(16, 32).eval()
    report = import_conv_stack(stack, project, theirs.state_dict())
    assert not report.missing and all(not k.startswith("feature_") for k in report.unused)
    wave = torch.randn(1, 2000)
    with torch.no_grad():
        expected = theirs.feature_extractor(wave).transpose(1, 2)
        for lengths in (None, torch.tensor([2000])):
            found, valid = stack(wave, lengths)
            assert valid.all() and torch.allclose(found, expected, atol=1e-4)
        assert torch.allclose(project(found), theirs.feature_projection(expected)[0], atol=1e-4)
        padded = torch.cat([wave, torch.randn(1, 900)], 1)
        again, valid = stack(padded, torch.tensor([2000]))
    assert valid.sum() == expected.shape[1] and torch.allclose(again[valid], expected[0], atol=1e-4)


def test_the_published_size_has_114_million_parameters_and_101_slices():
    model = SpectroBert(SpectroBertConfig.base())
    bert_without_pooler = 109_482_240 - 590_592
    audio = 4_200_448 + 395_008  # convolutions, then LayerNorm and projection 512 → 768
    heads = 622_650 + 769  # MLM transform, SAP
    assert count_parameters(model) == bert_without_pooler + audio + heads == 114_110_523
    assert replace(model.config.grid, partial="drop").num_patches(1024) == 101
    assert model.audio.num_tokens(model.config.grid.num_patches(1024)) == 102  # the last frames are not lost
    assert model.audio.stack.num_steps(2048) == 6


def test_a_budget_that_cannot_fit_is_refused_when_the_model_is_built():
    square = Grid(frames=16, bins=16, stride_frames=10, stride_bins=10, num_mels=128, partial="drop")
    assert square.num_patches(1024) == 1212
    with pytest.raises(ValueError, match=r"num_positions.*together"):
        SpectroBert(SpectroBertConfig(num_layers=1, audio="patches", grid=square))
    SpectroBert(SpectroBertConfig(num_layers=1, audio="patches", grid=square, together=12))


def test_a_long_clip_is_the_mean_of_its_windows_and_none_of_it_is_lost():
    model = small()
    frames = torch.randn(1, 250, 8)
    tokens = torch.tensor([[2, 7, 9, 3]])
    words = Padded.of(tokens, tokens > 0)
    long = model.encode(Batch(("c",), frames=full(frames), tokens=words))
    parts = [frames[:, s : s + 100] for s in (0, 100, 150)]
    alone = [model.encode(Batch(("c",), frames=full(p), tokens=words)) for p in parts]
    assert torch.allclose(long.pooled_BD, torch.stack([a.pooled_BD for a in alone]).mean(0), atol=1e-6)
    assert long.streams["audio"].shape[1] == sum(a.streams["audio"].shape[1] for a in alone)
    frames[0, 249] += 5.0
    changed = model.encode(Batch(("c",), frames=full(frames), tokens=words))
    assert not torch.allclose(long.pooled_BD, changed.pooled_BD)


def test_samples_may_take_the_place_of_spectrograms():
    config = SpectroBertProcessorConfig(audio="waveform", rate_hz=8000, max_frames=500, vocab_size=60, max_tokens=16)
    processor = SpectroBertProcessor.create(config, transcripts=["one two three"])
    sizes = SpectroBertConfig(**(SIZES | {"audio": "waveform", "window_positions": 12_000, "together": 2}))
    model = SpectroBert(SpectroBert.matched(sizes, processor)).eval()
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.normal(size=n)).astype(np.float32) for n in (200, 5000, 15_000)]
    made = [processor.example(str(i), front=processor.front(w), text="two") for i, w in enumerate(waves)]
    together = model.encode(processor.collate(made)).pooled_BD
    alone = torch.cat([model.encode(processor.collate([e])).pooled_BD for e in made])
    assert torch.allclose(together, alone, atol=1e-5)
    with pytest.raises(ValueError, match="views and mixup"):
        processor.example("c", front=processor.front(waves[0]), text=None, views=Views(gain_db=3))
    with pytest.raises(ValueError, match=r"40000 samples.*clip-9"):
        processor.finish(torch.zeros(40_001), "clip-9")
    with pytest.raises(ValueError, match="waveform"):
        SpectroBert.matched(SpectroBertConfig(**SIZES), processor)


def test_samples_of_any_number_and_length_go_through_one_exported_program(corpus, monkeypatch):
    config = SpectroBertProcessorConfig(audio="waveform", rate_hz=8000, max_frames=400, vocab_size=60, max_tokens=16)
    monkeypatch.setitem(test_lengths.PROCESSORS, "spectrobert", config)
    sizes = SIZES | {"audio": "waveform", "window_positions": 12_000, "together": 2, "num_layers": 1}
    args = ("spectrobert", SpectroBertConfig(**sizes), corpus)
    test_lengths.test_encode_is_exported_for_every_length_and_batch(*args)


@pytest.mark.parametrize("preset", FREEZING)
def test_presets_name_layer_groups_and_train_what_the_thesis_trained(preset):
    model = small()
    frozen = frozen_groups(preset, model.config)
    groups = model.layer_groups()
    assert set(frozen) <= set(groups)
    trained = set(groups) - set(frozen)
    expected = {
        "bin-frz": set(),
        "bin-frz-noaudio": {"audio"},
        "open-nofrz": set(groups),
        "open-frz-nolast2": {"layer_0", "layer_1"},
        "ser-frz-nolast-noaudio": {"audio", "layer_1"},
    }.get(preset, {"layer_1"})
    assert trained == expected
    with pytest.raises(ValueError, match="bin-frz"):
        frozen_groups("nothing", model.config)


def test_frozen_groups_draw_no_dropout_and_do_not_move():
    model = small(dropout=0.5, attention_dropout=0.5)
    head = build_task(ClassificationConfig("answer", label="answer", classes=("no", "yes"), single_logit=True), 32)
    trained = Model(model, {"answer": head})
    run = Optim(lr=0.1, frozen=frozen_groups("bin-frz", model.config))
    optim.freeze(trained, run.frozen)
    optim.training_mode(trained)
    tokens = torch.randint(5, 60, (2, 8))
    batch = Batch(
        ("a", "b"), frames=full(torch.randn(2, 40, 8)), tokens=full(tokens), labels={"answer": ("yes", "no")},
        seeds=(1, 2),
    )  # fmt: skip
    assert torch.equal(model.encode(batch).pooled_BD, model.encode(batch).pooled_BD)
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    optimizer = optim.build_optimizer(trained, run)
    for _ in range(3):
        trained(trained.prepare(batch)).total.backward()
        optimizer.step()
    moved = {k for k, v in trained.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all(k.startswith("tasks.answer") for k in moved)


def test_pretraining_hides_words_only_and_knows_which_pairs_belong_together():
    model = small(mlm_reduction="sum")
    tokens = torch.randint(5, 60, (2, 14))
    tokens[:, 0], tokens[:, -1] = 2, 3
    frames, partner = torch.randn(2, 40, 8), torch.randn(2, 60, 8)
    partner_valid = torch.zeros(2, 60, dtype=torch.bool)
    partner_valid[1, :50] = True
    batch = model.corrupt(
        Batch(
            ("a", "b"),
            frames=full(frames),
            tokens=full(tokens),
            seeds=(1, 2),
            partners=Padded.of(partner, partner_valid),
        )
    )
    audio = batch.extras["audio"]
    assert batch.extras["matched_B"].tolist() == [True, False]
    assert torch.equal(audio.values[0, :40], frames[0])
    assert torch.equal(audio.values[1, :50], partner[1, :50])
    assert audio.valid.sum(1).tolist() == [40, 50]
    chosen = batch.extras["corrupted_tokens_BL"] != tokens
    assert places_where(chosen).equal(batch.extras["hidden_tokens_N"]) and chosen.any(1).all()
    assert (batch.extras["corrupted_tokens_BL"][chosen] == 4).all() and not chosen[:, [0, -1]].any()
    assert batch.counts == {"mlm": 2.0, "sap": 2.0}  # the printed sum counts clips, not words
    terms = model.pretraining_losses(batch)
    states = model._states(batch.tokens.with_values(batch.extras["corrupted_tokens_BL"]), audio)
    probability = torch.sigmoid(model.sap_head(states.pooled_BD))[:, 0]
    by_hand = -torch.log(probability[0]) - torch.log(1 - probability[1])
    assert terms["sap"].sum.item() == pytest.approx(by_hand.item(), rel=1e-5) and terms["sap"].weight == 0.5


def test_wordpiece_is_bert_s_own(bert_folder):
    from transformers import BertTokenizerFast

    folder, _ = bert_folder
    theirs = BertTokenizerFast.from_pretrained(folder)
    ours = text_.load_tokenizer(folder)
    assert text_.token_ids(ours, "Word3  WORD5, word7!") == theirs("Word3  WORD5, word7!")["input_ids"]
    assert text_.special_ids(ours).first_word == 5
