"""The official split of Clotho-AQA: train, val selects, test reports; answers of three annotators by majority."""

from __future__ import annotations

from collections.abc import Callable

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold


def official_split(kind: str) -> Callable[[Manifest], list[Fold]]:
    """Return the split of questions of one kind, "binary" or "open"."""

    def split(manifest: Manifest) -> list[Fold]:
        manifest = manifest.where(question=kind)
        return [Fold("official", *(manifest.where(split=s) for s in ("train", "val", "test")))]

    return split
