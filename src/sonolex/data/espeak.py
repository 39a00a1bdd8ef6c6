"""Speech from text with espeak-ng, through ctypes and the ``espeakng-loader`` package (extra: demo).

Two traps this file closes: espeak refuses some voice names and silently keeps the old voice (its return code says so),
and it accepts *unknown variants* without any sign (``en-us+zzz`` speaks as ``en-us``), so variants are checked against
its own folder. Its output depends on everything it spoke before, even after a restart of the library: a corpus is
deterministic only if a *fresh process* speaks it in a fixed order, which `sonolex.data.corpora.tonewords` does.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

_SYNCHRONOUS = 2
_SSML_UTF8 = 0x10 | 0x01
_IPA_SEPARATED = 0x02 | (ord("_") << 8)
_RATE_WPM, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


def speak(ssml: str, *, voice: str, words_per_minute: int = 175, pitch: int = 50, pitch_range: int = 50) -> np.ndarray:
    """Return float32 samples (S,) in ±1 at `sample_rate_hz` of SSML spoken by ``voice``, e.g. "en-us+f3".

    Raises:
        ValueError: espeak does not know the voice or its variant.
        ImportError: the package espeakng-loader is missing.
    """
    espeak = _library()
    _set_voice(voice)
    for parameter, value in (
        (_RATE_WPM, words_per_minute),
        (_VOLUME, 100),
        (_PITCH, pitch),
        (_RANGE, pitch_range),
    ):
        espeak.lib.espeak_SetParameter(parameter, value, 0)
    espeak.blocks.clear()
    encoded = f"<speak>{ssml}</speak>".encode()
    code = espeak.lib.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _SSML_UTF8, None, None)
    if code != 0:
        raise RuntimeError(f"espeak-ng could not speak {ssml!r} (code {code}).")
    samples = np.concatenate(espeak.blocks) if espeak.blocks else np.zeros(0, np.int16)
    return samples.astype(np.float32) / 32768.0


def phones(text: str, *, voice: str) -> list[str]:
    """Return the phones of ``text`` in the International Phonetic Alphabet, stress marks included.

    Raises:
        ValueError: espeak does not know the voice or its variant.
        ImportError: the package espeakng-loader is missing.
    """
    lib = _library().lib
    _set_voice(voice)
    lib.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.pointer(ctypes.c_char_p(text.encode()))
    symbols: list[str] = []
    while rest.contents.value:
        clause = lib.espeak_TextToPhonemes(ctypes.cast(rest, ctypes.POINTER(ctypes.c_void_p)), 1, _IPA_SEPARATED)
        symbols += clause.decode().replace(" ", "_").split("_")
    return [phone for phone in symbols if phone]


def sample_rate_hz() -> int:
    """Return the rate espeak-ng speaks at (22,050 Hz)."""
    return _library().rate_hz


def variants() -> list[str]:
    """Return the names of espeak's voice variants."""
    return sorted(p.name for p in (_library().folder / "voices" / "!v").iterdir())


def _set_voice(voice: str) -> None:
    espeak = _library()
    _, _, variant = voice.partition("+")
    if variant and not (espeak.folder / "voices" / "!v" / variant).is_file():
        raise ValueError(
            f"`voice` must name a variant of espeak-ng, but {variant!r} is not one. See espeak.variants()."
        )
    code = espeak.lib.espeak_SetVoiceByName(voice.encode())
    if code != 0:
        raise ValueError(f"`voice` must be a voice of espeak-ng, but {voice!r} is refused (code {code}).")


@lru_cache(maxsize=1)
def _library() -> SimpleNamespace:
    try:
        import espeakng_loader
    except ImportError as e:
        raise ImportError("speech synthesis needs espeakng-loader: pip install 'sonolex[demo]'") from e
    lib = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    folder = Path(espeakng_loader.get_data_path())
    rate_hz = lib.espeak_Initialize(_SYNCHRONOUS, 0, str(folder).encode(), 0)
    if rate_hz <= 0:
        raise RuntimeError(f"espeak-ng could not be started with its data in {folder}.")
    blocks: list[np.ndarray] = []

    def collect(samples, num_samples, events):
        if samples and num_samples > 0:
            blocks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0

    callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = callback_type(collect)
    lib.espeak_SetSynthCallback(callback)
    return SimpleNamespace(lib=lib, folder=folder, rate_hz=rate_hz, blocks=blocks, callback=callback)
