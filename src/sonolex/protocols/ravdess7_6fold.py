"""The seven emotions that SpectroBERT's text names (without neutral), six folds with unseen actors."""

from __future__ import annotations

from sonolex.data.corpora.ravdess import EMOTIONS
from sonolex.protocols._ravdess import protocol

PROTOCOL = protocol("ravdess7_6fold", EMOTIONS[1:])
