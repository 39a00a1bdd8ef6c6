"""SpectroBERT: one BERT over words and spectrogram slices (source document 000, reference A).

What is unusual about it:

- There is one encoder, BERT's own, and one sequence: [CLS] words [SEP] slices [SEP]. A slice of the spectrogram is read
  as a signal by wav2vec2's convolutions and becomes one token of BERT's width.
- Only words are hidden in pre-training, never sound (MLM); the sound's part is to belong to the words or not (SAP: the
  audio of half of the clips is that of another clip).
- Most of it stays frozen in fine-tuning; `FREEZING` names the thesis's rows.

The thesis leaves open how its slices fit BERT's 512 positions. Full-height slices of 16 frames every 10 do (102 tokens
for 1024 frames, 101 if the last frames are dropped); 16 × 16 patches do not unless several become one token. A
configuration whose text and audio cannot fit is refused when it is built. Clips longer than a window are covered by
windows, and their vectors averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Grid, cut_patches
from sonolex.configs import one_of
from sonolex.nn import backbones
from sonolex.nn.audio_tokens import PatchTokens, WaveTokens
from sonolex.nn.dropout import drawn_for
from sonolex.nn.transformer import initialise_normal
from sonolex.objectives import matching
from sonolex.systems._bert import BertConfig, BertSystem
from sonolex.systems._spectrobert_input import SpectroBertProcessor, SpectroBertProcessorConfig
from sonolex.systems._windows import Windows
from sonolex.systems.base import LONGEST_STARTER_S
from sonolex.types import Batch, Encoding, Term

SLICES = Grid(frames=16, bins=128, stride_frames=10)
MOST_TOGETHER = 1000
FREEZING: dict[str, tuple[str, ...]] = {
    "bin-frz": (),
    "bin-frz-nolast": ("last",),
    "bin-frz-noaudio": ("audio",),
    "open-nofrz": ("all",),
    "open-frz-nolast": ("last",),
    "open-frz-nolast2": ("last", "last2"),
    "ser-frz-nolast": ("last",),
    "ser-frz-nolast-noaudio": ("last", "audio"),
}
"""What the thesis's rows train besides the task's head: the last layers, the audio encoder, or all."""


@dataclass(frozen=True)
class SpectroBertConfig(BertConfig):
    """BERT's sizes (base by default) and the audio's tokens.

    Attributes:
        num_positions: shared by the text and one window of audio; checked when the model is built.
        audio: "slices" or "patches" of ``grid``, or "waveform".
        conv_width: channels of the convolutions (wav2vec2: 512).
        together: audio tokens that are averaged to one.
        steps: a slice's convolution steps are averaged ("mean") or keep their order ("stacked").
        window_positions: frames (or samples) of one window.
        mlm_on: "all" clips, or "matched" ones only (the thesis does not say).
        mlm_reduction: "mean" over hidden words, or "sum" per clip as printed, which swamps SAP.
    """

    audio: str = "slices"
    grid: Grid = field(default_factory=lambda: SLICES)
    conv_width: int = 512
    together: int = 1
    steps: str = "mean"
    window_positions: int = 1024
    mlm_on: str = "all"
    mlm_reduction: str = "mean"
    mlm_weight: float = 0.5
    sap_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("slices", "patches", "waveform"))
        if not 1 <= self.together <= MOST_TOGETHER:
            raise ValueError(f"`together` must be 1 to {MOST_TOGETHER}, but is {self.together}.")
        one_of("steps", self.steps, ("mean", "stacked"))
        one_of("mlm_on", self.mlm_on, ("all", "matched"))
        one_of("mlm_reduction", self.mlm_reduction, ("mean", "sum"))

    @classmethod
    def tiny(cls, **changes: Any) -> SpectroBertConfig:
        """Return a size that trains on two cores: 2 layers of 128, 50 slices for 5 seconds."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 4, "ffn_width": 512, "conv_width": 64}
        sizes |= {"max_tokens": 32, "num_positions": 160, "steps": "stacked", "attention_dropout": 0.0}
        return cls(**(sizes | changes))


