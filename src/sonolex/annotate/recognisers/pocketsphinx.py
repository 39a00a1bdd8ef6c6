"""CMU PocketSphinx with the English model it carries: works offline and at once, with many errors.

Needs the extra ``asr``.
"""

from __future__ import annotations

import numpy as np

from sonolex.devices import AUTO, only_cpu


class PocketSphinx:
    """One decoder; every clip is one utterance."""

    def __init__(self, place: str | None):
        try:
            from pocketsphinx import Decoder
        except ImportError as e:
            raise ImportError("PocketSphinx must be installed: pip install 'sonolex[asr]'.") from e
        options = {} if place is None else {"hmm": place}
        self.name = "pocketsphinx" if place is None else f"pocketsphinx:{place}"
        self._decoder = Decoder(samprate=16_000, loglevel="FATAL", **options)

    def transcribe(self, wave_S: np.ndarray) -> str:
        pcm = (np.clip(wave_S, -1, 1) * 32767).astype("<i2").tobytes()
        # One clip must not change the transcript of the next: resuming would give other words.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def open_recogniser(place: str | None, *, device: str = AUTO) -> PocketSphinx:
    """Return the recogniser; ``place`` is a folder with another acoustic model.

    Raises:
        ValueError: another device than the CPU.
    """
    only_cpu(device, "PocketSphinx")
    return PocketSphinx(place)
