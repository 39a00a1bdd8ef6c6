"""Any number of classes per clip: rankings of each class's scores, and yes-or-no decisions at stated thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sonolex import metrics
from sonolex.labels import tags_of
from sonolex.scores.base import CLASSES, Scorer, names_of


class TaggingScorer(Scorer):
    """Scores of each class from 0 to 1, over classes with both positives and negatives.

    Options: ``classes`` in the order of the columns; ``metric_names`` of yes-or-no decisions, each given once per
    threshold policy, which its name ends in: ``@0.5``; ``@argmax``, where a clip has the one class with the highest
    score; ``@tuned``, with ``thresholds`` chosen on other clips. Rankings are always given.
    """

    options: ClassVar = {
        "classes": CLASSES,
        "metric_names": names_of(metrics.TAGGING),
        "thresholds": ("numbers", lambda v: _are_thresholds(v)),
    }
    required = ("classes",)
    clipwise = True
    num_draws = 60
    paper_words: ClassVar = {
        "mean_binary_balanced_accuracy": "WA in CALM",
        "mean_binary_accuracy": "Acc in CALM",
        "calm_f1": "F1 in CALM",
        **metrics.RANKING_WORDS,
    }

    def metrics(
        self, labels: Sequence[Any], scores: np.ndarray, options: Mapping[str, Any], groups: Sequence[Any] | None
    ) -> dict[str, float]:
        classes, thresholds = options["classes"], options.get("thresholds", ())
        true_BC = np.array([[float(c in tags) for c in classes] for tags in map(tags_of, labels)])
        scores_BC = np.asarray(scores)
        values = metrics.ranking(true_BC, scores_BC)
        scored = metrics.mixed_classes(true_BC)
        policies = {"0.5": scores_BC >= 0.5, "argmax": scores_BC.argmax(1)[:, None] == np.arange(len(classes))}
        if len(thresholds):
            policies["tuned"] = scores_BC >= np.asarray(thresholds)
        for name in options.get("metric_names", ()) if scored else ():
            for policy, decided_BC in policies.items():
                values[f"{name}@{policy}"] = metrics.TAGGING[name](
                    true_BC[:, scored], decided_BC[:, scored].astype(float)
                )
        return values

    def require_options(self, options: Mapping[str, Any]) -> None:
        super().require_options(options)
        if len(options.get("thresholds", ())) not in (0, len(options["classes"])):
            raise ValueError("`thresholds` of tagging must be one for each class, but are not.")

    def wrong_labels(self, labels: Iterable[Any], options: Mapping[str, Any]) -> list[Any]:
        classes = set(options["classes"])
        return [v for v in labels if set(tags_of(v)) - classes]

    def only(self, options: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
        names = dict.fromkeys(name.partition("@")[0] for name in wanted)
        return super().only(options, [name for name in names if name in metrics.TAGGING])


def _are_thresholds(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(v) in (int, float) and abs(v) < 1e9 for v in value)


SCORER = TaggingScorer()
