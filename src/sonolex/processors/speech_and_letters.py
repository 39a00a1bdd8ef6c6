"""Samples (or filter banks), letters, and hidden units of the audio: the input of SpeechT5, SpeechLM and RawNet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sonolex import text as text_
from sonolex.audio import features, units
from sonolex.configs import from_json, one_of
from sonolex.files import load_object, save_json
from sonolex.objectives.unit_alignment import letter_units
from sonolex.pretrained.files import tokenizer_folder
from sonolex.processors.base import pad_rows
from sonolex.processors.frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor
from sonolex.types import NO_UNIT, Batch, Example
from sonolex.weights import read_header, read_tensors, require_finite, require_fit, write_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNIT_BANDS, UNIT_WINDOW_MS = 80, 25.0
UNITS_FILE, LETTERS_FILE = "units.safetensors", "letter_units.json"


@dataclass(frozen=True)
class SpeechAndLettersConfig(FramesAndTokensConfig):
    """Samples or filter banks, letters, and hidden units of the audio.

    Attributes:
        audio: "waveform" as published, or "spectrogram": Kaldi filter banks, normalised by clip, for small data.
        normalise: samples to mean 0 and deviation 1 by clip (large models; base models read them as they are).
        num_mels, window_ms: of the filter banks, one frame every ``hop_ms``.
        tokenizer: folder of a SpeechT5 checkpoint whose letters to use; None takes those of the transcripts.
        num_units: clusters of log-mel frames every ``hop_ms``, k-means on training clips; 0 for none. With
            ``unit_column`` the units are the numbers in that column of the manifest instead.
        spoken_letters: also learn from paired clips which units each letter is spoken as (SpeechLM).
        symbols: tokens of a transcript: "letters", or "words", separated by spaces, such as the phones that
            `sonolex phones` writes.
        symbol_repeats: above 0, the symbols are the units themselves (published with phones): text is each symbol so
            many times, and ``unit_column`` holds the symbol of every step of the audio.
    """

    hop_ms: float = 20.0
    max_tokens: int = 600
    cleaner: str = "none"
    audio: str = "waveform"
    normalise: bool = False
    num_mels: int = 80
    window_ms: float = 25.0
    num_units: int = 0
    unit_column: str = ""
    spoken_letters: bool = False
    symbols: str = "letters"
    symbol_repeats: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("waveform", "spectrogram"))
        one_of("symbols", self.symbols, ("letters", "words"))
        if self.tokenizer is not None and self.symbols == "words":
            raise ValueError("`tokenizer` must be None with symbols='words', which are those of the transcripts.")
        if self.symbol_repeats and (self.num_units or self.spoken_letters):
            raise ValueError("`num_units` must be 0 and `spoken_letters` False with `symbol_repeats`.")
        if self.unit_column and not (self.num_units or self.symbol_repeats):
            raise ValueError("`num_units` must be the number of units in `unit_column`, but is 0.")
        if self.spoken_letters and (self.unit_column or not self.num_units):
            raise ValueError("`num_units` must be above 0 and `unit_column` empty with `spoken_letters`.")


def require_units(batch: Batch, steps: Sequence[int]) -> None:
    """Raise ValueError, naming the clip, unless a batch has one hidden unit for each of its clips' ``steps``."""
    if batch.units_BT is None:
        raise ValueError(f"units must be given for every clip with audio, but are not (clips {batch.clip_ids}).")
    num_units = (batch.units_BT != NO_UNIT).sum(1).tolist()
    for clip, count, wanted in zip(batch.clip_ids, num_units, steps, strict=True):
        if count != wanted:
            raise ValueError(
                f"units must be one per step of the encoder ({wanted}), but are {count} (clip {clip!r}). Make them "
                "with this processor's hop."
            )


@dataclass(frozen=True)
class _LetterUnits:
    """Content of the file `LETTERS_FILE`: the units that each letter is spoken as."""

    units_of_letter: tuple[tuple[int, ...], ...]


