"""SpectroBERT: one BERT over words and slices of a spectrogram (Bonaccorsi, thesis, Politecnico di Torino 2023).

What is unusual about it:

- There is one encoder, BERT's own, and one sequence: [CLS] words [SEP] slices [SEP] (section 2.2.4). A slice of the
  spectrogram is read as a signal by wav2vec2's convolutions and becomes one token of BERT's width (section 2.2.2).
- Only words are hidden in pre-training, never sound (MLM, section 2.3.2). Sound is trained by predicting whether audio
  and words belong together (SAP, section 2.3.3: half of the clips get the audio of another).
- Most of it stays frozen in fine-tuning (section 4.2.2); `FREEZING` names the thesis's rows.

In this file, in the thesis's order: audio and text (2.2.1, 2.2.3), audio tokens (2.2.2), the sequence and the
transformer stack (2.2.4, 2.2.5), pre-training (2.3), freezing (4.2.2). The heads (2.2.6, 2.4) are tasks. Formulas are
in `sonolex.objectives`: `corruption` (which words are hidden), `masked` (cross-entropy) and `matching` (SAP).

No code was released. The thesis leaves open how its slices fit BERT's 512 positions: full-height slices of 16 frames
every 10 do (102 tokens for 1024 frames, 101 if the last frames are dropped); 16 × 16 patches do not unless several
become one token. A configuration whose text and audio cannot fit is refused when it is built. Clips longer than a
window are split into windows whose vectors are averaged. ``docs/systems/spectrobert.md`` lists our choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Grid, cut_patches
from sonolex.configs import one_of
from sonolex.nn import bert
from sonolex.nn.conv_stack import KERNELS, SHORTEST, STRIDES, AudioProjection, ConvStack
from sonolex.nn.dropout import drawn_for
from sonolex.nn.embeddings import in_groups
from sonolex.nn.fusion import JoinedEmbedding
from sonolex.nn.heads import TokenHead
from sonolex.nn.pooling import masked_mean
from sonolex.nn.transformer import PostNormLayer, initialise_normal
from sonolex.nn.windows import Windows
from sonolex.objectives import corruption, masked, matching
from sonolex.places import at_places, places_where, put_at_places
from sonolex.pretrained.base import ImportReport
from sonolex.pretrained.bert import bert_sizes, import_bert
from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.pretrained.wav2vec2 import import_conv_stack
from sonolex.processors.filter_banks_and_words import FilterBanksAndWordsConfig, FilterBanksAndWordsProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Padded, Term

SLICES = Grid(frames=16, bins=128, stride_frames=10, num_mels=128)
AT_ONCE_BYTES = 16 << 20  # larger tensors get newly mapped memory in every step, which costs more than their arithmetic
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
"""Parts that the rows of tables 5.1 to 5.3 train besides the task's head: last layers, the audio encoder, or all."""


@dataclass(frozen=True)
class SpectroBertProcessorConfig(FilterBanksAndWordsConfig):
    """AST's features (section 3.3.2) or samples; BERT's tokens, at most 128 (section 3.3.1).

    Attributes:
        audio: "spectrogram", or "waveform" (mean 0 and deviation 1 per clip, as wav2vec2 reads it).
        max_frames, long_clip: the extractor cuts at 1024 frames; the default covers longer clips by windows.
    """

    audio: str = "spectrogram"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("spectrogram", "waveform"))


class SpectroBertProcessor(FilterBanksAndWordsProcessor):
    """Waveform to filter banks or normalised samples; words to WordPiece between [CLS] and [SEP]."""

    config_type = SpectroBertProcessorConfig
    config: SpectroBertProcessorConfig

    @property
    def reads_samples(self) -> bool:
        return self.config.audio == "waveform"

    def front(self, wave_S: np.ndarray) -> Tensor:
        return torch.from_numpy(wave_S) if self.reads_samples else super().front(wave_S)

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        if self.reads_samples:
            return self.finished_samples(front, clip_id, normalise=True)
        return super().finish(front, clip_id)


