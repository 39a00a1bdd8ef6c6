"""CTAL: Cross-modal Transformer for Audio-and-Language (Li et al., EMNLP 2021, source document 002).

What is unusual about it:

- It is asymmetric. The text stream is a plain RoBERTa encoder that never hears the audio; every layer of the audio
  stream attends to the *final* text states (section 3.1.3). Audio frames are log-mel plus derivative, 80 a second,
  not sub-sampled.
- Pre-training hides words (MLM) and segments of frames (MCAM) at the same time, and the cross-attention sees the text
  states of the *masked* text (section 3.2).
- Fine-tuning joins attention pooling with the start token and max pooling with max pooling, and an orthogonal penalty
  keeps the two streams' vectors apart (section 3.3).

Paper and released code differ in places; the paper is the default and the code is a named option (reference C, H).
``docs/systems/ctal.md`` lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex import text as text_
from sonolex.audio import features
from sonolex.nn.embeddings import FrameEmbedding, TokenEmbedding
from sonolex.nn.heads import FrameHead, TokenHead
from sonolex.nn.pooling import AttentionPool, masked_max
from sonolex.nn.transformer import PostNormCrossLayer, PostNormLayer, attends_to_valid, initialise_normal
from sonolex.objectives import corruption, masked
from sonolex.systems._frames_and_tokens import FramesAndTokensConfig, FramesAndTokensProcessor
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig, one_of
from sonolex.types import Batch, Encoding, Term

ROBERTA_FIRST_POSITION = text_.PAD_ID + 1


@dataclass(frozen=True)
class CtalProcessorConfig(FramesAndTokensConfig):
    """CTAL's input: section 3.1.1 and reference C1.

    Attributes:
        window_ms, hop_ms, fft_samples, num_mels: log-mel convention; features are mel and derivative, 2 · num_mels.
        normalise: "utterance" (published: mean 0, deviation 1 per clip and dimension), "mean" (mean 0 only: level and
            channel go), "level" (one mean of all bands: level goes) or "fixed" (one map for all clips: nothing goes).
        range_db: log-mel further below the clip's loudest value is raised to this range, so that the depth of a
            recorder's silence does not decide the clip's statistics; None (published) keeps all.
    """

    window_ms: float = 50.0
    hop_ms: float = 12.5
    fft_samples: int = 2048
    num_mels: int = 80
    normalise: str = "utterance"
    range_db: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("normalise", self.normalise, ("utterance", "mean", "level", "fixed"))
        if self.range_db is not None and self.range_db <= 0:
            raise ValueError(f"`range_db` must be above 0 or None, but is {self.range_db}.")


@dataclass(frozen=True)
class CtalConfig(SystemConfig):
    """CTAL's sizes and variants. Defaults are the paper's BASE (N = 3); LARGE is ``num_layers=6`` (section 4.1).

    Attributes:
        attention_dropout: on attention probabilities. Differs: the library CTAL builds on uses 0.1; 0 is 11–20 %
            faster on a CPU and no worse in our runs.
        stem, frames_per_step: "linear", 1 as published; "conv" or "conv2d" and more frames a step for small data.
        audio_attention: "bidirectional" (section 3.1.3) or "causal" (released checkpoints, reference C7).
        fusion: "paper" (section 3.3) or "code" (tanh projections first, then a joint tanh layer; reference C2).
        fusion_streams: "both", or one stream alone ("text", "audio": table 4 rows e and f).
        orthogonal: "paper", "code" (both norms are the audio norm; reference C4) or "none" (table 4 row d).
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
    audio_attention: str = "bidirectional"
    fusion: str = "paper"
    fusion_streams: str = "both"
    orthogonal: str = "paper"
    replace_level: str = "segment"
    token_share: float = 0.15
    frame_share: float = 0.15
    shortest_segment_frames: int = 20
    longest_segment_frames: int = 50

    def __post_init__(self) -> None:
        one_of("stem", self.stem, ("linear", "conv", "conv2d"))
        one_of("audio_attention", self.audio_attention, ("bidirectional", "causal"))
        one_of("fusion", self.fusion, ("paper", "code"))
        one_of("fusion_streams", self.fusion_streams, ("both", "audio", "text"))
        one_of("orthogonal", self.orthogonal, ("paper", "code", "none"))
        one_of("replace_level", self.replace_level, ("segment", "frame"))

    @classmethod
    def base(cls) -> CtalConfig:
        """Return CTAL-BASE, N = 3 (the released code calls it "tiny"): 75.5M parameters, 76.8M with its heads."""
        return cls()

    @classmethod
    def large(cls) -> CtalConfig:
        """Return CTAL-LARGE, N = 6 (the released code calls it "base"): 125.1M parameters, 126.4M with its heads."""
        return cls(num_layers=6)

    @classmethod
    def tiny(cls, *, vocab_size: int = 400) -> CtalConfig:
        """Return a size that trains on two cores in a minute: 0.9M parameters, 20 audio steps a second."""
        return cls(
            vocab_size=vocab_size,
            num_layers=2,
            width=128,
            num_heads=4,
            ffn_width=256,
            stem="conv",
            frames_per_step=4,
            max_frames=1600,
            max_tokens=64,
        )


