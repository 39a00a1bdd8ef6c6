"""From saved predictions to named metrics: one function per kind of prediction, used by tasks and by tables alike.

A task names its function in ``scorer``; predictions are saved with that name and its options, so a table needs neither
the task nor the model. Labels are raw values of the manifest, None where unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sonolex import eer, metrics

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


def score(
    name: str,
    labels: Sequence[Any],
    scores: np.ndarray,
    options: Mapping[str, Any] | None = None,
    *,
    groups: Sequence[Any] | None = None,
) -> dict[str, float]:
    """Return the metrics of scorer ``name`` over the clips whose label is known; empty if none is.

    Args:
        options: of the scorer, as `require_options` wants them.
        groups: what the clips come from (speakers, recordings), None where unknown; for scorers that divide clips.

    Raises:
        ValueError: no such scorer or option, or labels it does not understand.
    """
    options = options or {}
    require_options(name, options)
    known = [i for i, v in enumerate(labels) if v is not None]
    if not known:
        return {}
    divided = {"groups": [groups[i] for i in known]} if groups is not None and name in DIVIDING else {}
    return SCORERS[name]([labels[i] for i in known], np.asarray(scores)[known], **divided, **options)


def require_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError unless there is a scorer ``name`` and these are options of it, each of the right kind."""
    if name not in SCORERS:
        raise ValueError(f"`scorer` must be one of {', '.join(SCORERS)}, but is {name!r}.")
    kinds = OPTIONS[name]
    unknown = sorted(set(options) - set(kinds), key=str)
    if unknown:
        raise ValueError(f"`options` of {name} must be some of {sorted(kinds)}, but have {unknown[:3]!r}.")
    lacking = [option for option in REQUIRED.get(name, ()) if option not in options]
    if lacking:
        raise ValueError(f"`options` of {name} must have {', '.join(lacking)}, but lack them.")
    for option, value in options.items():
        wanted, fits = kinds[option]
        if not fits(value):
            raise ValueError(f"`{option}` of {name} must be {wanted}, but is {repr(value)[:80]}.")


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
    ranking = {}
    if set(metric_names) & set(RANKING):
        ranking = _ranking((true_B[:, None] == np.arange(len(classes))).astype(float), scores_BC)
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
    policies = {"0.5": scores_BC >= 0.5, "argmax": scores_BC.argmax(1)[:, None] == np.arange(len(classes))}
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
    found = {"eer": eer.eer(*eer.all_pairs(speakers_B, scores_BD))}
    by_speaker = {str(s): scores_BD[speakers_B == s] for s in np.unique(speakers_B)}
    if len(by_speaker) >= eer.GE2E_SPEAKERS:
        found["eer_ge2e_sampled"] = eer.eer_ge2e_sampled(by_speaker)
    return found


