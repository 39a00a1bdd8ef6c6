"""EMO-DB's emotions, tested on ToneWords' tones in German."""

from __future__ import annotations

from sonolex.protocols._tones_of_corpora import from_emodb

PROTOCOL = from_emodb("de")