class CtalProcessor(FramesAndTokensProcessor):
    """Waveform to log-mel and derivative; transcript to byte-level BPE between <s> and </s>."""

    config_type = CtalProcessorConfig
    config: CtalProcessorConfig

    @property
    def num_features(self) -> int:
        return 2 * self.config.num_mels

    def front(self, wave_S: np.ndarray) -> Tensor:
        c = self.config
        return features.librosa_log_mel(
            torch.from_numpy(wave_S),
            rate_hz=c.rate_hz,
            fft_samples=c.fft_samples,
            window_samples=round(c.rate_hz * c.window_ms / 1000),
            hop_samples=round(c.rate_hz * c.hop_ms / 1000),
            num_mels=c.num_mels,
        )

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        c = self.config
        if self.too_long("audio", "frames", len(front), c.max_frames, clip_id):
            front = front[: c.max_frames]
        if c.range_db is not None:
            front = front.clamp_min(front.max() - c.range_db * features.DECIBEL)
        delta_TF = features.delta(front)
        if c.normalise in ("fixed", "level"):
            # Natural-log mel power of speech at full scale ±1 lies around -7 ± 4 (measured on FSDD and EMO-DB).
            centre = front.mean() if c.normalise == "level" else -7.0
            return torch.cat([(front - centre) / 4.0, delta_TF], -1)
        return features.normalise_utterance(torch.cat([front, delta_TF], -1), scale=c.normalise == "utterance")


