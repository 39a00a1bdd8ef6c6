"""Who speaks? The 251 speakers of LibriSpeech's train-clean-100, known in training: identification, not verification.

Every speaker's utterances are dealt in order of their ids: eight of ten train, one selects, one is reported. Chapters
are shared between the parts, so room and book help; there is no official division.
"""

from __future__ import annotations

from collections import defaultdict

from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.classification import ClassificationConfig

SUBSET = "train-clean-100"


def split(manifest: Manifest) -> list[Fold]:
    manifest = manifest.where(split=SUBSET)
    speakers, ids = manifest.column("speaker"), manifest.column("id")
    parts: dict[str, list[int]] = {"train": [], "selection": [], "report": []}
    spoken: dict[str, int] = defaultdict(int)
    for row in sorted(range(len(ids)), key=lambda r: ids[r]):
        place = spoken[speakers[row]] % 10
        parts["selection" if place == 8 else "report" if place == 9 else "train"].append(row)
        spoken[speakers[row]] += 1
    return [Fold("known", *(manifest.take(rows) for rows in parts.values()))]


PROTOCOL = Protocol(
    name="librispeech_speakers",
    corpus="librispeech",
    corpus_options={"subsets": (SUBSET,)},
    split=split,
    tasks=(ClassificationConfig("speaker", label="speaker"),),
    primary="accuracy",
    modalities=("audio",),
    notes="Chapters are shared between the parts. The run names the speakers, in the order of their ids.",
)
