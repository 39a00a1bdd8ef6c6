"""CTAL: Cross-modal Transformer for Audio-and-Language (Li et al., EMNLP 2021).

What is unusual about it:

- It is asymmetric. The text stream is a plain RoBERTa encoder that never sees the audio; every layer of the audio
  stream attends to the *final* text states (section 3.1.3). Audio frames are log-mel with its derivative, 80 a second,
  not sub-sampled.
- Pre-training hides words (MLM) and segments of frames (MCAM) at the same time, and the audio stream sees the text
  states of the *masked* text (section 3.2).
- Fine-tuning adds attention pooling to the start token and max pooling to max pooling, and an orthogonal penalty keeps
  the two streams' vectors apart (section 3.3).

In this file: the config, the two encoding modules (3.1), the two pre-training tasks (3.2), the fusion and its penalty
(3.3). The input is `sonolex.processors.log_mel_and_tokens` (3.1.1); corruption and losses are formulas in
`sonolex.objectives`. "Code" is the authors' https://github.com/tal-ai/CTAL_EMNLP2021; where it departs from the paper,
the paper is the default and the code a named option, all of them listed in ``docs/systems/ctal.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex import text as text_
from sonolex.configs import one_of
from sonolex.nn.dropout import Dropout
from sonolex.nn.embeddings import FrameEmbedding, TokenEmbedding
from sonolex.nn.heads import FrameHead, TokenHead
from sonolex.nn.pooling import AttentionPool, masked_max
from sonolex.nn.transformer import (
    CrossAttention,
    FeedForward,
    PostNormLayer,
    SelfAttention,
    attends_to_valid,
    initialise_normal,
)
from sonolex.objectives import corruption, masked
from sonolex.places import at_places, places_where
from sonolex.pretrained.base import ImportReport
from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.pretrained.ctal import ctal_sizes, import_ctal, import_roberta
from sonolex.processors.log_mel_and_tokens import LogMelAndTokensConfig, LogMelAndTokensProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Padded, Term

Stream = tuple[Tensor, Tensor]
"""States (B, T, D) and their validity (B, T)."""
States = dict[str, Stream]
"""H_w^N as "text" and H_a^N as "audio", each (B, T, D)."""


@dataclass(frozen=True)
class CtalConfig(SystemConfig):
    """Sizes and variants. Defaults are the paper's BASE (N = 3, A = 12, H = 768); LARGE is ``num_layers=6`` (4.1).

    Attributes:
        vocab_size: sub-word units, 30K (3.1.1); filled in from the processor, as are num_features, max_frames,
            max_tokens, mask_id and first_word_id.
        num_layers, num_heads, width: N of each stream, A and H (4.1).
        ffn_width, dropout, norm_eps: not in the paper; the code's, which are BERT's.
        attention_dropout: on attention probabilities. Differs: the code inherits 0.1 from its library; 0 is 11–20 %
            faster on a CPU and no worse in our runs.
        num_features: 80 log-mel bands and their derivatives (3.1.1).
        max_frames, max_tokens: rows of the position tables; the code's. Its 3000 frames are 37.5 s.
        stem, frames_per_step: how frames become vectors. A "linear" projection of single frames as published (3.1.1);
            "conv" or "conv2d" and more frames a step for small data.
        audio_attention: "bidirectional": "we get rid of the future mask" (3.1.3). "causal" as in the code, whose
            library adds a causal mask of its own, and therefore as in the released checkpoints.
        objectives: of pre-training; without "mlm" it is row (b) of table 4, without "mcam" row (c). What is not
            predicted is not hidden.
        token_share: of words that MLM hides (3.2.1).
        frame_share: of segments that MCAM hides (3.2.2).
        shortest_segment_frames, longest_segment_frames: C is uniform between them (3.2.2).
        replace_level: MCAM zeroes, replaces or keeps a whole "segment" (3.2.2), or decides "frame" by frame in spans
            that may overlap (code).
        fusion: "paper" (3.3), or "code": tanh projections first, no start token in the text's maximum, then a joint
            tanh layer.
        fusion_streams: "both", or one alone: "text" is row (e) of table 4, "audio" row (f).
        orthogonal: "paper" (3.3.1), "code" (both norms are the audio norm) or "none" (row d).
        max_pools: whether maxima join attention pooling and start token; row (d) of the code has none.
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
    audio_attention: str = "bidirectional"
    mask_id: int = text_.MASK_ID
    first_word_id: int = text_.MASK_ID + 1

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("stem", self.stem, ("linear", "conv", "conv2d"))
        one_of("fusion", self.fusion, ("paper", "code"))
        one_of("fusion_streams", self.fusion_streams, ("both", "audio", "text"))
        one_of("orthogonal", self.orthogonal, ("paper", "code", "none"))
        one_of("replace_level", self.replace_level, ("segment", "frame"))
        one_of("audio_attention", self.audio_attention, ("bidirectional", "causal"))
        for objective in self.objectives:
            one_of("objectives", objective, ("mlm", "mcam"))

    @classmethod
    def base(cls, **changes: Any) -> Any:
        """Return CTAL-BASE, N = 3 (the code calls it "tiny"): 75.5M parameters, 76.8M with its heads."""
        return cls(**changes)

    @classmethod
    def large(cls) -> Any:
        """Return CTAL-LARGE, N = 6 (the code calls it "base"): 125.1M parameters, 126.4M with its heads."""
        return cls(num_layers=6)

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> Any:
        """Return the sizes of a released CTAL, or of a RoBERTa, for `Ctal.import_pretrained`: a file or folder."""
        return cls(**(ctal_sizes(place) | changes))

    @classmethod
    def tiny(cls, *, vocab_size: int = 400, **changes: Any) -> Any:
        """Return a size that trains on two cores in a minute: 20 audio steps a second. Ours, not the paper's."""
        sizes: dict[str, Any] = {"num_layers": 2, "width": 128, "num_heads": 4, "ffn_width": 256, "stem": "conv"}
        sizes |= {"frames_per_step": 4, "max_frames": 1600, "max_tokens": 64}
        return cls(vocab_size=vocab_size, **(sizes | changes))


