"""Simple predictors that any model must beat, from statistics of clips: arrays in, scores of the report clips out.

Classifier: scikit-learn's RBF SVM with C chosen on the selection part, which then joins the training part for the final
fit. Nothing is fitted on the report part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonolex import metrics
from sonolex.labels import class_name

SVM_COSTS = (1.0, 10.0)
MOST_WORDS = 100  # a search among more labels has no classifier as its floor


@dataclass(frozen=True)
class PartOfFold:
    """The clips of one part of a fold: labels, None where unknown, and statistics (clips, numbers) by name.

    "mfcc" begins with means and deviations, half of its numbers; "log_mel" is the stronger one on sounds.
    """

    labels: Sequence[Any]
    statistics: Mapping[str, np.ndarray]

    def known(self, statistics: str) -> tuple[np.ndarray, list[Any]]:
        """Return statistics and labels of the clips whose label is known."""
        rows = [i for i, v in enumerate(self.labels) if v is not None]
        return self.statistics[statistics][rows], [self.labels[i] for i in rows]

    @property
    def names(self) -> list[str]:
        """Its labels as class names, each once, in order."""
        return sorted({class_name(v) for v in self.labels if v is not None})

    def __len__(self) -> int:
        return len(self.labels)


Parts = Mapping[str, PartOfFold]
"""The parts of a fold: train, selection, report."""


def majority(parts: Parts, classes: Sequence[str]) -> np.ndarray:
    """Return the training part's largest class for every report clip, as ones and zeros (B, C)."""
    ids = [classes.index(class_name(v)) for v in parts["train"].labels if v is not None]
    return np.eye(len(classes))[np.full(len(parts["report"]), np.bincount(ids).argmax())]


def svm_classes(parts: Parts, classes: Sequence[str], statistics: str) -> np.ndarray:
    """Return the class that an SVM gives every report clip, as ones and zeros (B, C)."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    def known(part: str) -> tuple[np.ndarray, np.ndarray]:
        x, labels = parts[part].known(statistics)
        return x, np.array([classes.index(class_name(v)) for v in labels])

    (train_x, train_y), (selection_x, selection_y) = known("train"), known("selection")
    svms = [make_pipeline(StandardScaler(), SVC(C=cost)) for cost in SVM_COSTS]
    values = [metrics.balanced_accuracy(selection_y, s.fit(train_x, train_y).predict(selection_x)) for s in svms]
    svm = svms[int(np.argmax(values))]
    svm.fit(np.concatenate([train_x, selection_x]), np.concatenate([train_y, selection_y]))
    return np.eye(len(classes))[svm.predict(parts["report"].statistics[statistics])]
