"""Floors, which any model must beat on the same split: features of the clips are computed here, predictions by tasks.

Features, from 25/10 ms log-mel of 40 bands at 16 kHz: ``mfcc_svm``, 20 MFCCs and their derivatives, mean and deviation
over the clip (80 numbers); ``log_mel_svm``, mean and deviation of the bands and deviation of their change from frame to
frame (120 numbers), which is the stronger one on sounds. Predictors are the tasks' own (`TaskConfig.floors`).
"""

from __future__ import annotations

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sonolex import configs
from sonolex.arrays import load_arrays, save_arrays
from sonolex.audio.features import delta, librosa_log_mel
from sonolex.cache import FLOORS, keep_within, most_bytes, note_use
from sonolex.configs import cache_folder
from sonolex.data.digests import clips_digests
from sonolex.data.manifest import Clip, Manifest
from sonolex.files import recover
from sonolex.floors import MOST_WORDS, SVM_COSTS, PartOfFold
from sonolex.locks import holding
from sonolex.names import spelled
from sonolex.protocols.base import PARTS, Fold, Protocol, digest
from sonolex.tasks.base import TaskConfig

VERSION = 2
MOST_BYTES = 8 << 30
RATE_HZ = 16_000
NUM_MFCC = 20
NUM_MELS = 40


def floors_of_fold(protocol: Protocol, fold: Fold, fingerprint: str) -> dict[str, dict[str, np.ndarray]]:
    """Return {task: {floor: scores of the report clips}}, in the report part's order.

    Scores have the shape of the task's own: (B, C) class scores, (B, 1) values, (B, D) embeddings. They are computed
    once per fingerprint, fold and clips (`_cache_key`), and kept in the cache (`sonolex.cache`).
    """
    key = _cache_key(protocol, fold)
    path = cache_folder() / FLOORS / f"v{VERSION}-{fingerprint}-{spelled(fold.name)}-{key}.npz"
    with holding(path.parent, path.name):  # a second process reads what the first one wrote
        if path.is_file():
            note_use(path)
            flat = {tuple(key.split("/")): v for key, v in load_arrays(path, most_bytes=MOST_BYTES).items()}
            return {t.name: {k[1]: v for k, v in flat.items() if k[0] == spelled(t.name)} for t in protocol.tasks}
        recover(path.parent, name=path.name)
        statistics = {name: clip_statistics(fold.part(name)) for name in PARTS}
        floors = {task.name: _floors_of_task(task, fold, statistics) for task in protocol.tasks}
        save_arrays(path, {f"{spelled(task)}/{floor}": v for task, fs in floors.items() for floor, v in fs.items()})
    keep_within(path.parent, most_bytes(FLOORS), newest=path)
    return floors


def _cache_key(protocol: Protocol, fold: Fold) -> str:
    """Return a digest of all that floors depend on: clips and audio of every part, tasks, and settings.

    Audio without a digest is identified by its file: place, size and time of the last change.
    """
    import sklearn

    settings = [VERSION, RATE_HZ, NUM_MFCC, NUM_MELS, SVM_COSTS, MOST_WORDS, sklearn.__version__, np.__version__]
    labels = [t.label for t in protocol.tasks]
    clips = [clips_digests(fold.part(name), ("id", "offset_s", "duration_s", *labels), places=True) for name in PARTS]
    return digest([settings, [_task_card(t) for t in protocol.tasks], clips])


def _task_card(task: TaskConfig) -> dict[str, Any]:
    """Return all that a task's floors depend on: its settings, and its code if it lies outside the package."""
    card = {"kind": task.kind, **configs.to_json(task)}
    outside = sys.modules[task.kind] if "." in task.kind else None
    return card if outside is None else card | {"code": digest(inspect.getsource(outside))}


def clip_statistics(manifest: Manifest) -> dict[str, np.ndarray]:
    """Return statistics of every clip: "mfcc" (clips, 4 · NUM_MFCC) and "log_mel" (clips, 3 · NUM_MELS)."""
    with ThreadPoolExecutor(2, initializer=lambda: torch.set_num_threads(1)) as pool:
        of_clips = list(pool.map(_statistics_of_clip, manifest))
    return {name: np.stack([s[name] for s in of_clips]) for name in ("mfcc", "log_mel")}


def _statistics_of_clip(clip: Clip) -> dict[str, np.ndarray]:
    from scipy.fft import dct

    if clip.audio is None:
        return {"mfcc": np.zeros(4 * NUM_MFCC), "log_mel": np.zeros(3 * NUM_MELS)}
    wave_S = clip.samples(RATE_HZ)
    log_mel_TF = librosa_log_mel(
        torch.from_numpy(wave_S), fft_samples=512, window_samples=400, hop_samples=160, num_mels=NUM_MELS
    )
    mfcc_TF = np.asarray(dct(log_mel_TF.numpy(), axis=1, norm="ortho"))[:, :NUM_MFCC]
    delta_TF = delta(torch.from_numpy(np.ascontiguousarray(mfcc_TF))).numpy()
    change_TF = np.diff(log_mel_TF.numpy(), axis=0, prepend=log_mel_TF[:1].numpy())
    return {
        "mfcc": np.concatenate([mfcc_TF.mean(0), mfcc_TF.std(0), delta_TF.mean(0), delta_TF.std(0)]).astype(float),
        "log_mel": np.concatenate([log_mel_TF.mean(0), log_mel_TF.std(0, correction=0), change_TF.std(0)]).astype(
            float
        ),
    }


def _floors_of_task(
    task: TaskConfig, fold: Fold, statistics: dict[str, dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    parts = {}
    for name in PARTS:
        clips = fold.part(name)
        parts[name] = PartOfFold(clips.column(task.label) if task.label else [None] * len(clips), statistics[name])
    return task.floors(parts)
