"""MSP-Podcast's primary and secondary emotions, any number a turn (CALM section 5.3)."""

from __future__ import annotations

from sonolex.protocols._msp_podcast import protocol

PROTOCOL = protocol(
    "msp_podcast_all",
    "emotions",
    notes="An emotion is present if any listener named it first or second. CALM publishes no number for it.",
)
