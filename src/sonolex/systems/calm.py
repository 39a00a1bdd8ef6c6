"""CALM: Contrastive Aligned Audio-Language Multirate and Multimodal Representations (Sachidananda et al. 2022).

What is unusual about it:

- Half a second of spectrogram becomes one vector in the language model's own embedding space (SpecTran, section 4.2),
  so that acoustic tokens can stand beside words in one BERT (section 4.4).
- Pre-training has two stages. First *CALP* (section 4.3): a block of audio must be near its neighbour, and near the
  whole transcript of its utterance, among the other utterances of the batch. Then *masked prediction* (section 4.5):
  words (MLM) and runs of blocks (MAM) are hidden from the multimodal transformer, and predicted from both modalities.
- The same weights read audio, text or both.

In this file, in the paper's order: the config, SpecTran (4.2), CALP (4.3), the multimodal transformer (4.4), masked
prediction (4.5). The supervised heads (4.6) are tasks. Formulas are in `sonolex.objectives`: `contrastive` (eq. 2),
`masked` (eq. 3) and `corruption` (which words and blocks are hidden).

No code was released, and the paper does not say which vectors of audio and transcript are aligned: `align` and
`summary` choose them. With ``pooled="aligned"`` a clip's vector is the one that CALP trains, so that a classifier
trained on texts alone can classify audio. ``docs/systems/calm.md`` lists all our choices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Blocks, Grid, cut_blocks, cut_patches
from sonolex.configs import one_of
from sonolex.nn import bert
from sonolex.nn.dropout import Dropout, drawn_apart, drawn_for
from sonolex.nn.embeddings import Conv2dStem, HiddenPatch, NormalisedPatches, every
from sonolex.nn.fusion import JoinedEmbedding
from sonolex.nn.heads import FrameHead, Temperature, TokenHead
from sonolex.nn.pooling import masked_mean, mean_of_present
from sonolex.nn.transformer import (
    PostNormLayer,
    PreNormLayer,
    attends_to_valid,
    initialise_normal,
    initialise_truncated,
)
from sonolex.objectives import corruption, masked
from sonolex.objectives.contrastive import nt_xent_sum
from sonolex.places import at_places, places_where, put_at_places
from sonolex.pretrained.base import ImportReport
from sonolex.pretrained.bert import bert_sizes, import_bert
from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.processors.filter_banks_and_words import FilterBanksAndWordsConfig, FilterBanksAndWordsProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Padded, Term

PATCHES = Grid(frames=10, bins=16, stride_frames=5, stride_bins=8, num_mels=64)
"""10 × 16 with a stride of (5, 8) (section 5.1): 63 patches of a block."""
KEY_PARTS, KEY_LIMIT = 3, 1 << 20  # a transcript's identity as numbers that float32 holds exactly


@dataclass(frozen=True)
class CalmProcessorConfig(FilterBanksAndWordsConfig):
    """64 filter banks every 10 ms, lower-cased words (sections 5.2 and 5.3).

    Attributes:
        mean, std: assumption: the paper does not say how values are scaled; these fit speech at full scale ±1.
    """

    num_mels: int = 64
    mean: float = -7.0
    std: float = 3.0


class CalmProcessor(FilterBanksAndWordsProcessor):
    """Waveform to filter banks; words to WordPiece between [CLS] and [SEP]."""

    config_type = CalmProcessorConfig
    config: CalmProcessorConfig


@dataclass(frozen=True)
class CalmConfig(SystemConfig):
    """BERT's sizes (CALM-BASE; `tiny` is CALM-TINY), SpecTran's, and both stages of pre-training.

    Attributes:
        vocab_size, num_layers, width, num_heads, ffn_width, dropout, attention_dropout, norm_eps, num_positions: the
            multimodal transformer is "equivalent to the pre-trained language model" (4.4), by default BERT-Base.
        max_tokens: longest transcript; filled in from the processor, as are vocab_size and the next four.
        start_id, end_id, mask_id, first_word_id: of the tokenizer.
        blocks: of frames, one acoustic token each. Published: 50 frames every 30 (5.1). Several rates are read side by
            side, each with its own SpecTran ("multirate").
        grid: SpecTran's patches (5.1; others in appendix A.4).
        stem: how a patch becomes a vector: "linear" (4.2: "linearized"), "normalised" with its mean and deviation apart
            from its shape, or "conv2d": convolutions with a vector every ``grid.stride_frames`` (1, 2, 4 or 8).
        spectran_layers, spectran_width, spectran_heads: not published; two layers at the language model's width come
            near the parameters of table 4. 0 is the language model's, and nothing is mapped.
        time_positions: most blocks of a clip at one rate.
        stage: "align" (4.3), "hide" (4.5) or "both": which objectives a pre-training has.
        align: which audio vector is aligned with the transcript: one "block" (4.3), the mean of the "clip"'s blocks, or
            the "transformer"'s summary of the audio read without the text.
        summary: of a transcript read without the audio, and of align="transformer": "mean" of the states, or "cls".
            Not published.
        spaces: "raw" (eq. 2), or "standardised": each dimension of each modality to mean 0 and deviation 1 before the
            cosine, with the statistics of the effective batch (in use: running ones).
        neighbour_gap: from A^t to A^(t+1), in blocks: 1 as published, which shares frames where blocks overlap.
        temperature, learn_temperature: τ of both terms of eq. 2; not published.
        text_weight: α = 0.25 (4.3); 0 is the ablation of appendix A.1.
        denominator: "with_positive" (NT-Xent), or "without_positive": eq. 2 as printed sums over j ≠ i, and has no
            least value.
        symmetric: whether the loss also looks from A^(t+1) and T back to A^t. Published: it does not.
        same_text: "ignored" (clips with the same transcript are no negatives of each other) or "negative" (4.3).
        token_share: of words that MLM hides, 15 % (4.5).
        mask_rule: "always" replaces hidden words by [MASK] (4.5), "bert" 80 % of them, and 10 % by another word.
        block_share, block_run: MAM hides each block with this chance, 10 %, and the 2 after it (4.5).
        block_fill: hidden blocks are the "zero" vector (4.5) or a "learned" one.
        pooled: "multimodal": the [CLS] of the transformer over both (5.2), or "aligned".
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
    blocks: tuple[Blocks, ...] = (Blocks(frames=50, hop=30),)
    grid: Grid = field(default_factory=lambda: PATCHES)
    stem: str = "linear"
    spectran_layers: int = 2
    spectran_width: int = 0
    spectran_heads: int = 0
    time_positions: int = 512
    stage: str = "both"
    align: str = "block"
    summary: str = "mean"
    spaces: str = "raw"
    neighbour_gap: int = 1
    temperature: float = 0.1
    learn_temperature: bool = False
    text_weight: float = 0.25
    denominator: str = "with_positive"
    symmetric: bool = True
    same_text: str = "ignored"
    block_share: float = 0.1
    block_run: int = 3
    block_fill: str = "zero"
    pooled: str = "multimodal"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("mask_rule", self.mask_rule, ("always", "bert"))
        one_of("stem", self.stem, ("linear", "normalised", "conv2d"))
        one_of("stage", self.stage, ("align", "hide", "both"))
        one_of("align", self.align, ("block", "clip", "transformer"))
        one_of("summary", self.summary, ("mean", "cls"))
        one_of("spaces", self.spaces, ("raw", "standardised"))
        one_of("denominator", self.denominator, ("with_positive", "without_positive"))
        one_of("same_text", self.same_text, ("ignored", "negative"))
        one_of("block_fill", self.block_fill, ("zero", "learned"))
        one_of("pooled", self.pooled, ("multimodal", "aligned"))
        if not self.blocks or self.neighbour_gap < 1 or not self.temperature > 0:
            raise ValueError("`blocks` must not be empty, `neighbour_gap` at least 1 and `temperature` positive.")

    @classmethod
    def base(cls, **changes: Any) -> CalmConfig:
        """Return CALM-BASE: BERT-Base."""
        return cls(**changes)

    @classmethod
    def tiny(cls, **changes: Any) -> CalmConfig:
        """Return CALM-TINY: BERT-tiny, 2 layers of 128."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 2, "ffn_width": 512}
        return cls(**(sizes | changes))

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> CalmConfig:
        """Return the sizes of a BERT checkpoint (folder or ``hub:ORG/NAME``), for `Calm.import_pretrained`."""
        return cls(**(bert_sizes(place) | changes))


# ---- 4.2 Spectral transformer ---------------------------------------------------------------------------------------


class SpecTran(nn.Module):
    """Patches of a block + position by time, then band; transformer layers; the first output embedding (section 4.2).

    Its architecture "follows the work in" ViT: a learned token comes first, and layers are pre-norm. Depth, width and
    heads are not published. The vector is mapped to ``out_width`` where widths differ. A block that is not full attends
    to the patches it has.

    ``stem`` is "linear", "normalised" (`NormalisedPatches`), or "conv2d" whose patches are vectors already.
    """

    def __init__(
        self,
        patch_size: int,
        num_patches: int,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
        ffn_width: int,
        out_width: int,
        dropout: float,
        stem: str = "linear",
        eps: float = 1e-6,
    ):
        super().__init__()
        self.project: nn.Module
        if stem == "conv2d":
            self.project = nn.LayerNorm(width, eps=eps)  # or its position would drown it
        else:
            self.project = {"linear": nn.Linear, "normalised": NormalisedPatches}[stem](patch_size, width)
        self.position = nn.Parameter(torch.empty(num_patches, width))
        self.first = nn.Parameter(torch.empty(width))
        self.layers = nn.ModuleList(
            PreNormLayer(width, num_heads, ffn_width, dropout=dropout, attention_dropout=0.0, eps=eps)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        self.map = nn.Linear(width, out_width) if width != out_width else nn.Identity()
        self.dropout = Dropout(dropout)
        for parameter in (self.position, self.first):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, patches_NPK: Tensor, valid_NP: Tensor) -> Tensor:
        """Return one vector per block (N, out_width) from its patches, of which there are at most ``num_patches``."""
        x_NPD = self.project(patches_NPK) + self.position[: patches_NPK.shape[1]]
        first_N1D = self.first.to(x_NPD.dtype).expand(x_NPD.shape[0], 1, -1)
        x_NPD = self.dropout(torch.cat([first_N1D, x_NPD], 1))
        attends_N1PP = attends_to_valid(F.pad(valid_NP, (1, 0), value=True))
        for layer in self.layers:
            x_NPD = layer(x_NPD, attends_N1PP)
        return self.map(self.norm(x_NPD[:, 0]))


@dataclass(frozen=True)
class Tokens:
    """Acoustic tokens of a batch, one rate after the other, and their validity.

    ``times_T`` are their positions, one more than there are tokens; ``parts`` is the number of blocks of each rate.
    """

    x_BND: Tensor
    valid_BN: Tensor
    times_T: Tensor
    parts: tuple[int, ...]


class AcousticTokens(nn.Module):
    """Blocks of a clip through SpecTran, one SpecTran per rate; with several, a learned vector marks a token's rate.

    Every vector is normalised to deviation 1 before its position is added. Hidden blocks become zeros, or a learned
    vector with ``learned_fill``. ``sizes`` are SpecTran's.
    """

    def __init__(self, blocks: Sequence[Blocks], grid: Grid, *, stem: str, learned_fill: bool, **sizes: Any):
        super().__init__()
        self.blocks, self.grid, self.width = tuple(blocks), grid, sizes["out_width"]
        step, counts = grid.strides[0], [grid.num_patches(b.frames) for b in blocks]
        self.stems: nn.ModuleList | None = None
        if stem == "conv2d":
            counts = [-(-b.frames // step) for b in blocks]
            self.stems = nn.ModuleList(Conv2dStem(1, grid.num_mels, sizes["width"], step) for _ in blocks)
        self.spectrans = nn.ModuleList(SpecTran(grid.size, count, stem=stem, **sizes) for count in counts)
        self.rate = nn.Embedding(len(blocks), self.width) if len(blocks) > 1 else None
        self.fill = HiddenPatch(self.width) if learned_fill else None
        if self.rate is not None:
            nn.init.normal_(self.rate.weight, std=0.02)

    def forward(self, frames: Padded, *, hidden: Mapping[str, Tensor] | None = None) -> Tokens:
        """Return the tokens of a batch; ``hidden`` has, as ``hidden_0_BN`` …, which blocks are filled instead."""
        vectors, valid = [], []
        for rate, blocks in enumerate(self.blocks):
            blocks_BNSF, real = cut_blocks(frames, blocks)
            places_N, num_blocks = real.places(), real.valid.shape[1]
            with drawn_for(places_N // num_blocks, places_N % num_blocks):
                encoded_ND = self._encoded(rate, at_places(blocks_BNSF, places_N), at_places(real.values, places_N))
            x_BND = put_at_places(encoded_ND, places_N, real.valid)
            if hidden is not None:
                fill_D = encoded_ND.new_zeros(()) if self.fill is None else self.fill.vector_D.to(x_BND.dtype)
                x_BND = torch.where(hidden[f"hidden_{rate}_BN"][..., None], fill_D, x_BND)
            vectors.append(x_BND if self.rate is None else x_BND + self.rate.weight[rate])
            valid.append(real.valid)
        parts = tuple(v.shape[1] for v in valid)
        times = [torch.arange(n, device=frames.valid.device) for n in (*parts[:-1], parts[-1] + 1)]
        return Tokens(torch.cat(vectors, 1), torch.cat(valid, 1), torch.cat(times), parts)

    def of_pairs(self, frames: Padded, pairs: Mapping[str, Tensor], *, known: Tokens | None = None) -> Tensor:
        """Return the vectors of A^t and A^(t+1) of each clip (B, 2, D), zeros where it lacks one.

        Args:
            pairs: from `pairs_by_rate`.
            known: all tokens of the batch, if already computed; without them only the two blocks are encoded.
        """
        vectors_B2D = torch.zeros(frames.valid.shape[0], 2, self.width, device=frames.valid.device)
        start = 0
        for rate, blocks in enumerate(self.blocks):
            blocks_BNSF, real = cut_blocks(frames, blocks)
            clip_N, which_N, time_N = pairs[f"pairs_{rate}_N3"].unbind(1)
            if known is not None:
                block_ND = known.x_BND[clip_N, start + time_N]
            else:
                with drawn_for(clip_N, time_N):
                    block_ND = self._encoded(rate, blocks_BNSF[clip_N, time_N], real.values[clip_N, time_N])
            vectors_B2D = vectors_B2D.index_put((clip_N, which_N), block_ND.float())
            start += blocks_BNSF.shape[1]
        return vectors_B2D

    def _encoded(self, rate: int, blocks_NSF: Tensor, valid_NS: Tensor) -> Tensor:
        if blocks_NSF.shape[0] == 0:
            return blocks_NSF.new_zeros(0, self.width)
        if self.stems is None:
            patches_NPK, valid_NP, _ = cut_patches(Padded(blocks_NSF, valid_NS), self.grid)
        else:
            patches_NPK = self.stems[rate](blocks_NSF[:, None], valid_NS)
            valid_NP = every(valid_NS, self.grid.strides[0])
        encoded_ND = self.spectrans[rate](patches_NPK, valid_NP)
        return F.layer_norm(encoded_ND, encoded_ND.shape[-1:])


# ---- The whole model -------------------------------------------------------------------------------------------------


class Calm(System):
    """SpecTran, the multimodal transformer, and the heads of both stages."""

    name = "calm"
    config_type = CalmConfig
    processor_type = CalmProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: CalmConfig

    def __init__(self, config: CalmConfig):
        super().__init__()
        self.config = c = config
        # 4.4: BERT's own embedding, with a table of times for the audio's positions, and its layers
        self.embedding = JoinedEmbedding(
            c.vocab_size,
            c.num_positions,
            c.width,
            start_id=c.start_id,
            end_id=c.end_id,
            dropout=c.dropout,
            eps=c.norm_eps,
            time_positions=c.time_positions,
        )
        layer = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
        self.layers = nn.ModuleList(
            PostNormLayer(c.width, c.num_heads, c.ffn_width, **layer) for _ in range(c.num_layers)
        )
        # 4.5: both heads are BERT's masked-language head; the MAM head draws a block's whole log-mel
        self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)
        self.mam_heads = nn.ModuleList(FrameHead(c.width, b.frames * c.grid.num_mels, eps=c.norm_eps) for b in c.blocks)
        initialise_normal(self)
        # 4.2
        width = c.spectran_width or c.width
        self.audio = AcousticTokens(
            c.blocks,
            c.grid,
            stem=c.stem,
            learned_fill=c.block_fill == "learned",
            width=width,
            num_layers=c.spectran_layers,
            num_heads=c.spectran_heads or c.num_heads,
            ffn_width=4 * width,
            out_width=c.width,
            dropout=c.dropout,
        )
        initialise_truncated(self.audio)
        assert self.embedding.time is not None
        nn.init.normal_(self.embedding.time.weight)  # as large as a block's vector; BERT's 0.02 would be lost beside it
        # 4.3
        self.learned_temperature = Temperature(c.temperature) if c.learn_temperature else None
        self.spaces = nn.ModuleDict()
        if c.spaces == "standardised":
            self.spaces.update({n: Standardised(c.width, affine=False) for n in ("audio", "text")})

    @property
    def joint_objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.config.stage == "hide" else ("neighbours", "alignment")

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.joint_objectives + (() if self.config.stage == "align" else ("mlm", "mam"))

    def corrupt(self, batch: Batch) -> Batch:
        """Draw CALP's blocks, then hidden words and blocks, for each clip from its own seed."""
        c = self.config
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        extras: dict[str, Tensor] = {}
        counts: dict[str, float] = {}
        if "alignment" in self.objectives:  # 4.3: "one set of A_ij, A_i(j+1), T_i from each utterance i"
            pairs_B3 = draw_pairs(c.blocks, _lengths(batch.frames, batch), generators, gap=c.neighbour_gap)
            extras |= pairs_by_rate(pairs_B3, len(c.blocks))
            has_text_B1 = torch.tensor(_lengths(batch.tokens, batch))[:, None] > 0
            has_B3 = torch.cat([pairs_B3[:, 1:] >= 0, has_text_B1], 1)
            extras["facts_BK"] = torch.cat([has_B3.float(), _text_keys(batch)], 1)
        if "mlm" in self.objectives:
            if batch.tokens is not None:
                # 4.5: "a special [MASK] token replaces 15% of the input tokens"
                masked_share, random_share = {"always": (1.0, 0.0), "bert": (0.8, 0.1)}[c.mask_rule]
                chosen_BL, corrupted_BL = corruption.each_clip(
                    corruption.corrupt_words,
                    batch.tokens,
                    generators,
                    share=c.token_share,
                    masked=masked_share,
                    random=random_share,
                    mask_id=c.mask_id,
                    first_word_id=c.first_word_id,
                    vocab_size=c.vocab_size,
                )
                extras |= {"hidden_tokens_N": places_where(chosen_BL), "corrupted_tokens_BL": corrupted_BL}
                counts["mlm"] = float(chosen_BL.sum())
            if batch.frames is not None:
                # 4.5: "10% of audio representations and the representations from the subsequent 2 frames"
                counts["mam"] = 0.0
                validity = batch.frames.with_values(batch.frames.valid)  # the blocks' content does not matter here
                for rate, blocks in enumerate(c.blocks):
                    _, real = cut_blocks(validity, blocks)
                    hidden_BN = hide_blocks(real, generators, share=c.block_share, run=c.block_run)
                    hidden_N = places_where(hidden_BN)
                    frames_valid_NS = at_places(real.values, hidden_N)
                    extras |= {f"hidden_{rate}_BN": hidden_BN, f"hidden_{rate}_N": hidden_N}
                    extras[f"hidden_frames_{rate}_N"] = places_where(frames_valid_NS)
                    counts["mam"] += float(frames_valid_NS.sum()) * c.grid.num_mels
        return batch.adding(extras=extras, counts=counts)

    # ---- 4.3 Contrastive Acoustic Language Pretraining --------------------------------------------------------------

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return A^t, A^(t+1) and T of each clip, and which of them it has, for the loss over the effective batch."""
        if "alignment" not in self.objectives:
            return {}
        facts_BK = batch.extras["facts_BK"]
        none_BD = torch.zeros(len(batch), self.config.width, device=facts_BK.device)
        rows = {"anchor": none_BD, "neighbour": none_BD, "text": none_BD, "facts": facts_BK}
        tokens = None if self.config.align == "block" else self._acoustic_tokens(batch)
        if batch.frames is not None:
            pairs_B2D = self.audio.of_pairs(batch.frames, batch.extras, known=tokens)
            rows["anchor"], rows["neighbour"] = pairs_B2D.unbind(1)
        if batch.tokens is not None:
            rows["text"] = self._text_summary(batch.tokens)
        if self.config.align != "block":
            rows["audio"] = none_BD if tokens is None else self._audio_summary(tokens)
        return rows

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        """Return L_CALP = NTXent(A^t, A^(t+1)) + α · NTXent(A^t, T) (eq. 2), over all rows of the effective batch."""
        c = self.config
        facts_NK = rows["facts"].detach()
        has_audio_N, has_neighbour_N, has_text_N = facts_NK[:, :3].bool().unbind(1)
        temperature = c.temperature if self.learned_temperature is None else self.learned_temperature()
        options = {"temperature": temperature, "denominator": c.denominator, "symmetric": c.symmetric}

        # A clip that lacks one of a pair is no negative of any other, and so is not counted.
        apart_NN = ~(has_neighbour_N[:, None] & has_neighbour_N)
        loss, count = nt_xent_sum(rows["anchor"], rows["neighbour"], same_NN=apart_NN, **options)
        terms = {"neighbours": Term(loss, count, weight=1.0)}

        both_N = has_audio_N & has_text_N
        apart_NN = ~(both_N[:, None] & both_N)
        if c.same_text == "ignored":
            apart_NN = apart_NN | (facts_NK[:, None, 3:] == facts_NK[None, :, 3:]).all(2)
        audio_ND = self._in_space("audio", rows.get("audio", rows["anchor"]), both_N)
        text_ND = self._in_space("text", rows["text"], both_N)
        loss, count = nt_xent_sum(audio_ND, text_ND, same_NN=apart_NN, **options)
        return terms | {"alignment": Term(loss, count, weight=c.text_weight)}  # α

    def _text_summary(self, tokens: Padded) -> Tensor:
        """Return T: one vector per transcript, read without audio (B, D)."""
        with drawn_apart("text"):
            states = self._states(tokens, None)
        if self.config.summary == "cls":
            return states.pooled_BD
        places_L = torch.arange(tokens.valid.shape[1], device=tokens.valid.device)
        words_BL = (places_L > 0) & (places_L < tokens.valid.sum(1, keepdim=True) - 1)
        return masked_mean(states.streams["text"], words_BL)

    def _audio_summary(self, audio: Tokens) -> Tensor:
        """Return one vector per clip's audio, read without text (B, D)."""
        if self.config.align != "transformer":
            return masked_mean(audio.x_BND, audio.valid_BN)
        with drawn_apart("audio"):
            states = self._states(None, audio)
        return (
            states.pooled_BD if self.config.summary == "cls" else masked_mean(states.streams["audio"], audio.valid_BN)
        )

    def _in_space(self, modality: str, x_ND: Tensor, known_N: Tensor) -> Tensor:
        """Return vectors as the cosine compares them."""
        return self.spaces[modality](x_ND, known_N) if modality in self.spaces else x_ND

    # ---- 4.4 Multimodal transformer ---------------------------------------------------------------------------------

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    @property
    def aligns_modalities(self) -> bool:
        return self.config.pooled == "aligned"

    def encode(self, batch: Batch) -> Encoding:
        """Return the states of words and acoustic tokens, and [CLS] (4.6, 5.2: the supervised heads operate on it)."""
        if batch.frames is None and batch.tokens is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        audio = self._acoustic_tokens(batch)
        if self.aligns_modalities:
            return self._aligned(batch.tokens, audio)
        states = self._states(batch.tokens, audio)
        return Encoding(states.pooled_BD, states.streams, states.valid, layers=states.layers)

    def _aligned(self, tokens: Padded | None, audio: Tokens | None) -> Encoding:
        """Return unit vectors by modality as ``aligned``, zeros where a clip lacks one; its vector is their mean."""
        vectors: dict[str, tuple[Tensor, Tensor]] = {}
        if audio is not None:
            vectors["audio"] = self._audio_summary(audio), audio.valid_BN.any(1)
        if tokens is not None:
            vectors["text"] = self._text_summary(tokens), tokens.valid.any(1)
        present = {n: known_B[:, None] for n, (_, known_B) in vectors.items()}
        spaced = {n: self._in_space(n, x_BD, known_B) for n, (x_BD, known_B) in vectors.items()}
        aligned = {n: F.normalize(x_BD.float(), dim=-1) * present[n] for n, x_BD in spaced.items()}
        return Encoding(mean_of_present(list(aligned.values()), list(present.values())), aligned=aligned)

    def _acoustic_tokens(self, batch: Batch, *, hidden: Mapping[str, Tensor] | None = None) -> Tokens | None:
        return None if batch.frames is None else self.audio(batch.frames, hidden=hidden)

    def _states(self, tokens: Padded | None, audio: Tokens | None) -> _States:
        """Return the states of [CLS] words [SEP] acoustic tokens [SEP].

        Position (time for audio, index for words) and modality embeddings are added to each token, then LayerNorm.
        """
        if audio is None:
            joined = self.embedding(tokens, None)
        else:
            vectors = Padded(audio.x_BND, audio.valid_BN)
            joined = self.embedding(tokens, vectors, audio_times_T=audio.times_T, audio_parts=audio.parts)
        states = bert.layer_states(self.layers, joined)
        layers, valid = {}, {}
        if tokens is not None:
            layers["text"], valid["text"] = tuple(x[:, : joined.num_text] for x in states), tokens.valid
        if audio is not None:
            layers["audio"], valid["audio"] = tuple(x[:, joined.num_text : -1] for x in states), audio.valid_BN
        return _States(states[-1][:, 0], {n: x[-1] for n, x in layers.items()}, valid, layers)

    # ---- 4.5 Audio-language masked prediction -----------------------------------------------------------------------

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return L_MLM and L_MAM; L_ALT is their sum (eq. 3): weights 1 and 1.

        Differs: eq. 3 as printed sums a block's squared errors; the text says "the mean squared error", as we do.
        Frames that a clip's last block lacks are not predicted.
        """
        terms: dict[str, Term] = {}
        if "mlm" not in self.objectives:
            return terms
        extras, tokens, frames = batch.extras, batch.tokens, batch.frames
        audio = self._acoustic_tokens(batch, hidden=extras)
        states = self._states(tokens and tokens.with_values(extras["corrupted_tokens_BL"]), audio)
        if tokens is not None:
            hidden_N = extras["hidden_tokens_N"]
            logits_NV = self.mlm_head(at_places(states.streams["text"], hidden_N), self.embedding.token.weight)
            loss = masked.cross_entropy_sum(logits_NV, at_places(tokens.values, hidden_N))
            terms["mlm"] = Term(loss, batch.counts["mlm"], weight=1.0)
        if frames is not None:
            total, start = torch.zeros((), device=frames.values.device), 0
            for rate, blocks in enumerate(self.config.blocks):
                blocks_BNSF, _ = cut_blocks(frames, blocks)
                hidden_N, end = extras[f"hidden_{rate}_N"], start + blocks_BNSF.shape[1]
                hidden_ND = at_places(states.streams["audio"][:, start:end], hidden_N)
                predicted_NSF = self.mam_heads[rate](hidden_ND).unflatten(1, (blocks.frames, -1))
                drawn_NSF, frames_N = at_places(blocks_BNSF, hidden_N), extras[f"hidden_frames_{rate}_N"]
                total = total + masked.mse_sum(at_places(predicted_NSF, frames_N), at_places(drawn_NSF, frames_N))
                start = end
            terms["mam"] = Term(total, batch.counts["mam"], weight=1.0)
        return terms

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        heads: list[nn.Module] = [self.mlm_head, self.mam_heads, self.spaces]
        heads += [] if self.learned_temperature is None else [self.learned_temperature]
        groups: dict[str, list[nn.Module]] = {"embedding": [self.embedding], "audio": [self.audio]}
        groups |= {f"layer_{i}": [layer] for i, layer in enumerate(self.layers)}
        return groups | {"pretraining_heads": heads}

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, ImportReport]:
        """Start the multimodal transformer from "bert" (4.4): a checkpoint's file, folder or ``hub:ORG/NAME``."""
        reports = {}
        for part, place in sources.items():
            if part != "bert":
                raise ValueError(f"`pretrained` must name parts of {self.name}, but names {part!r}.")
            weights = open_checkpoint(place).weights
            reports[part] = import_bert(self.embedding, self.layers, self.mlm_head, weights)
        return reports

    @classmethod
    def matched(cls, config: CalmConfig, processor: CalmProcessor) -> CalmConfig:
        if config.grid.num_mels != processor.config.num_mels:
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
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[CalmConfig, CalmProcessorConfig]:
        max_frames = 1 + round(100 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = CalmProcessorConfig(vocab_size=1000 if num_clips < 20_000 else 30_000, max_frames=max_frames)
        return (CalmConfig.tiny() if num_clips < 20_000 else CalmConfig.base()), processor


@dataclass(frozen=True)
class _States:
    """[CLS], the last states and their validity, and the states of all layers, by modality."""

    pooled_BD: Tensor
    streams: Mapping[str, Tensor]
    valid: Mapping[str, Tensor]
    layers: Mapping[str, tuple[Tensor, ...]]


class Standardised(nn.BatchNorm1d):
    """Known vectors (N, D), each dimension with mean 0 and deviation 1; in evaluation, by running statistics.

    Unknown vectors become zeros. Fewer than two known ones have no statistics, so all stay as they are.
    """

    def forward(self, x_ND: Tensor, known_N: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_ND)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        known_N1, count = known_N[:, None], known_N.sum()
        enough = count > 1
        mean_D = (x_ND.float() * known_N1).sum(0) / count.clamp_min(1)
        centred_ND = (x_ND - mean_D) * known_N1
        squares_D = centred_ND.square().sum(0)
        with torch.no_grad():
            for running_D, now_D in ((self.running_mean, mean_D), (self.running_var, squares_D / (count - 1))):
                running_D += torch.where(enough, self.momentum * (now_D - running_D), 0.0)
        return torch.where(enough, centred_ND / (squares_D / count.clamp_min(1) + self.eps).sqrt(), x_ND)


# ---- Random draws for each clip -------------------------------------------------------------------------------------


def draw_pairs(rates: Sequence[Blocks], lengths: Sequence[int], generators: Sequence[Generator], *, gap: int) -> Tensor:
    """Return (rate, t, t + gap) of two blocks a clip (B, 3); -1 where a clip has no such block. Section 4.3.

    Args:
        lengths: frames of each clip.
    """
    pairs = []
    for length, generator in zip(lengths, generators, strict=True):
        rate = int(torch.randint(len(rates), (), generator=generator))
        num_blocks = rates[rate].num_blocks(length)
        first = int(torch.randint(max(1, num_blocks - gap), (), generator=generator))
        pairs.append((rate, first if num_blocks else -1, first + gap if first + gap < num_blocks else -1))
    return torch.tensor(pairs)


def pairs_by_rate(pairs_B3: Tensor, num_rates: int) -> dict[str, Tensor]:
    """Return (clip, 0 for A^t or 1 for A^(t+1), its time) of the pairs' blocks (N, 3), as ``pairs_0_N3`` and so on."""
    by_rate = {}
    for rate in range(num_rates):
        clip_N, which_N = ((pairs_B3[:, :1] == rate) & (pairs_B3[:, 1:] >= 0)).nonzero(as_tuple=True)
        by_rate[f"pairs_{rate}_N3"] = torch.stack([clip_N, which_N, pairs_B3[clip_N, 1 + which_N]], 1)
    return by_rate


def hide_blocks(real: Padded, generators: Sequence[Generator], *, share: float, run: int) -> Tensor:
    """Return which blocks of each clip are hidden (B, N), by `corruption.choose_runs`. Section 4.5."""
    assert real.lengths is not None
    rows = [
        F.pad(corruption.choose_runs(n, share=share, run=run, generator=g), (0, real.valid.shape[1] - n))
        for n, g in zip(real.lengths, generators, strict=True)
    ]
    return torch.stack(rows)


def _lengths(rows: Padded | None, batch: Batch) -> tuple[int, ...]:
    """Return each clip's length; 0 where the batch has no such rows."""
    return (0,) * len(batch) if rows is None or rows.lengths is None else rows.lengths


def _text_keys(batch: Batch) -> Tensor:
    """Return the identity of each clip's transcript as KEY_PARTS whole numbers below KEY_LIMIT, in float32."""
    if batch.tokens is None:
        return torch.zeros(len(batch), KEY_PARTS)
    rows = []
    for tokens_L, length in zip(batch.tokens.values, _lengths(batch.tokens, batch), strict=True):
        digest = hashlib.sha256(tokens_L[:length].numpy().tobytes()).digest()
        rows.append(np.frombuffer(digest, "<u4")[:KEY_PARTS] % KEY_LIMIT)
    return torch.from_numpy(np.stack(rows).astype(np.float32))


SYSTEM = Calm
