"""What CTAL and the transformers it is compared with share: sizes, corruption, both objectives, fusion.

A system of this kind turns words and frames into states, one sequence of each; how the two meet is its own. Masked
words are predicted from the states of words, masked segments of frames from those of frames.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sonolex import text as text_
from sonolex.nn.embeddings import FrameEmbedding, TokenEmbedding
from sonolex.nn.heads import FrameHead, TokenHead
from sonolex.nn.transformer import attends_to_valid, initialise_normal
from sonolex.objectives import corruption, masked
from sonolex.systems._ctal_fusion import CtalFusion
from sonolex.systems._ctal_input import CtalProcessor, CtalProcessorConfig
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig, one_of
from sonolex.types import Batch, Encoding, Term

ROBERTA_FIRST_POSITION = text_.PAD_ID + 1
States = dict[str, tuple[Tensor, Tensor]]
"""States (B, T, D) and their validity (B, T), by modality."""


@dataclass(frozen=True)
class MaskedStreamsConfig(SystemConfig):
    """Sizes and variants. Defaults are CTAL's BASE (section 4.1 of source document 002).

    Attributes:
        attention_dropout: on attention probabilities. Differs: the library CTAL builds on uses 0.1; 0 is 11–20 %
            faster on a CPU and no worse in our runs.
        stem, frames_per_step: "linear", 1 as published; "conv" or "conv2d" and more frames a step for small data.
        objectives: of pre-training: "mlm", "mcam" (without one: CTAL's table 4 rows b and c). What is not predicted is
            not hidden.
        fusion: "paper" (section 3.3) or "code" (tanh projections first, then a joint tanh layer; reference C2).
        fusion_streams: "both", or one stream alone ("text", "audio": table 4 rows e and f).
        orthogonal: "paper", "code" (both norms are the audio norm; reference C4) or "none" (table 4 row d).
        max_pools: whether maxima join attention pooling and the start token; row d of the released code has none.
        replace_level: MCAM corrupts whole segments (section 3.2.2) or frame by frame ("frame", reference C3).
    """

    vocab_size: int = 30_000
    num_layers: int = 3
    width: int = 768
    num_heads: int = 12
    ffn_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.0
    norm_eps: float = 1e-12
    num_features: int = 160
    max_frames: int = 3000
    max_tokens: int = 512
    stem: str = "linear"
    frames_per_step: int = 1
    objectives: tuple[str, ...] = ("mlm", "mcam")
    fusion: str = "paper"
    fusion_streams: str = "both"
    orthogonal: str = "paper"
    max_pools: bool = True
    replace_level: str = "segment"
    token_share: float = 0.15
    frame_share: float = 0.15
    shortest_segment_frames: int = 20
    longest_segment_frames: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("stem", self.stem, ("linear", "conv", "conv2d"))
        one_of("fusion", self.fusion, ("paper", "code"))
        one_of("fusion_streams", self.fusion_streams, ("both", "audio", "text"))
        one_of("orthogonal", self.orthogonal, ("paper", "code", "none"))
        one_of("replace_level", self.replace_level, ("segment", "frame"))
        for objective in self.objectives:
            one_of("objectives", objective, ("mlm", "mcam"))

    @classmethod
    def base(cls, **changes: Any) -> Any:
        """Return CTAL's BASE sizes, N = 3."""
        return cls(**changes)

    @classmethod
    def tiny(cls, *, vocab_size: int = 400, **changes: Any) -> Any:
        """Return a size that trains on two cores in a minute: 20 audio steps a second."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 4, "ffn_width": 256, "stem": "conv"}
        sizes |= {"frames_per_step": 4, "max_frames": 1600, "max_tokens": 64}
        return cls(vocab_size=vocab_size, **(sizes | changes))


class MaskedStreams(System):
    """Embeddings, the objectives' heads and fusion; layers, and where they look, are a subclass's."""

    config_type = MaskedStreamsConfig
    processor_type = CtalProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: MaskedStreamsConfig
    text_embedding: TokenEmbedding

    def __init__(self, config: MaskedStreamsConfig):
        super().__init__()
        self.config = config

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.objectives

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        p = processor.config
        if config.stem == "conv2d" and p.derivatives != 1:
            raise ValueError(f"`derivatives` must be 1 for stem='conv2d', but is {p.derivatives}.")
        return replace(
            config,
            vocab_size=processor.tokenizer.get_vocab_size(),
            num_features=processor.num_features,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Any, CtalProcessorConfig]:
        max_frames = max(1600, 1 + round(80 * min(longest_s, LONGEST_STARTER_S)))
        if num_clips < 20_000:
            processor = CtalProcessorConfig(vocab_size=1000, max_frames=max_frames, normalise="fixed")
            return cls.config_type.tiny(), processor  # type: ignore[attr-defined]
        if num_clips < 200_000:
            medium = {"num_layers": 3, "width": 384, "num_heads": 6, "ffn_width": 1536, "stem": "conv"}
            config = cls.config_type(**medium, frames_per_step=4)  # type: ignore[call-arg]
            return config, CtalProcessorConfig(vocab_size=8000, max_frames=max_frames, normalise="fixed")
        return cls.config_type(), CtalProcessorConfig(max_frames=max(3000, max_frames))

    @property
    def pooled_dim(self) -> int:
        return 2 * self.config.width

    @abc.abstractmethod
    def states(self, tokens: tuple[Tensor, Tensor] | None, frames: tuple[Tensor, Tensor] | None) -> States:
        """Return the final states by modality, of tokens (B, L) and frames (B, T, F) with their validity."""

    def encode(self, batch: Batch) -> Encoding:
        states = self.states(
            _pair(batch.tokens_BL, batch.tokens_valid_BL), _pair(batch.frames_BTF, batch.frames_valid_BT)
        )
        if not states:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        streams, valid = ({n: pair[i] for n, pair in states.items()} for i in (0, 1))
        pooled_BD, penalty = self.fusion(streams, valid)
        penalties = {name: Term(penalty, count) for name, count in self.penalty_counts(batch).items()}
        return Encoding(pooled_BD, streams, valid, penalties)

    def corrupt(self, batch: Batch) -> Batch:
        c, extras, counts = self.config, {}, {}
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        if "mlm" in c.objectives and batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            chosen_BL, corrupted_BL = corruption.each_clip(
                corruption.corrupt_words,
                batch.tokens_BL,
                batch.tokens_valid_BL,
                generators,
                share=c.token_share,
                mask_id=text_.MASK_ID,
                first_word_id=len(text_.SPECIAL_TOKENS),
                vocab_size=c.vocab_size,
            )
            extras |= {"chosen_tokens_BL": chosen_BL, "corrupted_tokens_BL": corrupted_BL}
            counts["mlm"] = float(chosen_BL.sum())
        if "mcam" in c.objectives and batch.frames_BTF is not None and batch.frames_valid_BT is not None:
            chosen_BT, corrupted_BTF = corruption.each_clip(
                corruption.corrupt_segments if c.replace_level == "segment" else corruption.corrupt_frames,
                batch.frames_BTF,
                batch.frames_valid_BT,
                generators,
                share=c.frame_share,
                shortest=c.shortest_segment_frames,
                longest=c.longest_segment_frames,
            )
            extras |= {"chosen_frames_BT": chosen_BT, "corrupted_frames_BTF": corrupted_BTF}
            counts["mcam"] = float(chosen_BT.sum()) * c.num_features
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        terms, extras = {}, batch.extras
        states = self.states(
            _pair(extras.get("corrupted_tokens_BL", batch.tokens_BL), batch.tokens_valid_BL),
            _pair(extras.get("corrupted_frames_BTF", batch.frames_BTF), batch.frames_valid_BT),
        )
        if "mlm" in batch.counts and batch.tokens_BL is not None:
            chosen_BL = extras["chosen_tokens_BL"]
            logits_NV = self.mlm_head(states["text"][0][chosen_BL], self.text_embedding.token.weight)
            loss = masked.cross_entropy_sum(logits_NV, batch.tokens_BL[chosen_BL])
            terms["mlm"] = Term(loss, batch.counts["mlm"])
        if "mcam" in batch.counts and batch.frames_BTF is not None:
            chosen_BT = extras["chosen_frames_BT"]
            predicted_BTF = self._predicted_frames(states["audio"][0], batch.frames_BTF.shape[1])
            loss = masked.l1_sum(predicted_BTF[chosen_BT], batch.frames_BTF[chosen_BT])
            terms["mcam"] = Term(loss, batch.counts["mcam"])
        return terms

    def penalty_counts(self, batch: Batch) -> dict[str, float]:
        if self.config.orthogonal == "none" or frozenset({"audio", "text"}) not in self.accepts:
            return {}
        if batch.tokens_valid_BL is None or batch.frames_valid_BT is None:
            return {"orthogonal": 0.0}
        return {"orthogonal": float((batch.tokens_valid_BL.any(1) & batch.frames_valid_BT.any(1)).sum())}

    def new_text_embedding(self) -> TokenEmbedding:
        c = self.config
        return TokenEmbedding(
            c.vocab_size,
            c.max_tokens,
            c.width,
            first_position=ROBERTA_FIRST_POSITION,
            dropout=c.dropout,
            eps=c.norm_eps,
        )

    def new_audio_embedding(self) -> FrameEmbedding:
        c = self.config
        return FrameEmbedding(
            c.num_features,
            c.max_frames,
            c.width,
            stem=c.stem,
            frames_per_step=c.frames_per_step,
            dropout=c.dropout,
            eps=c.norm_eps,
        )

    def new_layers(self, kind: Any, num_layers: int | None = None) -> nn.ModuleList:
        """Return layers of the config's sizes, by default as many as it has."""
        c = self.config
        options = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
        number = c.num_layers if num_layers is None else num_layers
        return nn.ModuleList(kind(c.width, c.num_heads, c.ffn_width, **options) for _ in range(number))

    def finish(self) -> None:
        """Add the objectives' heads and fusion, and start all weights."""
        c = self.config
        if "mlm" in c.objectives:
            self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)
        if "mcam" in c.objectives:
            self.mcam_head = FrameHead(c.width, c.num_features * c.frames_per_step, eps=c.norm_eps)
        self.fusion = CtalFusion(c, tuple(sorted({m for modalities in self.accepts for m in modalities})))
        initialise_normal(self)

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        parts = dict(self.named_children())
        groups = {n: [parts[n]] for n in ("text_embedding", "audio_embedding") if n in parts}
        for name, part in parts.items():
            if name.endswith("_layers") and isinstance(part, nn.ModuleList):
                groups |= {f"{name.removesuffix('s')}_{i}": [layer] for i, layer in enumerate(part)}
        heads = [parts[n] for n in ("mlm_head", "mcam_head") if n in parts]
        return groups | {"pretraining_heads": heads, "fusion": [self.fusion]}

    def _predicted_frames(self, audio_BTD: Tensor, num_frames: int) -> Tensor:
        """(B, T', D) -> (B, T, F): each step predicts the frames it was stacked from."""
        out = self.mcam_head(audio_BTD)
        return out.reshape(len(out), -1, self.config.num_features)[:, :num_frames]


def through(layers: Iterable[nn.Module], x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return states after layers of self-attention, and their validity."""
    attends_B1TT = attends_to_valid(valid_BT)
    for layer in layers:
        x_BTD = layer(x_BTD, attends_B1TT)
    return x_BTD, valid_BT


def _pair(x: Tensor | None, valid_BT: Tensor | None) -> tuple[Tensor, Tensor] | None:
    return None if x is None or valid_BT is None else (x, valid_BT)
