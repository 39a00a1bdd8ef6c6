"""From saved predictions to named metrics: one function per kind of prediction, used by tasks and by tables alike.

A task names its function in ``scorer``; predictions are saved with that name and its options, so a table needs neither
the task nor the model. Labels are raw values of the manifest, None where unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sonolex import metrics

TAG_SEPARATOR = ";"
NO_TAG = "none"


def class_name(value: Any) -> str:
    """Return a label as text: 3 and 3.0 are "3", True is "yes".

    >>> class_name(3.0), class_name("angry"), class_name(True)
    ('3', 'angry', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def tags_of(value: Any) -> list[str]:
    """Return the names in a label of several, "dog;rain"; none for "none".

    >>> tags_of("dog; rain"), tags_of("none")
    (['dog', 'rain'], [])
    """
    names = [name.strip() for name in str(value).split(TAG_SEPARATOR)]
    return [name for name in names if name and name != NO_TAG]


def score(name: str, labels: Sequence[Any], scores: np.ndarray, **options: Any) -> dict[str, float]:
    """Return the metrics of scorer ``name`` over the clips whose label is known; empty if none is.

    Raises:
        ValueError: no such scorer, or labels it does not understand.
    """
    if name not in SCORERS:
        raise ValueError(f"`scorer` must be one of {', '.join(SCORERS)}, but is {name!r}.")
    known = [i for i, v in enumerate(labels) if v is not None]
    if not known:
        return {}
    return SCORERS[name]([labels[i] for i in known], np.asarray(scores)[known], **options)


def decisions(
    labels: Sequence[Any], scores_BC: np.ndarray, classes: Sequence[str], *, open_vocabulary: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted class ids.

    Raises:
        ValueError: labels that are no class, unless the vocabulary is open; then they are NO_CLASS, which is never
            predicted.
    """
    ids = {name: i for i, name in enumerate(classes)}
    unknown = sorted({class_name(v) for v in labels} - set(ids))
    if unknown and open_vocabulary:
        ids |= dict.fromkeys(unknown, NO_CLASS)
    elif unknown:
        raise ValueError(f"labels must be classes ({', '.join(classes)}), but some are {', '.join(unknown)}.")
    return np.array([ids[class_name(v)] for v in labels]), np.asarray(scores_BC).argmax(1)


def classification(
    labels: Sequence[Any],
    scores_BC: np.ndarray,
    *,
    classes: Sequence[str],
    metric_names: Sequence[str],
    open_vocabulary: bool = False,
) -> dict[str, float]:
    """Return metrics of one class per clip; "map" and "mean_roc_area" rank the scores of each class.

    "top2", "top5" and "top10" count a clip as right whose class is among so many best; of equal scores the first class
    is the better one.
    """
    true_B, predicted_B = decisions(labels, scores_BC, classes, open_vocabulary=open_vocabulary)
    ranking = _ranking(np.eye(len(classes))[true_B], scores_BC) if set(metric_names) & set(RANKING) else {}
    best_BC = np.argsort(-np.asarray(scores_BC), axis=1, kind="stable")
    ranking |= {n: float((best_BC[:, :k] == true_B[:, None]).any(1).mean()) for n, k in TOP.items()}
    decided = metrics.CLASSIFICATION | metrics.PRECISION_RECALL
    return {
        n: decided[n](true_B, predicted_B) if n in decided else ranking[n]
        for n in metric_names
        if n in decided or n in ranking
    }


def tagging(
    labels: Sequence[Any],
    scores_BC: np.ndarray,
    *,
    classes: Sequence[str],
    metric_names: Sequence[str] = (),
    thresholds: Sequence[float] = (),
) -> dict[str, float]:
    """Return metrics of any number of classes per clip, over classes with both positives and negatives.

    A metric of yes-or-no decisions is given once per threshold policy, which its name ends in: ``@0.5``; ``@argmax``,
    where a clip has the one class with the highest score; ``@tuned``, with ``thresholds`` chosen on other clips.
    """
    true_BC = np.array([[float(c in tags) for c in classes] for tags in map(tags_of, labels)])
    scores_BC = np.asarray(scores_BC)
    found = _ranking(true_BC, scores_BC)
    scored = [c for c in range(len(classes)) if 0 < true_BC[:, c].sum() < len(true_BC)]
    policies = {"0.5": scores_BC >= 0.5, "argmax": np.eye(len(classes), dtype=bool)[scores_BC.argmax(1)]}
    if len(thresholds):
        policies["tuned"] = scores_BC >= np.asarray(thresholds)
    for name in metric_names if scored else ():
        for policy, decided_BC in policies.items():
            found[f"{name}@{policy}"] = metrics.TAGGING[name](true_BC[:, scored], decided_BC[:, scored].astype(float))
    return found


def regression(labels: Sequence[Any], scores_B1: np.ndarray, *, metric_names: Sequence[str]) -> dict[str, float]:
    """Return metrics of one number per clip."""
    true_B = np.array([float(v) for v in labels])
    return {n: metrics.REGRESSION[n](true_B, scores_B1[:, 0]) for n in metric_names}


def verification(labels: Sequence[Any], scores_BD: np.ndarray) -> dict[str, float]:
    """Return the exact `eer` over all pairs and, from four speakers on, CTAL's sampled one under its own name."""
    speakers_B = np.array([class_name(v) for v in labels])
    if len(np.unique(speakers_B)) < 2:
        return {}
    found = {"eer": metrics.eer(*metrics.all_pairs(speakers_B, scores_BD))}
    by_speaker = {str(s): scores_BD[speakers_B == s] for s in np.unique(speakers_B)}
    if len(by_speaker) >= metrics.GE2E_SPEAKERS:
        found["eer_ge2e_sampled"] = metrics.eer_ge2e_sampled(by_speaker)
    return found


def probe(
    labels: Sequence[Any], scores_BD: np.ndarray, *, num_folds: int = 5, num_neighbours: int = 5
) -> dict[str, float]:
    """Return what frozen vectors know of a label: a cross-validated linear probe and a nearest-neighbour one.

    ``linear_accuracy``: logistic regression on standardised vectors, stratified folds; a class with fewer clips than
    folds lowers their number. ``knn_accuracy``: majority of the nearest other clips by cosine.

    Raises:
        ValueError: a class with one clip only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names_B = np.array([class_name(v) for v in labels])
    _, counts = np.unique(names_B, return_counts=True)
    if len(counts) < 2:
        return {}
    if counts.min() < 2:
        raise ValueError("a probe must have at least 2 clips of every class, but one class has 1.")
    folds = StratifiedKFold(min(num_folds, int(counts.min())), shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    predicted_B = cross_val_predict(linear, scores_BD, names_B, cv=folds)
    unit_BD = scores_BD / np.maximum(np.linalg.norm(scores_BD, axis=1, keepdims=True), 1e-12)
    cosines_BB = unit_BD @ unit_BD.T
    np.fill_diagonal(cosines_BB, -np.inf)
    nearest_Bk = np.argsort(-cosines_BB, axis=1, kind="stable")[:, : min(num_neighbours, len(names_B) - 1)]
    voted_B = np.array([max(sorted(set(row)), key=row.tolist().count) for row in names_B[nearest_Bk]])
    return {
        "linear_accuracy": metrics.accuracy(names_B, np.asarray(predicted_B)),
        "knn_accuracy": metrics.accuracy(names_B, voted_B),
    }


def retrieval(labels: Sequence[Any], scores_BD: np.ndarray) -> dict[str, float]:
    """Return recall at 1, 5 and 10 from audio to text and back; the two halves of a row are its two unit vectors.

    Clips with one label share one text, the mean of theirs. Of equally near answers the wrong ones come first. Clips
    that lack a modality (zeros) are left out; empty without two different labels.
    """
    audio_BD, text_BD = np.split(np.asarray(scores_BD, np.float64), 2, axis=1)
    both_B = audio_BD.any(1) & text_BD.any(1)
    audio_BD, text_BD = audio_BD[both_B], text_BD[both_B]
    names_M, text_B = np.unique(np.array([class_name(v) for v in labels])[both_B], return_inverse=True)
    if len(names_M) < 2:
        return {}
    right_BM = text_B[:, None] == np.arange(len(names_M))
    texts_MD = (right_BM.T @ text_BD) / right_BM.sum(0)[:, None]
    cosines_BM = audio_BD @ (texts_MD / np.maximum(np.linalg.norm(texts_MD, axis=1, keepdims=True), 1e-12)).T
    found = {}
    for direction, scores, right in (
        ("audio_to_text", cosines_BM, right_BM),
        ("text_to_audio", cosines_BM.T, right_BM.T),
    ):
        found |= {f"{direction}_recall_at_{k}": v for k, v in metrics.recalls(scores, right).items()}
    return found


NO_CLASS = -1
TOP = {"top2": 2, "top5": 5, "top10": 10}
RANKING = ("map", "mean_roc_area", "d_prime", "classes_scored")
SCORERS: dict[str, Callable[..., dict[str, float]]] = {
    f.__name__: f for f in (classification, tagging, regression, verification, probe, retrieval)
}


def _ranking(true_BC: np.ndarray, scores_BC: np.ndarray) -> dict[str, float]:
    """Return mAP, AUC and d′ over the classes that have both positives and negatives, and how many those are.

    Without either, average precision and area are undefined (reference G); no such class is counted as a success.
    """
    scored = [c for c in range(true_BC.shape[1]) if 0 < true_BC[:, c].sum() < len(true_BC)]
    if not scored:
        return {"classes_scored": 0.0}
    area = metrics.mean_roc_area(true_BC[:, scored], scores_BC[:, scored])
    return {
        "map": metrics.mean_average_precision(true_BC[:, scored], scores_BC[:, scored]),
        "mean_roc_area": area,
        "d_prime": metrics.d_prime(area),
        "classes_scored": float(len(scored)),
    }
