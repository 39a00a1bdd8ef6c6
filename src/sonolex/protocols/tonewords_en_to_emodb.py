"""The tones of ToneWords in English, tested on EMO-DB's German actors."""

from __future__ import annotations

from sonolex.protocols._tones_of_corpora import to_emodb

PROTOCOL = to_emodb("en")
