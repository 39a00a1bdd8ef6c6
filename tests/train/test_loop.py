from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sonolex import configs
from sonolex.data.loader import Loader, Loading
from sonolex.data.manifest import manifest_from_rows
from sonolex.tasks.pretraining import PretrainingConfig
from sonolex.train import loop as train_loop
from sonolex.train.journal import read_journal, training_curve
from sonolex.train.loop import train
from sonolex.train.run import Budget, Data, Optim, Source
from tests.train.helpers import MOOD, PITCH, final_weights, small_run

ROOT = Path(__file__).parents[2]


def start(corpus, folder: Path, options: dict) -> subprocess.Popen:
    words = [sys.executable, "-m", "tests.train.helpers", str(corpus.root), str(folder), json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_training_learns_what_is_audible_and_what_is_written(corpus, tmp_path):
    run = small_run(corpus.root, budget=Budget(epochs=25, batch_s=8, batch_clips=8, evaluate_epochs=5))
    results = train(run, tmp_path, quiet=True)
    assert results["scores"]["pitch"]["accuracy"] == 1.0
    assert results["scores"]["mood"]["accuracy"] == 1.0
    assert results["scores"]["height"]["mae"] < 0.3
    steps, losses = training_curve(tmp_path, "step", "total")
    assert steps == list(range(1, len(steps) + 1))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert train(run, tmp_path, quiet=True) == results  # finished runs are not repeated


def test_pretraining_lowers_its_losses(corpus, tmp_path):
    run = small_run(
        corpus.root,
        tasks=(PretrainingConfig("pretraining"),),
        budget=Budget(epochs=15, batch_s=8, batch_clips=8, evaluate_epochs=5),
    )
    train(run, tmp_path, quiet=True)
    for name in ("mlm", "mcam"):
        _, values = training_curve(tmp_path, "step", name)
        assert np.mean(values[-8:]) < 0.95 * np.mean(values[:8]), name


def test_killed_at_random_steps_and_started_again_the_weights_are_bit_identical(corpus, tmp_path):
    whole = start(corpus, tmp_path / "whole", {})
    assert whole.wait() == 0, whole.stdout.read()
    expected = final_weights(tmp_path / "whole")
    rng = np.random.default_rng()
    folder = tmp_path / "killed"
    kills = 0
    for step in sorted(rng.choice(np.arange(1, 11), 3, replace=False)):
        process = start(corpus, folder, {})
        while process.poll() is None:
            events = read_journal(folder)
            if any(e.get("step", 0) >= step for e in events):
                time.sleep(float(rng.uniform(0, 0.02)))
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
    last = start(corpus, folder, {})
    assert last.wait() == 0, last.stdout.read()
    assert kills >= 1 and any(e["event"] == "resume" for e in read_journal(folder))
    assert same(final_weights(folder), expected)
    scores = [json.loads((f / "results.json").read_text())["scores"] for f in (folder, tmp_path / "whole")]
    assert scores[0] == scores[1]


def test_steps_that_are_repeated_count_once(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(PITCH,), budget=Budget(epochs=2, batch_s=8, batch_clips=8))

    def ended(step, value):
        raise KeyboardInterrupt  # before the state is saved, so that the epoch is repeated

    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path, quiet=True, watch=ended)
    assert train(run, tmp_path, quiet=True)["trained_clips"] == 2 * len(corpus.where(split="train"))
    steps = [e["step"] for e in read_journal(tmp_path) if e["event"] == "step"]
    assert len(steps) > len(set(steps))


