"""A run's folder belongs to the clips it was begun with, and what stops a run later is found before its first step."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from sonolex.data.manifest import Manifest, ManifestError, read_manifest
from sonolex.tasks.classification import ClassificationConfig
from sonolex.train.contents import require_same_clips, write_clips
from sonolex.train.loop import train
from sonolex.train.preflight import require_labels, unreadable_clips
from tests.train.helpers import small_run


@pytest.fixture
def user_copy(corpus, tmp_path):
    """A user's own copy of the corpus: manifest and audio."""
    shutil.copytree(corpus.root / "audio", tmp_path / "own" / "audio")
    Manifest(corpus.table, root=tmp_path / "own").write(tmp_path / "own" / "manifest.arrow")
    return tmp_path / "own"


def changed(user_copy, change) -> None:
    manifest = read_manifest(user_copy)
    Manifest(change(manifest).table, root=user_copy).write(user_copy / "manifest.arrow")


def with_first(manifest, column, value):
    return manifest.with_column(column, [value, *manifest.column(column)[1:]])


@pytest.mark.parametrize("ended", [True, False], ids=["finished", "killed"])
def test_a_run_does_not_go_on_with_other_clips_and_names_the_changes(user_copy, tmp_path, ended):
    run = small_run(user_copy)
    run = replace(run, budget=replace(run.budget, epochs=1))
    folder = tmp_path / "run"
    first = train(run, folder, quiet=True)
    if not ended:
        (folder / "results.json").unlink()
    assert train(run, folder, quiet=True)["scores"] == first["scores"]
    if not ended:
        (folder / "results.json").unlink()
    whole = read_manifest(user_copy)
    for column, value in (("pitch", "high"), ("text", "other words"), ("height", 9.0)):
        changed(user_copy, lambda m, c=column, v=value: with_first(m, c, v))
        with pytest.raises(ValueError, match=f"since then '{column}' of training clips changed. Name another folder"):
            train(run, folder, quiet=True)
        changed(user_copy, lambda _: whole)
    changed(user_copy, lambda m: m.take(range(len(m) - 1)))
    with pytest.raises(ValueError, match="the report clips are 7 instead of 8"):
        train(run, folder, quiet=True)
    changed(user_copy, lambda _: whole)
    (user_copy / "audio" / "clip000.wav").write_bytes((user_copy / "audio" / "clip001.wav").read_bytes())
    with pytest.raises(ValueError, match="'audio' of training clips changed"):
        train(run, folder, quiet=True)


@pytest.mark.parametrize("part", [False, 3, "x", [1], None])
def test_digests_of_another_type_are_refused_with_the_file(part, user_copy, tmp_path):
    run, folder = small_run(user_copy), tmp_path / "run"
    folder.mkdir()
    write_clips(folder, run)
    require_same_clips(folder, run)
    (folder / "clips.json").write_text(json.dumps(json.loads((folder / "clips.json").read_text()) | {"report": part}))
    with pytest.raises(ValueError, match=r"clips\.json must hold digests of every part's columns.*'report'"):
        require_same_clips(folder, run)


def test_results_stay_readable_when_the_clips_are_gone(user_copy, tmp_path):
    run = small_run(user_copy)
    run = replace(run, budget=replace(run.budget, epochs=1))
    first = train(run, tmp_path / "run", quiet=True)
    shutil.rmtree(user_copy)
    assert train(run, tmp_path / "run", quiet=True)["scores"] == first["scores"]


def test_all_clips_that_do_not_fit_are_named_before_the_first_step(user_copy, tmp_path):
    def spoil(manifest):
        durations = manifest.durations_s.copy()
        durations[[0, 45]] = 3600.0, 9.0  # TINY_PROCESSOR takes 8 seconds, and 40 tokens
        texts = manifest.column("text")
        return manifest.with_column("duration_s", durations).with_column("text", [*texts[:1], "x " * 99, *texts[2:]])

    changed(user_copy, spoil)
    with pytest.raises(ManifestError) as caught:
        train(small_run(user_copy), tmp_path / "run", quiet=True)
    message = str(caught.value)
    assert len(caught.value.problems) == 3 and "on_bad_clip='skip'" in message
    assert "less than 8 s, but lasts 3600.00 s (clip 'clip000'" in message and "lasts 9.00 s (clip 'clip045'" in message
    assert "at most 40 tokens" in message and "'clip001'" in message
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_what_is_skipped_or_not_read_does_not_stop_a_run(corpus, processor):
    long = corpus.with_column("duration_s", [100.0] * len(corpus))
    assert len(unreadable_clips(long, processor, ("audio", "text"))) == len(corpus)
    assert not unreadable_clips(long, processor, ("text",))
    assert not unreadable_clips(corpus, processor, ("audio", "text"))


def test_a_task_whose_label_no_clip_has_is_refused(corpus):
    with pytest.raises(ValueError, match="one of height, mood, pitch, speaker, language, session, but is 'text'"):
        require_labels([ClassificationConfig("t", label="text", classes=("a", "b"))], corpus)
    with pytest.raises(ValueError, match="`label` 'language' of task 't'"):
        require_labels([ClassificationConfig("t", label="language", classes=("a", "b"))], corpus)
    require_labels([ClassificationConfig("t", label="speaker", classes=("a", "b"))], corpus)
