"""Small recordings, tables and models that several targets start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 8000
WORDS = ("warm", "cold", "loud", "soft", "quick", "slow")


def one_thread() -> None:
    """Numbers on one thread: a fork of a process with threads may hang, and the machine is shared."""
    import torch

    torch.set_num_threads(1)


def wave(number: int, *, seconds: float = 0.4) -> np.ndarray:
    """Return a tone with noise (S,); even numbers are low."""
    rng = np.random.default_rng(number)
    time_S = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    tone_S = 0.3 * np.sin(2 * np.pi * (300, 1200)[number % 2] * time_S)
    return (tone_S + 0.01 * rng.normal(size=len(time_S))).astype(np.float32)


def write_waves(folder: Path, count: int) -> list[str]:
    """Write recordings into a folder and return their names."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"clip{i:02d}.wav" for i in range(count)]
    for number, name in enumerate(names):
        soundfile.write(folder / name, wave(number), RATE_HZ, subtype="PCM_16")
    return names


def rows(names: list[str]) -> list[dict[str, Any]]:
    """Return rows of a table with every kind of column; recordings are used several times."""
    found = []
    for i in range(24):
        row = {"id": f"clip-{i}", "audio": names[i % len(names)], "text": f"it is {WORDS[i % 6]} today"}
        row |= {"speaker": f"speaker{i // 4}", "split": ("train", "train", "validation", "test")[i // 4 % 4]}
        found.append(row | {"pitch": ("low", "high")[i % 2], "height": 0.25 * (i % 5), "offset_s": 0.1})
    return found


def write_table(path: Path, names: list[str]) -> Path:
    """Write the rows in the format of the path's suffix."""
    from sonolex.data.manifest import manifest_from_rows

    return manifest_from_rows(rows(names), root=path.parent).write(path)


def small_model(system: str, folder: Path) -> Path:
    """Write the model folder of a small system with random weights: "ctal" (classifies) or "calm" (aligns)."""
    from sonolex.systems.base import system_type
    from sonolex.tasks.classification import ClassificationConfig
    from sonolex.tasks.retrieval import RetrievalConfig
    from sonolex.train.checkpoint import build_model, save_model

    texts = [r["text"] for r in rows(["a.wav"])]
    config, processor_config = _sizes(system)
    kind = system_type(system)
    processor = kind.processor_type.create(processor_config, transcripts=texts)
    mood = ClassificationConfig("mood", label="mood", classes=("good", "bad"))
    task = RetrievalConfig("words") if system == "calm" else mood
    model = build_model(kind, kind.matched(config, processor), (task,), seed=0)
    save_model(folder, model, processor, provenance={"run": "fuzz"})
    return folder


def _sizes(system: str) -> tuple[Any, Any]:
    if system == "ctal":
        from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig
        from sonolex.systems.ctal import CtalConfig

        processor = LogMelAndTokensConfig(
            rate_hz=RATE_HZ,
            window_ms=32,
            hop_ms=20,
            fft_samples=256,
            num_mels=20,
            vocab_size=280,
            max_frames=400,
            max_tokens=40,
        )
        sizes = {"num_layers": 1, "width": 32, "num_heads": 4, "ffn_width": 64, "dropout": 0.1, "max_tokens": 40}
        return CtalConfig(**sizes, stem="conv", frames_per_step=2), processor
    from sonolex.audio.patches import Blocks, Grid
    from sonolex.systems.calm import CalmConfig, CalmProcessorConfig

    processor = CalmProcessorConfig(rate_hz=RATE_HZ, num_mels=16, max_frames=400, max_tokens=40, vocab_size=280)
    sizes = {"num_layers": 1, "width": 32, "num_heads": 4, "ffn_width": 64, "max_tokens": 40, "pooled": "aligned"}
    return CalmConfig(**sizes, blocks=(Blocks(12, 6),), grid=Grid(6, 8, 3, 4, num_mels=16)), processor