@dataclass(frozen=True)
class SpectroBertConfig(SystemConfig):
    """BERT's sizes, the audio's tokens, and the pre-training objectives.

    Attributes:
        vocab_size, num_layers, width, num_heads, ffn_width, dropout, attention_dropout, norm_eps: the stack starts from
            "BERT's pretrained weights" (4.2.3): BERT-Base, whose sizes the thesis does not give.
        num_positions: BERT's 512, shared by the text and one window of audio; checked when the model is built.
        max_tokens: 128 (3.3.1); filled in from the processor, as are vocab_size and the next four.
        start_id, end_id, mask_id, first_word_id: of the tokenizer.
        token_share: "approximately 15%" of the words are hidden (2.3.2).
        mask_rule: "always" replaces them by [MASK] (2.3.2), "bert" 80 % of them, and 10 % by another word.
        audio: "slices" or "patches" of ``grid`` ("each patch ... representing a specific temporal slice", 2.2.1, which
            gives no sizes), or "waveform".
        conv_width: channels of the convolutions; wav2vec2's 512 (2.2.2 borrows its layers).
        together: audio tokens that are averaged to one.
        steps: a slice's convolution steps are averaged ("mean") or keep their order ("stacked"); not published.
        window_positions: frames (or samples) of one window; AST's extractor returns 1024 frames.
        mlm_on: "all" clips, or "matched" ones only (the thesis does not say).
        mlm_reduction: "mean" over hidden words, or "sum" per clip as printed (2.3.2), which swamps SAP.
        mlm_weight, sap_weight: α and β, "both set to 0.5" (2.3.4).
    """

    vocab_size: int = 30_522
    num_layers: int = 12
    width: int = 768
    num_heads: int = 12
    ffn_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    num_positions: int = 512
    max_tokens: int = 128
    start_id: int = 101
    end_id: int = 102
    mask_id: int = 103
    first_word_id: int = 104
    token_share: float = 0.15
    mask_rule: str = "always"
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
        one_of("mask_rule", self.mask_rule, ("always", "bert"))
        one_of("audio", self.audio, ("slices", "patches", "waveform"))
        if not 1 <= self.together <= MOST_TOGETHER:
            raise ValueError(f"`together` must be 1 to {MOST_TOGETHER}, but is {self.together}.")
        one_of("steps", self.steps, ("mean", "stacked"))
        one_of("mlm_on", self.mlm_on, ("all", "matched"))
        one_of("mlm_reduction", self.mlm_reduction, ("mean", "sum"))

    @classmethod
    def base(cls, **changes: Any) -> SpectroBertConfig:
        """Return BERT-Base."""
        return cls(**changes)

    @classmethod
    def tiny(cls, **changes: Any) -> SpectroBertConfig:
        """Return a size that trains on two cores: 2 layers of 128, 50 slices for 5 seconds. Ours, not the thesis's."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 4, "ffn_width": 512, "conv_width": 64}
        sizes |= {"max_tokens": 32, "num_positions": 160, "steps": "stacked", "attention_dropout": 0.0}
        return cls(**(sizes | changes))

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> SpectroBertConfig:
        """Return the sizes of a BERT checkpoint (folder or ``hub:ORG/NAME``), for `SpectroBert.import_pretrained`."""
        return cls(**(bert_sizes(place) | changes))


# ---- 2.2.2 Audio encoding with Wav2Vec2 layers ----------------------------------------------------------------------


class PatchTokens(nn.Module):
    """Patches of a spectrogram, each read as a signal by wav2vec2's convolutions; its steps are averaged or stacked.

    Patches of 128 × 16 (full-height slices, stride 10) give 101 tokens for 1024 frames and 6 steps a token: the only
    reading of the thesis that fits its budget. For 16 × 16 patches, ``together`` averages that many consecutive tokens
    (one column of 12 at stride 10).

    Args:
        patch_size: values of a patch.
        together: consecutive patches that become one token.
        steps: "mean" of a patch's steps, or "stacked" (their order is kept).
    """

    def __init__(self, patch_size: int, conv_width: int, width: int, *, together: int = 1, steps: str = "mean"):
        super().__init__()
        self.together, self.steps = together, steps
        self.stack = ConvStack(conv_width, longest=patch_size)
        num_steps = self.stack.num_steps(patch_size) if steps == "stacked" else 1
        self.project = AudioProjection(conv_width * num_steps, width)
        first_step_bytes = 4 * conv_width * (1 + (patch_size - KERNELS[0]) // STRIDES[0])
        self._rows_at_once = max(1, AT_ONCE_BYTES // first_step_bytes)

    def num_tokens(self, num_patches: int) -> int:
        """Return the number of tokens for ``num_patches`` patches."""
        return -(-num_patches // self.together)

    def forward(self, patches: Padded) -> Padded:
        """Return tokens (B, T, D)."""
        places_N = patches.places()
        signal_NS = at_places(patches.values, places_N)
        # An exported program takes any number of patches, so it cannot branch on it.
        parts = [signal_NS] if torch.compiler.is_exporting() else signal_NS.split(self._rows_at_once)
        features_NF = torch.cat([self._features(part_NS) for part_NS in parts])
        x_BPD = self.project(put_at_places(features_NF, places_N, patches.valid))
        return _averaged(x_BPD, patches.valid, self.together)

    def _features(self, signal_NS: Tensor) -> Tensor:
        steps_NTC, _ = self.stack(signal_NS)
        return steps_NTC.flatten(1) if self.steps == "stacked" else steps_NTC.mean(1)


class WaveTokens(nn.Module):
    """Samples through the whole `ConvStack` (a step is 20 ms at 16 kHz); ``together`` steps are averaged to a token."""

    def __init__(self, conv_width: int, width: int, *, together: int = 1):
        super().__init__()
        self.together = together
        self.stack = ConvStack(conv_width, longest=SHORTEST)
        self.project = AudioProjection(conv_width, width)

    def num_tokens(self, num_samples: int) -> int:
        """Return the number of tokens for ``num_samples`` samples; a signal shorter than `SHORTEST` is padded to it."""
        return -(-self.stack.num_steps(max(SHORTEST, num_samples)) // self.together)

    def forward(self, samples: Padded) -> Padded:
        """Return tokens (B, T, D)."""
        samples_BS, valid_BS, known = samples
        short: Any = torch.sym_max(0, SHORTEST - samples_BS.shape[1])
        samples_BS = F.pad(samples_BS * valid_BS, (0, short))
        lengths_B = valid_BS.sum(1)
        lengths_B = torch.where(lengths_B > 0, lengths_B.clamp_min(SHORTEST), lengths_B)
        full = known is not None and all(n > 0 and max(n, SHORTEST) == samples_BS.shape[1] for n in known)
        x_BTC, valid_BT = self.stack(samples_BS, None if full else lengths_B)
        return _averaged(self.project(x_BTC), valid_BT, self.together)


def _averaged(x_BTD: Tensor, valid_BT: Tensor, together: int) -> Padded:
    """Return means of ``together`` consecutive valid places."""
    if together == 1:
        return Padded(x_BTD, valid_BT)
    groups_BNRD, valid_BNR = in_groups(x_BTD, together), in_groups(valid_BT, together)
    means_MD = masked_mean(groups_BNRD.flatten(0, 1), valid_BNR.flatten(0, 1))
    return Padded(means_MD.unflatten(0, valid_BNR.shape[:2]), valid_BNR.any(-1))


# ---- The whole model -------------------------------------------------------------------------------------------------


class SpectroBert(System):
    """The audio encoder, BERT over the joined sequence, and the heads of the two pre-training objectives."""

    name = "spectrobert"
    config_type = SpectroBertConfig
    processor_type = SpectroBertProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    objectives = ("mlm", "sap")
    config: SpectroBertConfig

    def __init__(self, config: SpectroBertConfig):
        super().__init__()
        self.config = c = config
        # 2.2.3 to 2.2.5: BERT's embedding of both parts, and its layers
        self.embedding = JoinedEmbedding(
            c.vocab_size,
            c.num_positions,
            c.width,
            start_id=c.start_id,
            end_id=c.end_id,
            dropout=c.dropout,
            eps=c.norm_eps,
        )
        layer = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
        self.layers = nn.ModuleList(
            PostNormLayer(c.width, c.num_heads, c.ffn_width, **layer) for _ in range(c.num_layers)
        )
        # 2.3: assumption: one logit from [CLS] for SAP; the thesis does not describe its head
        self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)
        self.sap_head = nn.Linear(c.width, 1)
        initialise_normal(self)
        # 2.2.2
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

    # ---- 2.2 Architecture -------------------------------------------------------------------------------------------

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    def encode(self, batch: Batch) -> Encoding:
        """Return the states of words and audio tokens, and h_CLS, which every head reads (2.4)."""
        audio = batch.frames or batch.samples
        if audio is None and batch.tokens is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        return self._states(batch.tokens, audio)

    def _states(self, tokens: Padded | None, audio: Padded | None) -> Encoding:
        """Return the states of [CLS] words [SEP] audio tokens [SEP] (2.2.4, 2.2.5).

        Differs: every window is encoded with the clip's words; vectors and text states are means over windows.
        """
        if audio is None:
            joined = self.embedding(tokens, None)
            x_BLD = bert.layer_states(self.layers, joined)[-1]
            return Encoding(x_BLD[:, 0], {"text": x_BLD}, {"text": joined.valid_BL})
        windows = Windows.over(audio, self.config.window_positions)
        with drawn_for(windows.owners_N, windows.starts_N):
            joined = self.embedding(tokens and windows.repeated(tokens), self._audio_tokens(windows.cut(audio)))
            x_NLD = bert.layer_states(self.layers, joined)[-1]
        text_NLD, audio_NTD = joined.split(x_NLD)
        audio_BTD, valid_BT = windows.chained(audio_NTD, joined.valid_BL[:, joined.num_text :])
        streams, valid = {"audio": audio_BTD}, {"audio": valid_BT}
        if tokens is not None:
            streams["text"], valid["text"] = windows.averaged(text_NLD), tokens.valid
        return Encoding(windows.averaged(x_NLD[:, 0]), streams, valid)

    def _audio_tokens(self, audio: Padded) -> Padded:
        """Return one token per slice (2.2.1, 2.2.2), or per step of the convolutions over samples."""
        return self.audio(audio if self.config.audio == "waveform" else cut_patches(audio, self.config.grid))

    # ---- 2.3 Pre-training -------------------------------------------------------------------------------------------

    def corrupt(self, batch: Batch) -> Batch:
        """Put the partner's audio beside the words where the loader drew one (SAP), and hide words (MLM)."""
        c, extras, counts = self.config, {}, {}
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        audio, tokens = batch.frames or batch.samples, batch.tokens
        if audio is not None:  # 2.3.3: "half of the input examples"; see `Loading.partners`
            audio, matched_B = matching.with_partners(audio, batch.partners)
            extras |= {"audio": audio, "matched_B": matched_B}
        if tokens is not None:
            # 2.3.2: about 15 % of the tokens, uniformly, each replaced by [MASK]
            masked_share, random_share = {"always": (1.0, 0.0), "bert": (0.8, 0.1)}[c.mask_rule]
            chosen_BL, corrupted_BL = corruption.each_clip(
                corruption.corrupt_words,
                tokens,
                generators,
                share=c.token_share,
                masked=masked_share,
                random=random_share,
                mask_id=c.mask_id,
                first_word_id=c.first_word_id,
                vocab_size=c.vocab_size,
            )
            if c.mlm_on == "matched" and audio is not None:
                chosen_BL = chosen_BL & extras["matched_B"][:, None]
            extras |= {"hidden_tokens_N": places_where(chosen_BL), "corrupted_tokens_BL": corrupted_BL}
            counts["mlm"] = float(chosen_BL.sum() if c.mlm_reduction == "mean" else chosen_BL.any(1).sum())
            if audio is not None:
                extras["pairs_N"] = places_where(audio.valid.any(1) & tokens.valid.any(1))
                counts["sap"] = float(len(extras["pairs_N"]))
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return L_MLM and L_SAP; L_total = α L_MLM + β L_SAP with α = β = 0.5 (2.3.4)."""
        c, extras, tokens = self.config, batch.extras, batch.tokens
        if tokens is None:
            return {}
        states = self._states(tokens.with_values(extras["corrupted_tokens_BL"]), extras.get("audio"))
        hidden_N = extras["hidden_tokens_N"]
        logits_NV = self.mlm_head(at_places(states.streams["text"], hidden_N), self.embedding.token.weight)
        loss = masked.cross_entropy_sum(logits_NV, at_places(tokens.values, hidden_N))
        terms = {"mlm": Term(loss, batch.counts["mlm"], weight=c.mlm_weight)}  # α
        if "sap" in batch.counts:
            pairs_N = extras["pairs_N"]
            logits_N = self.sap_head(states.pooled_BD.index_select(0, pairs_N))[:, 0]
            loss = matching.match_loss_sum(logits_N, extras["matched_B"].index_select(0, pairs_N))
            terms["sap"] = Term(loss, batch.counts["sap"], weight=c.sap_weight)  # β
        return terms

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"embedding": [self.embedding], "audio": [self.audio]}
        groups |= {f"layer_{i}": [layer] for i, layer in enumerate(self.layers)}
        return groups | {"pretraining_heads": [self.mlm_head, self.sap_head]}

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, ImportReport]:
        """Start the stack from "bert" (4.2.3), the audio encoder from "wav2vec2": file, folder or hub:ORG/NAME."""
        reports = {}
        for part, place in sources.items():
            weights = open_checkpoint(place).weights
            if part == "bert":
                reports[part] = import_bert(self.embedding, self.layers, self.mlm_head, weights)
            elif part == "wav2vec2":
                reports[part] = import_conv_stack(self.audio.stack, self.audio.project, weights)
            else:
                raise ValueError(f"`pretrained` must name bert or wav2vec2 for {self.name}, but names {part!r}.")
        return reports

    @classmethod
    def matched(cls, config: SpectroBertConfig, processor: SpectroBertProcessor) -> SpectroBertConfig:
        reads = "waveform" if config.audio == "waveform" else "spectrogram"
        if processor.config.audio != reads:
            raise ValueError(f"the processor's `audio` must be {reads!r}, but is {processor.config.audio!r}.")
        if reads == "spectrogram" and config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        special = processor.special
        return replace(
            config,
            vocab_size=processor.tokenizer.get_vocab_size(),
            max_tokens=processor.config.max_tokens,
            start_id=special.start,
            end_id=special.end,
            mask_id=special.mask,
            first_word_id=special.first_word,
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SpectroBertConfig, SpectroBertProcessorConfig]:
        max_frames = max(1024, 1 + round(100 * min(longest_s, LONGEST_STARTER_S)))
        if num_clips < 20_000:
            return SpectroBertConfig.tiny(num_positions=512, max_tokens=128), SpectroBertProcessorConfig(
                vocab_size=1000, max_frames=max_frames
            )
        return SpectroBertConfig.base(), SpectroBertProcessorConfig(max_frames=max_frames)


# ---- 4.2.2 Parameters freezing --------------------------------------------------------------------------------------


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
