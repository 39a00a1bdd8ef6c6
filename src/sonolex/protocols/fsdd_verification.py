"""Speaker verification on FSDD: train on george, jackson, lucas; all pairs of clips by nicolas, theo, yweweler.

Trials: every unordered pair of the 1,500 report clips (1,124,250), no sampling and so no seed.
Selection: every unordered pair of the official test takes of the training speakers.
"""

from __future__ import annotations

from sonolex.protocols.base import Protocol
from sonolex.protocols.fsdd_digits_unseen_speakers import TRAIN_SPEAKERS, split
from sonolex.tasks.verification import VerificationConfig

PROTOCOL = Protocol(
    name="fsdd_verification",
    corpus="fsdd",
    split=split,
    tasks=(VerificationConfig("speaker", classes=TRAIN_SPEAKERS),),
    primary="eer",
    disjoint=("id", "speaker"),
    modalities=("audio",),
    notes="Three speakers in three rooms: level and channel carry much of the score; see the rows without level.",
)
