"""CALM: contrastive aligned audio and language at several rates (source document 004, reference E).

What is unusual about it:

- Half a second of spectrogram becomes one vector in the language model's own embedding space (SpecTran), so audio
  tokens can stand beside words in one BERT.
- Training has two stages. *Align* (CALP): a block must be near its neighbour, and near the whole transcript of its
  utterance, among the other utterances of the batch. *Hide*: words and runs of blocks are hidden from the one
  transformer, and drawn again from both modalities.
- The same weights read audio, text or both.

The paper says neither what of the transcript is aligned nor where; `summary` and `align` choose. With
``pooled="aligned"`` a clip's vector is the one that alignment trains, so a classifier that learned from texts alone can
be asked about audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio.patches import Blocks, Grid, cut_blocks
from sonolex.configs import one_of
from sonolex.nn.dropout import drawn_apart
from sonolex.nn.heads import FrameHead, Temperature
from sonolex.nn.pooling import masked_mean
from sonolex.nn.transformer import initialise_normal, initialise_truncated
from sonolex.objectives import masked
from sonolex.objectives.contrastive import nt_xent_sum
from sonolex.processors.filter_banks_and_words import FilterBanksAndWordsConfig, FilterBanksAndWordsProcessor
from sonolex.systems._bert import BertConfig, BertSystem
from sonolex.systems._calm_blocks import AudioTokens, BlockTokens, draw_pairs, hidden_name, hide_blocks
from sonolex.systems.base import LONGEST_STARTER_S
from sonolex.types import Batch, Encoding, Term

PATCHES = Grid(frames=10, bins=16, stride_frames=5, stride_bins=8, num_mels=64)
KEY_PARTS, KEY_LIMIT = 3, 1 << 20  # a transcript's identity as numbers that float32 holds exactly


@dataclass(frozen=True)
class CalmProcessorConfig(FilterBanksAndWordsConfig):
    """64 Kaldi filter banks every 10 ms, lower-cased WordPiece tokens."""

    num_mels: int = 64
    mean: float = -7.0
    std: float = 3.0


class CalmProcessor(FilterBanksAndWordsProcessor):
    """Waveform to filter banks; words to WordPiece between [CLS] and [SEP]."""

    config_type = CalmProcessorConfig
    config: CalmProcessorConfig


@dataclass(frozen=True)
class CalmConfig(BertConfig):
    """BERT's sizes (base by default), SpecTran's, and the objectives.

    Attributes:
        blocks: of frames, one token each; several rates are read side by side, each with its own SpecTran.
        grid, stem: SpecTran's patches; "linear" as published, "normalised" with a patch's mean and deviation apart
            from its shape, or "conv2d": convolutions with a vector every ``grid.stride_frames`` (1, 2, 4 or 8).
        spectran_layers, spectran_width: 0 is the language model's width, and nothing is mapped.
        time_positions: most blocks of a clip and rate.
        stage: "align" (CALP), "hide" (MLM and MAM) or "both": which objectives pre-training has.
        align: what of a clip is aligned with its transcript: one "block" (published), the mean of the "clip"'s blocks,
            or what the "transformer" makes of them, read without the text.
        summary: of a transcript read without the audio: "mean" of its words, or "cls"; and of align="transformer".
        spaces: "raw" (published), or "standardised": each dimension of each modality to mean 0 and deviation 1 before
            the cosine, with the statistics of the effective batch (in use: running ones).
        neighbour_gap: from A_t to A_t+1 in blocks. Published: 1, which shares frames where blocks overlap.
        temperature, learn_temperature: τ of both terms; not published.
        text_weight: α. Published: 0.25.
        denominator, symmetric: see `nt_xent_sum`. Published: "without_positive", one-way.
        same_text: "ignored" (clips with the same transcript are no negatives of each other) or "negative" (published).
        block_share, block_run: MAM hides each block with this chance, and the run that starts there.
        block_fill: hidden blocks are the "zero" vector (published) or a "learned" one.
        pooled: "multimodal" ([CLS] of the transformer over both) or "aligned".
    """

    blocks: tuple[Blocks, ...] = (Blocks(),)
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
    def tiny(cls, **changes: Any) -> CalmConfig:
        """Return BERT-tiny: 2 layers of 128."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 2, "ffn_width": 512}
        return cls(**(sizes | changes))


