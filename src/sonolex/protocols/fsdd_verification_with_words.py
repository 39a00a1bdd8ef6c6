"""Speaker verification on FSDD where the spoken word may be read as well, as CTAL reads LibriSpeech's transcripts.

Speakers, trials and scores are those of `fsdd_verification`. Every speaker speaks every digit equally often: the word
alone tells nothing about the speaker.
"""

from __future__ import annotations

from dataclasses import replace

from sonolex.protocols import fsdd_verification

PROTOCOL = replace(fsdd_verification.PROTOCOL, name="fsdd_verification_with_words", modalities=("audio", "text"))
