"""A recipe for tests of the command line: pre-training, a fine-tuning with selection and report, and a frozen probe."""

from __future__ import annotations

from dataclasses import replace

from sonolex.audio.views import Views
from sonolex.data.loader import Loading
from sonolex.tasks.classification import ClassificationConfig
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.run import Budget, Data, Optim, Run, Source
from tests.conftest import TINY, TINY_PROCESSOR
from tests.train.helpers import HEIGHT

PITCH = ClassificationConfig("pitch", label="pitch", classes=("low", "high"), dropout=0.2)


def recipe(*, manifest: str, lr: float = 1e-3, epochs: int = 2) -> list[Run]:
    """Return the three runs over a manifest with the parts train, validation and test."""

    def part(split: str) -> tuple[Source, ...]:
        return (Source(manifest=manifest, where={"split": split}),)

    first = Run(
        name="pretrain",
        system="ctal",
        config=replace(TINY, dropout=0.3, attention_dropout=0.2),
        processor=TINY_PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=part("train"),
            selection=part("validation"),
            loading=Loading(views=Views(gain_db=3, speed=0.1, num_mel_masks=1), drop_text=0.3, num_workers=1),
        ),
        # A small eps makes AdamW turn the rounding of gradients near 0 into steps of full size.
        optim=Optim(lr=lr, eps=1e-4),
        budget=Budget(epochs=epochs, batch_s=8, batch_clips=7, checkpoint_steps=1),
    )
    data = replace(first.data, report=part("test"))
    tasks = (PITCH, HEIGHT)
    second = replace(first, name="finetune", tasks=tasks, data=data, init_from="pretrain")
    probed = replace(second, name="probe", tasks=(PITCH,), frozen_classifier="linear")
    return [first, second, probed]


tiny = recipe