class Calm(BertSystem):
    """SpecTran, BERT over words and blocks, and the heads of both stages."""

    name = "calm"
    config_type = CalmConfig
    processor_type = CalmProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: CalmConfig

    def __init__(self, config: CalmConfig):
        super().__init__(config, time_positions=config.time_positions)
        c = config
        self.mam_heads = nn.ModuleList(FrameHead(c.width, b.frames * c.grid.num_mels, eps=c.norm_eps) for b in c.blocks)
        initialise_normal(self)
        width = c.spectran_width or c.width
        self.audio = BlockTokens(
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
        nn.init.normal_(self.embedding.time.weight)  # as large as a block; BERT's 0.02 would be lost
        self.learned_temperature = Temperature(c.temperature) if c.learn_temperature else None
        self.spaces = nn.ModuleDict()
        if c.spaces == "standardised":
            self.spaces.update({n: nn.BatchNorm1d(c.width, affine=False) for n in ("audio", "text")})

    @property
    def joint_objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.config.stage == "hide" else ("neighbours", "alignment")

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.joint_objectives + (() if self.config.stage == "align" else ("mlm", "mam"))

    @property
    def aligns_modalities(self) -> bool:
        return self.config.pooled == "aligned"

    @classmethod
    def matched(cls, config: CalmConfig, processor: CalmProcessor) -> CalmConfig:
        if config.grid.num_mels != processor.config.num_mels:
            raise ValueError(
                f"`grid.num_mels` must be the processor's {processor.config.num_mels}, but is {config.grid.num_mels}."
            )
        return super().matched(config, processor)

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[CalmConfig, CalmProcessorConfig]:
        max_frames = 1 + round(100 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = CalmProcessorConfig(vocab_size=1000 if num_clips < 20_000 else 30_000, max_frames=max_frames)
        return (CalmConfig.tiny() if num_clips < 20_000 else CalmConfig.base()), processor

    def encode(self, batch: Batch) -> Encoding:
        if batch.frames_BTF is None and batch.tokens_BL is None:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        audio = self._audio(batch)
        if self.aligns_modalities:
            return self._aligned(batch, audio)
        states = self._states(batch.tokens_BL, batch.tokens_valid_BL, audio)
        return Encoding(states.pooled_BD, states.streams, states.valid, layers=states.layers)

    def corrupt(self, batch: Batch) -> Batch:
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        extras: dict[str, Tensor] = {}
        counts: dict[str, float] = {}
        if "alignment" in self.objectives:
            valid_BT = batch.frames_valid_BT
            lengths = [0] * len(batch) if valid_BT is None else valid_BT.sum(1).tolist()
            pairs_B3 = draw_pairs(self.config.blocks, lengths, generators, gap=self.config.neighbour_gap)
            extras |= {"pairs_B3": pairs_B3, "keys_BK": _text_keys(batch)}
        if "mlm" in self.objectives:
            if batch.tokens_BL is not None:
                chosen_BL, corrupted_BL = self.hidden_words(batch, generators)
                extras |= {"chosen_tokens_BL": chosen_BL, "corrupted_tokens_BL": corrupted_BL}
                counts["mlm"] = float(chosen_BL.sum())
            if batch.frames_BTF is not None and batch.frames_valid_BT is not None:
                counts["mam"] = 0.0
                for rate, blocks in enumerate(self.config.blocks):
                    _, valid_BNS = cut_blocks(batch.frames_BTF, batch.frames_valid_BT, blocks)
                    chosen_BN = hide_blocks(
                        valid_BNS.any(2), generators, share=self.config.block_share, run=self.config.block_run
                    )
                    extras[hidden_name(rate)] = chosen_BN
                    counts["mam"] += float(valid_BNS[chosen_BN].sum()) * self.config.grid.num_mels
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if "mlm" not in self.objectives:
            return terms
        extras = batch.extras
        audio = self._audio(batch, hidden=extras)
        states = self._states(extras.get("corrupted_tokens_BL"), batch.tokens_valid_BL, audio)
        if "mlm" in batch.counts:
            terms["mlm"] = self.mlm_term(states.streams["text"], batch, extras["chosen_tokens_BL"], 1.0)
        if audio is not None:
            assert batch.frames_BTF is not None and batch.frames_valid_BT is not None
            total, start = torch.zeros((), device=batch.frames_BTF.device), 0
            for rate, blocks in enumerate(self.config.blocks):
                blocks_BNSF, valid_BNS = cut_blocks(batch.frames_BTF, batch.frames_valid_BT, blocks)
                chosen_BN, num_blocks = extras[hidden_name(rate)], blocks_BNSF.shape[1]
                hidden_ND = states.streams["audio"][:, start : start + num_blocks][chosen_BN]
                drawn_NSF = self.mam_heads[rate](hidden_ND).unflatten(1, (blocks.frames, -1))
                real_NS = valid_BNS[chosen_BN]
                total = total + masked.mse_sum(drawn_NSF[real_NS], blocks_BNSF[chosen_BN][real_NS])
                start += num_blocks
            terms["mam"] = Term(total, batch.counts["mam"])
        return terms

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        if "alignment" not in self.objectives:
            return {}
        pairs_B3 = batch.extras["pairs_B3"]
        audio = None if self.config.align == "block" else self._audio(batch)
        pairs_B2D = torch.zeros(len(batch), 2, self.config.width, device=pairs_B3.device)
        if batch.frames_BTF is not None and batch.frames_valid_BT is not None:
            pairs_B2D = self.audio.of_pairs(batch.frames_BTF, batch.frames_valid_BT, pairs_B3, found=audio)
        anchor_BD, neighbour_BD = pairs_B2D.unbind(1)
        has_text_B = torch.zeros(len(batch), device=pairs_B3.device)
        text_BD = torch.zeros_like(anchor_BD)
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            has_text_B = batch.tokens_valid_BL.any(1).float()
            text_BD = self._text_summary(batch.tokens_BL, batch.tokens_valid_BL)
        facts_BK = torch.stack([(pairs_B3[:, 1] >= 0).float(), (pairs_B3[:, 2] >= 0).float(), has_text_B], 1)
        facts_BK = torch.cat([facts_BK, batch.extras["keys_BK"]], 1)
        rows = {"anchor": anchor_BD, "neighbour": neighbour_BD, "text": text_BD, "facts": facts_BK}
        if self.config.align != "block":
            rows["audio"] = self._audio_summary(audio, len(batch))
        return rows

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        c = self.config
        facts_NK = rows["facts"].detach()
        has_audio_N, has_neighbour_N, has_text_N = facts_NK[:, :3].bool().unbind(1)
        keys_NK = facts_NK[:, 3:]
        same_NN = (keys_NK[:, None] == keys_NK[None]).all(2) if c.same_text == "ignored" else None
        temperature = c.temperature if self.learned_temperature is None else self.learned_temperature()
        options = {"temperature": temperature, "denominator": c.denominator, "symmetric": c.symmetric}
        anchor_ND, neighbour_ND = rows["anchor"][has_neighbour_N], rows["neighbour"][has_neighbour_N]
        loss, count = nt_xent_sum(anchor_ND, neighbour_ND, **options)
        terms = {"neighbours": Term(loss, count)}
        both_N = has_audio_N & has_text_N
        audio_ND = self._in_space("audio", rows.get("audio", rows["anchor"])[both_N])
        text_ND = self._in_space("text", rows["text"][both_N])
        same_NN = None if same_NN is None else same_NN[both_N][:, both_N]
        loss, count = nt_xent_sum(audio_ND, text_ND, same_NN=same_NN, **options)
        return terms | {"alignment": Term(loss, count, c.text_weight)}

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        heads: list[nn.Module] = [self.mlm_head, self.mam_heads, self.spaces]
        heads += [] if self.learned_temperature is None else [self.learned_temperature]
        return {"embedding": [self.embedding], "audio": [self.audio], **self.bert_groups(), "pretraining_heads": heads}

    def _audio(self, batch: Batch, *, hidden: Mapping[str, Tensor] | None = None) -> AudioTokens | None:
        if batch.frames_BTF is None or batch.frames_valid_BT is None:
            return None
        return self.audio(batch.frames_BTF, batch.frames_valid_BT, hidden=hidden)

    def _states(self, tokens_BL: Tensor | None, tokens_valid_BL: Tensor | None, audio: AudioTokens | None) -> _States:
        if audio is None:
            joined = self.embedding(tokens_BL, tokens_valid_BL, None, None)
        else:
            joined = self.embedding(
                tokens_BL,
                tokens_valid_BL,
                audio.x_BND,
                audio.valid_BN,
                audio_times_T=audio.times_T,
                audio_parts=audio.parts,
            )
        states = self.encoded(joined)
        layers, valid = {}, {}
        if tokens_BL is not None and tokens_valid_BL is not None:
            layers["text"], valid["text"] = tuple(x[:, : joined.num_text] for x in states), tokens_valid_BL
        if audio is not None:
            layers["audio"], valid["audio"] = tuple(x[:, joined.num_text : -1] for x in states), audio.valid_BN
        return _States(states[-1][:, 0], {n: x[-1] for n, x in layers.items()}, valid, layers)

    def _aligned(self, batch: Batch, audio: AudioTokens | None) -> Encoding:
        """Return unit vectors by modality as ``aligned``, zeros where a clip lacks one; its vector is their mean."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if audio is not None:
            found["audio"] = self._audio_summary(audio, len(batch)), audio.valid_BN
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            found["text"] = self._text_summary(batch.tokens_BL, batch.tokens_valid_BL), batch.tokens_valid_BL
        present = {n: valid.any(1, keepdim=True) for n, (_, valid) in found.items()}
        aligned = {n: F.normalize(self._in_space(n, x).float(), dim=-1) * present[n] for n, (x, _) in found.items()}
        total_BD, count_B1 = (torch.stack(list(part.values())).sum(0) for part in (aligned, present))
        return Encoding(total_BD / count_B1, aligned=aligned)

    def _text_summary(self, tokens_BL: Tensor, valid_BL: Tensor) -> Tensor:
        """Return one vector per transcript, read without audio (B, D)."""
        with drawn_apart("text"):
            states = self._states(tokens_BL, valid_BL, None)
        if self.config.summary == "cls":
            return states.pooled_BD
        places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        words_BL = (places_L > 0) & (places_L < valid_BL.sum(1, keepdim=True) - 1)
        return masked_mean(states.streams["text"], words_BL)

    def _audio_summary(self, audio: AudioTokens | None, size: int) -> Tensor:
        """Return one vector per clip's audio, read without text (B, D)."""
        if audio is None:
            return torch.zeros(size, self.config.width, device=self.mlm_head.bias.device)
        if self.config.align != "transformer":
            return masked_mean(audio.x_BND, audio.valid_BN)
        with drawn_apart("audio"):
            states = self._states(None, None, audio)
        return (
            states.pooled_BD if self.config.summary == "cls" else masked_mean(states.streams["audio"], audio.valid_BN)
        )

    def _in_space(self, modality: str, x_ND: Tensor) -> Tensor:
        """Return vectors as the cosine compares them; fewer than two have no statistics of their own."""
        if modality not in self.spaces or (self.training and len(x_ND) < 2):
            return x_ND
        return self.spaces[modality](x_ND)


@dataclass(frozen=True)
class _States:
    pooled_BD: Tensor
    streams: Mapping[str, Tensor]
    valid: Mapping[str, Tensor]
    layers: Mapping[str, tuple[Tensor, ...]]


def _text_keys(batch: Batch) -> Tensor:
    """Return the identity of each clip's transcript as KEY_PARTS whole numbers below KEY_LIMIT, in float32."""
    if batch.tokens_BL is None or batch.tokens_valid_BL is None:
        return torch.zeros(len(batch), KEY_PARTS)
    rows = []
    for tokens_L, valid_L in zip(batch.tokens_BL, batch.tokens_valid_BL, strict=True):
        digest = hashlib.sha256(tokens_L[valid_L].numpy().tobytes()).digest()
        rows.append(np.frombuffer(digest, "<u4")[:KEY_PARTS] % KEY_LIMIT)
    return torch.from_numpy(np.stack(rows).astype(np.float32))


SYSTEM = Calm
