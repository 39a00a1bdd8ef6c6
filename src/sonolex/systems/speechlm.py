"""SpeechLM: speech and text meet in hidden units (Zhang et al. 2022; source document 001, reference B).

What is unusual about it:

- Two stacks: a speech transformer, and a shared one above it. Text enters the shared one as *units*, the same ones that
  speech is tokenized into; here each letter is spoken as the units that paired clips taught
  (`sonolex.objectives.unit_alignment`).
- Hidden units of masked steps are predicted after both stacks. Where nothing is hidden, spans of speech states are
  swapped for the embeddings of their own units, so that the shared stack cannot tell the two apart.
- Text is written by CTC from the shared stack.

Differs: layers are transformers' SpeechT5 layers (relative positions, as SpeechLM's; extra: speecht5); the units of
text come from letters, not phonemes, and a letter that no paired clip has is silent; features always carry a gradient,
which the released feature extractor drops (reference B7). Positions of the shared stack are added to speech states
and to units alike, as fairseq's encoders do with whatever is given for tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from sonolex.configs import one_of
from sonolex.nn.dropout import drawn_apart, replace_dropout
from sonolex.nn.embeddings import HiddenPatch
from sonolex.nn.fairseq import import_speechlm, read_fairseq
from sonolex.nn.readers import READERS, SequenceReader
from sonolex.objectives import corruption, masked
from sonolex.processors.base import pad_rows
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig
from sonolex.systems._speech_system import TINY, SpeechConfig, SpeechSystem
from sonolex.systems._speecht5_corruption import ctc_steps, hidden_steps
from sonolex.systems._speecht5_parts import (
    SpectrogramEntrance,
    UnitHead,
    ctc_sum,
    replace_attention,
    speech_features,
    their_config,
    theirs,
    with_convolved_positions,
)
from sonolex.systems.base import LONGEST_STARTER_S
from sonolex.types import Batch, Encoding, Term

OBJECTIVES = ("units", "penalty", "text_ctc", "speech_ctc")


@dataclass(frozen=True)
class SpeechLmConfig(SpeechConfig):
    """SpeechLM's sizes (base by default) and objectives.

    Attributes:
        num_speech_layers, num_layers: of the speech transformer and of the shared one.
        unit_positions: of the shared transformer; at least as many as the processor's longest clip has steps.
        letter_units: the units that each letter is spoken as; filled in from the processor.
        objectives: "units" (both predictions), "penalty" (squared convolution features), "text_ctc" (weight 0.1); and
            "speech_ctc" for clips with both, which is how the published model is fine-tuned to recognise speech.
        swap_share, swap_run: chance that a step starts a run that is swapped for its units, times its length.
            Published: 0.4 and 5.
    """

    num_speech_layers: int = 6
    num_layers: int = 6
    num_heads: int = 8
    unit_positions: int = 3000
    num_units: int = 500
    letter_units: tuple[tuple[int, ...], ...] = ()
    objectives: tuple[str, ...] = ("units", "text_ctc")
    swap_share: float = 0.4
    swap_run: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("reader", self.reader, READERS)
        for objective in self.objectives:
            one_of("objectives", objective, OBJECTIVES)

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechLmConfig:
        """Return a size for two cores: 2 + 2 layers of 128 over filter banks."""
        sizes: dict[str, Any] = TINY | {"num_speech_layers": 2, "num_layers": 2, "num_units": 50}
        return cls(**(sizes | changes))


class SpeechLm(SpeechSystem):
    """Speech transformer, unit embedding, shared transformer, and the heads of the objectives."""

    name = "speechlm"
    config_type = SpeechLmConfig
    config: SpeechLmConfig

    def __init__(self, config: SpeechLmConfig):
        super().__init__()
        self.config = c = config
        modules = theirs()
        shared = their_config(c, num_layers=c.num_layers)
        own = their_config(c, num_layers=c.num_speech_layers)
        waveform = c.audio == "waveform"
        self.speech = modules.SpeechT5SpeechEncoderPrenet(own) if waveform else SpectrogramEntrance(own)
        self.speech_layers = modules.SpeechT5Encoder(own)
        self.unit_embedding = nn.Embedding(c.num_units, c.width)
        self.unit_position = nn.Embedding(c.unit_positions, c.width)
        self.shared_layers = modules.SpeechT5Encoder(shared)
        self.hidden_step = HiddenPatch(c.width) if c.reads("units") else None
        sizes = (c.width, c.unit_width, c.num_units, c.unit_temperature)
        self.unit_heads = nn.ModuleList(UnitHead(*sizes) for _ in range(2 * c.reads("units")))
        self.writer = nn.Linear(c.width, c.vocab_size) if c.reads("text_ctc", "speech_ctc") else None
        self.reader = SequenceReader(c.width, c.num_layers, reader=c.reader, weighted=c.weighted_layers)
        self.speech.apply(self.speech_layers._init_weights)
        for table in (self.unit_embedding, self.unit_position):
            nn.init.normal_(table.weight)
        replace_dropout(self)
        replace_attention(self)

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        if not processor.letter_units:
            raise ValueError(
                "`spoken_letters` of the processor must be True for SpeechLM, whose text is read as units."
            )
        positions = max(config.unit_positions, processor.config.max_frames)
        return replace(
            super().matched(config, processor), letter_units=processor.letter_units, unit_positions=positions
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SpeechLmConfig, SpeechAndLettersConfig]:
        small = num_clips < 20_000
        max_frames = 1 + round(50 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = SpeechAndLettersConfig(
            audio="spectrogram" if small else "waveform",
            max_frames=max_frames,
            num_units=50 if small else 500,
            spoken_letters=True,
        )
        return (SpeechLmConfig.tiny() if small else SpeechLmConfig.base()), processor

    def encode(self, batch: Batch) -> Encoding:
        """Return the shared stack's states by modality; a clip's vector is the mean of those its modalities give."""
        layers, valid, vectors = {}, {}, {}
        if (audio := self.audio_input(batch)) is not None:
            states_BTD, valid["audio"], _ = speech_features(self.speech, *audio)
            with drawn_apart("audio"):
                layers["audio"] = self._shared(self._spoken(states_BTD, valid["audio"]), valid["audio"])
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            units_BT, valid["text"] = self._units_of(batch.tokens_BL, batch.tokens_valid_BL)
            with drawn_apart("text"):
                layers["text"] = self._shared(self.unit_embedding(units_BT), valid["text"])
        for name, states in layers.items():
            vectors[name] = self.reader(states, valid[name])
        return self.joined(batch, layers, valid, vectors)

    def corrupt(self, batch: Batch) -> Batch:
        c = self.config
        if not c.objectives:
            return super().corrupt(batch)
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        extras: dict[str, Tensor] = {}
        counts: dict[str, float] = {}
        steps = self.steps_of(batch)
        if any(steps):
            if c.reads("units"):
                extras["hidden_BT"] = hidden_steps(c, batch, steps, generators)
                swaps = [
                    corruption.choose_runs(n, share=c.swap_share / c.swap_run, run=c.swap_run, generator=g)
                    for n, g in zip(steps, generators, strict=True)
                ]
                extras["swapped_BT"] = pad_rows(swaps)[0].bool() & ~extras["hidden_BT"]
                counts["units"] = float(extras["hidden_BT"].sum())
            if c.reads("penalty"):
                counts["penalty"] = float(sum(steps))
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            letters = [
                row_L[valid_L][:-1] for row_L, valid_L in zip(batch.tokens_BL, batch.tokens_valid_BL, strict=True)
            ]
            lengths = self._units_of(batch.tokens_BL, batch.tokens_valid_BL)[1].sum(1).tolist()
            for name, room in (("text_ctc", lengths), ("speech_ctc", steps)):
                if c.reads(name):
                    fits = [len(t) > 0 and ctc_steps(t) <= n for t, n in zip(letters, room, strict=True)]
                    extras[f"{name}_B"] = torch.tensor(fits)
                    counts[name] = float(sum(len(t) for t, fit in zip(letters, fits, strict=True) if fit))
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if (audio := self.audio_input(batch)) is not None:
            states_BTD, valid_BT, features_BTC = speech_features(self.speech, *audio)
            if "penalty" in batch.counts and features_BTC is not None:
                squares = features_BTC[valid_BT].float().square().mean(-1).sum()
                terms["penalty"] = Term(squares, batch.counts["penalty"], 10.0)
            if self.hidden_step is not None:
                with drawn_apart("units"):
                    terms["units"] = self._unit_term(batch, states_BTD, valid_BT)
            if "speech_ctc" in batch.counts:
                with drawn_apart("speech_ctc"):
                    states = self._shared(self._spoken(states_BTD, valid_BT), valid_BT)
                terms["speech_ctc"] = self._written(batch, states[-1], valid_BT, "speech_ctc", 1.0)
        if "text_ctc" in batch.counts and batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            units_BT, valid_BT = self._units_of(batch.tokens_BL, batch.tokens_valid_BL)
            with drawn_apart("text_ctc"):
                states = self._shared(self.unit_embedding(units_BT), valid_BT)
            terms["text_ctc"] = self._written(batch, states[-1], valid_BT, "text_ctc", 0.1)
        return terms

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"speech": [self.speech]}
        for name, stack in (("speech", self.speech_layers), ("shared", self.shared_layers)):
            groups[f"{name}_input"] = [stack.layer_norm, stack.embed_positions]
            groups |= {f"{name}_layer_{i}": [layer] for i, layer in enumerate(stack.layers)}
        groups["units"] = [self.unit_embedding, self.unit_position]
        heads = [self.hidden_step, self.unit_heads, self.writer]
        return groups | {"reader": [self.reader], "pretraining_heads": [h for h in heads if h is not None]}

    def import_pretrained(self, sources: Mapping[str, str]) -> Mapping[str, Any]:
        """Fill both transformers and the unit embedding from fairseq's file: ``{"speechlm": FILE.pt}``.

        Raises:
            ValueError: another part, or a key that is missing.
        """
        for part in sources:
            one_of("pretrained", part, ("speechlm",))
        return {part: import_speechlm(self, read_fairseq(place)) for part, place in sources.items()}

    def _spoken(self, states_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """Return the speech transformer's states."""
        x_BTD = with_convolved_positions(self.speech, states_BTD, valid_BT)
        return self.speech_layers(x_BTD, attention_mask=valid_BT.long()).last_hidden_state

    def _shared(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, ...]:
        """Return the shared transformer's states before and after every layer; its positions are added first."""
        x_BTD = x_BTD + self.unit_position(torch.arange(x_BTD.shape[1], device=x_BTD.device))
        return self.shared_layers(x_BTD, attention_mask=valid_BT.long(), output_hidden_states=True).hidden_states

    def _units_of(self, letters_BL: Tensor, valid_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the units that transcripts are spoken as (B, T), and their validity.

        Raises:
            ValueError: a transcript has more units than there are positions.
        """
        table, end, most = self.config.letter_units, self.config.end_id, self.config.unit_positions
        rows = []
        for row_L, real_L in zip(letters_BL.tolist(), valid_BL.tolist(), strict=True):
            letters = [letter for letter, real in zip(row_L, real_L, strict=True) if real and letter != end]
            units = [unit for letter in letters for unit in table[letter]]
            if len(units) > most:
                raise ValueError(
                    f"a transcript must be at most {most} units long (`unit_positions`), but is {len(units)}. Cut it."
                )
            rows.append(torch.tensor(units or [0] * bool(letters), dtype=torch.long))
        units_BT, valid_BT = pad_rows(rows)
        return units_BT.to(letters_BL.device), valid_BT.to(letters_BL.device)

    def _unit_term(self, batch: Batch, states_BTD: Tensor, valid_BT: Tensor) -> Term:
        """Return the cross-entropy of hidden steps' units after both stacks, over the hidden steps."""
        assert self.hidden_step is not None and batch.units_BT is not None
        hidden_BT, units_BT = batch.extras["hidden_BT"], batch.units_BT
        vector_D = self.hidden_step.vector_D.to(states_BTD.dtype)
        spoken_BTD = self._spoken(torch.where(hidden_BT[..., None], vector_D, states_BTD), valid_BT)
        swapped_BT1 = batch.extras["swapped_BT"][..., None]
        mixed_BTD = torch.where(
            swapped_BT1, self.unit_embedding(units_BT.clamp_min(0)).to(spoken_BTD.dtype), spoken_BTD
        )
        both = (spoken_BTD, self._shared(mixed_BTD, valid_BT)[-1])
        losses = [
            masked.cross_entropy_sum(head(x_BTD[hidden_BT]), units_BT[hidden_BT])
            for head, x_BTD in zip(self.unit_heads, both, strict=True)
        ]
        return Term(losses[0] + losses[1], batch.counts["units"])

    def _written(self, batch: Batch, states_BTD: Tensor, valid_BT: Tensor, name: str, weight: float) -> Term:
        assert self.writer is not None
        return Term(
            ctc_sum(self.writer(states_BTD), valid_BT, batch, batch.extras[f"{name}_B"], blank=self.config.blank_id),
            batch.counts[name],
            weight,
        )


SYSTEM = SpeechLm
