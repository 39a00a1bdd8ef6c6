"""Hidden units in a manifest: from log-mel or a model's layer, resumable, aligned with phones, and read by SpeechLM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from sonolex.annotate.units import make_units
from sonolex.cli import main
from sonolex.data.manifest import Clip, manifest_from_rows, read_manifest
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig, SpeechAndLettersProcessor
from sonolex.systems.base import build_system
from sonolex.systems.speechlm import SpeechLm, SpeechLmConfig
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import save_model
from tests.systems.cases.small import SPEECHLM

TONES_HZ = {"a": 300.0, "b": 1200.0, "c": 3600.0}


@pytest.fixture
def spoken(tmp_path):
    """Clips of two or three tones, each "phone" one tone, 0.15 to 0.3 s long."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        phones = rng.choice(list(TONES_HZ), int(rng.integers(2, 4)), replace=False)
        lengths = rng.integers(2400, 4800, len(phones))
        wave = np.concatenate(
            [np.sin(2 * np.pi * TONES_HZ[p] * np.arange(n) / 16_000) for p, n in zip(phones, lengths, strict=True)]
        )
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * wave + 1e-3 * rng.normal(size=len(wave)), 16_000)
        text = " ".join(phones)
        row = {"id": f"clip-{number}", "audio": f"{number}.wav", "text": text, "phones": text}
        rows.append(row | {"lengths": " ".join(f"{n / 16_000:.4f}" for n in lengths)})
    rows.append({"id": "words", "audio": None, "text": "a", "phones": "a"})
    return manifest_from_rows(rows, root=tmp_path).write(tmp_path / "in.csv")


def test_units_and_phones_of_every_step(spoken, tmp_path):
    out = tmp_path / "out.arrow"
    main(["units", str(spoken), "--num-units", "6", "--out", str(out)])
    clips = read_manifest(out).with_durations()
    assert clips.column("units")[-1] is None and clips.column("phone_units")[-1] is None
    right = steps = 0
    for clip in clips:
        if clip.audio is None:
            continue
        phones, units = clip.labels["phone_units"].split(), clip.labels["units"].split()
        assert len(phones) == len(units) == pytest.approx(clip.duration_s * 50, abs=2)
        assert list(dict.fromkeys(phones)) == clip.text.split()  # in order, none left out
        ends_s = np.cumsum([float(s) for s in clip.labels["lengths"].split()])
        spoken_now = [clip.text.split()[int((ends_s[:-1] < 0.02 * i + 0.0125).sum())] for i in range(len(phones))]
        right += sum(a == b for a, b in zip(phones, spoken_now, strict=True))
        steps += len(phones)
    assert right / steps > 0.9
    assert not list(tmp_path.glob("*.partial*"))


def test_a_killed_run_goes_on_with_the_same_centres(spoken, tmp_path, monkeypatch):
    whole = make_units(spoken, out=tmp_path / "whole.csv", num_units=4)
    clips_read = []

    def dying(self, rate_hz, **options):
        clips_read.append(self.id)
        if len(clips_read) == 17:  # twelve clips for the centres
            raise KeyboardInterrupt
        return original(self, rate_hz, **options)

    original = Clip.samples
    monkeypatch.setattr(Clip, "samples", dying)
    with pytest.raises(KeyboardInterrupt):
        make_units(spoken, out=tmp_path / "out.csv", num_units=4)
    again = make_units(spoken, out=tmp_path / "out.csv", num_units=4)
    assert again.column("units") == whole.column("units") and len(clips_read) == 17 + 8
    with pytest.raises(ValueError, match="another file"):
        make_units(spoken, out=spoken, num_units=4)


def test_a_finished_manifest_is_made_again_with_centres_of_its_own(spoken, tmp_path):
    make_units(spoken, out=tmp_path / "out.csv", num_units=3)
    again = make_units(spoken, out=tmp_path / "out.csv", num_units=8)
    assert again.column("units") == make_units(spoken, out=tmp_path / "other.csv", num_units=8).column("units")
    assert {u for units in again.column("units") if units for u in units.split()} > {"0", "1", "2"}


def test_units_of_another_kind_do_not_go_on(spoken, tmp_path):
    (tmp_path / "out.csv.partial.jsonl").write_text('{"id": "clip-0", "text": "1", "by": "9 clusters of dreams"}\n')
    with pytest.raises(ValueError, match="9 clusters of dreams began it"):
        make_units(spoken, out=tmp_path / "out.csv", num_units=4)


@pytest.fixture
def speechlm():
    """SpeechLM whose units are the phones themselves, each three steps long in text."""
    config = SpeechAndLettersConfig(
        audio="spectrogram", max_frames=200, symbols="words", symbol_repeats=3, unit_column="phone_units"
    )
    processor = SpeechAndLettersProcessor.create(config, transcripts=["a b c"])
    sizes = SpeechLmConfig(**SPEECHLM, objectives=("units", "text_ctc"))
    return build_system("speechlm", SpeechLm.matched(sizes, processor)), processor


def test_units_of_a_models_layer(spoken, tmp_path, speechlm):
    system, processor = speechlm
    save_model(tmp_path / "model", Model(system, {}), processor, provenance={})
    filled = make_units(spoken, out=tmp_path / "out.csv", num_units=5, model=tmp_path / "model", layer=1)
    assert {int(u) for u in filled.column("units")[0].split()} <= set(range(5))
    with pytest.raises(ValueError, match="`layer` must be below 2"):
        make_units(spoken, out=tmp_path / "other.csv", num_units=5, model=tmp_path / "model", layer=2)


def test_phones_are_speechlms_units_by_ear_and_by_repetition(spoken, tmp_path, speechlm):
    system, processor = speechlm
    clips = make_units(spoken, out=tmp_path / "out.arrow", num_units=6)
    ids = {phone: processor.tokenizer.token_to_id(phone) for phone in "abc"}
    clip = clips[0]
    front = processor.front(clip.samples(16_000))
    example = processor.example(clip.id, front=front, text=clip.text, labels=clip.labels, seed=1)
    assert example.units_T.tolist() == [ids[p] for p in clip.labels["phone_units"].split()]
    assert example.tokens_L.tolist()[:-1] == [ids[p] for p in clip.text.split()]
    assert system.config.letter_units[ids["b"]] == (ids["b"],) * 3
    assert not any(system.config.letter_units[i] for i in range(4))  # special tokens are silent
    batch = system.corrupt(processor.collate([example]))
    terms = system.pretraining_losses(batch)
    assert set(terms) == {"units", "text_ctc"} and all(torch.isfinite(t.mean) for t in terms.values())
    with pytest.raises(ValueError, match=r"symbols of the transcripts.*'z'.*clip-0"):
        processor.example(
            clip.id, front=processor.front(clip.samples(16_000)), text=None, labels={"phone_units": "a z"}
        )
    with pytest.raises(ValueError, match="`num_units` must be 0"):
        replace(processor.config, num_units=4)
