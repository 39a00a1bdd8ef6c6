"""Speaker verification on LibriSpeech: train on train-960, trials among the 40 speakers of test-clean.

There is no official trial list. Ours: every unordered pair of test-clean's 2,620 utterances (3,430,890 trials, no
sampling and so no seed). Selection: every unordered pair of dev-clean. A transcript can give a book away, so results
with text are not comparable with audio-only ones. The 2,338 training speakers are named by the run.
"""

from __future__ import annotations

from sonolex.data.corpora.librispeech import TRAIN_960
from sonolex.data.manifest import Manifest
from sonolex.protocols.base import Fold, Protocol
from sonolex.tasks.verification import VerificationConfig


def split(manifest: Manifest) -> list[Fold]:
    """Return train-960, dev-clean and test-clean."""
    train, selection, report = (manifest.where(split=s) for s in (TRAIN_960, "dev-clean", "test-clean"))
    return [Fold("official", train=train, selection=selection, report=report)]


PROTOCOL = Protocol(
    name="librispeech_verification",
    corpus="librispeech",
    corpus_options={"subsets": (*TRAIN_960, "dev-clean", "test-clean")},
    split=split,
    tasks=(VerificationConfig("speaker"),),
    primary="eer",
    disjoint=("id", "speaker"),
    # CTAL table 3: other trials, sampled and optimistic (docs/reference.md, CTAL), and with the transcript as input.
    published={
        "CTAL-BASE": {"eer": 0.0194},
        "CTAL-LARGE": {"eer": 0.0155},
        "GE2E": {"eer": 0.0379},
        "RawNet": {"eer": 0.0253},
    },
    notes="CTAL's EER comes from sampled trials (see sonolex.eer.eer_ge2e_sampled), so it is not comparable with ours.",
)
