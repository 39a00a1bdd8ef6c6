"""The transfer laboratory: does learning from text help speech, and the other way round?

    sonolex train transfer_lab --corpus fsdd --out runs/transfer && sonolex report runs/transfer
    sonolex train transfer_lab --corpus sentiment --joint "runs/sentences/sentences-1-{seed}" --out runs/transfer2

Per seed and start: learn a task from one modality (all labels), test it on the other one (zero-shot), then go on
with 1, 5, 10, 50 and 100 % of the other one's labels; beside it, the same shares without the first modality. Both
directions. Starts: *random* weights; *joint* pre-training of both modalities on the training part, then everything
trained; and *joint, frozen*, where a small network reads the vectors that pre-training left (it learns from one
modality at a time, so its rows are zero-shot and the shares alone). The study (Chinnam, Edinburgh 2023) found
all-Neutral predictions across modalities; a row that predicts one class only is marked in every table.

Corpora: ``fsdd`` (is a digit even, above four; unseen people), ``keywords`` and ``sentiment`` (ToneWords sentences,
unseen voices; sentiment is also learned from texts without recordings), ``slue`` (SLUE-VoxCeleb). Systems: any that
reads audio and text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.protocols.base import find_protocol
from sonolex.recipes.base import CALM_WORDS, CALM_WORDS_PROCESSOR, ESPEAK_WORDS, UNSPOKEN, WORD_VIEWS, corpus_options
from sonolex.systems.base import system_type
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.checkpoint import load_model, model_folder
from sonolex.train.run import Budget, Data, Optim, Run, Source

SENTENCE_VIEWS = Views(speed=0.2, vtlp=0.2, equalise_db=6, noise_snr_db=10, num_mel_masks=1, mel_mask_bins=8)
STARTS = ("random", "joint", "joint, frozen")


@dataclass(frozen=True)
class Corpus:
    """A protocol, the rate and folders of its recordings, further paired corpora, and the views of its audio.

    ``texts`` have labels and no recordings; the frozen start learns from them, before it is tested on audio, in place
    of the recordings' own texts.
    """

    protocol: str
    fold: str
    rate_hz: int = 16_000
    folders: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    more: tuple[Source, ...] = ()
    views: Views = SENTENCE_VIEWS
    words: bool = False
    texts: tuple[Source, ...] = ()


CORPORA = {
    "fsdd": Corpus(
        "fsdd_properties_unseen_speakers",
        "unseen",
        8_000,
        ("fsdd",),
        more=(Source(corpus="espeak_digits"), ESPEAK_WORDS),
        views=WORD_VIEWS,
        words=True,
    ),
    "keywords": Corpus("tonewords_keyword", "unseen", options={"size": "small"}, more=(ESPEAK_WORDS,)),
    "sentiment": Corpus(
        "tonewords_sentiment",
        "unseen",
        options={"size": "small"},
        more=(ESPEAK_WORDS,),
        texts=(UNSPOKEN,),
    ),
    "slue": Corpus("slue_voxceleb_sentiment", "dev", folders=("slue-voxceleb", "slue_voxceleb")),
}


def recipe(
    *,
    corpus: str = "fsdd",
    system: str = "calm",
    joint: str = "",
    starts: tuple[str, ...] = STARTS,
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 0.5, 1.0),
    seeds: tuple[int, ...] = (0, 1, 2),
    pretrain_epochs: int = 12,
    epochs: int = 6,
) -> list[Run]:
    """Return joint pre-training, both first modalities, and every share of the other one, per start and seed.

    Args:
        system: the one that is pre-trained here.
        joint: a finished run or model folder, of any system, in place of that; random weights are then of its size.
            "{seed}" becomes the seed.
        shares: of the other modality's labelled clips; 0 is always scored.
        epochs: over all labelled clips; smaller shares take as many steps.
    """
    if corpus not in CORPORA:
        raise ValueError(f"`corpus` must be one of {', '.join(CORPORA)}, but is {corpus!r}.")
    unknown = [s for s in starts if s not in STARTS]
    if unknown:
        raise ValueError(f"`starts` must be of {', '.join(STARTS)}, but has {unknown[0]!r}.")
    runs = []
    for seed in seeds:
        joint_folder = joint.replace("{seed}", str(seed))
        lab = _Lab(CORPORA[corpus], system, epochs, joint_folder)
        if set(starts) - {"random"} and not joint_folder:
            runs.append(lab.pretraining(f"joint-{seed}", pretrain_epochs, seed))
        for start in starts:
            place = None if start == "random" else joint_folder or f"joint-{seed}"
            for first, other in (("text", "audio"), ("audio", "text")):
                mark = f"{start.replace(', ', '-').replace(' ', '-')}-{first}"
                learned = lab.learning(
                    f"{mark}-{seed}", f"{start}: {first}", first, start, place, seed, zero_shot=other
                )
                runs.append(learned)
                for share in shares:
                    for after, begin in ((True, learned.name), (False, place)):
                        if after and start.endswith("frozen"):
                            continue
                        name = f"{mark}-{'then' if after else 'not'}-{other}-{share:g}-{seed}"
                        row = f"{start}: {f'{first}, then {other}' if after else other}, {100 * share:g} % of labels"
                        runs.append(lab.learning(name, row, other, start, begin, seed, share=share))
    return runs


def tiny() -> list[Run]:
    """Return joint pre-training of FSDD and one direction for a few steps."""
    runs = recipe(starts=("joint",), shares=(0.1,), seeds=(0,), pretrain_epochs=1)[:4]
    small: dict[str, Any] = {"width": 32, "num_heads": 2, "ffn_width": 64, "spectran_layers": 1}
    pretraining = replace(runs[0], data=replace(runs[0].data, train=runs[0].data.train[:1]))
    quick = Optim(lr=5e-3)
    return [
        replace(run, config=replace(run.config, **small, dropout=0.0), optim=quick, budget=Budget(max_steps=40))
        for run in (pretraining, *runs[1:])
    ]


@dataclass(frozen=True)
class _Lab:
    corpus: Corpus
    system: str
    epochs: int
    joint: str

    @cached_property
    def parts(self) -> tuple[str, Any, Any]:
        """The system's name and the configs of system and processor: for this corpus, or of the model in ``joint``."""
        if self.joint:
            model, processor, _ = load_model(model_folder(self.joint))
            return model.system.name, model.system.config, processor.config
        return self.system, *self._new_configs()

    def _new_configs(self) -> tuple[Any, Any]:
        if self.system == "calm" and self.corpus.words:
            return CALM_WORDS, replace(CALM_WORDS_PROCESSOR, rate_hz=self.corpus.rate_hz)
        if self.system == "calm":
            more = {"max_tokens": 128, "max_frames": 1500, "vocab_size": 1000, "rate_hz": self.corpus.rate_hz}
            return replace(CALM_WORDS, num_positions=128), replace(CALM_WORDS_PROCESSOR, **more)
        config, processor = system_type(self.system).starter(num_clips=5000, longest_s=10.0)
        if self.system == "speecht5":
            config = replace(config, objectives=("transcription", "alignment"))
        elif self.system == "speechlm":
            config = replace(config, objectives=("units", "text_ctc", "speech_ctc"))
        return config, replace(processor, rate_hz=self.corpus.rate_hz)

    def source(self, part: str, share: float = 1.0) -> Source:
        options = corpus_options(*self.corpus.folders) if self.corpus.folders else self.corpus.options
        return Source(protocol=self.corpus.protocol, fold=self.corpus.fold, part=part, options=options, share=share)

    def pretraining(self, name: str, epochs: int, seed: int) -> Run:
        system, config, processor = self.parts
        weights = {"neighbours": 0.1} if system == "calm" else {}
        return Run(
            name=name,
            system=system,
            config=config,
            processor=processor,
            tasks=(PretrainingConfig("pretraining", term_weights=weights),),
            data=Data(
                train=(self.source("train"), *self.corpus.more),
                selection=(self.source("selection"),),
                loading=Loading(views=self.corpus.views),
            ),
            optim=Optim(lr=2e-3 if system == "calm" else 1e-3, weight_decay=0.05, schedule="cosine"),
            budget=Budget(
                epochs=epochs, batch_s=10_000, batch_clips=32, by_length=False, evaluate_epochs=epochs, select="last"
            ),
            precision="auto",
            seed=seed,
        )

    def learning(
        self,
        name: str,
        row: str,
        modality: str,
        start: str,
        begin: str | None,
        seed: int,
        *,
        share: float = 1.0,
        zero_shot: str = "",
    ) -> Run:
        system, config, processor = self.parts
        frozen = start.endswith("frozen")
        epochs = max(self.epochs, min(round(self.epochs / share), 20 * self.epochs))
        texts_only = self.corpus.texts if frozen and modality == "text" and zero_shot else ()
        return Run(
            name=name,
            row=row,
            system=system,
            config=config,
            processor=processor,
            tasks=find_protocol(self.corpus.protocol).tasks,
            data=Data(
                train=texts_only or (self.source("train", share),),
                # The frozen start's network would learn from the selection part's labels, which are not in a share.
                selection=() if frozen else (self.source("selection"),),
                report=(self.source("report"),),
                protocol=self.corpus.protocol,
                fold=self.corpus.fold,
                loading=Loading(
                    modalities=(modality,),
                    views=self.corpus.views if modality == "audio" and not frozen else Views(),
                ),
                also_report=((zero_shot,),) if zero_shot else (),
            ),
            optim=Optim(lr=5e-4),
            budget=Budget(
                epochs=epochs, batch_s=10_000, batch_clips=32, evaluate_epochs=max(1, epochs // 4), select="last"
            ),
            init_from=begin,
            frozen_classifier="noisy" if frozen else "none",
            precision="auto",
            seed=seed,
        )