class Ctal(System):
    """The two encoding modules (3.1), the heads of the two pre-training tasks (3.2), and the fusion (3.3).

    Table 4 also compares other ways for the two streams to meet, or one stream alone, under the same tasks and fusion:
    `sonolex.systems.ctal_rows`, which replace `build_encoders` and `states`.
    """

    name = "ctal"
    config_type = CtalConfig
    processor_type = LogMelAndTokensProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: CtalConfig

    def __init__(self, config: CtalConfig):
        super().__init__()
        self.config = c = config
        self.build_encoders()
        if "mlm" in c.objectives:
            self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)
        if "mcam" in c.objectives:
            self.mcam_head = FrameHead(c.width, c.num_features * c.frames_per_step, eps=c.norm_eps)
        self.fusion = CtalFusion(c, tuple(sorted({m for modalities in self.accepts for m in modalities})))
        initialise_normal(self)

    # ---- 3.1 The CTAL framework -------------------------------------------------------------------------------------

    def build_encoders(self) -> None:
        """Add the input embeddings (3.1.1) and N layers of each encoding module (3.1.2, 3.1.3)."""
        self.text_embedding = linguistic_embedding(self.config)
        self.text_layers = encoding_layers(self.config, PostNormLayer)
        self.audio_embedding = audio_embedding(self.config)
        self.audio_layers = encoding_layers(self.config, TextReferredAudioLayer)

    def states(self, tokens: Padded | None, frames: Padded | None) -> States:
        """Return H_w^N of token ids (B, L) and H_a^N of feature frames (B, T, F), each with its validity.

        Differs: either may be missing. The text stream never needs audio; without text the cross-attention of the
        audio stream adds nothing.
        """
        states: States = {}
        if tokens is not None:  # 3.1.2 text encoding module: the original Transformer encoder
            states["text"] = through(self.text_layers, self.text_embedding(tokens.values), tokens.valid)
        if frames is not None:  # 3.1.3 text-referred audio encoding module: every layer sees the final text states
            audio_BTD, audio_valid_BT = self.audio_embedding(frames)
            attends_B1TT = attends_to_valid(audio_valid_BT, causal=self.config.audio_attention == "causal")
            text_BLD, text_valid_BL = states.get("text", (None, None))
            for layer in self.audio_layers:
                audio_BTD = layer(audio_BTD, attends_B1TT, text_BLD, text_valid_BL)
            states["audio"] = audio_BTD, audio_valid_BT
        return states

    # ---- 3.2 Pre-training tasks -------------------------------------------------------------------------------------

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.objectives

    def corrupt(self, batch: Batch) -> Batch:
        """Hide words and segments of frames, each clip from its own seed."""
        c, extras, counts = self.config, {}, {}
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        if "mlm" in c.objectives and batch.tokens is not None:
            # 3.2.1: 15 % of the tokens; of those 80 % become <mask>, 10 % a random token, 10 % stay.
            chosen_BL, corrupted_BL = corruption.each_clip(
                corruption.corrupt_words,
                batch.tokens,
                generators,
                share=c.token_share,
                masked=0.8,
                random=0.1,
                mask_id=c.mask_id,
                first_word_id=c.first_word_id,
                vocab_size=c.vocab_size,
            )
            extras |= {"hidden_tokens_N": places_where(chosen_BL), "corrupted_tokens_BL": corrupted_BL}
            counts["mlm"] = float(chosen_BL.sum())
        if "mcam" in c.objectives and batch.frames is not None:
            # 3.2.2: segments of C frames; 15 % of them are hidden, of those 80 % become zeros, 10 % other frames of
            # the clip, 10 % stay.
            chosen_BT, corrupted_BTF = corruption.each_clip(
                corruption.corrupt_segments if c.replace_level == "segment" else corruption.corrupt_frames,
                batch.frames,
                generators,
                share=c.frame_share,
                shortest=c.shortest_segment_frames,
                longest=c.longest_segment_frames,
            )
            extras |= {"hidden_frames_N": places_where(chosen_BT), "corrupted_frames_BTF": corrupted_BTF}
            counts["mcam"] = float(chosen_BT.sum()) * c.num_features
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return MLM and MCAM. "Our final objective is to minimize the sum of the loss functions above": 1 and 1.

        Each is a mean over all hidden tokens or frames, kept ones included: the paper says "minimizing the ℓ1 loss"
        without a reduction, and the code takes the mean.
        """
        terms, extras, tokens, frames = {}, batch.extras, batch.tokens, batch.frames
        states = self.states(  # of the corrupted input: the audio stream refers to the masked text
            tokens and tokens.with_values(extras.get("corrupted_tokens_BL", tokens.values)),
            frames and frames.with_values(extras.get("corrupted_frames_BTF", frames.values)),
        )
        if "mlm" in batch.counts and tokens is not None:  # 3.2.1: from the text stream alone
            hidden_N = extras["hidden_tokens_N"]
            logits_NV = self.mlm_head(at_places(states["text"][0], hidden_N), self.text_embedding.token.weight)
            loss = masked.cross_entropy_sum(logits_NV, at_places(tokens.values, hidden_N))
            terms["mlm"] = Term(loss, batch.counts["mlm"], weight=1.0)
        if "mcam" in batch.counts and frames is not None:  # 3.2.2: the original frames, by ℓ1
            hidden_N = extras["hidden_frames_N"]
            predicted_BTF = self._predicted_frames(states["audio"][0], frames.values.shape[1])
            loss = masked.l1_sum(at_places(predicted_BTF, hidden_N), at_places(frames.values, hidden_N))
            terms["mcam"] = Term(loss, batch.counts["mcam"], weight=1.0)
        return terms

    def _predicted_frames(self, audio_BTD: Tensor, num_frames: int) -> Tensor:
        """(B, T', D) -> (B, T, F): each step predicts the frames it was stacked from."""
        out = self.mcam_head(audio_BTD).unflatten(2, (-1, self.config.num_features))
        return out.flatten(1, 2)[:, :num_frames]

    # ---- 3.3 Fine-tuning CTAL ---------------------------------------------------------------------------------------

    @property
    def pooled_dim(self) -> int:
        return 2 * self.config.width

    def encode(self, batch: Batch) -> Encoding:
        """Return both streams, h^fuse, and the penalty L_Orth of clips that have both modalities."""
        states = self.states(batch.tokens, batch.frames)
        if not states:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        streams, valid = ({n: pair[i] for n, pair in states.items()} for i in (0, 1))
        fused_BD, penalty = self.fusion(streams, valid)
        # The paper gives L_Orth no weight; the code adds it to the task's loss as it is.
        penalties = {n: Term(penalty, count, weight=1.0) for n, count in self.penalty_counts(batch).items()}
        return Encoding(fused_BD, streams, valid, penalties)

    def penalty_counts(self, batch: Batch) -> dict[str, float]:
        if self.config.orthogonal == "none" or frozenset({"audio", "text"}) not in self.accepts:
            return {}
        words, sounds = (() if x is None or x.lengths is None else x.lengths for x in (batch.tokens, batch.frames))
        return {"orthogonal": float(sum(bool(w and s) for w, s in zip(words, sounds, strict=False)))}

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        parts = dict(self.named_children())
        groups = {n: [parts[n]] for n in ("text_embedding", "audio_embedding") if n in parts}
        for name, part in parts.items():
            if name.endswith("_layers") and isinstance(part, nn.ModuleList):
                groups |= {f"{name.removesuffix('s')}_{i}": [layer] for i, layer in enumerate(part)}
        heads = [parts[n] for n in ("mlm_head", "mcam_head") if n in parts]
        return groups | {"pretraining_heads": heads, "fusion": [self.fusion]}

    def import_pretrained(self, sources: Mapping[str, str]) -> Mapping[str, ImportReport]:
        """Fill from checkpoints: "ctal" both streams, from a released file; "roberta" the text stream.

        Raises:
            ValueError: another part, or a checkpoint of another kind or shape.
        """
        reports = {}
        for part, place in sources.items():
            importer = {"ctal": import_ctal, "roberta": import_roberta}.get(part)
            if importer is None:
                raise ValueError(f"`pretrained` must name ctal or roberta for {self.name}, but names {part!r}.")
            checkpoint = open_checkpoint(place)
            if part == "ctal" and self.name != "ctal":
                raise ValueError(f"`pretrained` must not name ctal for {self.name}, whose layers are others.")
            if checkpoint.kind != part:
                raise ValueError(f"`pretrained` ({part}) must be {part}, but {checkpoint.path} is {checkpoint.title}.")
            reports[part] = importer(self, checkpoint)
        return reports

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        p, special = processor.config, processor.special
        if config.stem == "conv2d" and p.derivatives != 1:
            raise ValueError(f"`derivatives` must be 1 for stem='conv2d', but is {p.derivatives}.")
        return replace(
            config,
            vocab_size=processor.tokenizer.get_vocab_size(),
            num_features=processor.num_features,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
            mask_id=special.mask,
            first_word_id=special.unknown + (2 if special.mask == special.unknown + 1 else 1),  # RoBERTa's mask is last
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[Any, LogMelAndTokensConfig]:
        max_frames = max(1600, 1 + round(80 * min(longest_s, LONGEST_STARTER_S)))
        if num_clips < 20_000:
            processor = LogMelAndTokensConfig(vocab_size=1000, max_frames=max_frames, normalise="fixed")
            return cls.config_type.tiny(), processor  # type: ignore[attr-defined]
        if num_clips < 200_000:
            medium = {"num_layers": 3, "width": 384, "num_heads": 6, "ffn_width": 1536, "stem": "conv"}
            config = cls.config_type(**medium, frames_per_step=4)  # type: ignore[call-arg]
            return config, LogMelAndTokensConfig(vocab_size=8000, max_frames=max_frames, normalise="fixed")
        return cls.config_type(), LogMelAndTokensConfig(max_frames=max(3000, max_frames))


def linguistic_embedding(c: CtalConfig) -> TokenEmbedding:
    """Return the embedding of 3.1.1: token + position, then LayerNorm and dropout as in RoBERTa."""
    first = text_.PAD_ID + 1  # RoBERTa counts positions on from the padding id
    return TokenEmbedding(c.vocab_size, c.max_tokens, c.width, first_position=first, dropout=c.dropout, eps=c.norm_eps)


def audio_embedding(c: CtalConfig) -> FrameEmbedding:
    """Return the embedding of 3.1.1: projected frame + position; LayerNorm and dropout as in the code."""
    sizes = (c.num_features, c.max_frames, c.width)
    return FrameEmbedding(*sizes, stem=c.stem, frames_per_step=c.frames_per_step, dropout=c.dropout, eps=c.norm_eps)


def encoding_layers(c: CtalConfig, kind: Any, num_layers: int | None = None) -> nn.ModuleList:
    """Return a stack of layers of the config's sizes, by default N.

    `PostNormLayer` is that of 3.1.2: H̃ = LN(attention(H) + H), then LN(FFN(H̃) + H̃).
    """
    options = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
    number = c.num_layers if num_layers is None else num_layers
    return nn.ModuleList(kind(c.width, c.num_heads, c.ffn_width, **options) for _ in range(number))


def through(layers: Iterable[nn.Module], x_BTD: Tensor, valid_BT: Tensor) -> Stream:
    """Return states after layers of self-attention, and their validity."""
    attends_B1TT = attends_to_valid(valid_BT)
    for layer in layers:
        x_BTD = layer(x_BTD, attends_B1TT)
    return x_BTD, valid_BT


class TextReferredAudioLayer(nn.Module):
    """Layer of the audio stream (3.1.3): self-attention, cross-attention to H_w^N and FFN, each added and normalised.

    It is the original Transformer's decoder layer without the future mask, and with text that does not change from
    layer to layer.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        ffn_width: int,
        *,
        dropout: float,
        attention_dropout: float,
        eps: float,
    ):
        super().__init__()
        self.attention = SelfAttention(width, num_heads, dropout=attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.cross = CrossAttention(width, num_heads, dropout=attention_dropout)
        self.cross_norm = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, ffn_width)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)
        self.cross_dropout = Dropout(dropout)  # separate: its draws must not depend on whether a batch has text

    def forward(
        self, audio_BTD: Tensor, attends_B1TT: Tensor, text_BLD: Tensor | None, text_valid_BL: Tensor | None
    ) -> Tensor:
        audio_BTD = self.attention_norm(audio_BTD + self.dropout(self.attention(audio_BTD, attends_B1TT)))
        if text_BLD is None or text_valid_BL is None:  # no clip of this batch has text
            audio_BTD = self.cross_norm(audio_BTD)
        else:
            referred_BTD = self.cross(audio_BTD, text_BLD, text_valid_BL)
            audio_BTD = self.cross_norm(audio_BTD + self.cross_dropout(referred_BTD))
        return self.ffn_norm(audio_BTD + self.dropout(self.ffn(audio_BTD)))


class CtalFusion(nn.Module):
    """h^fuse = (h_a^attn + h_w^attn) ⊕ (h_a^max + h_w^max), and the orthogonal penalty. Section 3.3.

    h_w^attn is the start token's state (3.1.2). A clip without one modality contributes zeros for it, and no penalty.

    Args:
        streams: all modalities that a batch may have.
    """

    def __init__(self, config: CtalConfig, streams: tuple[str, ...] = ("audio", "text")):
        super().__init__()
        self.config, width, coded = config, config.width, config.fusion == "code"
        self.audio_project = nn.Linear(width, width) if coded and "audio" in streams else None
        self.text_project = nn.Linear(width, width) if coded and "text" in streams else None
        self.audio_pool = AttentionPool(width) if "audio" in streams else None
        self.joint = nn.Linear(2 * width, 2 * width) if coded else None

    def forward(self, streams: dict[str, Tensor], valid: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return h^fuse (B, 2D) and the penalty summed over clips that have both modalities."""
        vectors = {}
        if "audio" in streams:
            vectors["audio"] = self._audio_vectors(streams["audio"], valid["audio"])
        if "text" in streams:
            vectors["text"] = self._text_vectors(streams["text"], valid["text"])
        used = [torch.cat(v, -1) for name, v in vectors.items() if self.config.fusion_streams in ("both", name)]
        if not used:
            raise ValueError(f"no clip of the batch has {self.config.fusion_streams}, which `fusion_streams` requires.")
        fused_BD = torch.stack(used).sum(0)
        if self.joint is not None:
            fused_BD = torch.tanh(self.joint(fused_BD))
        return fused_BD, self._penalty(vectors, valid)

    def _audio_vectors(self, audio_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return h_a^attn and h_a^max."""
        if self.audio_project is not None:
            audio_BTD = torch.tanh(self.audio_project(audio_BTD))
        assert self.audio_pool is not None
        return self.audio_pool(audio_BTD, valid_BT), self._max(audio_BTD, valid_BT)

    def _text_vectors(self, text_BLD: Tensor, valid_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return h_w^attn, which is h_w0, and h_w^max."""
        pooled_BL = valid_BL
        if self.text_project is not None:
            text_BLD = torch.tanh(self.text_project(text_BLD))
            pooled_BL = F.pad(valid_BL[:, 1:], (1, 0))  # the code's max pooling skips the start token
        return text_BLD[:, 0] * valid_BL[:, :1], self._max(text_BLD, pooled_BL)

    def _max(self, x_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        return masked_max(x_BTD, valid_BT) if self.config.max_pools else torch.zeros_like(x_BTD[:, 0])

    def _penalty(self, vectors: dict[str, tuple[Tensor, Tensor]], valid: dict[str, Tensor]) -> Tensor:
        """Return L_Orth = |cos(h_a^attn, h_w^attn)| + |cos(h_a^max, h_w^max)|, summed over clips. Section 3.3.1."""
        form = self.config.orthogonal
        if len(vectors) < 2 or form == "none":
            return torch.zeros((), device=next(iter(valid.values())).device)
        both_B = valid["audio"].any(1) & valid["text"].any(1)
        attn_B, max_B = (orthogonal_term(a, w, form) for a, w in zip(*vectors.values(), strict=True))
        return ((attn_B + max_B) * both_B).sum()


def orthogonal_term(audio_BD: Tensor, text_BD: Tensor, form: str) -> Tensor:
    """Return |aᵀw| / (‖a‖ ‖w‖) per clip, (B,). Section 3.3.1.

    Differs with ``form="code"``: both norms are the audio norm, |aᵀw| / ‖a‖², so that shrinking the text vector helps.
    """
    audio_BD, text_BD = audio_BD.float(), text_BD.float()
    second_BD = text_BD if form == "paper" else audio_BD
    norms_B = audio_BD.norm(dim=-1) * second_BD.norm(dim=-1)
    return (audio_BD * text_BD).sum(-1).abs() / norms_B.clamp_min(1e-8)


SYSTEM = Ctal
