"""Eight acted emotions of RAVDESS, six folds with unseen actors (240 clips each), predictions pooled."""

from __future__ import annotations

from sonolex.data.corpora.ravdess import EMOTIONS
from sonolex.protocols._ravdess import protocol

PROTOCOL = protocol("ravdess_6fold", EMOTIONS)
