"""What SpeechT5's objectives hide, draw and count of a batch, from the clips' seeds (reference B3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from sonolex.audio import features
from sonolex.objectives import corruption
from sonolex.processors.base import pad_rows
from sonolex.systems._speecht5_config import SpeechT5Config
from sonolex.types import NO_UNIT, Batch

DRAWN_WINDOW_MS, DRAWN_HOP_MS = 64.0, 16.0  # of the log-mel frames that the decoder draws


def corrupted(config: SpeechT5Config, batch: Batch, audio: tuple[Tensor, Tensor] | None, steps: Sequence[int]) -> Batch:
    """Return the batch with everything that ``config.objectives`` need.

    Args:
        audio: samples or frames and their validity, if there are any.
        steps: of the encoder, by clip; 0 without audio.

    Raises:
        ValueError: units are missing or are not one per step, naming the clip.
    """
    generators = [Generator().manual_seed(seed) for seed in batch.seeds]
    extras: dict[str, Tensor] = {}
    counts: dict[str, float] = {}
    if audio is not None:
        if config.reads("units"):
            extras["hidden_BT"] = hidden_steps(config, batch, steps, generators)
            counts["units"] = float(extras["hidden_BT"].sum())
        if config.reads("penalty"):
            counts["penalty"] = float(sum(steps))
        if config.reads("spectrogram"):
            extras["mel_BTF"], extras["mel_valid_BT"] = _log_mel(config, *audio)
            counts["stop"] = float(extras["mel_valid_BT"].sum())
            counts["spectrogram"] = counts["stop"] * config.num_mels
            if config.reads("diversity"):
                extras |= _drawn_codes(config, "speech", steps, generators)
    if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
        letters = [row_L[valid_L] for row_L, valid_L in zip(batch.tokens_BL, batch.tokens_valid_BL, strict=True)]
        if config.reads("infilling"):
            rows = [_infilled(config, t, g) for t, g in zip(letters, generators, strict=True)]
            extras["infilled_BL"], extras["infilled_valid_BL"] = pad_rows(rows, fill=config.pad_id)
            counts["infilling"] = float(sum(map(len, letters)))
            if config.reads("diversity"):
                extras |= _drawn_codes(config, "infilled", [len(r) for r in rows], generators)
        if config.reads("transcription") and audio is not None:
            fits = [len(t) > 1 and ctc_steps(t[:-1]) <= n for t, n in zip(letters, steps, strict=True)]
            extras["transcribed_B"] = torch.tensor(fits)
            counts["transcription"] = float(sum(len(t) - 1 for t, fit in zip(letters, fits, strict=True) if fit))
    return batch.adding(extras=extras, counts=counts)


def ctc_steps(letters_L: Tensor) -> int:
    """Return how many steps CTC needs to write these letters: one each, and a blank between equal ones.

    >>> ctc_steps(torch.tensor([5, 6, 6]))
    4
    """
    return len(letters_L) + int((letters_L[1:] == letters_L[:-1]).sum())


def hidden_steps(config: Any, batch: Batch, steps: Sequence[int], generators: Sequence[Generator]) -> Tensor:
    """Return which steps are hidden (B, T), by runs of ``config.mask_run``.

    Raises:
        ValueError: units are missing or are not one per step, naming the clip.
    """
    if batch.units_BT is None:
        raise ValueError(f"units must be given for every clip with audio, but are not (clips {batch.clip_ids}).")
    num_units = (batch.units_BT != NO_UNIT).sum(1).tolist()
    for clip, units, wanted in zip(batch.clip_ids, num_units, steps, strict=True):
        if units != wanted:
            raise ValueError(
                f"units must be one per step of the encoder ({wanted}), but are {units} (clip {clip!r}). Make them "
                "with this processor's hop."
            )
    share = config.mask_share / config.mask_run
    hidden = [
        corruption.choose_runs(n, share=share, run=config.mask_run, generator=g)
        for n, g in zip(steps, generators, strict=True)
    ]
    return pad_rows(hidden)[0].bool()


def _log_mel(config: SpeechT5Config, audio_BT: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frames that the decoder draws, normalised by clip, and their validity."""
    if config.audio == "spectrogram":
        return audio_BT, valid_BT
    drawn: list[Tensor | None] = []
    for row_S, real_S in zip(audio_BT, valid_BT, strict=True):
        if not real_S.any():
            drawn.append(None)
            continue
        frames_TF = features.clip_fbank(
            row_S[real_S].numpy(),
            rate_hz=config.rate_hz,
            num_mels=config.num_mels,
            window_ms=DRAWN_WINDOW_MS,
            hop_ms=DRAWN_HOP_MS,
        )
        drawn.append(features.normalise_utterance(frames_TF))
    return pad_rows(drawn, num_features=config.num_mels)


def _infilled(config: SpeechT5Config, letters_L: Tensor, generator: Generator) -> Tensor:
    if not len(letters_L):
        return letters_L
    return corruption.infill(
        letters_L,
        share=config.infill_share,
        mean_run=config.infill_run,
        random=config.random_letters,
        mask_id=config.mask_id,
        words=(config.first_letter_id, config.num_letters),
        generator=generator,
    )


def _drawn_codes(
    config: SpeechT5Config, name: str, lengths: Sequence[int], generators: Sequence[Generator]
) -> dict[str, Tensor]:
    """Return which steps the decoder sees quantised, and the noise of their choice.

    Differs: drawn for each clip; the released code draws one set of steps for the whole batch.
    """
    chosen = [torch.rand(n, generator=g) < config.mix_share for n, g in zip(lengths, generators, strict=True)]
    shape = (config.codebook_groups, config.codebook_entries)
    uniform_NGV = torch.cat(
        [torch.rand(int(m.sum()), *shape, generator=g) for m, g in zip(chosen, generators, strict=True)]
    )
    noise_NGV = -torch.log(-torch.log(uniform_NGV.clamp(1e-10, 1 - 1e-7)))
    return {f"{name}_mixed_BT": pad_rows(chosen)[0].bool(), f"{name}_noise_NGV": noise_NGV}