class SpeechAndLettersProcessor(FramesAndTokensProcessor):
    """Samples or filter banks; letters before an end token; the audio's hidden units."""

    config_type = SpeechAndLettersConfig
    config: SpeechAndLettersConfig

    def __init__(self, config: SpeechAndLettersConfig, tokenizer: Tokenizer, centres_KF: Tensor | None = None):
        super().__init__(config, tokenizer)
        self.centres_KF = centres_KF
        self.letter_units: tuple[tuple[int, ...], ...] = ()
        if config.symbol_repeats:
            ids = range(tokenizer.get_vocab_size())
            real = range(self.special.unknown + 1, self.special.mask)
            self.letter_units = tuple((i,) * (config.symbol_repeats * (i in real)) for i in ids)

    @property
    def num_units(self) -> int:
        """Number of hidden units."""
        return self.tokenizer.get_vocab_size() if self.config.symbol_repeats else self.config.num_units

    @classmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> SpeechAndLettersProcessor:
        processor = super().create(config, transcripts=transcripts)
        assert isinstance(processor, cls)
        if not config.num_units or config.unit_column:
            return processor
        if not config.spoken_letters:
            processor.centres_KF = units.fit_units(map(processor._unit_features, waves), num_units=config.num_units)
            return processor
        paired = [(processor._unit_features(wave_S), processor.tokens(text, "")[:-1]) for wave_S, text in pairs]
        processor.centres_KF = units.fit_units((frames_TF for frames_TF, _ in paired), num_units=config.num_units)
        clips = [(units.assign_units(f, processor.centres_KF).numpy(), letters_L.numpy()) for f, letters_L in paired]
        spoken = letter_units(clips, num_letters=processor.tokenizer.get_vocab_size(), num_units=config.num_units)
        processor.letter_units = tuple(map(tuple, spoken))
        return processor

    @classmethod
    def new_tokenizer(cls, config: Any, transcripts: Sequence[str]) -> Tokenizer:
        if config.tokenizer is not None:
            return text_.load_tokenizer(tokenizer_folder(config.tokenizer))
        train = text_.train_letters if config.symbols == "letters" else text_.train_symbols
        return train(transcripts)

    @property
    def reads_samples(self) -> bool:
        return self.config.audio == "waveform"

    @property
    def num_features(self) -> int:
        return self.config.num_mels

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        if self.reads_samples:
            return torch.from_numpy(wave_S)
        return features.clip_fbank(
            wave_S, rate_hz=c.rate_hz, num_mels=c.num_mels, window_ms=c.window_ms, hop_ms=c.hop_ms
        )

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        if self.reads_samples:
            return self.finished_samples(front, clip_id, normalise=self.config.normalise)
        if self.too_long("audio", "frames", len(front), self.config.max_frames, clip_id):
            front = front[: self.config.max_frames]
        return features.normalise_utterance(front)

    def tokens(self, text: str, clip_id: str) -> Tensor:
        return super().tokens(text, clip_id)[1:]  # SpeechT5 has no start token

    def example(self, clip_id: str, *, front: Tensor | None, **options: Any) -> Example:
        example = super().example(clip_id, front=front, **options)
        return replace(example, units_T=None if front is None else self._units(example, front))

    def collate(self, examples: Sequence[Example]) -> Batch:
        batch = super().collate(examples)
        if self.letter_units and batch.tokens is not None:
            spoken = (0 if e.tokens_L is None else self.num_spoken(e.tokens_L) for e in examples)
            batch = batch.adding(extras={"num_spoken": tuple(spoken)})
        if all(e.units_T is None for e in examples):
            return batch
        return replace(batch, units_BT=pad_rows([e.units_T for e in examples], fill=NO_UNIT).values)

    def num_spoken(self, letters_L: Tensor) -> int:
        """Return how many units a transcript is spoken as; a transcript of silent letters is one."""
        sizes = [len(self.letter_units[letter]) for letter in letters_L.tolist() if letter != self.special.end]
        return max(sum(sizes), min(1, len(sizes)))

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.centres_KF is not None:
            write_tensors(folder / UNITS_FILE, {"centres": self.centres_KF})
        if self.letter_units:
            save_json(folder / LETTERS_FILE, {"units_of_letter": self.letter_units})

    @classmethod
    def load(cls, folder: Path) -> SpeechAndLettersProcessor:
        processor = super().load(folder)
        assert isinstance(processor, cls)
        c, units_file, letters_file = processor.config, folder / UNITS_FILE, folder / LETTERS_FILE
        if units_file.is_file():
            bands = UNIT_BANDS if processor.reads_samples else c.num_mels
            require_fit(str(units_file), read_header(units_file), {"centres": torch.empty(c.num_units, bands)})
            processor.centres_KF = read_tensors(units_file)["centres"]
            require_finite(str(units_file), "centres", processor.centres_KF)
        if letters_file.is_file():
            written = from_json(_LetterUnits, load_object(letters_file), where=str(letters_file)).units_of_letter
            if any(not 0 <= unit < processor.num_units for letter in written for unit in letter):
                raise ValueError(f"{letters_file} must hold units from 0 to {processor.num_units - 1}, but has others.")
            if len(written) != processor.tokenizer.get_vocab_size():
                raise ValueError(
                    f"{letters_file} must hold the units of {processor.tokenizer.get_vocab_size()} letters, but has "
                    f"{len(written)}."
                )
            processor.letter_units = written
        return processor

    def _units(self, example: Example, front: Tensor) -> Tensor | None:
        """Return the units of a clip (T,), one per step of the system, by the clip's column or by its frames."""
        column = self.config.unit_column
        if column and example.labels.get(column) is not None:
            numbers = self._numbers(str(example.labels[column]).split(), example.clip_id)
            return torch.tensor(numbers, dtype=torch.long)
        if self.centres_KF is None:
            return None
        assert example.audio is not None
        if not self.reads_samples:
            return units.assign_units(example.audio, self.centres_KF)
        return units.assign_units(self._unit_features(example.audio.numpy()), self.centres_KF)

    def _numbers(self, written: Sequence[str], clip_id: str) -> list[int]:
        """Return the units that are written in a manifest: numbers, or symbols that are units."""
        c = self.config
        if c.symbol_repeats:
            known = self.tokenizer.get_vocab()
            unknown = sorted(set(written) - set(known))
            if unknown:
                raise ValueError(
                    f"`{c.unit_column}` must hold symbols of the transcripts that were trained on, but has "
                    f"{unknown[0]!r} (clip {clip_id!r})."
                )
            return [known[symbol] for symbol in written]
        numbers = [int(u) for u in written]
        if numbers and not 0 <= min(numbers) <= max(numbers) < c.num_units:
            raise ValueError(
                f"`{c.unit_column}` must hold numbers from 0 to {c.num_units - 1}, but has {min(numbers)} to "
                f"{max(numbers)} (clip {clip_id!r}). Raise num_units or make the units again."
            )
        return numbers

    def _unit_features(self, wave_S: np.ndarray) -> Tensor:
        """Return log-mel frames, normalised by clip: with samples, one frame per step of the convolutions."""
        c = self.config
        if not self.reads_samples:
            return self.finish(self.front(wave_S), "")
        frames_TF = features.clip_fbank(
            wave_S, rate_hz=c.rate_hz, num_mels=UNIT_BANDS, window_ms=UNIT_WINDOW_MS, hop_ms=c.hop_ms
        )
        return features.normalise_utterance(frames_TF)
