"""Objectives that compare clips: accumulated batches and processes give the gradient of one big batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sonolex.audio.patches import Blocks, Grid
from sonolex.data.loader import Loading
from sonolex.nn.dropout import drawn_from
from sonolex.processors.spectrogram import SpectrogramConfig, SpectrogramProcessor
from sonolex.systems.base import build_system
from sonolex.systems.calm import CalmConfig, CalmProcessorConfig
from sonolex.systems.vcr_ast import VcrAstConfig
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train.joint import joint_pass
from sonolex.train.journal import read_journal
from sonolex.train.loop import train
from sonolex.train.manifests import load_sources
from sonolex.train.run import Budget, Data, Optim, Run, Source
from sonolex.types import Losses
from tests.train.helpers import final_weights

ROOT = Path(__file__).parents[2]
CONFIG = VcrAstConfig(
    grid=Grid(frames=4, bins=4, num_mels=16),
    table_frames=64,
    num_layers=1,
    width=32,
    num_heads=4,
    ffn_width=64,
    dropout=0.1,
    hidden_share=0.5,
    hidden_patches="dropped",
    expander_width=24,
)
UNEVEN = {"batch_clips": 6}
PROCESSOR = SpectrogramConfig(rate_hz=8000, num_mels=16, max_frames=400, mean=-8.0, std=3.0)


def vicreg_run(corpus_folder: str | Path, **budget) -> Run:
    source = Source(manifest=str(Path(corpus_folder) / "manifest.arrow"), where={"split": "train"})
    return Run(
        name="vicreg",
        system="vcr_ast",
        config=CONFIG,
        processor=PROCESSOR,
        tasks=(PretrainingConfig("pretraining"),),
        data=Data(
            train=(source,),
            selection=(replace(source, where={"split": "validation"}),),
            loading=Loading(modalities=("audio",), num_workers=1),
        ),
        # Biases before batch normalisation and of attention keys have gradient 0; a small eps would make AdamW turn
        # the rounding of that 0 into steps of full size.
        optim=Optim(lr=1e-3, eps=1e-3),
        budget=Budget(**{"epochs": 2, "batch_s": 1000, "batch_clips": 8, "select": "last"} | budget),
    )


@pytest.fixture
def clips(corpus):
    from tests.systems.test_contract import examples

    processor = SpectrogramProcessor(PROCESSOR)
    return processor, examples(processor, corpus, {"audio"}, rows=range(12))


def test_cached_gradients_are_those_of_one_big_batch(clips):
    processor, clip_examples = clips
    parts = [clip_examples[:5], clip_examples[5:9], clip_examples[9:]]

    def model() -> Model:
        system = build_system("vcr_ast", CONFIG, seed=1)
        return Model(system, {"pre": build_task(PretrainingConfig("pre"), system.pooled_dim)}).train()

    def drawing(batch):
        return drawn_from(batch.seeds, torch.device("cpu"))

    whole = model()
    batch = whole.prepare(processor.collate(clip_examples))
    with drawing(batch):
        losses = whole(batch)
    losses.total.backward()

    cached = model()
    batches = [cached.prepare(processor.collate(part)) for part in parts]
    joint = joint_pass(
        cached,
        batches,
        device=torch.device("cpu"),
        autocast=nullcontext,
        drawing=drawing,
        gather=lambda value: [value],
        rank=0,
    )
    for number, batch in enumerate(batches):
        with drawing(batch):
            cached(batch, joint.of_batch(number)).total.backward()
    assert Losses(joint.terms).total.item() == pytest.approx(losses.total.item(), rel=1e-5)
    for (name, a), (_, b) in zip(whole.named_parameters(), cached.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5), name


def test_dropout_is_the_same_in_both_passes(clips):
    processor, clip_examples = clips
    system = build_system("vcr_ast", CONFIG, seed=1)
    model = Model(system, {"pre": build_task(PretrainingConfig("pre"), system.pooled_dim)}).train()
    batch = model.prepare(processor.collate(clip_examples))

    def rows(seeds):
        with drawn_from(seeds, torch.device("cpu")):
            model.separate_losses(batch)  # what comes before in the second pass changes nothing
            return model.rows(batch)["first"]

    with drawn_from(batch.seeds, torch.device("cpu")):
        assert torch.equal(model.rows(batch)["first"], rows(batch.seeds))
    assert not torch.equal(rows(range(12)), rows(range(12, 24)))


def test_accumulated_batches_train_as_one_big_batch_does(corpus, tmp_path):
    for name, budget in (("big", {"batch_clips": 16}), ("cached", {"batch_clips": 8, "accumulate": 2})):
        train(vicreg_run(corpus.root, **budget), tmp_path / name, quiet=True)
    curves = [[e for e in read_journal(tmp_path / n) if e["event"] == "step"] for n in ("big", "cached")]
    assert [e["clips"] for e in curves[0]] == [e["clips"] for e in curves[1]]
    big, cached = (final_weights(tmp_path / n) for n in ("big", "cached"))
    # Which clips meet in a batch depends on the batch size, so only steps with the same clips can agree.
    assert curves[0][0]["variance"] == pytest.approx(curves[1][0]["variance"], rel=0.2)
    assert big.keys() == cached.keys()
    assert {"floor", "expander_effective_dim", "rows_std"} <= set(curves[0][0])


@pytest.mark.parametrize("system", ["vcr_ast", "calm"])
def test_a_step_of_two_batches_is_the_step_of_one(corpus, tmp_path, system):
    run = vicreg_run(corpus.root)
    if system == "calm":
        sizes = {
            "num_layers": 1,
            "width": 32,
            "num_heads": 4,
            "ffn_width": 64,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        }
        config = CalmConfig(**sizes, stage="align", blocks=(Blocks(12, 6),), grid=Grid(6, 8, 3, 4, num_mels=16))
        processor = CalmProcessorConfig(rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200)
        loading = replace(run.data.loading, modalities=("audio", "text"))
        run = replace(run, system="calm", config=config, processor=processor, data=replace(run.data, loading=loading))
    num_clips = len(load_sources(run.data.train))
    for name, accumulate in (("one", 1), ("two", 2)):
        clips = -(-num_clips // accumulate)
        budget = replace(run.budget, batch_clips=clips, accumulate=accumulate, by_length=False)
        train(replace(run, budget=budget), tmp_path / name, quiet=True)
    one, two = ([e for e in read_journal(tmp_path / n) if e["event"] == "step"] for n in ("one", "two"))
    assert len(one) == len(two) == 2 and one[0]["clips"] == num_clips
    for one_batch, two_batches in zip(one, two, strict=True):
        for term in (*build_system(system, run.config).joint_objectives, "total", "gradient_norm"):
            assert one_batch[term] == pytest.approx(two_batches[term], rel=1e-3), term
    weights = [final_weights(tmp_path / n) for n in ("one", "two")]
    for key in weights[0]:
        assert torch.allclose(weights[0][key].float(), weights[1][key].float(), atol=1e-5), key


def test_three_processes_train_as_one_does_even_where_one_has_no_clips(corpus, tmp_path):
    train(vicreg_run(corpus.root, **UNEVEN), tmp_path / "one", quiet=True)
    assert 2 in [e["clips"] for e in read_journal(tmp_path / "one") if e["event"] == "step"]  # too few for three
    launcher = ["--nproc-per-node=3", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--module"]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher]
    words = [*command, "tests.train.test_joint", str(corpus.root), str(tmp_path / "three")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, three = (final_weights(tmp_path / n) for n in ("one", "three"))
    for key in one:
        assert torch.allclose(one[key].float(), three[key].float(), atol=1e-5), key
    steps = [[e["clips"] for e in read_journal(tmp_path / n) if e["event"] == "step"] for n in ("one", "three")]
    assert steps[0] == steps[1]


def test_the_selection_loss_does_not_depend_on_the_batches_it_is_read_in(corpus, tmp_path):
    values = []
    for clips in (2, 8):
        run = vicreg_run(corpus.root, epochs=1, max_steps=1, batch_clips=8)
        train(run, tmp_path / f"r{clips}", quiet=True)
        from sonolex.train.checkpoint import load_model
        from sonolex.train.evaluation import evaluate

        model, processor, _ = load_model(tmp_path / f"r{clips}" / "model")
        evaluation = evaluate(
            model,
            processor,
            load_sources(run.data.selection),
            loading=run.data.loading,
            batch_s=1000,
            batch_clips=clips,
            device=torch.device("cpu"),
        )
        values.append(evaluation.losses["total"])
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_a_wide_expander_is_advised_against(corpus, tmp_path, capsys):
    run = vicreg_run(corpus.root, epochs=1, max_steps=1, batch_clips=2)
    train(run, tmp_path, quiet=True)
    (event,) = [e for e in read_journal(tmp_path) if e["event"] == "advice"]
    assert "12 times the effective batch (2 clips)" in event["text"]
    assert "collapse" in capsys.readouterr().out


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(vicreg_run(sys.argv[1], **UNEVEN), Path(sys.argv[2]), quiet=True)
    print(json.dumps("done"))
