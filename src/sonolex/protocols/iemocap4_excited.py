"""IEMOCAP, four emotions, excited counted as happy (5,531 utterances): leave one session out."""

from __future__ import annotations

from sonolex.protocols._iemocap import protocol

PROTOCOL = protocol("iemocap4_excited", merge_excited=True)
