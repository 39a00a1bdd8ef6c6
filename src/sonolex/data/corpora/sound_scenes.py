"""Sound scenes with questions and answers, made with numpy: what can be heard, how often, and what comes last.

Five kinds of events (noise, chirp, bell, siren, engine); a scene is two or three of them, one after the other, over
quiet background noise. Each scene has one question per kind: "is there a bell?" (yes, no; balanced), "which sound comes
last?" and "how many sounds are there?". A question alone says nothing about its answer. Licence: generated, no rights
reserved. A fixed seed gives the same samples on every machine.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from sonolex.configs import cache_folder
from sonolex.data.corpora._spoken import made_here
from sonolex.data.manifest import Manifest, manifest_from_rows, read_manifest

VERSION = 2
RATE_HZ = 16_000
EVENTS = ("noise", "chirp", "bell", "siren", "engine")
NUM_SCENES = {"tiny": 60, "small": 900, "large": 4000}
COUNTS = ("2", "3")
KINDS = ("present", "last", "count")
PHRASINGS = ("is there a {}?", "can you hear a {}?", "does a {} sound?")
LAST, COUNT = "which sound comes last?", "how many sounds are there?"
SPLITS = {"train": 0.7, "validation": 0.15, "test": 0.15}


def prepare(root: str | Path | None = None, *, size: str = "small", seed: int = 0) -> Manifest:
    """Return the scenes, one row per scene and question, making them first if ``root`` lacks them.

    Columns: ``text`` is the question, ``question`` its kind (present, last, count), the column of that name its
    answer (the two others are empty), ``source_id`` the scene.

    Raises:
        ValueError: unknown size.
    """
    if size not in NUM_SCENES:
        raise ValueError(f"`size` must be one of {', '.join(NUM_SCENES)}, but is {size!r}.")
    folder = (Path(root) if root else cache_folder()) / f"sound-scenes-v{VERSION}-{size}-{seed}"
    if not (folder / "manifest.arrow").is_file():
        with made_here(folder) as building:
            if building is not None:
                _make(building, NUM_SCENES[size], seed)
    return read_manifest(folder)


def sound(event: str, rng: np.random.Generator) -> np.ndarray:
    """Return one event of 0.4 to 0.9 s at RATE_HZ, faded in and out, with its own pitch and length."""
    length = int(rng.uniform(0.4, 0.9) * RATE_HZ)
    time_S = np.arange(length) / RATE_HZ
    share_S = time_S / time_S[-1]
    if event == "noise":
        wave = np.convolve(rng.normal(size=length), np.ones(int(rng.integers(1, 6))) / 2, mode="same")
    elif event == "chirp":
        start, end = rng.uniform(400, 1000), rng.uniform(2000, 5000)
        wave = np.sin(2 * np.pi * np.cumsum(start + (end - start) * share_S) / RATE_HZ)
    elif event == "bell":
        pitch = rng.uniform(500, 1200)
        partials = ((1.0, 1.0), (2.76, 0.6), (5.4, 0.3))
        wave = sum(a * np.sin(2 * np.pi * pitch * f * time_S) * np.exp(-5 * f * share_S) for f, a in partials)
    elif event == "siren":
        sweep = rng.uniform(600, 900) + 250 * np.sin(2 * np.pi * rng.uniform(2, 4) * time_S)
        wave = np.sin(2 * np.pi * np.cumsum(sweep) / RATE_HZ)
    else:
        pitch = rng.uniform(35, 80)
        wave = sum(np.sin(2 * np.pi * pitch * k * time_S + rng.uniform(0, 6)) / k for k in range(1, 12))
        wave = wave * (1 + 0.4 * np.sin(2 * np.pi * rng.uniform(8, 15) * time_S))
    fade_S = np.clip(np.minimum(time_S, time_S[-1] - time_S) / 0.02, 0, 1)
    return fade_S * wave / np.abs(wave).max()


def _make(folder: Path, num_scenes: int, seed: int) -> None:
    import soundfile

    (folder / "audio").mkdir()
    rows = []
    for number in range(num_scenes):
        rng = np.random.default_rng([seed, number, VERSION])
        events = [str(e) for e in rng.choice(EVENTS, int(rng.integers(2, 4)), replace=False)]
        wave = _scene(events, rng)
        soundfile.write(folder / "audio" / f"scene{number:05d}.flac", wave, RATE_HZ, subtype="PCM_16")
        share = number / num_scenes
        split = "train" if share < SPLITS["train"] else "validation" if share < 1 - SPLITS["test"] else "test"
        for kind, question, answer in _questions(events, number, rng):
            rows.append(
                {
                    "id": f"scene{number:05d}_{kind}",
                    "audio": f"audio/scene{number:05d}.flac",
                    "duration_s": len(wave) / RATE_HZ,
                    "sampling_rate": RATE_HZ,
                    "text": question,
                    "language": "en",
                    "source_id": f"scene{number:05d}",
                    "split": split,
                    "question": kind,
                    **dict.fromkeys(KINDS),
                    kind: answer,
                }
            )
    manifest_from_rows(rows, root=folder).write(folder / "manifest.arrow")
    card = {"name": "sound scenes", "version": VERSION, "seed": seed, "scenes": num_scenes}
    (folder / "corpus.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _scene(events: list[str], rng: np.random.Generator) -> np.ndarray:
    pieces = []
    for event in events:
        pieces += [rng.uniform(0.3, 0.9) * sound(event, rng), np.zeros(int(rng.uniform(0.05, 0.3) * RATE_HZ))]
    wave = np.concatenate(pieces)
    return np.clip(wave + 10 ** (rng.uniform(-60, -40) / 20) * rng.normal(size=len(wave)), -1, 1)


def _questions(events: list[str], number: int, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Return (kind, question, answer); yes and no alternate over scenes for every event asked about."""
    present = number % 2 == 0
    absent = [e for e in EVENTS if e not in events]
    event = str(rng.choice(events if present else absent))
    return [
        ("present", str(rng.choice(PHRASINGS)).format(event), "yes" if present else "no"),
        ("last", LAST, events[-1]),
        ("count", COUNT, str(len(events))),
    ]
