"""What any model must beat: the majority class, and SVMs on statistics of MFCCs and of log-mel, on the same split.

Features, from 25/10 ms log-mel of 40 bands at 16 kHz: ``mfcc_svm``, 20 MFCCs and their derivatives, mean and deviation
over the clip (80 numbers); ``log_mel_svm``, mean and deviation of the bands and deviation of their change from frame to
frame (120 numbers), which is the stronger one on sounds. Classifier: scikit-learn's RBF SVM with C chosen on the
selection part, which then joins the training part for the final fit. Verification: cosine of standardised statistics.
Nothing is fitted on the report part.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sonolex import configs, metrics
from sonolex.arrays import load_arrays, save_arrays
from sonolex.audio.features import delta, librosa_log_mel
from sonolex.cache import FLOORS, keep_within, most_bytes, note_use
from sonolex.configs import cache_folder
from sonolex.data.digests import clips_digests
from sonolex.data.manifest import Clip, Manifest
from sonolex.files import recover
from sonolex.locks import holding
from sonolex.names import spelled
from sonolex.protocols.base import PARTS, Fold, Protocol, digest
from sonolex.scoring import class_name, tags_of

VERSION = 2
MOST_BYTES = 8 << 30
RATE_HZ = 16_000
NUM_MFCC = 20
NUM_MELS = 40
SVM_COSTS = (1.0, 10.0)
MOST_WORDS = 100  # a search among more labels has no classifier as its floor


def floors_of_fold(protocol: Protocol, fold: Fold, fingerprint: str) -> dict[str, dict[str, np.ndarray]]:
    """Return {task: {floor: scores of the report clips}}, in the report part's order.

    Scores have the form of the task's own: (B, C) class scores, (B, 1) values, (B, D) embeddings. They are computed
    once per fingerprint, fold and clips (`_cache_key`), and kept in the cache (`sonolex.cache`).
    """
    key = _cache_key(protocol, fold)
    path = cache_folder() / FLOORS / f"v{VERSION}-{fingerprint}-{spelled(fold.name)}-{key}.npz"
    with holding(path.parent, path.name):  # who comes second reads what the first one wrote
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
    """Return a digest of all that decides floors: clips and audio of every part, tasks, and how they are computed.

    Audio without a digest is known by its file: place, size and time of the last change.
    """
    import sklearn

    settings = [VERSION, RATE_HZ, NUM_MFCC, NUM_MELS, SVM_COSTS, MOST_WORDS, sklearn.__version__, np.__version__]
    labels = [str(getattr(t, "label", "")) for t in protocol.tasks]
    clips = [clips_digests(fold.part(name), ("id", "offset_s", "duration_s", *labels), places=True) for name in PARTS]
    return digest([settings, [{"kind": t.kind, **configs.to_json(t)} for t in protocol.tasks], clips])


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


def _floors_of_task(task: Any, fold: Fold, by_part: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    statistics = {part: of_part["mfcc"] for part, of_part in by_part.items()}
    if task.kind == "classification":
        log_mel = {part: of_part["log_mel"] for part, of_part in by_part.items()}
        floors = _classification_floors(task, fold, statistics, "mfcc_svm")
        return floors | _classification_floors(task, fold, log_mel, "log_mel_svm")
    if task.kind == "regression":
        return _regression_floors(task, fold, statistics)
    if task.kind == "verification":
        return _verification_floors(statistics)
    if task.kind == "tagging":
        return _tagging_floors(task, fold, statistics)
    if task.kind == "retrieval" and len(_names(fold, task)) <= MOST_WORDS:
        return _retrieval_floors(task, fold, statistics)
    return {}


def _classification_floors(
    task: Any, fold: Fold, statistics: dict[str, np.ndarray], name: str
) -> dict[str, np.ndarray]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    classes = [str(name) for name in getattr(task, "classes", ()) or _names(fold, task)]

    def known(part: str) -> tuple[np.ndarray, np.ndarray]:
        labels = fold.part(part).column(task.label)
        rows = [i for i, v in enumerate(labels) if v is not None]
        return statistics[part][rows], np.array([classes.index(class_name(labels[i])) for i in rows])

    (train_x, train_y), (selection_x, selection_y) = known("train"), known("selection")
    svms = [make_pipeline(StandardScaler(), SVC(C=cost)) for cost in SVM_COSTS]
    values = [metrics.balanced_accuracy(selection_y, s.fit(train_x, train_y).predict(selection_x)) for s in svms]
    svm = svms[int(np.argmax(values))]
    svm.fit(np.concatenate([train_x, selection_x]), np.concatenate([train_y, selection_y]))
    one_hot = np.eye(len(classes))
    majority = np.full(len(statistics["report"]), np.bincount(train_y).argmax())
    return {"majority": one_hot[majority], name: one_hot[svm.predict(statistics["report"])]}


def _names(fold: Fold, task: Any) -> list[str]:
    """Return the labels of the training part."""
    return sorted({class_name(v) for v in fold.train.column(task.label) if v is not None})


def _retrieval_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a classifier of the training labels as a search: its answer, and the clip's own label, as unit vectors."""
    names = _names(fold, task)
    answers_BC = _classification_floors(task, fold, statistics, "mfcc_svm")["mfcc_svm"]
    labels = [class_name(v) for v in fold.report.column(task.label)]
    own_BC = np.array([[float(name == label) for name in names] for label in labels])
    return {"mfcc_svm": np.concatenate([answers_BC, own_BC], 1)}


def _tagging_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each class's share of the training clips, and one SVM per class; 0.5 is where it decides."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows = [i for i, v in enumerate(fold.train.column(task.label)) if v is not None]
    tags = [set(tags_of(fold.train.column(task.label)[i])) for i in rows]
    shares, answers = [], []
    for name in task.classes:
        yes = np.array([name in t for t in tags])
        shares.append(np.full(len(statistics["report"]), yes.mean()))
        if yes.all() or not yes.any():
            answers.append(shares[-1])
            continue
        svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(statistics["train"][rows], yes)
        answers.append(1 / (1 + np.exp(-svm.decision_function(statistics["report"]))))
    return {"majority": np.stack(shares, 1), "mfcc_svm": np.stack(answers, 1)}


def _regression_floors(task: Any, fold: Fold, statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    labels = fold.train.column(task.label)
    rows = [i for i, v in enumerate(labels) if v is not None]
    values = np.array([float(labels[i]) for i in rows])
    svm = make_pipeline(StandardScaler(), SVR()).fit(statistics["train"][rows], values)
    median = np.full((len(statistics["report"]), 1), np.median(values))
    return {"median": median, "mfcc_svm": svm.predict(statistics["report"])[:, None]}


def _verification_floors(statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    centre, spread = statistics["train"].mean(0), statistics["train"].std(0) + 1e-9
    embeddings_BD = ((statistics["report"] - centre) / spread)[:, : 2 * NUM_MFCC]
    # The first MFCC's mean is the level of the clip.
    return {"mfcc_cosine": embeddings_BD, "mfcc_cosine_level_removed": np.delete(embeddings_BD, 0, axis=1)}
