"""SpeechT5 beyond the contract: samples, parity with transformers, checkpoints, objectives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sonolex.objectives.corruption import infill
from sonolex.objectives.ctc import ctc_steps
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig, SpeechAndLettersProcessor
from sonolex.systems.base import build_system
from sonolex.systems.speechlm import SpeechLmConfig
from sonolex.systems.speecht5 import OBJECTIVES, SpeechT5, SpeechT5Config
from tests.systems import test_contract as contract
from tests.systems import test_lengths as lengths
from tests.systems.cases.small import SPEECHLM, SPEECHT5

TINY = SPEECHT5 | {"audio": "waveform"}
TEXTS = ["the garden was tidy", "a phone", "they had a lucky lesson so early"]
PROCESSOR = SpeechAndLettersConfig(num_units=8, max_frames=500)


@pytest.fixture(scope="module")
def processor():
    return SpeechAndLettersProcessor.create(PROCESSOR, transcripts=TEXTS, waves=iter(waves(4, 16_000)))


def waves(number, *lengths):
    rng = np.random.default_rng(0)
    lengths = lengths * number if len(lengths) == 1 else lengths
    return [rng.normal(0, 0.1, n).astype(np.float32) for n in lengths]


def examples(processor, *lengths):
    return [
        processor.example(f"clip-{i}", front=processor.front(w), text=TEXTS[i], seed=i + 1)
        for i, w in enumerate(waves(1, *lengths))
    ]


def built(processor, **changes):
    return build_system("speecht5", SpeechT5.matched(SpeechT5Config(**(TINY | changes)), processor)).eval()


def test_padding_changes_nothing_of_samples_and_every_parameter_learns(processor):
    system = built(processor, reader="mean", objectives=OBJECTIVES)
    made = examples(processor, 12_000, 7_000, 300)  # the last one is shorter than a step needs
    together = system.encode(processor.collate(made)).pooled_BD
    alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in made])
    assert torch.allclose(together, alone, atol=1e-5)
    system.train()
    batch = system.corrupt(processor.collate(made))
    terms = system.pretraining_losses(batch) | system.joint_losses(system.pretraining_rows(batch))
    assert set(terms) == set(OBJECTIVES)
    sum(t.weight * t.mean for t in terms.values()).backward()
    silent = [n for n, p in system.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert not silent


def test_a_clip_without_sound_has_no_step_of_speech(processor):
    """It had one, of zeros, which entered the mean with the vector of its text."""
    system = built(processor, reader="mean")
    made = examples(processor, 12_000, 7_000)
    made[1] = replace(made[1], audio=None, units_T=None)
    together = system.encode(processor.collate(made))
    assert together.valid["audio"].sum(1).tolist() == [37, 0]
    alone = torch.cat([system.encode(processor.collate([e])).pooled_BD for e in made])
    assert torch.allclose(together.pooled_BD, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "config", "spoken"),
    [
        ("speecht5", SpeechT5Config(**(SPEECHT5 | {"audio": "waveform"}), reader="mean", objectives=OBJECTIVES), False),
        ("speechlm", SpeechLmConfig(**(SPEECHLM | {"audio": "waveform"}), objectives=("units", "penalty")), True),
    ],
    ids=["speecht5", "speechlm"],
)
def test_samples_are_trained_on_and_exported_without_reading_a_number(name, config, spoken, corpus):
    config, processor_config = lengths.for_a_minute(config, replace(PROCESSOR, spoken_letters=spoken))
    processor = contract.created(name, processor_config, corpus)
    system = contract.built(name, config, processor)
    lengths.require_nothing_read(system, processor, corpus)
    lengths.require_export(system.eval().requires_grad_(False), processor)


def test_encoder_and_zero_query_equal_transformers_given_the_same_weights(processor):
    from transformers.models.speecht5 import modeling_speecht5 as theirs

    from sonolex.systems.speecht5 import speecht5_sizes

    system = built(processor)
    sizes = speecht5_sizes(system.config)
    speech, text = theirs.SpeechT5EncoderWithSpeechPrenet(sizes), theirs.SpeechT5EncoderWithTextPrenet(sizes)
    decoder = theirs.SpeechT5DecoderWithoutPrenet(sizes)
    speech.prenet.load_state_dict(system.speech.state_dict())
    text.prenet.load_state_dict(system.text.state_dict())
    for whole in (speech, text):
        whole.wrapped_encoder.load_state_dict(system.encoder.state_dict())
    decoder.wrapped_decoder.load_state_dict(system.decoder.state_dict())
    (example,) = examples(processor, 9_000)
    found = system.encode(processor.collate([replace(example, tokens_L=None)]))
    states = speech.eval()(input_values=example.audio[None]).last_hidden_state
    assert torch.allclose(found.streams["audio"], states, atol=1e-5)
    query = torch.zeros(1, 1, system.config.width)
    decoded = decoder.eval()(input_values=query, encoder_hidden_states=states, use_cache=False).last_hidden_state
    assert torch.allclose(found.pooled_BD, decoded[:, 0], atol=1e-5)
    written = text.eval()(input_values=example.tokens_L[None]).last_hidden_state
    heard = system.encode(processor.collate([replace(example, audio=None, units_T=None)]))
    assert torch.allclose(heard.streams["text"], written, atol=1e-5)


def checkpoint(folder, system, prefix="speecht5."):
    from transformers.models.speecht5 import modeling_speecht5 as theirs

    from sonolex.systems.speecht5 import speecht5_sizes

    model = theirs.SpeechT5ForSpeechToText(speecht5_sizes(system.config))
    folder.mkdir()
    weights = {k.replace("speecht5.", prefix, 1): v.clone() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return model


def test_a_recognisers_checkpoint_fills_everything_but_the_text_entrance(processor, tmp_path):
    system = built(processor)
    model = checkpoint(tmp_path / "asr", system)
    report = system.import_pretrained({"speech": str(tmp_path / "asr")})["speech"]
    assert not report.missing and all("text_decoder" in k or "decoder.prenet" in k for k in report.unused)
    assert torch.equal(
        system.encoder.layers[1].attention.k_proj.weight,
        model.speecht5.encoder.wrapped_encoder.layers[1].attention.k_proj.weight,
    )


def test_a_wrong_prefix_or_a_missing_entrance_fails_loudly(processor, tmp_path):
    system = built(processor)
    checkpoint(tmp_path / "asr", system, prefix="model.")
    before = {n: p.clone() for n, p in system.named_parameters()}
    with pytest.raises(ValueError, match=r"must be SpeechT5, but .* tensors such as 'model\."):
        system.import_pretrained({"speech": str(tmp_path / "asr")})
    assert all(torch.equal(before[n], p) for n, p in system.named_parameters())
    with pytest.raises(ValueError, match="pretrained"):
        system.import_pretrained({"voice": str(tmp_path / "asr")})


def test_units_of_another_rate_are_refused_by_clip(processor):
    system = built(processor, objectives=("units",))
    (example,) = examples(processor, 9_000)
    with pytest.raises(ValueError, match=r"one per step of the encoder \(27\).*clip-0"):
        system.corrupt(processor.collate([replace(example, units_T=example.units_T[:-1])]))


def test_units_may_come_from_a_column(processor):
    config = replace(PROCESSOR, unit_column="units")
    column = SpeechAndLettersProcessor(config, processor.tokenizer)
    example = column.example("clip-0", front=torch.zeros(720), text=None, labels={"units": "3 7"})
    assert example.units_T.tolist() == [3, 7]
    with pytest.raises(ValueError, match=r"0 to 7.*clip-0"):
        column.example("clip-0", front=torch.zeros(720), text=None, labels={"units": "3 8"})


def test_processors_keep_letters_and_centres(processor, tmp_path):
    processor.save(tmp_path)
    again = SpeechAndLettersProcessor.load(tmp_path)
    assert torch.equal(again.centres_KF, processor.centres_KF)
    assert again.tokens("a phone", "x").tolist() == processor.tokens("a phone", "x").tolist()
    assert again.tokens("a phone", "x")[-1] == processor.special.end


def test_ctc_needs_a_blank_between_equal_letters():
    assert ctc_steps(torch.tensor([4, 4, 4])) == 5 and ctc_steps(torch.tensor([4, 5])) == 2


def test_infilling_hides_its_share_in_runs_and_keeps_the_end():
    letters_L = torch.cat([torch.arange(10, 210), torch.tensor([2])])
    settings = {"share": 0.3, "mean_run": 3.5, "mask_id": 3, "words": (10, 210)}
    generator = torch.Generator().manual_seed(0)
    drawn = [infill(letters_L, random=0.0, generator=generator, **settings) for _ in range(200)]
    assert all(d[-1] == 2 for d in drawn)
    kept = np.mean([(d != 3).sum() - 1 for d in drawn])
    runs = np.mean([(d == 3).sum() for d in drawn])
    assert 130 < kept < 150 and 10 < runs < 25  # 0.7 · 200 left, 60 hidden in runs of 3.5 or so
    changed = infill(letters_L, random=1.0, generator=generator, **(settings | {"share": 0.0}))
    assert (changed[:-1] != letters_L[:-1]).float().mean() > 0.95


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("units.safetensors", {"centres": torch.full((8, 80), torch.nan)}),
        ("units.safetensors", {"centres": torch.zeros(8, 80, dtype=torch.int32)}),
        ("units.safetensors", {"centres": torch.zeros(9, 80)}),
        ("units.safetensors", {"centers": torch.zeros(8, 80)}),
        ("units.safetensors", b"no tensors"),
        ("letter_units.json", b"{"),
        ("letter_units.json", b'{"units": []}'),
        ("letter_units.json", b'{"units_of_letter": [[1, "x"]]}'),
        ("letter_units.json", b'{"units_of_letter": [[99999]]}'),
        ("letter_units.json", b'{"units_of_letter": [[-1]]}'),
        ("letter_units.json", b'{"units_of_letter": []}'),
    ],
)
def test_spoiled_units_are_refused_by_their_file(file, content, processor, tmp_path):
    processor.save(tmp_path)
    SpeechAndLettersProcessor.load(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        save_file(content, tmp_path / file)
    with pytest.raises(ValueError, match=file):
        SpeechAndLettersProcessor.load(tmp_path)
