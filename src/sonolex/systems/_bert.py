"""BERT as the shared encoder of systems that put sound into its sequence (SpectroBERT, CALM).

One sequence, [CLS] words [SEP] audio tokens, through BERT's own layers; masked language modelling over the words;
weights of any BERT checkpoint. What becomes an audio token is each system's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, nn

from sonolex.configs import one_of
from sonolex.nn import backbones, published
from sonolex.nn.dropout import drawn_in_parts
from sonolex.nn.fusion import Joined, JoinedEmbedding
from sonolex.nn.heads import TokenHead
from sonolex.nn.transformer import PostNormLayer, attends_to_valid
from sonolex.objectives import corruption, masked
from sonolex.systems.base import System, SystemConfig
from sonolex.types import Batch, Term


@dataclass(frozen=True)
class BertConfig(SystemConfig):
    """BERT's sizes (base by default) and how its words are hidden.

    Attributes:
        num_positions: rows of the position table.
        start_id, end_id, mask_id, first_word_id: of the tokenizer; filled in from the processor.
        token_share: of the words that MLM hides.
        mask_rule: "always" replaces by [MASK] (SpectroBERT, CALM), "bert" does 80/10/10.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("mask_rule", self.mask_rule, ("always", "bert"))

    @classmethod
    def base(cls, **changes: Any) -> Any:
        """Return BERT-Base."""
        return cls(**changes)

    @classmethod
    def like(cls, place: str | Path, **changes: Any) -> Any:
        """Return the sizes of a BERT checkpoint (folder or ``hub:ORG/NAME``), for `BertSystem.import_pretrained`."""
        theirs = published.read_sizes(place, _BERT_SIZES)
        sizes = {ours: theirs[name] for name, ours in _BERT_SIZES.items()}
        return cls(**(sizes | changes))


class BertSystem(System):
    """The embedding, the layers and the MLM head. Subclasses add their audio tokens and initialise all of it."""

    config: BertConfig

    def __init__(self, config: BertConfig, *, time_positions: int = 0):
        super().__init__()
        self.config = c = config
        sizes = (c.width, c.num_heads, c.ffn_width)
        layer = {"dropout": c.dropout, "attention_dropout": c.attention_dropout, "eps": c.norm_eps}
        self.embedding = JoinedEmbedding(
            c.vocab_size,
            c.num_positions,
            c.width,
            start_id=c.start_id,
            end_id=c.end_id,
            dropout=c.dropout,
            eps=c.norm_eps,
            time_positions=time_positions,
        )
        self.layers = nn.ModuleList(PostNormLayer(*sizes, **layer) for _ in range(c.num_layers))
        self.mlm_head = TokenHead(c.width, c.vocab_size, eps=c.norm_eps)

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
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

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    def encoded(self, joined: Joined) -> tuple[Tensor, ...]:
        """Return the states of embedded tokens before and after every layer."""
        attends_B1LL, states = attends_to_valid(joined.valid_BL), [joined.x_BLD]
        with drawn_in_parts(*joined.parts):
            for layer in self.layers:
                states.append(layer(states[-1], attends_B1LL))
        return tuple(states)

    def hidden_words(self, batch: Batch, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """Return chosen_BL and the corrupted tokens of a batch that has text."""
        assert batch.tokens_BL is not None and batch.tokens_valid_BL is not None
        c = self.config
        return corruption.each_clip(
            corruption.corrupt_words,
            batch.tokens_BL,
            batch.tokens_valid_BL,
            generators,
            share=c.token_share,
            mask_id=c.mask_id,
            first_word_id=c.first_word_id,
            vocab_size=c.vocab_size,
            **({"masked": 1.0, "random": 0.0} if c.mask_rule == "always" else {}),
        )

    def mlm_term(self, text_BLD: Tensor, batch: Batch, chosen_BL: Tensor, weight: float) -> Term:
        """Return the cross-entropy of the hidden words, over ``counts["mlm"]``."""
        assert batch.tokens_BL is not None
        logits_NV = self.mlm_head(text_BLD[chosen_BL], self.embedding.token.weight)
        return Term(masked.cross_entropy_sum(logits_NV, batch.tokens_BL[chosen_BL]), batch.counts["mlm"], weight)

    def bert_groups(self) -> dict[str, list[nn.Module]]:
        """Return the layers by name, "layer_0" first."""
        return {f"layer_{i}": [layer] for i, layer in enumerate(self.layers)}

    def import_pretrained(self, sources: Mapping[str, str]) -> dict[str, backbones.ImportReport]:
        """Fill the encoder from "bert" and other parts as `import_part` can: local folders or ``hub:ORG/NAME``."""
        reports = {}
        for part, place in sources.items():
            weights = published.read_weights(place)
            if part == "bert":
                reports[part] = backbones.import_bert(self.embedding, self.layers, self.mlm_head, weights)
            else:
                reports[part] = self.import_part(part, weights)
        return reports

    def import_part(self, part: str, weights: dict[str, Tensor]) -> backbones.ImportReport:
        """Fill a part other than "bert".

        Raises:
            ValueError: there is no such part (the default).
        """
        raise ValueError(f"`pretrained` must name parts of {self.name}, but names {part!r}.")


_BERT_SIZES = {
    "vocab_size": "vocab_size",
    "num_hidden_layers": "num_layers",
    "hidden_size": "width",
    "num_attention_heads": "num_heads",
    "intermediate_size": "ffn_width",
    "max_position_embeddings": "num_positions",
    "layer_norm_eps": "norm_eps",
}
