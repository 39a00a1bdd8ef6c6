"""SpeechT5: one encoder and one decoder for speech and text (Ao et al., ACL 2022), as the transfer study uses it.

What is unusual about it:

- The encoder has two entrances ("pre-nets"): samples through wav2vec2's convolutions, letters through an embedding.
  What follows is shared, and so is the decoder; pre-training pulls both streams through one codebook.
- A clip is classified by the decoder, from a single query of zeros (s2c, t2c), or by the encoder's states alone.
- Class labels are the task's. The study put them into the token vocabulary, which made the released loader drop the
  text weights (study, section 3.4).

In this file: the config, pre-nets, encoder and decoder (study, sections 2.2.1 and 2.2.2), the pre-training of speech,
of text, and of both (study, section 2.2.3), and ours for clips with both. "Study" is Chinnam, *Cross Modal Knowledge
Transfer on Sentiment Analysis using Multi Modal Models*, Edinburgh 2023; "code" is
https://github.com/microsoft/SpeechT5. Formulas are in `sonolex.objectives` (`corruption`, `masked`, `ctc`,
`contrastive`) and `sonolex.nn.quantizer`.

The modules come from transformers (extra: speecht5). Objectives and everything between the modules are ours, because
padding must not change a number: transformers normalises the first convolution over padding too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from sonolex.audio import features
from sonolex.configs import one_of
from sonolex.nn.dropout import Dropout, drawn_apart, replace_dropout
from sonolex.nn.embeddings import HiddenPatch, every, in_groups
from sonolex.nn.pooling import masked_mean, mean_of_present
from sonolex.nn.quantizer import Codebook, code_diversity_loss
from sonolex.nn.readers import READERS, SequenceReader
from sonolex.nn.speecht5 import (
    SpectrogramEntrance,
    UnitHead,
    decoder_states,
    encoder_states,
    num_conv_steps,
    replace_attention,
    speech_features,
    their_config,
    theirs,
    with_positions,
)
from sonolex.objectives import corruption, masked
from sonolex.objectives.contrastive import nt_xent_sum
from sonolex.objectives.ctc import ctc_steps, ctc_sum
from sonolex.places import at_places, places_of, places_where
from sonolex.pretrained.checkpoint import open_checkpoint
from sonolex.pretrained.fairseq import speecht5_names
from sonolex.pretrained.speecht5 import import_speecht5
from sonolex.processors.base import pad_rows
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig, SpeechAndLettersProcessor, require_units
from sonolex.systems.base import LONGEST_STARTER_S, System, SystemConfig
from sonolex.types import Batch, Encoding, Padded, Term

OBJECTIVES = ("units", "penalty", "spectrogram", "stop", "infilling", "diversity")
PAIRED = ("transcription", "alignment")
CHECKPOINT_PARTS = {"speech": ("speech", "encoder", "decoder"), "text": ("text",)}
STOP_WEIGHT = 5.0  # of a clip's one last frame against all others; the code's
DRAWN_WINDOW_MS, DRAWN_HOP_MS = 64.0, 16.0  # of the log-mel frames that the decoder predicts
PRENET_WIDTH, PRENET_DROPOUT = 256, 0.5  # the speech decoder pre-net's two layers; the code's


@dataclass(frozen=True)
class SpeechT5Config(SystemConfig):
    """SpeechT5's sizes (base by default), its objectives, and how a clip is read.

    Attributes:
        vocab_size, blank_id, pad_id, end_id, num_letters, mask_id, first_letter_id, rate_hz, num_mels, max_frames,
            max_tokens, num_units: filled in from the processor.
        width, num_layers, num_decoder_layers, num_heads, ffn_width, norm_eps: of SpeechT5-Base (code).
        dropout: everywhere, as in transformers' port; the code has none after activations, and layer drop of 0.05.
        audio: entrance: "waveform" (study, section 2.2.1), or "spectrogram": a linear map of each filter-bank frame,
            for small data.
        conv_width: of the seven convolutions, wav2vec2's.
        max_relative: relative positions are clipped there (code).
        conv_positions, conv_groups: kernel and groups of the convolution that adds positions to speech (wav2vec2).
        reader: "decoder" (published: one zero query), or "mean", "max", "attention" or "gru" of the encoder's states.
        weighted_layers: the reader sees a learned weighted sum of the layers, not the last one.
        objectives: of pre-training. Published (study, section 2.2.3): "units" (masked units), "penalty" (squared
            convolution features), "spectrogram" and "stop" (predicted by the decoder), "infilling" (text), "diversity"
            (of the codebook). Ours, for clips with both: "transcription" (CTC of speech to letters, as in the released
            recogniser) and "alignment" (NT-Xent between the encoder's mean states of a clip and of its transcript).
        unit_width, unit_temperature: of the units' cosine scores (code, as HuBERT's).
        mask_share, mask_run: chance that a step starts a hidden run, times its length: 0.8 and 10 (code, as HuBERT's).
        mix_share: of the encoder's steps that the decoder sees quantised: 0.5 in the code, 0.1 in its scripts.
        codebook_groups, codebook_entries, codebook_temperature: 2 groups of 100 (code). Differs: the temperature is
            constant; the code's falls from 2 to 0.5.
        spectrogram_reduction: frames that a decoder step predicts (code).
        infill_share, infill_run: letters hidden, 30 % (study, section 2.2.3), in runs of this mean length (code).
        random_letters: share of the remaining letters that are replaced by another one (code).
        alignment_temperature: τ of "alignment", ours.
    """

    vocab_size: int = 81
    blank_id: int = 80
    pad_id: int = 1
    end_id: int = 2
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
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
    reader: str = "decoder"
    weighted_layers: bool = False
    objectives: tuple[str, ...] = ()
    num_units: int = 0
    unit_width: int = 256
    unit_temperature: float = 0.1
    mask_share: float = 0.8
    mask_run: int = 10
    num_letters: int = 79
    mask_id: int = 79
    first_letter_id: int = 4
    rate_hz: int = 16_000
    num_decoder_layers: int = 6
    mix_share: float = 0.5
    codebook_groups: int = 2
    codebook_entries: int = 100
    codebook_temperature: float = 1.0
    spectrogram_reduction: int = 2
    infill_share: float = 0.3
    infill_run: float = 3.5
    random_letters: float = 0.1
    alignment_temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("audio", self.audio, ("waveform", "spectrogram"))
        one_of("reader", self.reader, ("decoder", *READERS))
        for objective in self.objectives:
            one_of("objectives", objective, (*OBJECTIVES, *PAIRED))
        if self.weighted_layers and self.reader == "decoder":
            raise ValueError("`weighted_layers` must be False for reader='decoder', which reads the last layer.")
        if self.reads("spectrogram") != self.reads("stop"):
            raise ValueError("`objectives` must have both spectrogram and stop, or neither.")
        if self.reads("diversity") and not self.reads("spectrogram", "infilling"):
            raise ValueError("`objectives` must have spectrogram or infilling with diversity: they read the codebook.")

    def reads(self, *objectives: str) -> bool:
        """Return whether any of these objectives is trained."""
        return any(o in self.objectives for o in objectives)

    @property
    def decodes(self) -> bool:
        """Whether anything uses the decoder."""
        return self.reader == "decoder" or self.reads("spectrogram", "infilling")

    @classmethod
    def base(cls, **changes: Any) -> SpeechT5Config:
        """Return SpeechT5-Base."""
        return cls(**changes)

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechT5Config:
        """Return a size for two cores: 3 layers of 128 over filter banks. Ours, not the paper's."""
        sizes: dict[str, Any] = {"width": 128, "num_heads": 4, "ffn_width": 512, "audio": "spectrogram"}
        sizes |= {"unit_width": 64, "conv_width": 64, "conv_positions": 16, "conv_groups": 4, "max_relative": 40}
        sizes |= {"num_layers": 3, "num_decoder_layers": 1}
        return cls(**(sizes | changes))


class SpeechT5(System):
    """Two pre-nets, the shared encoder and decoder, and the parts of the trained objectives."""

    name = "speecht5"
    config_type = SpeechT5Config
    processor_type = SpeechAndLettersProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: SpeechT5Config

    def __init__(self, config: SpeechT5Config):
        super().__init__()
        self.config = c = config
        modules, sizes = theirs(), speecht5_sizes(config)
        # Pre-nets of the encoder, the encoder, the decoder (study, section 2.2.1 and figure 2.1)
        waveform = c.audio == "waveform"
        self.speech = modules.SpeechT5SpeechEncoderPrenet(sizes) if waveform else SpectrogramEntrance(sizes)
        self.text = modules.SpeechT5TextEncoderPrenet(sizes)
        self.encoder = modules.SpeechT5Encoder(sizes)
        self.decoder = modules.SpeechT5Decoder(sizes) if c.decodes else None
        # Speech pre-training: a vector for hidden steps, the scores of units, and (below) the decoder's speech side
        self.hidden_step = HiddenPatch(c.width) if c.reads("units") else None
        self.unit_head = UnitHead(c.width, c.unit_width, c.num_units, c.unit_temperature) if c.reads("units") else None
        # Joint pre-training: the codebook of both
        self.codebook = None
        if c.reads("diversity"):
            codes = {"groups": c.codebook_groups, "entries": c.codebook_entries}
            self.codebook = Codebook(c.width, **codes, temperature=c.codebook_temperature)
        self.spectrogram = SpectrogramDecoder(sizes) if c.reads("spectrogram") else None
        # Text pre-training: pre-net and post-net of the text decoder are the text encoder's embedding
        self.letter_positions = None
        if c.reads("infilling"):
            self.letter_positions = modules.SpeechT5SinusoidalPositionalEmbedding(
                c.max_tokens + c.pad_id + 1, c.width, c.pad_id
            )
        self.transcriber = nn.Linear(c.width, c.vocab_size) if c.reads("transcription") else None
        self.reader = None
        if c.reader != "decoder":
            self.reader = SequenceReader(c.width, c.num_layers, reader=c.reader, weighted=c.weighted_layers)
        for part in (self.speech, self.text, self.spectrogram):
            if part is not None:
                part.apply(self.encoder._init_weights)
        replace_dropout(self)
        replace_attention(self)

    @classmethod
    def import_extras(cls) -> None:
        theirs()

    # ---- Encoder and decoder ----------------------------------------------------------------------------------------

    @property
    def pooled_dim(self) -> int:
        return self.config.width

    def encode(self, batch: Batch) -> Encoding:
        """Return the encoder's states by modality; a clip's vector is the mean over its modalities."""
        layers, valid, vectors = {}, {}, {}
        for name, (x_BTD, valid_BT, _) in self._embedded(batch).items():
            with drawn_apart(name):
                layers[name], valid[name] = encoder_states(self.encoder, x_BTD, valid_BT), valid_BT
                vectors[name] = self._pooled(layers[name], valid_BT)
        if not vectors:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        pooled_BD = mean_of_present(list(vectors.values()), [v.any(1, keepdim=True) for v in valid.values()])
        return Encoding(pooled_BD, {n: x[-1] for n, x in layers.items()}, valid, layers=layers)

    def audio_input(self, batch: Batch) -> Padded | None:
        """Return samples or frames."""
        return batch.samples if self.config.audio == "waveform" else batch.frames

    def _embedded(self, batch: Batch) -> dict[str, Padded]:
        """Return the pre-nets' outputs for speech and for text: the encoder's input."""
        inputs: dict[str, Padded] = {}
        if (audio := self.audio_input(batch)) is not None:
            states, _ = speech_features(self.speech, audio)
            inputs["audio"] = states.with_values(with_positions(self.speech, states.values, states.valid))
        if batch.tokens is not None:
            inputs["text"] = batch.tokens.with_values(self.text(batch.tokens.values))
        return inputs

    def _pooled(self, states: Sequence[Tensor], valid_BT: Tensor) -> Tensor:
        """Return the decoder's output for one query of zeros (the code's s2c), or the reader's vector of the states.

        The code embeds a start token and then overwrites it with zeros; the mean over its one position is itself.
        """
        if self.reader is not None:
            return self.reader(states, valid_BT)
        query_B1D = torch.zeros_like(states[-1][:, :1])
        return decoder_states(self.decoder, query_B1D, torch.ones_like(valid_BT[:, :1]), states[-1], valid_BT)[:, 0]

    # ---- Corruption, targets and counts -----------------------------------------------------------------------------

    @property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.objectives

    @property
    def joint_objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(o for o in self.config.objectives if o in ("diversity", "alignment"))

    def corrupt(self, batch: Batch) -> Batch:
        """Hide steps and letters and draw the codebook's steps, each clip from its own seed.

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
            if c.reads("units"):
                require_units(batch, steps)
                hidden_BT = corruption.hide_runs(steps, generators, share=c.mask_share, run=c.mask_run)
                extras |= {"hidden_BT": hidden_BT, "hidden_N": places_where(hidden_BT)}
                counts["units"] = float(hidden_BT.sum())
            if c.reads("penalty"):
                extras["steps_N"] = places_of(steps, max([1, *steps]))
                counts["penalty"] = float(sum(steps))
            if c.reads("spectrogram"):
                mel = self._target_frames(audio)
                extras |= {"mel": mel, "mel_N": mel.places()}
                counts["stop"] = float(len(extras["mel_N"]))
                counts["spectrogram"] = counts["stop"] * c.num_mels
                if c.reads("diversity"):
                    extras |= self._drawn_codes("speech", steps, generators)
        if tokens is not None:
            assert tokens.lengths is not None
            letters = [row_L[:n] for row_L, n in zip(tokens.values, tokens.lengths, strict=True)]
            if c.reads("infilling"):
                rows = [self._infilled(t, g) for t, g in zip(letters, generators, strict=True)]
                extras |= {"infilled": pad_rows(rows, fill=c.pad_id), "letters_N": tokens.places()}
                counts["infilling"] = float(sum(tokens.lengths))
                if c.reads("diversity"):
                    extras |= self._drawn_codes("infilled", [len(r) for r in rows], generators)
            if c.reads("transcription") and audio is not None:
                fits = [len(t) > 1 and ctc_steps(t[:-1]) <= n for t, n in zip(letters, steps, strict=True)]
                extras["transcribed"] = tuple(i for i, fit in enumerate(fits) if fit)
                counts["transcription"] = float(sum(tokens.lengths[i] - 1 for i in extras["transcribed"]))
        return batch.adding(extras=extras, counts=counts)

    def _target_frames(self, audio: Padded) -> Padded:
        """Return the log-mel frames that the decoder predicts, normalised by clip."""
        c = self.config
        if c.audio == "spectrogram":
            return audio
        assert audio.lengths is not None
        rows: list[Tensor | None] = []
        for row_S, length in zip(audio.values, audio.lengths, strict=True):
            if not length:
                rows.append(None)
                continue
            frames_TF = features.clip_fbank(
                row_S[:length].numpy(),
                rate_hz=c.rate_hz,
                num_mels=c.num_mels,
                window_ms=DRAWN_WINDOW_MS,
                hop_ms=DRAWN_HOP_MS,
            )
            rows.append(features.normalise_utterance(frames_TF))
        return pad_rows(rows, num_features=c.num_mels)

    def _infilled(self, letters_L: Tensor, generator: Generator) -> Tensor:
        """Return a transcript with runs of letters replaced by one mask each: BART's text infilling."""
        c = self.config
        if not len(letters_L):
            return letters_L
        return corruption.infill(
            letters_L,
            share=c.infill_share,
            mean_run=c.infill_run,
            random=c.random_letters,
            mask_id=c.mask_id,
            words=(c.first_letter_id, c.num_letters),
            generator=generator,
        )

    def _drawn_codes(self, name: str, lengths: Sequence[int], generators: Sequence[Generator]) -> dict[str, Tensor]:
        """Return which steps the decoder sees quantised, and the noise of their choice.

        Differs: drawn for each clip; the code draws one set of steps for the whole batch.
        """
        c = self.config
        chosen = [torch.rand(n, generator=g) < c.mix_share for n, g in zip(lengths, generators, strict=True)]
        shape = (c.codebook_groups, c.codebook_entries)
        uniform_NGV = torch.cat(
            [torch.rand(int(m.sum()), *shape, generator=g) for m, g in zip(chosen, generators, strict=True)]
        )
        noise_NGV = -torch.log(-torch.log(uniform_NGV.clamp(1e-10, 1 - 1e-7)))
        return {f"{name}_mixed_N": places_where(pad_rows(chosen).values), f"{name}_noise_NGV": noise_NGV}

    # ---- Pre-training -----------------------------------------------------------------------------------------------

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        """Return the terms of speech, of text, and of clips with both. "The final loss is the sum of all the losses".

        Weights 1 each, but 10 for the penalty and 0.1 for diversity (code). Differs: every term is a mean over its own
        items; the code sums over masked steps and divides by their number in each micro-batch.
        """
        c, terms = self.config, {}
        if (audio := self.audio_input(batch)) is not None and c.reads("units", "penalty", "spectrogram"):
            with drawn_apart("speech"):
                terms |= self._speech_terms(batch, audio)
        if "infilled" in batch.extras:
            with drawn_apart("infilling"):
                terms["infilling"] = self._infilling_term(batch)
        if "transcribed" in batch.extras:
            with drawn_apart("transcription"):
                terms["transcription"] = self._transcription_term(batch)
        return terms

    def _speech_terms(self, batch: Batch, audio: Padded) -> dict[str, Term]:
        """Return masked units, predicted by the encoder, and the spectrogram, predicted by the decoder."""
        extras, counts, terms = batch.extras, batch.counts, {}
        (states_BTD, valid_BT, _), features_BTC = speech_features(self.speech, audio)
        if "penalty" in counts and features_BTC is not None:
            squares = at_places(features_BTC, extras["steps_N"]).float().square().mean(-1).sum()
            terms["penalty"] = Term(squares, counts["penalty"], weight=10.0)
        if self.hidden_step is not None:
            hidden_BT1 = extras["hidden_BT"][..., None]
            states_BTD = torch.where(hidden_BT1, self.hidden_step.vector_D.to(states_BTD.dtype), states_BTD)
        encoded_BTD = encoder_states(self.encoder, with_positions(self.speech, states_BTD, valid_BT), valid_BT)[-1]
        if self.unit_head is not None and batch.units_BT is not None:  # masked prediction, inspired by HuBERT
            hidden_N = extras["hidden_N"]
            logits_NC = self.unit_head(at_places(encoded_BTD, hidden_N))
            loss = masked.cross_entropy_sum(logits_NC, at_places(batch.units_BT, hidden_N))
            terms["units"] = Term(loss, counts["units"], weight=1.0)
        if self.spectrogram is not None:  # sequence-to-sequence generation, from the masked input too
            encoded_BTD = self._mixed("speech", encoded_BTD, extras)
            (target_BTF, target_valid_BT, _), mel_N = extras["mel"], extras["mel_N"]
            inputs_BTD, inputs_valid_BT = self.spectrogram.inputs(target_BTF, target_valid_BT)
            decoded_BTD = decoder_states(self.decoder, inputs_BTD, inputs_valid_BT, encoded_BTD, valid_BT)
            drawn_BTF, stop_BT = (x[:, : target_BTF.shape[1]] for x in self.spectrogram.outputs(decoded_BTD))
            loss = masked.l1_sum(at_places(drawn_BTF, mel_N), at_places(target_BTF, mel_N))
            terms["spectrogram"] = Term(loss, counts["spectrogram"], weight=1.0)
            last_BT = target_valid_BT & ~F.pad(target_valid_BT[:, 1:], (0, 1))
            stops = F.binary_cross_entropy_with_logits(
                stop_BT.float(), last_BT.float(), reduction="none", pos_weight=stop_BT.new_full((), STOP_WEIGHT)
            )
            terms["stop"] = Term(at_places(stops, mel_N).sum(), counts["stop"], weight=1.0)
        return terms

    def _infilling_term(self, batch: Batch) -> Term:
        """Return the cross-entropy of the whole transcript, written by the decoder from the infilled one."""
        assert batch.tokens is not None and self.letter_positions is not None
        infilled_BL, infilled_valid_BL, _ = batch.extras["infilled"]
        states_BLD = encoder_states(self.encoder, self.text(infilled_BL), infilled_valid_BL)[-1]
        states_BLD = self._mixed("infilled", states_BLD, batch.extras)
        tokens_BL, valid_BL, _ = batch.tokens
        start_B1 = torch.full_like(tokens_BL[:, :1], self.config.end_id)  # fairseq's decoders start with </s>
        seen_BL = torch.cat([start_B1, tokens_BL[:, :-1]], 1)
        inputs_BLD = self.text.embed_tokens(seen_BL) + self.letter_positions(seen_BL)
        decoded_BLD = decoder_states(self.decoder, inputs_BLD, valid_BL, states_BLD, infilled_valid_BL)
        letters_N = batch.extras["letters_N"]
        logits_NV = F.linear(at_places(decoded_BLD, letters_N), self.text.embed_tokens.weight)
        loss = masked.cross_entropy_sum(logits_NV, at_places(tokens_BL, letters_N))
        return Term(loss, batch.counts["infilling"], weight=1.0)

    def _transcription_term(self, batch: Batch) -> Term:
        """Return the CTC loss of letters from the encoder's states. Ours in pre-training, the code's in fine-tuning."""
        assert self.transcriber is not None and batch.tokens is not None
        speech = self._embedded(replace(batch, tokens=None))["audio"]
        states_BTD = encoder_states(self.encoder, speech.values, speech.valid)[-1]
        logits, chosen = speech.with_values(self.transcriber(states_BTD)), batch.extras["transcribed"]
        loss = ctc_sum(logits, batch.tokens, chosen, blank=self.config.blank_id)
        return Term(loss, batch.counts["transcription"], weight=1.0)

    def _mixed(self, name: str, states_BTD: Tensor, extras: Mapping[str, Any]) -> Tensor:
        """Return states of which some are quantised by the shared codebook, for the decoder's cross-attention."""
        if self.codebook is None:
            return states_BTD
        mixed_N = extras[f"{name}_mixed_N"]
        noise_NGV = extras[f"{name}_noise_NGV"] if self.training else None
        quantised_ND, _ = self.codebook(at_places(states_BTD, mixed_N), noise_NGV)
        return states_BTD.flatten(0, 1).index_copy(0, mixed_N, quantised_ND.to(states_BTD.dtype)).view_as(states_BTD)

    # ---- Joint pre-training: comparing clips ------------------------------------------------------------------------

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return each clip's mean choice of codes, and the means of its speech and of its text states."""
        rows: dict[str, Tensor] = {}
        if not self.joint_objectives:
            return rows
        states = {}
        for name, (x_BTD, valid_BT, _) in self._embedded(batch).items():
            with drawn_apart(name):
                states[name] = encoder_states(self.encoder, x_BTD, valid_BT)[-1], valid_BT
        for name in ("audio", "text") if self.config.reads("alignment") else ():
            rows[name] = torch.zeros(len(batch), 1 + self.config.width, device=self.text.embed_tokens.weight.device)
            if name in states:
                x_BTD, valid_BT = states[name]
                present_B1 = valid_BT.any(1, keepdim=True).to(x_BTD.dtype)
                rows[name] = torch.cat([present_B1, masked_mean(x_BTD, valid_BT) * present_B1], 1)
        if self.config.reads("diversity"):
            rows["codes"] = self._mean_codes(states)
        return rows

    def joint_losses(self, rows: Mapping[str, Tensor]) -> dict[str, Term]:
        """Return the codebook's diversity, weighted 0.1 (code), and ours: NT-Xent of a clip and its transcript."""
        c, terms = self.config, {}
        if "codes" in rows:
            codes_NGV = rows["codes"].unflatten(1, (c.codebook_groups, c.codebook_entries))
            terms["diversity"] = Term(code_diversity_loss(codes_NGV), 1, weight=0.1)
        if c.reads("alignment"):
            audio_ND, text_ND = rows["audio"], rows["text"]
            lacks_N = (audio_ND[:, 0] == 0) | (text_ND[:, 0] == 0)  # half a pair is compared with nothing
            loss, count = nt_xent_sum(
                audio_ND[:, 1:],
                text_ND[:, 1:],
                temperature=c.alignment_temperature,
                same_NN=lacks_N[:, None] | lacks_N,
            )
            terms["alignment"] = Term(loss, count, weight=1.0)
        return terms

    def _mean_codes(self, states: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """Return each clip's mean choice of entries over its steps of either kind (B, G · V)."""
        assert self.codebook is not None
        totals, steps = [], []
        for states_BTD, valid_BT in states.values():
            _, probabilities = self.codebook(states_BTD.flatten(0, 1), None)
            totals.append(
                masked_mean(probabilities.view(*valid_BT.shape, -1), valid_BT) * valid_BT.sum(1, keepdim=True)
            )
            steps.append(valid_BT.sum(1, keepdim=True))
        return torch.stack(totals).sum(0) / torch.stack(steps).sum(0).clamp_min(1)

    # ---- The interface of every system ------------------------------------------------------------------------------

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        heads = [self.unit_head, self.codebook, self.spectrogram, self.transcriber, self.hidden_step]
        groups: dict[str, list[nn.Module]] = {"speech": [self.speech], "text": [self.text]}
        groups["encoder_input"] = [self.encoder.layer_norm, self.encoder.embed_positions]
        groups |= {f"layer_{i}": [layer] for i, layer in enumerate(self.encoder.layers)}
        if self.decoder is not None:
            groups |= {f"decoder_{i}": [layer] for i, layer in enumerate(self.decoder.layers)}
        groups["reader"] = [] if self.reader is None else [self.reader]
        return groups | {"pretraining_heads": [h for h in heads if h is not None]}

    def import_pretrained(self, sources: Mapping[str, str]) -> Mapping[str, Any]:
        """Fill from checkpoints: "speech" the speech pre-net, encoder and decoder, "text" the text pre-net.

        In Hugging Face format a recogniser has the first and a synthesiser the second; fairseq's file has both.

        Raises:
            ValueError: an unknown part, a checkpoint of another kind, or a key that a part needs and it lacks.
        """
        reports = {}
        for part, place in sources.items():
            one_of("pretrained", part, tuple(CHECKPOINT_PARTS))
            modules = {n: getattr(self, n) for n in CHECKPOINT_PARTS[part] if getattr(self, n) is not None}
            checkpoint = open_checkpoint(place)
            if checkpoint.kind not in ("speecht5", "speecht5_fairseq"):
                raise ValueError(f"`pretrained` must be SpeechT5, but {checkpoint.path} is {checkpoint.title}.")
            fairseq = checkpoint.kind == "speecht5_fairseq"
            weights = speecht5_names(checkpoint.weights) if fairseq else checkpoint.weights
            reports[part] = import_speecht5(modules, weights)
        return reports

    @classmethod
    def matched(cls, config: SpeechT5Config, processor: SpeechAndLettersProcessor) -> SpeechT5Config:
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
            num_letters=special.mask,
            mask_id=special.mask,
            first_letter_id=special.unknown + 1,
            num_mels=p.num_mels,
            num_units=processor.num_units,
            max_frames=p.max_frames,
            max_tokens=p.max_tokens,
            rate_hz=p.rate_hz,
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SpeechT5Config, SpeechAndLettersConfig]:
        small = num_clips < 20_000
        max_frames = 1 + round(50 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = SpeechAndLettersConfig(audio="spectrogram" if small else "waveform", max_frames=max_frames)
        return (SpeechT5Config.tiny(reader="mean") if small else SpeechT5Config.base()), processor


# ---- Pre-net and post-net of the speech decoder ---------------------------------------------------------------------


class SpectrogramDecoder(nn.Module):
    """The speech side of the decoder: log-mel frames in (two ReLU layers), and frames and a stop sign out.

    Differs: no convolutional postnet and no speaker embedding, which serve the sound of synthesis. Both would make a
    clip's loss depend on its batch (batch normalisation).
    """

    def __init__(self, sizes: Any):
        super().__init__()
        self.reduction = sizes.reduction_factor
        self.first = nn.Linear(sizes.num_mel_bins, PRENET_WIDTH)
        self.second = nn.Linear(PRENET_WIDTH, PRENET_WIDTH)
        self.project = nn.Linear(PRENET_WIDTH, sizes.hidden_size)
        self.positions = theirs().SpeechT5ScaledPositionalEncoding(
            sizes.positional_dropout, sizes.hidden_size, sizes.max_speech_positions
        )
        self.frames = nn.Linear(sizes.hidden_size, sizes.num_mel_bins * sizes.reduction_factor)
        self.stop = nn.Linear(sizes.hidden_size, sizes.reduction_factor)
        self.dropout = Dropout(PRENET_DROPOUT)

    def inputs(self, target_BTF: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's inputs (B, T / reduction, D) and their validity: of each group, the frame before it."""
        lasts_BTF = in_groups(target_BTF, self.reduction)[:, :, -1]
        seen_BTF = F.pad(lasts_BTF, (0, 0, 1, 0))[:, :-1]
        hidden = self.dropout(F.relu(self.second(self.dropout(F.relu(self.first(seen_BTF))))))
        return self.positions(self.project(hidden)), every(valid_BT, self.reduction)

    def outputs(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T, F) and the logit that a frame is the last one (B, T)."""
        return self.frames(x_BTD).unflatten(2, (self.reduction, -1)).flatten(1, 2), self.stop(x_BTD).flatten(1)


def speecht5_sizes(config: SpeechT5Config) -> Any:
    """Return the sizes as transformers' config."""
    return their_config(
        config,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        reduction=config.spectrogram_reduction,
    )


SYSTEM = SpeechT5
