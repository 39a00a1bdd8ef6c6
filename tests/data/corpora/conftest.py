from __future__ import annotations

import pytest

from sonolex.data.corpora import tonewords


@pytest.fixture(scope="session")
def words():
    """The smallest ToneWords."""
    pytest.importorskip("espeakng_loader")
    return tonewords.prepare(size="tiny")
