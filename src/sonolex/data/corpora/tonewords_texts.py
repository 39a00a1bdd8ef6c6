"""ToneWords' sentences as text alone, in any number, to learn from the words before there is audio.

They are drawn like the spoken sentences, so any of them may also be spoken; ``apart_from`` leaves out those of the
validation and test voices. Licence: generated, no rights reserved.
"""

from __future__ import annotations

import numpy as np

from sonolex.data.corpora import tonewords
from sonolex.data.corpora._tonewords_lexicons import LEXICONS
from sonolex.data.manifest import Manifest, manifest_from_rows


def prepare(
    root: None = None, *, count: int = 200_000, seed: int = 0, language: str = "en", apart_from: str = ""
) -> Manifest:
    """Return ``count`` sentences with ``text``, ``sentiment`` (in turn) and ``keyword``.

    Args:
        apart_from: a size of ToneWords, whose validation and test voices' sentences are not drawn. Nothing is read or
            written without it.

    Raises:
        ValueError: unknown language or size.
    """
    if language not in LEXICONS:
        raise ValueError(f"`language` must be one of {', '.join(LEXICONS)}, but is {language!r}.")
    held_out = _held_out(apart_from, language) if apart_from else set()
    rng, lexicon, rows = np.random.default_rng(seed), LEXICONS[language], []
    for number in range(count):
        sentiment = tonewords.SENTIMENTS[number % len(tonewords.SENTIMENTS)]
        text, keyword = tonewords.sentence(lexicon, sentiment, rng)
        while text in held_out:
            text, keyword = tonewords.sentence(lexicon, sentiment, rng)
        rows.append({"id": f"text{seed}_{language}_{number}", "text": text, "language": language})
        rows[-1] |= {"sentiment": sentiment, "keyword": keyword}
    return manifest_from_rows(rows)


def _held_out(size: str, language: str) -> set[str]:
    spoken = tonewords.prepare(size=size, languages=(language,))
    return {text for split in ("validation", "test") for text in spoken.where(split=split).column("text")}
