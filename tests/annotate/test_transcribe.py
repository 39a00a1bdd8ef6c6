"""Missing transcripts are filled in, nothing else is touched, and a killed run goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from sonolex.annotate.transcribe import transcribe
from sonolex.audio.degrade import wrong_words
from sonolex.cli import main
from sonolex.data.manifest import manifest_from_rows, read_manifest


class Counting:
    """A recogniser whose transcript is the clip's length, and which may die."""

    name = "counting"

    def __init__(self, dies_after=None):
        self.lengths, self.dies_after = [], dies_after

    def transcribe(self, wave_S):
        if self.dies_after is not None and len(self.lengths) == self.dies_after:
            raise KeyboardInterrupt
        self.lengths.append(len(wave_S))
        return f"{len(wave_S)} samples"


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(1600 * (number + 1)), 16_000)
        rows.append({"id": f"clip-{number}", "audio": f"{number}.wav", "text": "given" if number == 2 else None})
    rows.append({"id": "words", "audio": None, "text": "no sound"})
    return manifest_from_rows(rows, root=tmp_path).write(tmp_path / "in.csv")


def use(monkeypatch, recogniser):
    module = type("Module", (), {"open_recogniser": staticmethod(lambda place, device: recogniser)})
    monkeypatch.setattr("sonolex.annotate.transcribe.find_module", lambda kind, name, **_: module)
    return recogniser


def test_only_missing_transcripts_are_filled_in(manifest, tmp_path, monkeypatch):
    use(monkeypatch, Counting())
    filled = transcribe(manifest, asr="counting", out=tmp_path / "out.arrow")
    read = read_manifest(tmp_path / "out.arrow")
    assert read.column("text") == filled.column("text")
    assert read.column("text")[:4] == ["1600 samples", "3200 samples", "given", "6400 samples"]
    assert read.column("text")[6] == "no sound"
    assert read.column("transcribed_by") == ["counting", "counting", None, "counting", "counting", "counting", None]
    assert not list(tmp_path.glob("*.partial*"))


def test_a_killed_run_goes_on_where_it_was(manifest, tmp_path, monkeypatch):
    use(monkeypatch, Counting(dies_after=2))
    with pytest.raises(KeyboardInterrupt):
        transcribe(manifest, asr="counting", out=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    journal = tmp_path / "out.csv.partial.jsonl"
    journal.write_text(journal.read_text() + '{"id": "clip-3", "te')  # killed in the middle of a line
    again = use(monkeypatch, Counting())
    filled = transcribe(manifest, asr="counting", out=tmp_path / "out.csv")
    assert again.lengths == [6400, 8000, 9600]
    assert filled.column("text")[0] == "1600 samples" and None not in filled.column("text")


def test_another_recogniser_does_not_go_on_with_this_ones_journal(manifest, tmp_path, monkeypatch):
    use(monkeypatch, Counting(dies_after=2))
    with pytest.raises(KeyboardInterrupt):
        transcribe(manifest, asr="counting", out=tmp_path / "out.csv")
    other = Counting()
    other.name = "other"
    use(monkeypatch, other)
    with pytest.raises(ValueError, match="counting began it"):
        transcribe(manifest, asr="other", out=tmp_path / "out.csv")
    with pytest.raises(ValueError, match="another file"):
        transcribe(manifest, asr="other", out=manifest)


def test_an_unreadable_clip_is_named_and_finished_ones_are_kept(manifest, tmp_path, monkeypatch):
    (tmp_path / "1.wav").write_bytes(b"no audio")
    use(monkeypatch, Counting())
    with pytest.raises(ValueError, match="clip-1"):
        transcribe(manifest, asr="counting", out=tmp_path / "out.csv")
    assert json.loads((tmp_path / "out.csv.partial.jsonl").read_text())["id"] == "clip-0"


def test_pocketsphinx_gives_the_same_transcript_after_any_other_clip(shared_data):
    from sonolex.annotate.recognisers.pocketsphinx import open_recogniser
    from sonolex.audio.io import read_audio

    files = sorted((shared_data / "fsdd").rglob("[37]_jackson_1*.*"))[:4]
    waves = [read_audio(f, rate_hz=16_000) for f in files]
    together = open_recogniser(None)
    transcripts = [together.transcribe(w) for w in waves]
    assert transcripts == [open_recogniser(None).transcribe(w) for w in waves]
    assert any(transcripts)


def test_the_command_line_fills_in_a_manifest_with_pocketsphinx(manifest, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["transcribe", str(manifest), "--asr", "pocketsphinx", "--out", str(out)]) == 0
    by = [json.loads(line).get("transcribed_by") for line in out.read_text().splitlines()]
    assert by.count("pocketsphinx") == 5
    assert main(["transcribe", str(manifest), "--asr", "whisper", "--out", str(out)]) == 2
    assert "whisper:FOLDER" in capsys.readouterr().err


def test_whisper_is_loaded_from_a_folder(tmp_path):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    letters = [chr(c) for c in range(33, 127)]
    tokens = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", *letters]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    WhisperTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")).save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(tmp_path)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": len(tokens)}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 1}
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **ids, max_target_positions=24))
    model.generation_config.max_length = 12
    model.save_pretrained(tmp_path)

    from sonolex.annotate.recognisers.whisper import open_recogniser

    recogniser = open_recogniser(str(tmp_path))
    wave_S = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    first = recogniser.transcribe(wave_S)
    assert isinstance(first, str) and first == recogniser.transcribe(wave_S)
    assert recogniser.name == f"whisper:{tmp_path}"


def test_wrong_words_come_at_the_requested_rate():
    rng = np.random.default_rng(0)
    text = " ".join(f"word{i}" for i in range(4000))
    noisy_words = wrong_words(text, 0.3, vocabulary=["other"], rng=rng).split()
    kept = set(text.split()) & set(noisy_words)
    substituted_or_left_out = 1 - len(kept) / 4000
    added = noisy_words.count("other") / 4000
    assert substituted_or_left_out == pytest.approx(0.3 * 0.75, abs=0.02)
    assert added == pytest.approx(0.3 * 0.75, abs=0.02)
    assert wrong_words(text, 0.0, vocabulary=["other"], rng=rng) == text
    assert wrong_words("one", 1.0, vocabulary=["other"], rng=rng)
