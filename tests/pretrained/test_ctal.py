"""CTAL's released file and its tokenizer, and RoBERTa as the text stream."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig, LogMelAndTokensProcessor
from sonolex.systems.ctal import Ctal, CtalConfig
from sonolex.systems.ctal_rows.mockingjay import Mockingjay, MockingjayConfig
from sonolex.systems.ctal_rows.roberta import Roberta, RobertaConfig
from sonolex.types import Padded

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BYTES = [chr(n) for n in range(33, 127)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def networks():
    """What the authors trained: RoBERTa with BERT's epsilon, and a decoder with cross-attention over frames."""
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    text = RobertaForMaskedLM(
        RobertaConfig(**SIZES, vocab_size=99, max_position_embeddings=34, type_vocab_size=2, pad_token_id=1)
    ).eval()
    audio = BertModel(
        BertConfig(
            **SIZES,
            vocab_size=2,
            max_position_embeddings=50,
            is_decoder=True,
            add_cross_attention=True,
            use_cache=False,
        ),
        add_pooling_layer=False,
    ).eval()
    return text, audio, torch.nn.Linear(160, 32)


@pytest.fixture(scope="module")
def released(networks, tmp_path_factory):
    text, audio, dense = networks
    folder = tmp_path_factory.mktemp("ctal")
    acoustic = {f"acoustic.{k}": v for k, v in audio.state_dict().items() if "word_embeddings" not in k}
    acoustic |= {f"acoustic.embeddings.dense.{k}": v for k, v in dense.state_dict().items()}
    head = {"dense": (32, 32), "layer_norm": (32,), "decoder": (160, 32)}
    acoustic |= {f"am_head.{n}.weight": torch.randn(shape) for n, shape in head.items()}
    acoustic |= {f"am_head.{n}.bias": torch.randn(shape[0]) for n, shape in head.items()} | {
        "am_head.bias": torch.ones(160)
    }
    content = {"semantic_model": text.state_dict(), "acoustic_model": acoustic, "Global_step": 7}
    content |= {"Optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}
    content |= {"Settings": {"Paras": argparse.Namespace(run="x"), "Config": {"a": 1}}}
    torch.save(content, folder / "states-7.ckpt")
    tokens = folder / "libri-roberta_train-960"
    tokens.mkdir()
    (tokens / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate([*SPECIAL, "<mask>", *BYTES])}))
    (tokens / "merges.txt").write_text("#version: 0.2\n")
    return folder


def built(folder, **changes):
    config = LogMelAndTokensConfig(tokenizer=str(folder / "libri-roberta_train-960"), max_frames=50, max_tokens=32)
    processor = LogMelAndTokensProcessor.create(config, transcripts=[])
    made = CtalConfig.like(folder, num_heads=2, dropout=0.0, **changes)
    return Ctal(Ctal.matched(made, processor)).eval(), processor


def test_both_streams_answer_as_the_released_networks(networks, released):
    text, audio, dense = networks
    model, processor = built(released)
    assert model.config.audio_attention == "causal" and (model.config.max_frames, model.config.max_tokens) == (50, 32)
    assert (model.config.mask_id, model.config.first_word_id, processor.special.pad) == (4, 5, 1)
    (report,) = model.import_pretrained({"ctal": str(released)}).values()
    assert not report.missing
    tied = {
        "semantic_model.lm_head.decoder.weight",
        "semantic_model.lm_head.decoder.bias",
        "acoustic_model.am_head.bias",
    }
    assert {k for k in report.unused if "position_ids" not in k} == tied
    tokens, valid = torch.randint(5, 90, (2, 9)), torch.arange(9) < torch.tensor([[9], [6]])
    tokens[~valid] = 1
    frames, frames_valid = torch.randn(2, 20, 160), torch.arange(20) < torch.tensor([[20], [13]])
    states = model.states(Padded.of(tokens, valid), Padded.of(frames, frames_valid))
    with torch.no_grad():
        words = text.roberta(tokens, attention_mask=valid.long()).last_hidden_state
        heard = audio(
            inputs_embeds=dense(frames),
            attention_mask=frames_valid.long(),
            encoder_hidden_states=words,
            encoder_attention_mask=valid.long(),
        ).last_hidden_state
        logits = text.lm_head(words)
    assert (states["text"][0] - words)[valid].abs().max() < 1e-5
    assert (states["audio"][0] - heard)[frames_valid].abs().max() < 1e-5
    ours = model.mlm_head(states["text"][0][valid], model.text_embedding.token.weight)
    assert torch.allclose(ours, logits[valid], atol=1e-4)


def test_roberta_fills_the_text_stream_and_its_mask_may_be_the_last_token(networks, tmp_path):
    text, _, _ = networks
    text.save_pretrained(tmp_path)
    vocabulary = {t: i for i, t in enumerate([*SPECIAL, *BYTES, "<mask>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    config = LogMelAndTokensConfig(tokenizer=str(tmp_path), max_frames=50, max_tokens=32)
    processor = LogMelAndTokensProcessor.create(config, transcripts=[])
    for kind, config_type in ((Ctal, CtalConfig), (Roberta, RobertaConfig)):
        made = config_type.like(tmp_path, num_features=40)
        model = kind(kind.matched(made, processor)).eval()
        assert (model.config.mask_id, model.config.first_word_id) == (vocabulary["<mask>"], 4)
        (report,) = model.import_pretrained({"roberta": str(tmp_path)}).values()
        assert not report.missing
        tokens = Padded.of(torch.randint(4, 90, (1, 7)), torch.ones(1, 7, dtype=torch.bool))
        with torch.no_grad():
            expected = text.roberta(tokens.values).last_hidden_state
        assert (model.states(tokens, None)["text"][0] - expected).abs().max() < 1e-5


def test_what_does_not_fit_is_refused_by_name(released, tmp_path):
    model, _ = built(released)
    with pytest.raises(ValueError, match="must name ctal or roberta for ctal, but names 'bert'"):
        model.import_pretrained({"bert": str(released)})
    with pytest.raises(ValueError, match=r"\(roberta\) must be roberta, but .* is CTAL"):
        model.import_pretrained({"roberta": str(released)})
    stacked, _ = built(released, stem="conv", frames_per_step=4)
    with pytest.raises(ValueError, match="`stem` must be 'linear'"):
        stacked.import_pretrained({"ctal": str(released)})
    deeper, _ = built(released, num_layers=3)
    with pytest.raises(
        ValueError, match=r"must hold every layer of ours, but lacks 'acoustic_model\.acoustic\.encoder\.layer\.2'"
    ):
        deeper.import_pretrained({"ctal": str(released)})
    row = Mockingjay(MockingjayConfig(num_layers=2, width=32, num_heads=2, ffn_width=48))
    with pytest.raises(ValueError, match="must not name ctal for mockingjay"):
        row.import_pretrained({"ctal": str(released)})