def probe(
    labels: Sequence[Any],
    scores_BD: np.ndarray,
    *,
    groups: Sequence[Any] | None = None,
    num_folds: int = 5,
    num_neighbours: int = 5,
    across: str = "groups",
) -> dict[str, float]:
    """Return what frozen vectors know of a label: a cross-validated linear probe and a nearest-neighbour one.

    ``linear_accuracy``: logistic regression on standardised vectors, stratified folds; a class with fewer groups than
    folds lowers their number. ``knn_accuracy``: majority of the nearest clips by cosine. No clip is judged by another
    one of its own group (speaker, recording); with ``across="clips"``, or where no group has two clips, by itself.

    Raises:
        ValueError: a class in one group only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names_B = np.array([class_name(v) for v in labels])
    if len(np.unique(names_B)) < 2:
        return {}
    groups_B = group_numbers(groups if across == "groups" else None, len(names_B))
    folds = separate_folds(names_B, groups_B, num_folds)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    predicted_B = cross_val_predict(linear, scores_BD, names_B, cv=folds)
    unit_BD = scores_BD / np.maximum(np.linalg.norm(scores_BD, axis=1, keepdims=True), 1e-12)
    cosines_BB = np.where(groups_B[:, None] == groups_B, -np.inf, unit_BD @ unit_BD.T)
    num_others = len(names_B) - int(np.bincount(groups_B).max())
    nearest_Bk = np.argsort(-cosines_BB, axis=1, kind="stable")[:, : min(num_neighbours, num_others)]
    voted_B = np.array([max(sorted(set(row)), key=row.tolist().count) for row in names_B[nearest_Bk]])
    return {
        "linear_accuracy": metrics.accuracy(names_B, np.asarray(predicted_B)),
        "knn_accuracy": metrics.accuracy(names_B, voted_B),
    }


def group_numbers(groups: Sequence[Any] | None, num_clips: int) -> np.ndarray:
    """Return a number for each clip that it shares with the clips of its group; clips of no known group are alone.

    >>> group_numbers(["anna", None, "anna", None], 4).tolist()
    [0, 1, 0, 2]
    """
    keys = list(range(num_clips)) if groups is None else [(i,) if g is None else str(g) for i, g in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def separate_folds(names_B: np.ndarray, groups_B: np.ndarray, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (training rows, other rows) of stratified folds that share no group; all classes are in all trainings.

    A class in fewer groups than folds lowers their number. Where a class would be missing from a training because its
    groups fell into one fold, every group is a fold.

    Raises:
        ValueError: a class in one group only.
    """
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

    num_groups = {str(name): len(np.unique(groups_B[names_B == name])) for name in np.unique(names_B)}
    rarest = min(num_groups, key=lambda name: num_groups[name])
    alone = len(np.unique(groups_B)) == len(groups_B)
    if num_groups[rarest] < 2:
        what = "clips" if alone else "groups (speakers, recordings)"
        cure = "" if alone else " Take a part with more of them, or probe across clips."
        raise ValueError(f"a probe must have at least 2 {what} of every class, but {rarest!r} has 1.{cure}")
    count = min(num_folds, num_groups[rarest])
    if alone:
        return list(StratifiedKFold(count, shuffle=True, random_state=0).split(names_B, names_B))
    folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=0).split(names_B, names_B, groups_B))
    if all(len(test) and len(np.unique(names_B[train])) == len(num_groups) for train, test in folds):
        return folds
    return list(LeaveOneGroupOut().split(names_B, names_B, groups_B))


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
DIVIDING = ("probe",)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value)


def _whole(low: int, high: int) -> tuple[str, Callable[[Any], bool]]:
    return f"a whole number from {low} to {high}", lambda v: type(v) is int and low <= v <= high


def _metrics(known: Iterable[str]) -> tuple[str, Callable[[Any], bool]]:
    names = frozenset(known)
    return f"different names of {sorted(names)}", lambda v: _texts(v) and set(v) <= names


def _is_thresholds(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(v) in (int, float) and abs(v) < 1e9 for v in value)


_CLASSES = ("different names", lambda v: _texts(v) and len(v) > 0)
OPTIONS: dict[str, dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "classification": {
        "classes": _CLASSES,
        "metric_names": _metrics([*metrics.CLASSIFICATION, *metrics.PRECISION_RECALL, *RANKING, *TOP]),
        "open_vocabulary": ("true or false", lambda v: isinstance(v, bool)),
    },
    "tagging": {
        "classes": _CLASSES,
        "metric_names": _metrics(metrics.TAGGING),
        "thresholds": ("numbers", _is_thresholds),
    },
    "regression": {"metric_names": _metrics(metrics.REGRESSION)},
    "verification": {},
    "probe": {
        "num_folds": _whole(2, 100),
        "num_neighbours": _whole(1, 1000),
        "across": ('"groups" or "clips"', lambda v: v in ("groups", "clips")),
    },
    "retrieval": {},
}
"""Options of each scorer: what a value must be, and whether one is."""
REQUIRED = {"classification": ("classes", "metric_names"), "tagging": ("classes",), "regression": ("metric_names",)}


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
