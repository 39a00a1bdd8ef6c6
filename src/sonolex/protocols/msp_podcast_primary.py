"""MSP-Podcast's primary emotion, eight yes-or-no decisions as CALM trains them (section 5.3)."""

from __future__ import annotations

from sonolex.protocols._msp_podcast import protocol

F1, WA, ACCURACY = "calm_f1", "mean_binary_balanced_accuracy", "mean_binary_accuracy"

PROTOCOL = protocol(
    "msp_podcast_primary",
    "emotion",
    # CALM tables 3, 6 and 8, release 1.6, test part.
    published={
        "CALM tiny, A+L": {F1: 0.483, WA: 0.751, ACCURACY: 0.853},
        "CALM base, A+L": {F1: 0.494, WA: 0.742, ACCURACY: 0.851},
        "CALM tiny, A": {F1: 0.458, WA: 0.751, ACCURACY: 0.851},
        "CALM base, A": {F1: 0.460, WA: 0.751, ACCURACY: 0.798},
        "CALM tiny, A, α = 0": {F1: 0.441, WA: 0.721, ACCURACY: 0.875},
        "CALM base, A, α = 0": {F1: 0.373, WA: 0.712, ACCURACY: 0.875},
        "CALM tiny, L": {F1: 0.460, WA: 0.752, ACCURACY: 0.851},
        "CALM base, L": {F1: 0.485, WA: 0.738, ACCURACY: 0.844},
    },
    notes="Answering no to everything reaches an accuracy of 0.875 on eight classes.",
)