class Ctal(System):
    """Text stream, text-referred audio stream, pre-training heads and fusion."""

    name = "ctal"
    config_type = CtalConfig
    processor_type = CtalProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    objectives = ("mlm", "mcam")
    config: CtalConfig

    def __init__(self, config: CtalConfig):
        super().__init__()
        self.config = c = config
        part = {"dropout": c.dropout, "eps": c.norm_eps}
        layer = part | {"attention_dropout": c.attention_dropout}
        sizes = (c.width, c.num_heads, c.ffn_width)
        self.text_embedding = TokenEmbedding(
            c.vocab_size, c.max_tokens, c.width, first_position=ROBERTA_FIRST_POSITION, **part
        )
        self.text_layers = nn.ModuleList(PostNormLayer(*sizes, **layer) for _ in range(c.num_layers))
        self.audio_embedding = FrameEmbedding(
            c.num_features, c.max_frames, c.width, stem=c.stem, frames_per_step=c.frames_per_step, **part
        )
        self.audio_layers = nn.ModuleList(PostNormCrossLayer(*sizes, **layer) for _ in range(c.num_layers))
        self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)
        self.mcam_head = FrameHead(c.width, c.num_features * c.frames_per_step, eps=c.norm_eps)
        self.fusion = CtalFusion(c)
        initialise_normal(self)

    @classmethod
    def matched(cls, config: CtalConfig, processor: CtalProcessor) -> CtalConfig:
        p = processor.config
        return replace(
            config,
            vocab_size=processor.tokenizer.get_vocab_size(),
            num_features=processor.num_features,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[CtalConfig, CtalProcessorConfig]:
        max_frames = max(1600, 1 + round(80 * min(longest_s, LONGEST_STARTER_S)))
        if num_clips < 20_000:
            processor = CtalProcessorConfig(vocab_size=1000, max_frames=max_frames, normalise="fixed")
            return CtalConfig.tiny(), processor
        if num_clips < 200_000:
            medium = CtalConfig(num_layers=3, width=384, num_heads=6, ffn_width=1536, stem="conv", frames_per_step=4)
            return medium, CtalProcessorConfig(vocab_size=8000, max_frames=max_frames, normalise="fixed")
        return CtalConfig.base(), CtalProcessorConfig(max_frames=max(3000, max_frames))

    @property
    def pooled_dim(self) -> int:
        return 2 * self.config.width

    def encode(self, batch: Batch) -> Encoding:
        text_BLD, text_valid_BL = self.encode_text(batch.tokens_BL, batch.tokens_valid_BL)
        audio_BTD, audio_valid_BT = self.encode_audio(batch.frames_BTF, batch.frames_valid_BT, text_BLD, text_valid_BL)
        streams, valid = {}, {}
        if text_BLD is not None and text_valid_BL is not None:
            streams["text"], valid["text"] = text_BLD, text_valid_BL
        if audio_BTD is not None and audio_valid_BT is not None:
            streams["audio"], valid["audio"] = audio_BTD, audio_valid_BT
        if not streams:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        pooled_BD, penalty = self.fusion(streams, valid)
        penalties = {name: Term(penalty, count) for name, count in self.penalty_counts(batch).items()}
        return Encoding(pooled_BD, streams, valid, penalties)

    def encode_text(self, tokens_BL: Tensor | None, valid_BL: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the final text states (B, L, D) and their validity; None where no clip has text."""
        if tokens_BL is None or valid_BL is None:
            return None, None
        x_BLD = self.text_embedding(tokens_BL)
        attends_B1LL = attends_to_valid(valid_BL)
        for layer in self.text_layers:
            x_BLD = layer(x_BLD, attends_B1LL)
        return x_BLD, valid_BL

    def encode_audio(
        self,
        frames_BTF: Tensor | None,
        valid_BT: Tensor | None,
        text_BLD: Tensor | None,
        text_valid_BL: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the final text-referred audio states (B, T', D) and their validity; None where no clip has audio."""
        if frames_BTF is None or valid_BT is None:
            return None, None
        x_BTD, steps_valid_BT = self.audio_embedding(frames_BTF, valid_BT)
        attends_B1TT = attends_to_valid(steps_valid_BT, causal=self.config.audio_attention == "causal")
        for layer in self.audio_layers:
            x_BTD = layer(x_BTD, attends_B1TT, text_BLD, text_valid_BL)
        return x_BTD, steps_valid_BT

    def corrupt(self, batch: Batch) -> Batch:
        c, extras, counts = self.config, {}, {}
        generators = [torch.Generator().manual_seed(seed) for seed in batch.seeds]
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
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
        if batch.frames_BTF is not None and batch.frames_valid_BT is not None:
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
        text_BLD, text_valid_BL = self.encode_text(extras.get("corrupted_tokens_BL"), batch.tokens_valid_BL)
        if text_BLD is not None and batch.tokens_BL is not None:
            chosen_BL = extras["chosen_tokens_BL"]
            logits_NV = self.mlm_head(text_BLD[chosen_BL], self.text_embedding.token.weight)
            loss = masked.cross_entropy_sum(logits_NV, batch.tokens_BL[chosen_BL])
            terms["mlm"] = Term(loss, batch.counts["mlm"])
        audio_BTD, _ = self.encode_audio(
            extras.get("corrupted_frames_BTF"), batch.frames_valid_BT, text_BLD, text_valid_BL
        )
        if audio_BTD is not None and batch.frames_BTF is not None:
            chosen_BT = extras["chosen_frames_BT"]
            predicted_BTF = self._predicted_frames(audio_BTD, batch.frames_BTF.shape[1])
            loss = masked.l1_sum(predicted_BTF[chosen_BT], batch.frames_BTF[chosen_BT])
            terms["mcam"] = Term(loss, batch.counts["mcam"])
        return terms

    def penalty_counts(self, batch: Batch) -> dict[str, float]:
        if self.config.orthogonal == "none":
            return {}
        if batch.tokens_valid_BL is None or batch.frames_valid_BT is None:
            return {"orthogonal": 0.0}
        return {"orthogonal": float((batch.tokens_valid_BL.any(1) & batch.frames_valid_BT.any(1)).sum())}

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {
            "text_embedding": [self.text_embedding],
            "audio_embedding": [self.audio_embedding],
        }
        groups |= {f"text_layer_{i}": [layer] for i, layer in enumerate(self.text_layers)}
        groups |= {f"audio_layer_{i}": [layer] for i, layer in enumerate(self.audio_layers)}
        return groups | {"pretraining_heads": [self.mlm_head, self.mcam_head], "fusion": [self.fusion]}

    def _predicted_frames(self, audio_BTD: Tensor, num_frames: int) -> Tensor:
        """(B, T', D) -> (B, T, F): each step predicts the frames it was stacked from."""
        out = self.mcam_head(audio_BTD)
        return out.reshape(len(out), -1, self.config.num_features)[:, :num_frames]


class CtalFusion(nn.Module):
    """h_fuse = (a_attn + w_start) ⊕ (a_max + w_max), and the orthogonal penalty. Source: CTAL section 3.3.

    A clip without one modality contributes zeros for it, and no penalty.
    """

    def __init__(self, config: CtalConfig):
        super().__init__()
        self.config, width, coded = config, config.width, config.fusion == "code"
        self.audio_project = nn.Linear(width, width) if coded else None
        self.text_project = nn.Linear(width, width) if coded else None
        self.audio_pool = AttentionPool(width)
        self.joint = nn.Linear(2 * width, 2 * width) if coded else None

    def forward(self, streams: dict[str, Tensor], valid: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, 2D) and the penalty summed over clips that have both modalities."""
        vectors = {}
        if "audio" in streams:
            vectors["audio"] = self._audio_vectors(streams["audio"], valid["audio"])
        if "text" in streams:
            vectors["text"] = self._text_vectors(streams["text"], valid["text"])
        used = [torch.cat(v, -1) for name, v in vectors.items() if self.config.fusion_streams in ("both", name)]
        if not used:
            raise ValueError(f"no clip of the batch has {self.config.fusion_streams}, which `fusion_streams` asks for.")
        pooled_BD = torch.stack(used).sum(0)
        if self.joint is not None:
            pooled_BD = torch.tanh(self.joint(pooled_BD))
        return pooled_BD, self._penalty(vectors, valid)

    def _audio_vectors(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        if self.audio_project is not None:
            x_BTD = torch.tanh(self.audio_project(x_BTD))
        return self.audio_pool(x_BTD, valid_BT), masked_max(x_BTD, valid_BT)

    def _text_vectors(self, x_BLD: Tensor, valid_BL: Tensor) -> tuple[Tensor, Tensor]:
        pooled_BL = valid_BL
        if self.text_project is not None:
            x_BLD = torch.tanh(self.text_project(x_BLD))
            pooled_BL = F.pad(valid_BL[:, 1:], (1, 0))  # the code's max pooling skips the start token
        return x_BLD[:, 0] * valid_BL[:, :1], masked_max(x_BLD, pooled_BL)

    def _penalty(self, vectors: dict[str, tuple[Tensor, Tensor]], valid: dict[str, Tensor]) -> Tensor:
        if len(vectors) < 2 or self.config.orthogonal == "none":
            return torch.zeros((), device=next(iter(valid.values())).device)
        both_B = valid["audio"].any(1) & valid["text"].any(1)
        form = self.config.orthogonal
        first_B, second_B = (orthogonal_term(a, w, form) for a, w in zip(*vectors.values(), strict=True))
        return ((first_B + second_B) * both_B).sum()


def orthogonal_term(audio_BD: Tensor, text_BD: Tensor, form: str) -> Tensor:
    """Return |aᵀw| / (‖a‖ ‖w‖) per clip, (B,). Source: CTAL section 3.3.1.

    Differs with ``form="code"``: both norms are the audio norm, |aᵀw| / ‖a‖², so the text vector may shrink.
    """
    audio_BD, text_BD = audio_BD.float(), text_BD.float()
    second_BD = text_BD if form == "paper" else audio_BD
    norms_B = audio_BD.norm(dim=-1) * second_BD.norm(dim=-1)
    return (audio_BD * text_BD).sum(-1).abs() / norms_B.clamp_min(1e-8)


SYSTEM = Ctal
