"""What recipes on real recordings share: where the recordings are."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_DATA = "../shared/data"


def corpus_options(*names: str) -> dict[str, str]:
    """Return ``{"root": folder}`` of the first of ``names`` under $SONOLEX_DATA, or beside the checkout."""
    base = Path(os.environ.get("SONOLEX_DATA", DEFAULT_DATA))
    found = [base / name for name in names if (base / name).is_dir()]
    return {"root": str(found[0] if found else base / names[0])}
