"""The official five folds of ESC-50 and ESC-10, with a selection part inside the training folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sonolex.data.corpora.esc50 import FOLDS
from sonolex.data.manifest import Manifest
from sonolex.data.splits import disjoint_splits
from sonolex.protocols.base import Fold

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "map", "mean_roc_area")
SHARES = {"train": 0.9, "selection": 0.1}


def five_folds(manifest: Manifest) -> list[Fold]:
    """Return one fold per official fold; a tenth of the training folds selects, recordings kept together."""
    folds = []
    for name in FOLDS:
        known = manifest.where(fold=[f for f in FOLDS if f != name])
        part = disjoint_splits(known.column("source_id"), shares=SHARES, seed=0, strata=known.column("sound"))
        rows = {p: np.flatnonzero(np.array(part) == p) for p in SHARES}
        folds.append(Fold(name, known.take(rows["train"]), known.take(rows["selection"]), manifest.where(fold=name)))
    return folds


def five_folds_asked_with(column: str) -> Callable[[Manifest], list[Fold]]:
    """Return a split like `five_folds` whose report parts have another column's text."""

    def split(manifest: Manifest) -> list[Fold]:
        return [
            replace(fold, report=fold.report.with_column("text", fold.report.column(column)))
            for fold in five_folds(manifest)
        ]

    return split


def five_folds_selected_on_test(manifest: Manifest) -> list[Fold]:
    """Return the official folds with the whole of the training folds, selected on the test fold as SSAST is."""
    tests = {name: manifest.where(fold=name) for name in FOLDS}
    return [Fold(f, manifest.where(fold=[x for x in FOLDS if x != f]), test, test) for f, test in tests.items()]
