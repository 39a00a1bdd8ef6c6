"""IEMOCAP, four emotions, excited not merged into happy (4,490 utterances): leave one session out."""

from __future__ import annotations

from sonolex.protocols._iemocap import protocol

PROTOCOL = protocol("iemocap4", merge_excited=False)