def test_accumulated_batches_are_one_large_batch_not_a_mean_of_means(corpus, tmp_path):
    """Batches of unequal size: a mean of means would weight the clips of the small one more."""
    base = small_run(corpus.root, dropout=0.3, optim=Optim(lr=1e-3, clip_norm=0.0))
    data = replace(base.data, loading=Loading(num_workers=0))
    rows = len(corpus.where(split="train"))
    whole = replace(base, data=data, budget=Budget(epochs=1, batch_s=1e6, batch_clips=rows))
    parts = replace(base, data=data, budget=Budget(epochs=1, batch_s=1e6, batch_clips=rows // 3 + 1, accumulate=9))
    for name, run in (("whole", whole), ("parts", parts)):
        train(run, tmp_path / name, quiet=True)
    first, second = final_weights(tmp_path / "whole"), final_weights(tmp_path / "parts")
    assert len(training_curve(tmp_path / "parts", "step", "total")[0]) == 1
    # One AdamW step turns gradients near zero into ± the rate, so compare where the gradient is not noise: losses too.
    assert training_curve(tmp_path / "whole", "step", "total")[1] == pytest.approx(
        training_curve(tmp_path / "parts", "step", "total")[1], rel=1e-5
    )
    norms = [training_curve(tmp_path / n, "step", "gradient_norm")[1][0] for n in ("whole", "parts")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    differing = [k for k in first if (first[k] - second[k]).abs().mean() > 1e-5]
    assert not differing


def test_labels_may_be_missing_on_some_clips(corpus, tmp_path):
    half = corpus.with_column("mood", [m if i % 2 else None for i, m in enumerate(corpus.column("mood"))])
    half.with_absolute_audio().write(tmp_path / "manifest.arrow")
    run = small_run(tmp_path, tasks=(PITCH, MOOD), budget=Budget(epochs=1, batch_s=8))
    results = train(run, tmp_path / "run", quiet=True)
    assert set(results["scores"]) == {"pitch", "mood"}


def test_waiting_for_data_is_counted_apart_from_the_steps(corpus, tmp_path, monkeypatch):
    run = small_run(corpus.root, budget=Budget(epochs=1, batch_s=8, batch_clips=8))
    run = replace(run, data=replace(run.data, loading=replace(run.data.loading, num_workers=0)))
    monkeypatch.setattr(Loader, "_batch", _slow(Loader._batch, by_s=0.2))
    results = train(run, tmp_path / "slow", quiet=True)
    num_steps = results["steps"]
    assert 0.2 * num_steps < results["load_s"] < 0.2 * num_steps + 5
    monkeypatch.setattr(train_loop._Training, "_step", _slow(train_loop._Training._step, by_s=0.2))
    results = train(replace(run, seed=1), tmp_path / "both", quiet=True)
    assert results["train_s"] > 0.2 * num_steps and 0.2 * num_steps < results["load_s"] < 0.2 * num_steps + 5


def test_a_checkpoint_without_loading_times_goes_on_and_reports_them_as_not_known(corpus, tmp_path):
    run = small_run(corpus.root, budget=Budget(epochs=2, batch_s=8, batch_clips=8, checkpoint_steps=1))
    with pytest.raises(_Stopped):
        train(run, tmp_path, quiet=True, watch=_stop)
    (state_file,) = (tmp_path / "checkpoints").glob("step-*/state.json")
    saved = json.loads(state_file.read_text(encoding="utf-8"))
    del saved["loop"]["load_s"]
    state_file.write_text(json.dumps(saved), encoding="utf-8")
    assert train(run, tmp_path, quiet=True)["load_s"] is None


class _Stopped(Exception):
    """Ends a training."""


def _stop(step: int, value: float) -> None:
    if step > 3:
        raise _Stopped


def _slow(function, *, by_s):
    def slower(*words, **options):
        time.sleep(by_s)
        return function(*words, **options)

    return slower


def test_a_label_that_is_no_class_is_refused_by_clip(corpus, tmp_path):
    wrong = corpus.with_column("mood", ["furious", *corpus.column("mood")[1:]])
    wrong.with_absolute_audio().write(tmp_path / "manifest.arrow")
    with pytest.raises(ValueError, match=r"furious.*clip000"):
        train(small_run(tmp_path, tasks=(MOOD,)), tmp_path / "run", quiet=True)


def test_a_loss_that_is_not_finite_names_the_clips(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"finite.*clip0"):
        train(small_run(corpus.root, optim=Optim(lr=1e30, clip_norm=0.0, warmup_share=0.0)), tmp_path, quiet=True)


def test_another_run_in_the_same_folder_is_refused_with_the_fields_that_differ(corpus, tmp_path):
    run = small_run(corpus.root, budget=Budget(epochs=1, batch_s=8))
    train(run, tmp_path, quiet=True)
    with pytest.raises(ValueError, match=r"optim\.lr.*0\.003.*0\.5"):
        train(replace(run, optim=Optim(lr=0.5)), tmp_path, quiet=True)


def test_bad_clips_are_listed_and_counted(corpus, tmp_path):
    rows = [{"id": c.id, "audio": c.audio, "duration_s": c.duration_s, "pitch": c.labels["pitch"]} for c in corpus]
    (tmp_path / "bad.wav").write_bytes(b"noise")
    rows[3]["audio"] = str(tmp_path / "bad.wav")
    manifest_from_rows(rows, root="/").write(tmp_path / "manifest.arrow")
    source = (Source(manifest=str(tmp_path / "manifest.arrow")),)
    data = Data(train=source, loading=Loading(on_bad_clip="skip"))
    run = small_run(corpus.root, tasks=(PITCH,), data=data, budget=Budget(epochs=1, batch_s=8))
    train(run, tmp_path / "run", quiet=True)
    (listed,) = [json.loads(x) for x in (tmp_path / "run" / "bad_clips.jsonl").read_text().splitlines()]
    assert listed["clip_id"] == "clip003" and "bad.wav" in listed["problem"]
    assert [e["count"] for e in read_journal(tmp_path / "run") if e["event"] == "bad_clips"] == [1]


def test_bad_clips_are_listed_when_they_are_too_many_to_go_on(corpus, tmp_path):
    rows = [{"id": c.id, "audio": c.audio, "duration_s": c.duration_s, "pitch": c.labels["pitch"]} for c in corpus]
    (tmp_path / "bad.wav").write_bytes(b"noise")
    for row in rows[:5]:
        row["audio"] = str(tmp_path / "bad.wav")
    manifest_from_rows(rows, root="/").write(tmp_path / "manifest.arrow")
    source = (Source(manifest=str(tmp_path / "manifest.arrow")),)
    data = Data(train=source, loading=Loading(on_bad_clip="skip", max_bad_clips=2))
    run = small_run(corpus.root, tasks=(PITCH,), data=data, budget=Budget(epochs=1, batch_s=8))
    with pytest.raises(ValueError, match=r"max_bad_clips.*bad_clips\.jsonl"):
        train(run, tmp_path / "run", quiet=True)
    assert len((tmp_path / "run" / "bad_clips.jsonl").read_text().splitlines()) >= 3


def test_a_report_on_training_clips_is_refused_before_training(corpus, tmp_path):
    corpus.write(tmp_path / "manifest.arrow")
    card = {"manifest": "manifest.arrow", "kind": "classification", "task": configs.to_json(PITCH)}
    (tmp_path / "protocol.json").write_text(json.dumps(card))
    protocol = str(tmp_path / "protocol.json")
    data = Data.of_protocol(protocol, "given")
    leaking = replace(data, train=(*data.train, *data.report))
    with pytest.raises(ValueError, match=r"not trained on, but \d+ are, for example 'clip"):
        train(small_run(corpus.root, tasks=(PITCH,), data=leaking), tmp_path / "run", quiet=True)
    leaking = replace(data, selection=data.report)
    with pytest.raises(ValueError, match="not selected on"):
        train(small_run(corpus.root, tasks=(PITCH,), data=leaking), tmp_path / "run", quiet=True)


def test_early_stopping_stops(corpus, tmp_path):
    run = small_run(corpus.root, tasks=(PITCH,), optim=Optim(lr=1e-9), budget=Budget(epochs=50, batch_s=8, patience=2))
    train(run, tmp_path, quiet=True)
    assert len([e for e in read_journal(tmp_path) if e["event"] == "selection"]) < 10


def test_frozen_groups_do_not_move_and_stay_in_eval_mode(corpus, tmp_path):
    from sonolex.processors.log_mel_and_tokens import LogMelAndTokensProcessor
    from sonolex.systems.base import build_system, system_type
    from tests.conftest import TINY_PROCESSOR

    frozen = ("text_embedding", "text_layer_0", "text_layer_1")
    run = small_run(
        corpus.root, tasks=(PITCH,), optim=Optim(lr=1e-2, frozen=frozen), budget=Budget(epochs=2, batch_s=8)
    )
    train(run, tmp_path, quiet=True)
    transcripts = [t for t in corpus.where(split="train").column("text") if t]
    processor = LogMelAndTokensProcessor.create(TINY_PROCESSOR, transcripts=transcripts)
    fresh = build_system("ctal", system_type("ctal").matched(run.config, processor), seed=run.seed).state_dict()
    trained = final_weights(tmp_path)
    moved = {k for k in fresh if not torch.equal(fresh[k], trained[f"system.{k}"])}
    assert moved and not any(k.startswith(("text_embedding", "text_layers")) for k in moved)
    with pytest.raises(ValueError, match="text_layer_9"):
        train(small_run(corpus.root, optim=Optim(frozen=("text_layer_9",))), tmp_path / "wrong", quiet=True)


def test_a_group_that_is_trained_later_stays_bitwise_until_then(corpus, tmp_path):
    def weights_after(epochs, name):
        run = small_run(
            corpus.root,
            name=name,
            tasks=(PITCH,),
            optim=Optim(lr=1e-2, schedule="constant", trained_from={"audio_layer_0": 3, "audio_embedding": 2}),
            budget=Budget(epochs=epochs, batch_s=8, select="last"),
        )
        train(run, tmp_path / name, quiet=True)
        return final_weights(tmp_path / name)

    one, two, three = (weights_after(e, f"epochs-{e}") for e in (1, 2, 3))
    parts = {k: k.split(".")[1] + ("." + k.split(".")[2] if "layers" in k else "") for k in one}

    def moved(a, b):
        return {parts[k] for k in a if not torch.equal(a[k], b[k])}

    assert "audio_embedding" in moved(one, two) and "audio_layers.0" not in moved(one, two)
    assert "audio_layers.0" in moved(two, three)
    with pytest.raises(ValueError, match="trained_from"):
        train(small_run(corpus.root, optim=Optim(trained_from={"nothing": 2})), tmp_path / "wrong", quiet=True)


def test_recordings_of_the_pretraining_are_not_reported_on_unless_allowed(corpus, tmp_path):
    clips = corpus.with_column("source_id", [f"take-{i // 2}" for i in range(len(corpus))])
    clips.write(tmp_path / "manifest.arrow")
    source = Source(manifest=str(tmp_path / "manifest.arrow"))
    parts = {p: replace(source, where={"split": p}) for p in ("train", "validation")}
    first = small_run(
        corpus.root, name="first", tasks=(PretrainingConfig("pretraining"),), budget=Budget(epochs=1, batch_s=8),
        data=Data(train=(source,)),
    )  # fmt: skip
    train(first, tmp_path / "first", quiet=True)
    recordings = json.loads((tmp_path / "first" / "heard_sources.json").read_text())
    assert recordings == sorted({f"take-{i // 2}" for i in range(len(corpus))})
    second = small_run(
        corpus.root, name="second", tasks=(PITCH,), budget=Budget(epochs=1, batch_s=8), init_from="first",
        data=Data(train=(parts["train"],), selection=(parts["validation"],), report=(parts["validation"],)),
    )  # fmt: skip
    earlier = {"first": tmp_path / "first"}
    with pytest.raises(ValueError, match=r"did not hear in pre-training.*source_id 'take-.*second"):
        train(second, tmp_path / "second", earlier=earlier, quiet=True)
    allowed = replace(second, data=replace(second.data, allow_heard_sources=True))
    train(allowed, tmp_path / "second", earlier=earlier, quiet=True)
    scratch = replace(second, name="third", init_from=None)
    train(scratch, tmp_path / "third", quiet=True)


def test_bf16_trains(corpus, tmp_path):
    run = small_run(corpus.root, precision="bf16-mixed", budget=Budget(epochs=1, batch_s=8))
    assert np.isfinite(train(run, tmp_path, quiet=True)["losses"]["total"])


def test_the_rate_falls_by_a_factor_an_epoch_from_the_epoch_named(corpus, tmp_path):
    optim = Optim(lr=1e-3, schedule="constant", warmup_share=0.0, epoch_decay=0.5, first_decayed_epoch=3)
    run = small_run(corpus.root, tasks=(PITCH,), optim=optim, budget=Budget(epochs=4, batch_s=8))
    train(run, tmp_path, quiet=True)
    _, rates = training_curve(tmp_path, "step", "lr")
    steps = len(rates) // 4
    assert rates[::steps] == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])


def test_a_plateau_halves_the_rate(corpus, tmp_path):
    optim = Optim(lr=1e-9, schedule="plateau", warmup_share=0.0, plateau_patience=2)
    run = small_run(corpus.root, tasks=(PITCH,), optim=optim, budget=Budget(epochs=8, batch_s=8))
    train(run, tmp_path, quiet=True)
    _, rates = training_curve(tmp_path, "step", "lr")
    # Nothing is learnt at this rate: the first evaluation is the best, then every third one halves (torch's patience).
    assert sorted(set(rates), reverse=True) == pytest.approx([1e-9, 5e-10, 2.5e-10])
