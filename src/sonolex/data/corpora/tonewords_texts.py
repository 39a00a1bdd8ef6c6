"""ToneWords' sentences as text alone, as many as are wanted, for what can be learned from words before it is heard.

They are drawn as those that are spoken: any of them may be one. Licence: generated, no rights reserved.
"""

from __future__ import annotations

import numpy as np

from sonolex.data.corpora._tonewords_lexicons import LEXICONS
from sonolex.data.corpora.tonewords import SENTIMENTS, sentence
from sonolex.data.manifest import Manifest, manifest_from_rows


def prepare(root: None = None, *, count: int = 200_000, seed: int = 0, language: str = "en") -> Manifest:
    """Return ``count`` sentences with ``text``, ``sentiment`` (in turn) and ``keyword``; nothing is read or written.

    Raises:
        ValueError: unknown language.
    """
    if language not in LEXICONS:
        raise ValueError(f"`language` must be one of {', '.join(LEXICONS)}, but is {language!r}.")
    rng, lexicon, rows = np.random.default_rng(seed), LEXICONS[language], []
    for number in range(count):
        sentiment = SENTIMENTS[number % len(SENTIMENTS)]
        text, keyword = sentence(lexicon, sentiment, rng)
        rows.append({"id": f"text{seed}_{language}_{number}", "text": text, "language": language})
        rows[-1] |= {"sentiment": sentiment, "keyword": keyword}
    return manifest_from_rows(rows)
