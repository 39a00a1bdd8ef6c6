"""What recipes share: where recordings are, and views of spoken words."""

from __future__ import annotations

import os
from pathlib import Path

from sonolex.audio.views import Views

DEFAULT_DATA = "../shared/data"
WORD_VIEWS = Views(
    speed=0.2,
    vtlp=0.2,
    equalise_db=10,
    noise_snr_db=5,
    num_time_masks=1,
    time_mask_share=0.15,
    num_mel_masks=2,
    mel_mask_bins=10,
    crop_share=0.15,
    pad_share=1.0,
)
"""Of single spoken words by few speakers: what another speaker, microphone or room would change."""


def corpus_options(*names: str) -> dict[str, str]:
    """Return ``{"root": folder}`` of the first of ``names`` under $SONOLEX_DATA, or beside the checkout."""
    base = Path(os.environ.get("SONOLEX_DATA", DEFAULT_DATA))
    found = [base / name for name in names if (base / name).is_dir()]
    return {"root": str(found[0] if found else base / names[0])}
