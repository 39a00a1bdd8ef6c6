"""SpeechLM: speech and text meet in hidden units (Z. Zhang et al. 2022), as the transfer study uses it.

What is unusual about it:

- Two stacks: a speech transformer, and a shared one above it. Text enters the shared one as *units*, the same ones that
  speech is tokenized into; here each letter becomes the units learned for it from paired clips
  (`sonolex.objectives.unit_alignment`).
- Unit-based masked language modelling (UMLM): units of masked steps are predicted after both stacks. Where nothing is
  hidden, spans of speech states are swapped for the embeddings of their own units, so that the shared stack cannot tell
  the two apart.
- Unit-based CTC (UCTC): text is written from the shared stack.

In this file: the config, both transformers and the unit embedding (study, section 2.3.2), pre-training (2.3.3). "Study"
is Chinnam, *Cross Modal Knowledge Transfer on Sentiment Analysis using Multi Modal Models*, Edinburgh 2023; "code" is
https://github.com/microsoft/SpeechT5/tree/main/SpeechLM. Formulas are in `sonolex.objectives`: `corruption`, `masked`
and `ctc`.

Differs: layers are transformers' SpeechT5 layers (relative positions, as SpeechLM's; extra: speecht5); the units of
text come from letters, not phonemes, and a letter that no paired clip has is silent; features always carry a gradient,
which the code's standalone feature extractor drops (it runs under ``no_grad``). Positions of the shared stack are added
to speech states and to units alike, as in fairseq's encoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from sonolex.configs import one_of
from sonolex.nn.dropout import drawn_apart, replace_dropout
from sonolex.nn.embeddings import HiddenPatch, kept_places
from sonolex.nn.pooling import mean_of_present
from sonolex.nn.readers import READERS, SequenceReader
from sonolex.nn.speecht5 import (
    SpectrogramEntrance,
    UnitHead,
    encoder_states,
    num_conv_steps,
    replace_attention,
    speech_features,
    their_config,
    theirs,
    with_convolved_positions,
)
from sonolex.objectives import corruption, masked
from sonolex.objectives.ctc import ctc_steps, ctc_sum
from sonolex.places import at_places, places_of, places_where
from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.pretrained.fairseq import import_speechlm
from sonolex.processors.base import pad_rows
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig, SpeechAndLettersProcessor, require_units
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import NO_UNIT, Batch, Encoding, Padded, Term

OBJECTIVES = ("units", "penalty", "text_ctc", "speech_ctc")


@dataclass(frozen=True)
class SpeechLmConfig(SystemConfig):
    """SpeechLM's sizes (base by default), its objectives, and how a clip is read.

    Attributes:
        vocab_size, blank_id, pad_id, end_id, num_mels, max_frames, max_tokens, num_units, letter_units: filled in from
            the processor; ``letter_units`` are the units that each letter is spoken as.
        width, num_heads, ffn_width, dropout, norm_eps: of SpeechLM-Base (code): 8 heads of 96.
        num_speech_layers, num_layers: of the speech transformer and of the shared one, 6 and 6 (code).
        audio: entrance: "waveform", or "spectrogram": a linear map of each filter-bank frame, for small data.
        conv_width: of the seven convolutions, wav2vec2's.
        max_relative: relative positions are clipped there (code).
        conv_positions, conv_groups: kernel and groups of the convolution that adds positions to speech (wav2vec2).
        reader: how the states become one vector: "mean", "max", "attention" or "gru" (the study's classifiers are a
            feed-forward layer and a GRU, section 4.6).
        weighted_layers: the reader sees a learned weighted sum of the layers, not the last one.
        objectives: "units" (UMLM, both predictions), "penalty" (squared convolution features), "text_ctc" (UCTC); and
            "speech_ctc" for clips with both, which is how the published model is fine-tuned to recognise speech.
        unit_positions: of the shared transformer, 3000 (code); at least as many as the processor's longest clip has
            steps.
        unit_width, unit_temperature: of the units' cosine scores (code, as HuBERT's).
        mask_share, mask_run: chance that a step starts a hidden run, times its length: 0.8 and 10 (code, as HuBERT's).
        swap_share, swap_run: chance that a step starts a run that is swapped for its units, times its length: 0.4 and 5
            (code).
        reads_text: whether there is an embedding of units, which released cleaned files lack.
    """

    vocab_size: int = 81
    blank_id: int = 80
    pad_id: int = 1
    end_id: int = 2
    width: int = 768
    num_layers: int = 6
    num_heads: int = 8
    ffn_width: int = 3072
    dropout: float = 0.1
    norm_eps: float = 1e-5
    audio: str = "waveform"
    num_mels: int = 80
    conv_width: int = 512
    max_relative: int = 160
    conv_positions: int = 128
    conv_groups: int = 16
    max_frames: int = 3000
    max_tokens: int = 600
    reader: str = "mean"
    weighted_layers: bool = False
    objectives: tuple[str, ...] = ("units", "text_ctc")
    num_units: int = 500
    unit_width: int = 256
    unit_temperature: float = 0.1
    mask_share: float = 0.8
    mask_run: int = 10
    num_speech_layers: int = 6
    unit_positions: int = 3000
    letter_units: tuple[tuple[int, ...], ...] = ()
    swap_share: float = 0.4
    swap_run: int = 5
    reads_text: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reads_text and self.reads("units", "text_ctc"):
            raise ValueError("`objectives` must not have units or text_ctc, which embed units, without `reads_text`.")
        one_of("audio", self.audio, ("waveform", "spectrogram"))
        one_of("reader", self.reader, READERS)
        for objective in self.objectives:
            one_of("objectives", objective, OBJECTIVES)

    def reads(self, *objectives: str) -> bool:
        """Return whether any of these objectives is trained."""
        return any(o in self.objectives for o in objectives)

    @classmethod
    def base(cls, **changes: Any) -> SpeechLmConfig:
        """Return SpeechLM-Base."""
        return cls(**changes)

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechLmConfig:
        """Return a size for two cores: 2 + 2 layers of 128 over filter banks. Ours, not the paper's."""
        sizes: dict[str, Any] = {"width": 128, "num_heads": 4, "ffn_width": 512, "audio": "spectrogram"}
        sizes |= {"unit_width": 64, "conv_width": 64, "conv_positions": 16, "conv_groups": 4, "max_relative": 40}
        sizes |= {"num_speech_layers": 2, "num_layers": 2, "num_units": 50}
        return cls(**(sizes | changes))


class SpeechLm(System):
    """Speech transformer, unit embedding, shared transformer, and the heads of the objectives."""

    name = "speechlm"
    config_type = SpeechLmConfig
    processor_type = SpeechAndLettersProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: SpeechLmConfig

    def __init__(self, config: SpeechLmConfig):
        super().__init__()
        self.config = c = config
        modules = theirs()
        shared_sizes = their_config(c, num_layers=c.num_layers)
        speech_sizes = their_config(c, num_layers=c.num_speech_layers)
        # Speech transformer over wav2vec2's convolutions; unit embedding with positions; shared transformer
        waveform = c.audio == "waveform"
        self.speech = (
            modules.SpeechT5SpeechEncoderPrenet(speech_sizes) if waveform else SpectrogramEntrance(speech_sizes)
        )
        self.speech_layers = modules.SpeechT5Encoder(speech_sizes)
        self.unit_embedding = nn.Embedding(c.num_units, c.width) if c.reads_text else None
        if not c.reads_text:
            self.accepts = frozenset({frozenset({"audio"})})  # type: ignore[misc]
        self.unit_position = nn.Embedding(c.unit_positions, c.width)
        self.shared_layers = modules.SpeechT5Encoder(shared_sizes)
        units = pad_rows([torch.tensor(u, dtype=torch.long) for u in c.letter_units], fill=NO_UNIT)
        self.letter_units_VM = nn.Buffer(units.values.long(), persistent=False)
        # UMLM: a vector for hidden steps, and scores of units after either stack. UCTC: letters from the shared stack
        self.hidden_step = HiddenPatch(c.width) if c.reads("units") else None
        sizes = (c.width, c.unit_width, c.num_units, c.unit_temperature)
        self.unit_heads = nn.ModuleList(UnitHead(*sizes) for _ in range(2 * c.reads("units")))
        self.writer = nn.Linear(c.width, c.vocab_size) if c.reads("text_ctc", "speech_ctc") else None
        self.reader = SequenceReader(c.width, c.num_layers, reader=c.reader, weighted=c.weighted_layers)
        self.speech.apply(self.speech_layers._init_weights)
        for table in (self.unit_embedding, self.unit_position):
            if table is not None:
                nn.init.normal_(table.weight)
        replace_dropout(self)
        replace_attention(self)

    @classmethod
    def import_extras(cls) -> None:
        theirs()

    # ---- Speech transformer and shared transformer ------------------------------------------------------------------

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    def encode(self, batch: Batch) -> Encoding:
        """Return the shared stack's states by modality; a clip's vector is the mean over its modalities."""
        layers, valid, vectors = {}, {}, {}
        if (audio := self.audio_input(batch)) is not None:
            (states_BTD, valid["audio"], _), _ = speech_features(self.speech, audio)
            with drawn_apart("audio"):
                layers["audio"] = self._shared(self._spoken(states_BTD, valid["audio"]), valid["audio"])
        if batch.tokens is not None and self.config.reads_text:
            units_BT, valid["text"], _ = self._units_of(batch)
            with drawn_apart("text"):
                layers["text"] = self._shared(self._embedded(units_BT), valid["text"])
        for name, states in layers.items():
            vectors[name] = self.reader(states, valid[name])
        if not vectors:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        pooled_BD = mean_of_present(list(vectors.values()), [valid[n].any(1, keepdim=True) for n in vectors])
        return Encoding(pooled_BD, {n: x[-1] for n, x in layers.items()}, valid, layers=layers)

    def audio_input(self, batch: Batch) -> Padded | None:
        """Return samples or frames."""
        return batch.samples if self.config.audio == "waveform" else batch.frames

    def _spoken(self, states_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        """Return the speech transformer's states."""
        x_BTD = with_convolved_positions(self.speech, states_BTD, valid_BT)
        return encoder_states(self.speech_layers, x_BTD, valid_BT)[-1]

    def _shared(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, ...]:
        """Return the shared transformer's states before and after every layer; its positions are added first."""
        x_BTD = x_BTD + self.unit_position(torch.arange(x_BTD.shape[1], device=x_BTD.device))
        return encoder_states(self.shared_layers, x_BTD, valid_BT)

    def _embedded(self, units_BT: Tensor) -> Tensor:
        """Return the vectors of units (B, T, D)."""
        assert self.unit_embedding is not None
        return self.unit_embedding(units_BT)

    def _units_of(self, batch: Batch) -> Padded:
        """Return the units of transcripts (B, T); a transcript of silent letters is one unit, 0.

        The processor counts them (``num_spoken``). Without counts, as in an exported program, T is the most units that
        the letters may have, up to the number of positions.

        Raises:
            ValueError: a transcript has more units than there are positions.
        """
        letters, most = batch.tokens, self.config.unit_positions
        assert letters is not None
        num_units = batch.extras.get("num_spoken")
        for clip, number in zip(batch.clip_ids, num_units or (), strict=False):
            if number > most:
                raise ValueError(
                    f"a transcript must be at most {most} units long (`unit_positions`), but is {number} (clip "
                    f"{clip!r}). Cut it."
                )
        # Each letter gets room for the longest letter's units; taken_BN marks the used places
        units_BLM = self.letter_units_VM[letters.values]
        real_BL = letters.valid & (letters.values != self.config.end_id)
        taken_BN = ((units_BLM != NO_UNIT) & real_BL[..., None]).flatten(1)
        silent_B1 = real_BL.any(1, keepdim=True) & ~taken_BN.any(1, keepdim=True)
        first_N = torch.arange(taken_BN.shape[1], device=taken_BN.device) == 0
        longest: Any = torch.sym_min(taken_BN.shape[1], most) if num_units is None else max([1, *num_units])
        places_BT, valid_BT, _ = kept_places(taken_BN | (silent_B1 & first_N), longest)
        return Padded(units_BLM.flatten(1).clamp_min(0).gather(1, places_BT), valid_BT, num_units)

    # ---- Pre-training -----------------------------------------------------------------------------------------------

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.objectives

    def corrupt(self, batch: Batch) -> Batch:
        """Hide and swap steps of speech, each clip from its own seed; text is not masked (the code masks it).

        Raises:
            ValueError: units are missing or are not one per step, naming the clip.
        """
        c = self.config
        if not c.objectives:
            return super().corrupt(batch)
        generators = [Generator().manual_seed(seed) for seed in batch.seeds]
        extras: dict[str, Any] = {}
        counts: dict[str, float] = {}
        audio, tokens = self.audio_input(batch), batch.tokens
        steps: tuple[int, ...] = (0,) * len(batch)
        if audio is not None:
            assert audio.lengths is not None
            steps = tuple(map(num_conv_steps, audio.lengths)) if c.audio == "waveform" else audio.lengths
        if any(steps):
            if c.reads("units"):
                require_units(batch, steps)
                hidden_BT = corruption.hide_runs(steps, generators, share=c.mask_share, run=c.mask_run)
                # Positions "are randomly replaced by corresponding unit embeddings" (study, section 2.3.2); in the code
                # only those that are not hidden.
                swapped_BT = corruption.hide_runs(steps, generators, share=c.swap_share, run=c.swap_run)
                extras |= {"hidden_BT": hidden_BT, "hidden_N": places_where(hidden_BT)}
                extras["swapped_BT"] = swapped_BT & ~hidden_BT
                counts["units"] = float(hidden_BT.sum())
            if c.reads("penalty"):
                extras["steps_N"] = places_of(steps, max([1, *steps]))
                counts["penalty"] = float(sum(steps))
        if tokens is not None:
            assert tokens.lengths is not None
            letters = [row_L[: max(0, n - 1)] for row_L, n in zip(tokens.values, tokens.lengths, strict=True)]
            for name, room in (("text_ctc", batch.extras["num_spoken"]), ("speech_ctc", steps)):
                if c.reads(name):
                    fits = [len(t) > 0 and ctc_steps(t) <= n for t, n in zip(letters, room, strict=True)]
                    extras[name] = tuple(i for i, fit in enumerate(fits) if fit)
                    counts[name] = float(sum(len(letters[i]) for i in extras[name]))
        return batch.adding(extras=extras, counts=counts)

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return UMLM and UCTC, whose sum is the loss (study, section 2.3.3); the code weights UCTC by 0.1.

        Differs: each is a mean over its own items; the code rescales UCTC by masked steps over letters.
        """
        terms: dict[str, Term] = {}
        if (audio := self.audio_input(batch)) is not None:
            states, features_BTC = speech_features(self.speech, audio)
            if "penalty" in batch.counts and features_BTC is not None:
                squares = at_places(features_BTC, batch.extras["steps_N"]).float().square().mean(-1).sum()
                terms["penalty"] = Term(squares, batch.counts["penalty"], weight=10.0)
            if self.hidden_step is not None:
                with drawn_apart("units"):
                    terms["units"] = self._unit_term(batch, states.values, states.valid)
            if "speech_ctc" in batch.counts:
                with drawn_apart("speech_ctc"):
                    shared = self._shared(self._spoken(states.values, states.valid), states.valid)
                terms["speech_ctc"] = self._written(batch, states.with_values(shared[-1]), "speech_ctc", weight=1.0)
        if "text_ctc" in batch.counts and batch.tokens is not None:
            units = self._units_of(batch)
            with drawn_apart("text_ctc"):
                shared = self._shared(self._embedded(units.values), units.valid)
            terms["text_ctc"] = self._written(batch, units.with_values(shared[-1]), "text_ctc", weight=0.1)
        return terms

    def _unit_term(self, batch: Batch, states_BTD: Tensor, valid_BT: Tensor) -> Term:
        """Return UMLM: the summed cross-entropies of hidden steps' units after both stacks, over the hidden steps."""
        assert self.hidden_step is not None and batch.units_BT is not None
        hidden_BT1, hidden_N = batch.extras["hidden_BT"][..., None], batch.extras["hidden_N"]
        vector_D = self.hidden_step.vector_D.to(states_BTD.dtype)
        spoken_BTD = self._spoken(torch.where(hidden_BT1, vector_D, states_BTD), valid_BT)
        units_BTD = self._embedded(batch.units_BT.clamp_min(0)).to(spoken_BTD.dtype)
        mixed_BTD = torch.where(batch.extras["swapped_BT"][..., None], units_BTD, spoken_BTD)
        both = (spoken_BTD, self._shared(mixed_BTD, valid_BT)[-1])
        units_N = at_places(batch.units_BT, hidden_N)
        losses = [
            masked.cross_entropy_sum(head(at_places(x_BTD, hidden_N)), units_N)
            for head, x_BTD in zip(self.unit_heads, both, strict=True)
        ]
        return Term(losses[0] + losses[1], batch.counts["units"], weight=1.0)

    def _written(self, batch: Batch, states: Padded, name: str, *, weight: float) -> Term:
        """Return the CTC loss of writing the transcript's letters from the shared stack's states."""
        assert self.writer is not None and batch.tokens is not None
        logits = states.with_values(self.writer(states.values))
        loss = ctc_sum(logits, batch.tokens, batch.extras[name], blank=self.config.blank_id)
        return Term(loss, batch.counts[name], weight=weight)

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"speech": [self.speech]}
        for name, stack in (("speech", self.speech_layers), ("shared", self.shared_layers)):
            groups[f"{name}_input"] = [stack.layer_norm, stack.embed_positions]
            groups |= {f"{name}_layer_{i}": [layer] for i, layer in enumerate(stack.layers)}
        groups["units"] = [t for t in (self.unit_embedding, self.unit_position) if t is not None]
        heads = [self.hidden_step, self.unit_heads, self.writer]
        return groups | {"reader": [self.reader], "pretraining_heads": [h for h in heads if h is not None]}

    def import_pretrained(self, sources: Mapping[str, str]) -> Mapping[str, Any]:
        """Fill both transformers and the unit embedding from fairseq's file, or its folder: ``{"speechlm": PLACE}``.

        The cleaned files have no unit embedding: they fill a system with ``reads_text=False``.

        Raises:
            ValueError: another part, a key that is missing, or another number of units.
        """
        reports = {}
        for part, place in sources.items():
            one_of("pretrained", part, ("speechlm",))
            checkpoint = open_checkpoint(place)
            if checkpoint.kind not in ("speechlm", "speechlm_clean"):
                raise ValueError(f"`pretrained` must be SpeechLM, but {checkpoint.path} is {checkpoint.title}.")
            if checkpoint.kind == "speechlm_clean" and self.config.reads_text:
                raise ValueError(
                    f"`reads_text` must be False for {checkpoint.path}, a cleaned file: it has no embedding of units, "
                    "so that text would be read by random weights. Take the full file for text."
                )
            reports[part] = import_speechlm(self, checkpoint.weights)
        return reports

    @classmethod
    def matched(cls, config: SpeechLmConfig, processor: SpeechAndLettersProcessor) -> SpeechLmConfig:
        if config.reads_text and not processor.letter_units:
            raise ValueError(
                "`spoken_letters` of the processor must be True for SpeechLM, whose text is read as units."
            )
        tokenizer, special, p = processor.tokenizer, processor.special, processor.config
        if config.audio != p.audio:
            raise ValueError(f"`audio` must be the processor's {p.audio!r}, but is {config.audio!r}.")
        if config.reads("units") and not processor.num_units:
            raise ValueError("`num_units` of the processor must be above 0 for the objective 'units', but is 0.")
        return replace(
            config,
            vocab_size=tokenizer.get_vocab_size(),
            blank_id=tokenizer.token_to_id("<ctc_blank>"),
            pad_id=special.pad,
            end_id=special.end,
            num_mels=p.num_mels,
            num_units=processor.num_units,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
            letter_units=processor.letter_units,
            unit_positions=max(config.unit_positions, p.max_frames),
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


SYSTEM = SpeechLm
