"""A Whisper-type model through transformers: a local folder or hub:ORG/NAME, greedy decoding, 30 s at a time.

Needs the extra ``whisper``. Weights are read from safetensors only.
"""

from __future__ import annotations

import numpy as np
import torch

from sonolex.devices import AUTO, find_device
from sonolex.pretrained.files import checkpoint_folder

WINDOW_S = 30


class Whisper:
    """Feature extractor, model and tokenizer of one checkpoint."""

    def __init__(self, place: str, device: torch.device):
        try:
            from transformers import WhisperForConditionalGeneration, WhisperProcessor
        except ImportError as e:
            raise ImportError("Whisper needs transformers: pip install 'sonolex[whisper]'.") from e
        folder = checkpoint_folder(place)
        self.name = f"whisper:{place}"
        self._processor = WhisperProcessor.from_pretrained(folder)
        model = WhisperForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
        self._model = model.eval().to(device)  # type: ignore[arg-type]
        self._rate_hz = self._processor.feature_extractor.sampling_rate

    @torch.inference_mode()
    def transcribe(self, wave_S: np.ndarray) -> str:
        texts = []
        for start in range(0, max(1, len(wave_S)), WINDOW_S * self._rate_hz):
            piece_S = wave_S[start : start + WINDOW_S * self._rate_hz]
            inputs = self._processor(
                piece_S, sampling_rate=self._rate_hz, return_tensors="pt", return_attention_mask=True
            ).to(self._model.device)
            ids_1L = self._model.generate(
                inputs.input_features, attention_mask=inputs.attention_mask, num_beams=1, do_sample=False
            )
            texts.append(self._processor.batch_decode(ids_1L, skip_special_tokens=True)[0].strip())
        return " ".join(t for t in texts if t)


def open_recogniser(place: str | None, *, device: str = AUTO) -> Whisper:
    """Return the recogniser.

    Raises:
        ValueError: no model is named, or there is no such device.
    """
    if place is None:
        raise ValueError("`asr` must name Whisper's model: whisper:FOLDER or whisper:hub:ORG/NAME.")
    return Whisper(place, find_device(device))
