"""What any model must beat: the majority class, and an SVM on MFCC statistics, on the same split.

Features: 20 MFCCs and their derivatives, mean and deviation over the clip (80 numbers), from 25/10 ms log-mel at
16 kHz. Classifier: scikit-learn's RBF SVM with C chosen on the selection part. Verification: cosine of standardised
statistics. Nothing is fitted on the report part.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sonolex import metrics
from sonolex.audio.features import delta, librosa_log_mel
from sonolex.audio.io import read_audio
from sonolex.configs import cache_folder
from sonolex.data.manifest import Clip, Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.base import TaskConfig, class_name

VERSION = 1
RATE_HZ = 16_000
NUM_MFCC = 20
SVM_COSTS = (1.0, 10.0)


def floors_of_fold(protocol: Protocol, fold: Fold, fingerprint: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return {task: {floor: {metric: value}}}, computed once per fingerprint and fold and cached."""
    path = cache_folder() / "floors" / f"v{VERSION}-{fingerprint}-{fold.name}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    statistics = {name: mfcc_statistics(fold.part(name)) for name in ("train", "selection", "report")}
    floors = {task.name: _floors_of_task(task, fold, statistics) for task in protocol.tasks}
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(f".{id(floors)}")
    building.write_text(json.dumps(floors, indent=2) + "\n", encoding="utf-8")
    building.replace(path)
    return floors


def mfcc_statistics(manifest: Manifest) -> np.ndarray:
    """Return (clips, 4 · NUM_MFCC): mean and deviation of MFCCs and of their derivatives."""
    with ThreadPoolExecutor(2, initializer=lambda: torch.set_num_threads(1)) as pool:
        return np.stack(list(pool.map(_statistics_of_clip, manifest)))


def _statistics_of_clip(clip: Clip) -> np.ndarray:
    from scipy.fft import dct

    if clip.audio is None:
        return np.zeros(4 * NUM_MFCC)
    wave_S = read_audio(clip.audio, rate_hz=RATE_HZ, clip_id=clip.id, offset_s=clip.offset_s)
    log_mel_TF = librosa_log_mel(
        torch.from_numpy(wave_S), fft_samples=512, window_samples=400, hop_samples=160, num_mels=40
    )
    mfcc_TF = dct(log_mel_TF.numpy(), axis=1, norm="ortho")[:, :NUM_MFCC]
    delta_TF = delta(torch.from_numpy(np.ascontiguousarray(mfcc_TF))).numpy()
    return np.concatenate([mfcc_TF.mean(0), mfcc_TF.std(0), delta_TF.mean(0), delta_TF.std(0)]).astype(np.float64)


def _floors_of_task(task: TaskConfig, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    if task.kind == "classification":
        return _classification_floors(task, fold, statistics)
    if task.kind == "regression":
        return _regression_floors(task, fold, statistics)
    if task.kind == "verification":
        return _verification_floors(task, fold, statistics)
    return {}


def _classification_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    x, y = {}, {}
    for name, values in statistics.items():
        labels = fold.part(name).column(task.label)
        known = [i for i, v in enumerate(labels) if v is not None]
        x[name] = values[known]
        y[name] = np.array([task.classes.index(class_name(labels[i])) for i in known])
    majority = np.full(len(y["report"]), np.bincount(y["train"]).argmax())
    best = None
    for cost in SVM_COSTS:
        svm = make_pipeline(StandardScaler(), SVC(C=cost)).fit(x["train"], y["train"])
        value = metrics.balanced_accuracy(y["selection"], svm.predict(x["selection"])) if len(y["selection"]) else 0.0
        if best is None or value > best[0]:
            best = (value, svm)
    assert best is not None
    predicted = {"majority": majority, "mfcc_svm": best[1].predict(x["report"])}
    return {
        floor: {name: metric(y["report"], p) for name, metric in metrics.CLASSIFICATION.items()}
        for floor, p in predicted.items()
    }


def _regression_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    def known(part: str) -> tuple[np.ndarray, np.ndarray]:
        labels = fold.part(part).column(task.label)
        rows = [i for i, v in enumerate(labels) if v is not None]
        return statistics[part][rows], np.array([float(labels[i]) for i in rows])

    (train_x, train_y), (report_x, report_y) = known("train"), known("report")
    svm = make_pipeline(StandardScaler(), SVR()).fit(train_x, train_y)
    predicted = {"median": np.full(len(report_y), np.median(train_y)), "mfcc_svm": svm.predict(report_x)}
    return {
        floor: {name: metrics.REGRESSION[name](report_y, p) for name in task.metric_names}
        for floor, p in predicted.items()
    }


def _verification_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    centre, spread = statistics["train"].mean(0), statistics["train"].std(0) + 1e-9
    speakers = np.array([class_name(s) for s in fold.report.column(task.label)])
    kept = statistics["report"][:, : 2 * NUM_MFCC] - centre[: 2 * NUM_MFCC]
    kept = kept / spread[: 2 * NUM_MFCC]
    without_level = np.delete(kept, 0, axis=1)  # the first MFCC's mean is the level
    floors = {}
    for name, features in (("mfcc_cosine", kept), ("mfcc_cosine_level_removed", without_level)):
        floors[name] = {"eer": metrics.eer(*metrics.all_pairs(speakers, features))}
    return floors
