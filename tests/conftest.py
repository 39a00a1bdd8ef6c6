"""Small corpora and models that several tests use. Everything is made here; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sonolex.data.manifest import Manifest, manifest_from_rows
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig, LogMelAndTokensProcessor
from sonolex.systems.ctal import CtalConfig

SHARED = Path(__file__).parents[2] / "shared" / "data"
WORDS = ["good", "bad", "warm", "cold", "loud", "soft", "quick", "slow", "high", "low"]
TINY_PROCESSOR = LogMelAndTokensConfig(
    rate_hz=8000, window_ms=32, hop_ms=20, fft_samples=256, num_mels=20, vocab_size=280, max_frames=400, max_tokens=40
)
TINY = CtalConfig(
    num_layers=2, width=32, num_heads=4, ffn_width=64, dropout=0.0, stem="conv", frames_per_step=2, max_tokens=40
)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two test processes on two cores: one intra-op thread each."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Generated corpora and floors of tests stay out of the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SONOLEX_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


def write_tone(path: Path, *, hz: float, seconds: float, rate: int = 8000, seed: int = 0) -> None:
    """Write a sine with noise."""
    rng = np.random.default_rng(seed)
    time_S = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time_S) + 0.01 * rng.normal(size=len(time_S)), rate)


def make_corpus(folder: Path, *, num_clips: int = 48, num_speakers: int = 6, seed: int = 0) -> Manifest:
    """Return clips whose ``pitch`` (low, high) is audible and whose ``mood`` is the text's first word."""
    rng = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(num_clips):
        pitch, mood = ("low", "high")[i % 2], ("good", "bad")[i // 2 % 2]
        seconds = float(rng.uniform(0.3, 1.2))
        hz = {"low": 300, "high": 1200}[pitch] * rng.uniform(0.9, 1.1)
        write_tone(folder / "audio" / f"clip{i:03d}.wav", hz=hz, seconds=seconds, seed=i)
        rows.append(
            {
                "id": f"clip{i:03d}",
                "audio": f"audio/clip{i:03d}.wav",
                "duration_s": int(seconds * 8000) / 8000,
                "sampling_rate": 8000,
                "text": f"{mood} " + " ".join(rng.choice(WORDS[2:], int(rng.integers(1, 5)))),
                "speaker": f"speaker{i // 4 % num_speakers}",
                "split": ("train", "train", "train", "train", "validation", "test")[i // 4 % 6],
                "pitch": pitch,
                "mood": mood,
                "height": float(hz / 1000),
            }
        )
    manifest = manifest_from_rows(rows, root=folder)
    manifest.write(folder / "manifest.arrow")
    return manifest


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Manifest:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def processor(corpus) -> LogMelAndTokensProcessor:
    return LogMelAndTokensProcessor.create(TINY_PROCESSOR, transcripts=corpus.column("text"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real audio beside the checkout; tests that need it are skipped with a message where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("shared/data with real audio is not beside the checkout")
    return SHARED