class SpectroBert(BertSystem):
    """BERT's encoder over joined words and audio tokens, and the two pre-training heads."""

    name = "spectrobert"
    config_type = SpectroBertConfig
    processor_type = SpectroBertProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    objectives = ("mlm", "sap")
    config: SpectroBertConfig

    def __init__(self, config: SpectroBertConfig):
        super().__init__(config)
        c = config
        self.sap_head = nn.Linear(c.width, 1)
        initialise_normal(self)
        if c.audio == "waveform":
            self.audio = WaveTokens(c.conv_width, c.width, together=c.together)
            num_audio = self.audio.num_tokens(c.window_positions)
        else:
            self.audio = PatchTokens(c.grid.size, c.conv_width, c.width, together=c.together, steps=c.steps)
            num_audio = self.audio.num_tokens(c.grid.num_patches(c.window_positions))
        if num_audio + 1 + c.max_tokens > c.num_positions:
            raise ValueError(
                f"`num_positions` ({c.num_positions}) must hold max_tokens ({c.max_tokens}) and the audio tokens of a "
                f"window ({num_audio} and an end token), but they are {num_audio + 1 + c.max_tokens}. Average more "
                "tokens (`together`), widen the stride of `grid`, or shorten the window."
            )

    @classmethod
    def matched(cls, config: SpectroBertConfig, processor: SpectroBertProcessor) -> SpectroBertConfig:
        reads = "waveform" if config.audio == "waveform" else "spectrogram"
        if processor.config.audio != reads:
            raise ValueError(f"the processor's `audio` must be {reads!r}, but is {processor.config.audio!r}.")
        if reads == "spectrogram" and config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        return super().matched(config, processor)

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SpectroBertConfig, SpectroBertProcessorConfig]:
        max_frames = max(1024, 1 + round(100 * min(longest_s, LONGEST_STARTER_S)))
        if num_clips < 20_000:
            return SpectroBertConfig.tiny(num_positions=512, max_tokens=128), SpectroBertProcessorConfig(
                vocab_size=1000, max_frames=max_frames
            )
        return SpectroBertConfig.base(), SpectroBertProcessorConfig(max_frames=max_frames)

    def encode(self, batch: Batch) -> Encoding:
        audio, valid = _audio_of(batch)
        if audio is None and batch.tokens_BL is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        states = self._states(batch.tokens_BL, batch.tokens_valid_BL, audio, valid)
        streams = {n: x for n, (x, _) in states.streams.items()}
        return Encoding(states.pooled_BD, streams, {n: v for n, (_, v) in states.streams.items()})

    def corrupt(self, batch: Batch) -> Batch:
        c, extras, counts = self.config, {}, {}
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        audio, valid = _audio_of(batch)
        matched_B = torch.ones(len(batch), dtype=torch.bool)
        if audio is not None and valid is not None:
            partner = batch.partner_frames_BTF if batch.partner_frames_BTF is not None else batch.partner_samples_BS
            seen, seen_valid, matched_B = matching.with_partners(audio, valid, partner, batch.partner_valid_BT)
            extras |= {"audio": seen, "audio_valid": seen_valid, "matched_B": matched_B}
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            chosen_BL, corrupted_BL = self.hidden_words(batch, generators)
            if c.mlm_on == "matched":
                chosen_BL = chosen_BL & matched_B[:, None]
            extras |= {"chosen_tokens_BL": chosen_BL, "corrupted_tokens_BL": corrupted_BL}
            counts["mlm"] = float(chosen_BL.sum() if c.mlm_reduction == "mean" else chosen_BL.any(1).sum())
            if audio is not None and valid is not None:
                counts["sap"] = float((valid.any(1) & batch.tokens_valid_BL.any(1)).sum())
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        c, extras, terms = self.config, batch.extras, {}
        if batch.tokens_BL is None or batch.tokens_valid_BL is None:
            return terms
        states = self._states(
            extras["corrupted_tokens_BL"], batch.tokens_valid_BL, extras.get("audio"), extras.get("audio_valid")
        )
        terms["mlm"] = self.mlm_term(states.streams["text"][0], batch, extras["chosen_tokens_BL"], c.mlm_weight)
        if "sap" in batch.counts:
            both_B = extras["audio_valid"].any(1) & batch.tokens_valid_BL.any(1)
            logits_N = self.sap_head(states.pooled_BD[both_B])[:, 0]
            loss = matching.match_loss_sum(logits_N, extras["matched_B"][both_B])
            terms["sap"] = Term(loss, batch.counts["sap"], c.sap_weight)
        return terms

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"embedding": [self.embedding], "audio": [self.audio]}
        return groups | self.bert_groups() | {"pretraining_heads": [self.mlm_head, self.sap_head]}

    def import_part(self, part: str, weights: dict[str, Tensor]) -> backbones.ImportReport:
        """Fill the audio tokens from "wav2vec2"."""
        if part != "wav2vec2":
            raise ValueError(f"`pretrained` must name bert or wav2vec2 for {self.name}, but names {part!r}.")
        return backbones.import_conv_stack(self.audio.stack, self.audio.project, weights)

    def _states(
        self,
        tokens_BL: Tensor | None,
        tokens_valid_BL: Tensor | None,
        audio: Tensor | None,
        audio_valid: Tensor | None,
    ) -> _States:
        """Encode every window with the clip's words; vectors and text states are means over a clip's windows."""
        if audio is None or audio_valid is None:
            joined = self.embedding(tokens_BL, tokens_valid_BL, None, None)
            x_BLD = self.encoded(joined)[-1]
            return _States(x_BLD[:, 0], {"text": (x_BLD, joined.valid_BL)})
        windows = Windows.over(audio_valid, self.config.window_positions)
        pieces, pieces_valid = windows.cut(audio, audio_valid)
        tokens_NL, tokens_valid_NL = windows.repeated(tokens_BL), windows.repeated(tokens_valid_BL)
        with drawn_for(windows.owners, windows.starts):
            joined = self.embedding(tokens_NL, tokens_valid_NL, *self._audio_tokens(pieces, pieces_valid))
            x_NLD = self.encoded(joined)[-1]
        text_NLD, audio_NTD = joined.split(x_NLD)
        streams = {"audio": windows.chained(audio_NTD, joined.valid_BL[:, joined.num_text :])}
        if tokens_BL is not None and tokens_valid_BL is not None:
            streams["text"] = (windows.averaged(text_NLD), tokens_valid_BL)
        return _States(windows.averaged(x_NLD[:, 0]), streams)

    def _audio_tokens(self, audio: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.audio == "waveform":
            return self.audio(audio, valid)
        return self.audio(*cut_patches(audio, valid, self.config.grid))


@dataclass(frozen=True)
class _States:
    pooled_BD: Tensor
    streams: Mapping[str, tuple[Tensor, Tensor]]


def _audio_of(batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    if batch.frames_BTF is not None:
        return batch.frames_BTF, batch.frames_valid_BT
    return batch.samples_BS, batch.samples_valid_BS


def frozen_groups(preset: str, config: SpectroBertConfig) -> tuple[str, ...]:
    """Return the layer groups that a preset of `FREEZING` freezes, for `sonolex.train.run.Optim.frozen`.

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in FREEZING:
        raise ValueError(f"`preset` must be one of {', '.join(FREEZING)}, but is {preset!r}.")
    last = config.num_layers - 1
    names = {"last": f"layer_{last}", "last2": f"layer_{last - 1}", "audio": "audio"}
    if FREEZING[preset] == ("all",):
        return ()
    trained = {names[part] for part in FREEZING[preset]}
    groups = ["embedding", "audio", *(f"layer_{i}" for i in range(config.num_layers)), "pretraining_heads"]
    return tuple(g for g in groups if g not in trained)


SYSTEM = SpectroBert
