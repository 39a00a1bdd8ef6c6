"""SpeechT5: one encoder and one decoder for speech and text (Ao et al. 2022; source document 001, reference B).

What is unusual about it:

- The encoder has two entrances: samples through wav2vec2's convolutions, letters through an embedding. What follows is
  shared, and so is the decoder; pre-training pulls both streams through one codebook.
- A clip is classified by the decoder, asked with a single query of zeros (s2c, t2c), or by the encoder's states alone.
- Class labels are the task's. The study put them into the token vocabulary, which made the released loader drop the
  text weights (reference B7).

The modules are those of transformers (extra: speecht5); entrances, objectives and everything between them are ours,
since padding must not change a number: theirs normalises the first convolution over padding too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.configs import one_of
from sonolex.nn import backbones, published
from sonolex.nn.dropout import drawn_apart, replace_dropout
from sonolex.nn.embeddings import HiddenPatch
from sonolex.nn.fairseq import read_fairseq, speecht5_names
from sonolex.nn.pooling import masked_mean
from sonolex.nn.quantizer import Codebook, code_diversity_loss
from sonolex.nn.readers import SequenceReader
from sonolex.objectives import masked
from sonolex.objectives.contrastive import nt_xent_sum
from sonolex.processors.speech_and_letters import SpeechAndLettersConfig
from sonolex.systems._speech_system import SpeechSystem
from sonolex.systems._speecht5_config import SpeechT5Config
from sonolex.systems._speecht5_corruption import corrupted
from sonolex.systems._speecht5_parts import (
    SpectrogramDecoder,
    SpectrogramEntrance,
    UnitHead,
    ctc_sum,
    replace_attention,
    speech_features,
    their_config,
    theirs,
    with_positions,
)
from sonolex.systems.base import LONGEST_STARTER_S
from sonolex.types import Batch, Encoding, Term

CHECKPOINT_PARTS = {"speech": ("speech", "encoder", "decoder"), "text": ("text",)}
STOP_WEIGHT = 5.0  # of a clip's one last frame against all others (reference B3)


class SpeechT5(SpeechSystem):
    """Two entrances, the shared encoder and decoder, and the parts of whatever objectives are trained."""

    name = "speecht5"
    config_type = SpeechT5Config
    config: SpeechT5Config

    def __init__(self, config: SpeechT5Config):
        super().__init__()
        self.config = c = config
        modules, sizes = theirs(), speecht5_sizes(config)
        waveform = c.audio == "waveform"
        self.speech = modules.SpeechT5SpeechEncoderPrenet(sizes) if waveform else SpectrogramEntrance(sizes)
        self.text = modules.SpeechT5TextEncoderPrenet(sizes)
        self.encoder = modules.SpeechT5Encoder(sizes)
        self.decoder = modules.SpeechT5Decoder(sizes) if c.decodes else None
        self.hidden_step = HiddenPatch(c.width) if c.reads("units") else None
        self.unit_head = UnitHead(c.width, c.unit_width, c.num_units, c.unit_temperature) if c.reads("units") else None
        self.codebook = None
        if c.reads("diversity"):
            codes = {"groups": c.codebook_groups, "entries": c.codebook_entries}
            self.codebook = Codebook(c.width, **codes, temperature=c.codebook_temperature)
        self.spectrogram = SpectrogramDecoder(sizes) if c.reads("spectrogram") else None
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

    @property
    def joint_objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(o for o in self.config.objectives if o in ("diversity", "alignment"))

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        special = processor.special
        return replace(
            super().matched(config, processor),
            num_letters=special.mask,
            mask_id=special.mask,
            first_letter_id=special.unknown + 1,
            rate_hz=processor.config.rate_hz,
        )

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[SpeechT5Config, SpeechAndLettersConfig]:
        small = num_clips < 20_000
        max_frames = 1 + round(50 * max(10.0, min(longest_s, LONGEST_STARTER_S)))
        processor = SpeechAndLettersConfig(audio="spectrogram" if small else "waveform", max_frames=max_frames)
        return (SpeechT5Config.tiny(reader="mean") if small else SpeechT5Config.base()), processor

    def encode(self, batch: Batch) -> Encoding:
        """Return the encoder's states by modality; a clip's vector is the mean of those its modalities give."""
        layers, valid, vectors = {}, {}, {}
        for name, (x_BTD, valid_BT) in self._embedded(batch).items():
            with drawn_apart(name):
                layers[name], valid[name] = self._encoded(x_BTD, valid_BT), valid_BT
                vectors[name] = self._pooled(layers[name], valid_BT)
        return self.joined(batch, layers, valid, vectors)

    def corrupt(self, batch: Batch) -> Batch:
        c = self.config
        if not c.objectives:
            return super().corrupt(batch)
        return corrupted(c, batch, self.audio_input(batch), self.steps_of(batch))

    def pretraining_losses(self, batch: Batch) -> dict[str, Term]:
        c, terms = self.config, {}
        if (audio := self.audio_input(batch)) is not None and c.reads("units", "penalty", "spectrogram"):
            with drawn_apart("speech"):
                terms |= self._speech_terms(batch, *audio)
        if "infilled_BL" in batch.extras:
            with drawn_apart("infilling"):
                terms["infilling"] = self._infilling_term(batch)
        if "transcribed_B" in batch.extras:
            with drawn_apart("transcription"):
                terms["transcription"] = self._transcription_term(batch)
        return terms

    def pretraining_rows(self, batch: Batch) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        if not self.joint_objectives:
            return rows
        states = {}
        for name, found in self._embedded(batch).items():
            with drawn_apart(name):
                states[name] = self._encoded(*found)[-1], found[1]
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
        terms: dict[str, Term] = {}
        if "codes" in rows:
            c = self.config
            codes_NGV = rows["codes"].unflatten(1, (c.codebook_groups, c.codebook_entries))
            terms["diversity"] = Term(code_diversity_loss(codes_NGV), 1, 0.1)
        if self.config.reads("alignment"):
            both_N = rows["audio"][:, 0].bool() & rows["text"][:, 0].bool()
            audio_ND, text_ND = (rows[n][both_N, 1:] for n in ("audio", "text"))
            loss, count = nt_xent_sum(audio_ND, text_ND, temperature=self.config.alignment_temperature)
            terms["alignment"] = Term(loss, count)
        return terms

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
        """Fill from checkpoints: "speech" the speech entrance, encoder and decoder, "text" the text entrance.

        A folder or ``hub:ORG/NAME`` is in Hugging Face format (a recogniser has the first, a synthesiser the second); a
        file that ends in .pt is fairseq's, which has both.

        Raises:
            ValueError: an unknown part, or a key that a part needs and the checkpoint lacks.
        """
        reports = {}
        for part, place in sources.items():
            one_of("pretrained", part, tuple(CHECKPOINT_PARTS))
            modules = {n: getattr(self, n) for n in CHECKPOINT_PARTS[part] if getattr(self, n) is not None}
            weights = speecht5_names(read_fairseq(place)) if place.endswith(".pt") else published.read_weights(place)
            reports[part] = backbones.import_speecht5(modules, weights)
        return reports

    def _embedded(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the encoder's input and its validity by modality."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        if (audio := self.audio_input(batch)) is not None:
            states_BTD, valid_BT, _ = speech_features(self.speech, *audio)
            found["audio"] = with_positions(self.speech, states_BTD, valid_BT), valid_BT
        if batch.tokens_BL is not None and batch.tokens_valid_BL is not None:
            found["text"] = self.text(batch.tokens_BL), batch.tokens_valid_BL
        return found

    def _encoded(self, x_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, ...]:
        """Return the encoder's states before and after every layer."""
        return self.encoder(x_BTD, attention_mask=valid_BT.long(), output_hidden_states=True).hidden_states

    def _pooled(self, states: Sequence[Tensor], valid_BT: Tensor) -> Tensor:
        if self.reader is not None:
            return self.reader(states, valid_BT)
        query_B1D = states[-1].new_zeros(len(valid_BT), 1, self.config.width)
        return self._decoded(query_B1D, None, states[-1], valid_BT)[:, 0]

    def _decoded(self, x_BTD: Tensor, valid_BT: Tensor | None, states_BLD: Tensor, states_valid_BL: Tensor) -> Tensor:
        assert self.decoder is not None
        return self.decoder(
            hidden_states=x_BTD,
            attention_mask=None if valid_BT is None else valid_BT.long(),
            encoder_hidden_states=states_BLD,
            encoder_attention_mask=states_valid_BL.long(),
            use_cache=False,
        ).last_hidden_state

    def _speech_terms(self, batch: Batch, audio_BT: Tensor, audio_valid_BT: Tensor) -> dict[str, Term]:
        extras, counts, terms = batch.extras, batch.counts, {}
        states_BTD, valid_BT, features_BTC = speech_features(self.speech, audio_BT, audio_valid_BT)
        if "penalty" in counts and features_BTC is not None:
            terms["penalty"] = Term(features_BTC[valid_BT].float().square().mean(-1).sum(), counts["penalty"], 10.0)
        if self.hidden_step is not None:
            hidden_BT1 = extras["hidden_BT"][..., None]
            states_BTD = torch.where(hidden_BT1, self.hidden_step.vector_D.to(states_BTD.dtype), states_BTD)
        encoded_BTD = self._encoded(with_positions(self.speech, states_BTD, valid_BT), valid_BT)[-1]
        if self.unit_head is not None and batch.units_BT is not None:
            hidden_BT = extras["hidden_BT"]
            units_N = batch.units_BT[:, : hidden_BT.shape[1]][hidden_BT]
            terms["units"] = Term(
                masked.cross_entropy_sum(self.unit_head(encoded_BTD[hidden_BT]), units_N), counts["units"]
            )
        if self.spectrogram is not None:
            encoded_BTD = self._mixed("speech", encoded_BTD, extras)
            target_BTF, target_valid_BT = extras["mel_BTF"], extras["mel_valid_BT"]
            inputs_BTD, inputs_valid_BT = self.spectrogram.inputs(target_BTF, target_valid_BT)
            decoded_BTD = self._decoded(inputs_BTD, inputs_valid_BT, encoded_BTD, valid_BT)
            drawn_BTF, stop_BT = (x[:, : target_BTF.shape[1]] for x in self.spectrogram.outputs(decoded_BTD))
            drawn = masked.l1_sum(drawn_BTF[target_valid_BT], target_BTF[target_valid_BT])
            terms["spectrogram"] = Term(drawn, counts["spectrogram"])
            last_BT = target_valid_BT & ~F.pad(target_valid_BT[:, 1:], (0, 1))
            stops = F.binary_cross_entropy_with_logits(
                stop_BT.float(), last_BT.float(), reduction="none", pos_weight=stop_BT.new_tensor(STOP_WEIGHT)
            )
            terms["stop"] = Term(stops[target_valid_BT].sum(), counts["stop"])
        return terms

    def _infilling_term(self, batch: Batch) -> Term:
        assert batch.tokens_BL is not None and batch.tokens_valid_BL is not None and self.letter_positions is not None
        valid_BL = batch.extras["infilled_valid_BL"]
        states_BLD = self._encoded(self.text(batch.extras["infilled_BL"]), valid_BL)[-1]
        states_BLD = self._mixed("infilled", states_BLD, batch.extras)
        start_B1 = torch.full_like(batch.tokens_BL[:, :1], self.config.end_id)  # fairseq's decoders start with </s>
        seen_BL = torch.cat([start_B1, batch.tokens_BL[:, :-1]], 1)
        inputs_BLD = self.text.embed_tokens(seen_BL) + self.letter_positions(seen_BL)
        decoded_BLD = self._decoded(inputs_BLD, batch.tokens_valid_BL, states_BLD, valid_BL)
        real_BL = batch.tokens_valid_BL
        logits_NV = F.linear(decoded_BLD[real_BL], self.text.embed_tokens.weight)
        return Term(masked.cross_entropy_sum(logits_NV, batch.tokens_BL[real_BL]), batch.counts["infilling"])

    def _transcription_term(self, batch: Batch) -> Term:
        assert self.transcriber is not None
        states_BTD, valid_BT = self._embedded(replace(batch, tokens_BL=None))["audio"]
        logits_BTV = self.transcriber(self._encoded(states_BTD, valid_BT)[-1])
        chosen_B = batch.extras["transcribed_B"]
        loss = ctc_sum(logits_BTV, valid_BT, batch, chosen_B, blank=self.config.blank_id)
        return Term(loss, batch.counts["transcription"])

    def _mixed(self, name: str, states_BTD: Tensor, extras: Mapping[str, Tensor]) -> Tensor:
        """Return states of which some are quantised by the shared codebook."""
        if self.codebook is None:
            return states_BTD
        mixed_BT = extras[f"{name}_mixed_BT"]
        noise_NGV = extras[f"{name}_noise_NGV"] if self.training else None
        quantised_ND, _ = self.codebook(states_BTD[mixed_BT], noise_NGV)
        return states_BTD.masked_scatter(mixed_BT[..., None], quantised_ND.to(states_BTD.dtype))

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


def speecht5_sizes(config: SpeechT5Config) -> Any:
    """Return the sizes as transformers' config."""
    return their_config(
        config,
        num_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        reduction=config.spectrogram_reduction,
    )


SYSTEM = SpeechT5
