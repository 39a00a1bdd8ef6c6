"""Shared by the protocols between ToneWords and EMO-DB: tones learned from one corpus, tested on the other."""

from __future__ import annotations

from collections.abc import Callable

from sonolex.data.corpora.emodb import SPEAKERS
from sonolex.data.manifest import Manifest
from sonolex.protocols._tonewords import TONE
from sonolex.protocols.base import Fold, Protocol


def to_emodb(language: str) -> Protocol:
    """Return the protocol that trains on ToneWords' tones in ``language`` and reports on all speakers of EMO-DB."""

    def split(manifest: Manifest) -> list[Fold]:
        spoken = manifest.where(corpus="tonewords", language=language)
        report = manifest.where(corpus="emodb")
        return [Fold("all", spoken.where(split="train"), spoken.where(split="validation"), report)]

    return _protocol(f"tonewords_{language}_to_emodb", split)


def from_emodb(language: str) -> Protocol:
    """Return the protocol that trains on eight speakers of EMO-DB, selects on two, and reports on ToneWords."""

    def split(manifest: Manifest) -> list[Fold]:
        acted, spoken = manifest.where(corpus="emodb"), manifest.where(corpus="tonewords", language=language)
        learned, chosen = (acted.where(speaker=list(names)) for names in (SPEAKERS[:8], SPEAKERS[8:]))
        return [Fold("all", learned, chosen, spoken.where(split="test"))]

    return _protocol(f"emodb_to_tonewords_{language}", split)


def _protocol(name: str, split: Callable[[Manifest], list[Fold]]) -> Protocol:
    return Protocol(
        name=name,
        corpus="tonewords_and_emodb",
        split=split,
        tasks=(TONE,),
        primary="macro_f1",
        disjoint=("id", "speaker"),
        modalities=("audio",),
    )
