"""`sonolex fit` as a whole, on tables of words, which are quick: what is compared, refused, saved and said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import sonolex
from sonolex.doors.fit import fit
from sonolex.doors.fit.contest import AverageCandidate
from sonolex.results.compare import compare_runs
from sonolex.results.saved import load_predictions
from sonolex.studies.evaluate import evaluate_model
from sonolex.train.loop import train
from tests.train.helpers import small_run

WORDS = {"glad": "sunny happy fine", "sad": "rainy gloomy lost", "calm": "still quiet slow"}


def write_table(path: Path, *, rows: int = 60, speakers: int = 6, noise: int = 4) -> Path:
    """Write sentences whose words say the mood, but for every ``noise``-th."""
    moods = list(WORDS)
    lines = []
    for i in range(rows):
        mood = moods[i % 3]
        said = WORDS[moods[(i + 1) % 3] if i % noise == 0 else mood].split()[i // 3 % 3]
        lines.append({"id": f"c{i}", "text": f"it is {said} today", "speaker": f"s{i // 5 % speakers}", "mood": mood})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def fitted(table: Path, out: Path, **options):
    said: list[str] = []
    given = {"label": "mood", "minutes": 0.01, "quiet": True, "say": lambda t: said.append(str(t))}
    return fit(table, out=out, **(given | options)), "\n".join(said)


def digest_of(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and ".locks" not in p.parts)
    whole = hashlib.sha256()
    for path in files:
        whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


def test_two_fits_of_one_table_are_two_rows_of_one_comparison_wherever_they_lie(tmp_path):
    one, two = write_table(tmp_path / "a" / "mine.jsonl"), write_table(tmp_path / "b" / "other.jsonl")
    fitted(one, tmp_path / "first")
    fitted(two, tmp_path / "elsewhere" / "second", seed=1)
    fitted(one, tmp_path / "first", system="statistics")  # beside the other one
    assert {p.name for p in (tmp_path / "first").iterdir() if p.is_dir()} >= {"run", "run-system-statistics"}
    (table,) = compare_runs([tmp_path / "first", tmp_path / "elsewhere"])
    rows = {r.name: r for r in table.rows if r.runs}
    assert set(rows) == {"fit", "fit --system statistics"} and set(rows["fit"].by_seed) == {0, 1}
    assert [r.name for r in table.rows if r.floor] == ["floor: majority", "floor: words_logistic"]
    assert not any(r.candidate for r in table.rows) and "/" not in table.protocol
    (alone,) = compare_runs([tmp_path / "elsewhere"])
    assert alone.fingerprint == table.fingerprint


def test_a_refused_fit_changes_no_byte_of_the_folder(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    fitted(table, tmp_path / "out")
    before = digest_of(tmp_path / "out")
    with pytest.raises(ValueError, match="the fold of"):
        fitted(table, tmp_path / "out", split_seed=1)
    with pytest.raises(ValueError, match=r"the fold of|the split of"):
        fitted(table, tmp_path / "out", folds="none")
    write_table(tmp_path / "mine.jsonl", noise=5)
    with pytest.raises(ValueError, match="the transcript of"):
        fitted(table, tmp_path / "out")
    with pytest.raises(ValueError, match="the transcript of"):
        fitted(table, tmp_path / "out", system="ctal", epochs=1)
    assert digest_of(tmp_path / "out") == before
    write_table(tmp_path / "mine.jsonl")
    _, text = fitted(table, tmp_path / "out")
    assert "this fit is finished" in text and "The winner is" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
        ({"lr": 0.0, "minutes": -1.0}, r"`lr` must be above 0, but is 0.*`minutes` must be above 0, but is -1"),
        ({"batch_s": float("nan")}, "`batch_s` must be above 0"),
        ({"folds": "2"}, "`folds` must be auto, none, speaker or a number from 3 on, but is '2'"),
        ({"system": "average"}, "must be one that can be trained"),
        ({"system": "ctall"}, "Did you mean 'ctal'"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        fitted(tmp_path / "none.jsonl", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_single_test_part_is_scored_again_to_the_same_numbers(tmp_path):
    table = write_table(tmp_path / "mine.jsonl", rows=90, speakers=9)
    results, _ = fitted(table, tmp_path / "out", folds="none")
    again = evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"))
    assert again["scores"]["mood"] == pytest.approx(results["scores"]["mood"])
    assert again["fingerprint"] == results["fingerprint"]
    card = (tmp_path / "out" / "run" / "model" / "README.md").read_text()
    assert "## Scores on the report part" in card and "over speakers of the report part" in card


def test_a_cross_validated_model_knows_all_clips_and_is_not_scored_on_them(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    results, text = fitted(table, tmp_path / "out")
    assert results["num_report_clips"] == 60 and results["fold"] == "all" and len(results["winners_by_fold"]) == 5
    with pytest.raises(ValueError, match="it has learned from all of mood, 60 clips"):
        evaluate_model(tmp_path / "out" / "run", str(tmp_path / "out" / "protocol.json"), fold="1")
    assert sonolex.predict(str(tmp_path / "out" / "run"), text="it is sunny today")["mood"]["label"] == "glad"
    assert "cross-validated (95 % interval over speakers" in text and "there are 6" in text
    card = (tmp_path / "out" / "run" / "model" / "README.md").read_text()
    assert "## Scores, cross-validated" in card and "this model, chosen in the same way, has learned from all" in card
    assert "| train | 60 | 0.00 | 6 |" in card and "The table has 6 speakers only" in card and "| report |" not in card


def test_a_named_network_is_what_the_user_gets_and_its_place_among_the_floors_is_said(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    results, text = fitted(table, tmp_path / "out", system="mdre", epochs=1, folds="3")
    assert results["winner"] == "mdre" and results["row"] == "fit --system mdre --epochs 1"
    assert "You chose the network mdre" in text and "the best floor, logistic regression on the words" in text
    model = sonolex.load(str(tmp_path / "out" / "run-system-mdre-epochs-1"))
    assert model.model.system.name == "mdre" and model.predict(text="fine")["mood"]["label"] in WORDS
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How well can mood be predicted?" in page and "Selection scores of" in page and "recall" in page
    assert ("below the best floor" in page) == ("worse than the best floor" in text)


def test_networks_that_get_no_time_are_named_and_the_rest_competes(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    results, text = fitted(table, tmp_path / "out")
    assert "The network ctal was not tried: only 0 s were left for it (--minutes)." in text
    assert set(results["candidates"]["mood"]) == {"majority", "words_logistic"}
    assert results["winner"] == "words_logistic"


def test_a_fit_that_time_shortened_goes_on_with_the_epochs_it_began_with(tmp_path, monkeypatch):
    table = write_table(tmp_path / "mine.jsonl", rows=90, speakers=9)
    asked = {"system": "mdre", "folds": "none", "minutes": 1e-6}
    results, text = fitted(table, tmp_path / "out", **asked)
    assert "stopped by time at 8 of 60 epochs" in text
    (tmp_path / "out" / "run-system-mdre" / "results.json").unlink()  # as if it was killed at the end
    monkeypatch.setattr("sonolex.doors.fit.networks.seconds_per_clip", lambda *_: 1e-9)  # another machine, an idle one
    again, text = fitted(table, tmp_path / "out", **asked)
    assert again["scores"] == results["scores"] and "stopped by time at 8 of 60 epochs" in text


def test_where_nothing_can_be_learned_the_majority_wins_and_is_saved(tmp_path):
    lines = [{"text": "the same", "speaker": f"s{i % 6}", "mood": "glad" if i % 5 else "sad"} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    results, text = fitted(tmp_path / "t.jsonl", tmp_path / "out")
    assert results["scores"]["mood"]["balanced_accuracy"] == 0.5 and "as good as the best floor" in text
    assert set(sonolex.predict(str(tmp_path / "out" / "run"), text="the same")["mood"]["scores"]) == {"glad", "sad"}


# several labels


def write_two_labels(path: Path) -> Path:
    lines = [json.loads(line) for line in write_table(path, rows=90, speakers=9).read_text().splitlines()]
    path.write_text("\n".join(json.dumps(row | {"age": 20 + i % 9 / 2}) for i, row in enumerate(lines)))
    return path


def test_several_labels_heed_the_same_options_and_are_rows_of_one_table_wherever_they_lie(tmp_path):
    one, two = write_two_labels(tmp_path / "a" / "mine.jsonl"), write_two_labels(tmp_path / "b" / "other.jsonl")
    asked = {"label": ["mood", "age"], "epochs": 1, "system": "mdre"}
    fitted(one, tmp_path / "first", **asked)
    results, text = fitted(two, tmp_path / "second", **asked, lr=2e-4, batch_s=8.0)
    options = "--system mdre --epochs 1 --lr 0.0002 --batch-s 8.0"
    assert results["row"] == f"fit {options}" and "2 questions are tasks of one network" in text
    recipe = json.loads(
        (tmp_path / "second" / "run-system-mdre-epochs-1-lr-0_0002-batch-s-8" / "recipe.json").read_text()
    )
    assert (recipe["optim"]["lr"], recipe["budget"]["batch_s"], recipe["budget"]["epochs"]) == (2e-4, 8.0, 1)
    tables = compare_runs([tmp_path / "first", tmp_path / "second"])
    assert {t.task for t in tables} == {"mood", "age"} and len({t.fingerprint for t in tables}) == 1
    assert {r.name for r in tables[0].rows if r.runs} == {"fit --system mdre --epochs 1", f"fit {options}"}
    assert tables[0].protocol.startswith("mood, age, 90 clips (") and "/" not in tables[0].protocol


def test_the_time_for_several_labels_is_heeded_and_the_same_call_goes_on(tmp_path, monkeypatch):
    table, asked = write_two_labels(tmp_path / "t.jsonl"), {"label": ["mood", "age"], "system": "mdre", "minutes": 1e-6}
    results, text = fitted(table, tmp_path / "out", **asked)
    assert "the time is enough for 8 of 60 epochs (--minutes)" in text
    place = tmp_path / "out" / "run-system-mdre"
    assert json.loads((place / "recipe.json").read_text())["budget"]["epochs"] == 8 and not (place / "speed").exists()
    monkeypatch.setattr("sonolex.doors.fit.together.seconds_per_clip", lambda *_: 1e-9)  # an idle machine
    assert fitted(table, tmp_path / "out", **asked)[0]["scores"] == results["scores"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"folds": "5"}, "`folds` must be auto or none with several labels, but is 5. Fit each label alone."),
        ({"system": "statistics"}, "`system` must be a network with several labels, but is statistics."),
    ],
)
def test_what_several_labels_cannot_have_is_refused_in_one_line(options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        fitted(write_two_labels(tmp_path / "t.jsonl"), tmp_path / "out", label=["mood", "age"], **options)
    assert not (tmp_path / "out").exists()


# networks among the candidates


@pytest.fixture(scope="module")
def start(corpus, tmp_path_factory) -> Path:
    """A tiny CTAL that was trained on something else, at 8 kHz."""
    folder = tmp_path_factory.mktemp("start")
    train(small_run(corpus.root, dropout=0.0), folder, quiet=True)
    return folder


def test_a_start_keeps_its_input_joins_the_candidates_and_selection_decides(corpus, start, tmp_path, monkeypatch):
    monkeypatch.setattr("sonolex.doors.fit.networks.SHAPES", ())
    asked = {"label": "mood", "folds": "none", "start_from": str(start), "epochs": 1, "minutes": 1}
    results, text = fitted(corpus.root / "manifest.arrow", tmp_path / "out", **asked)
    assert "It keeps its own input settings (rate_hz 8000" in text and "trained at 0.0002" in text
    assert "ctal_from_start" in results["candidates"]["mood"] and results["init_from"] == str(start)
    (place,) = (p.parent for p in (tmp_path / "out").rglob("networks/ctal_from_start/*/recipe.json"))
    recipe = json.loads((place / "recipe.json").read_text())
    assert recipe["init_from"] == str(start) and recipe["optim"]["lr"] == pytest.approx(2e-4)
    assert recipe["processor"]["rate_hz"] == 8000 and recipe["config"]["width"] == 32
    assert sonolex.predict(str(place), text="good warm")["mood"]["label"] in ("good", "bad")
    best = max(m["balanced_accuracy"] for m in results["floors"]["mood"].values())
    assert results["scores"]["mood"]["balanced_accuracy"] >= best or results["winner"] != "ctal_from_start"
    assert "The network ctal_from_start is in no average, because it reads 8000 Hz" in text


def test_a_named_system_from_a_start_is_what_the_user_gets(corpus, start, tmp_path):
    asked = {"label": "mood", "folds": "none", "system": "ctal", "start_from": str(start), "epochs": 1}
    results, text = fitted(corpus.root / "manifest.arrow", tmp_path / "out", **asked)
    assert results["winner"] == "ctal_from_start" and "You chose the network ctal_from_start" in text
    with pytest.raises(ValueError, match="`--from` must hold a mdre model"):
        fitted(corpus.root / "manifest.arrow", tmp_path / "out", label="mood", system="mdre", start_from=str(start))


def test_an_average_of_the_same_two_in_every_fold_is_no_other_candidate(tmp_path, monkeypatch):
    monkeypatch.setattr("sonolex.doors.fit.networks.SHAPES", ("mdre",))
    monkeypatch.setattr("sonolex.doors.fit.door._eligible", lambda *_: lambda c: isinstance(c, AverageCandidate))
    monkeypatch.setattr("sonolex.doors.fit.schedule.Schedule._is_hopeless", lambda *_: False)
    asked = {"folds": "3", "epochs": 1, "minutes": 1}
    results, text = fitted(write_table(tmp_path / "t.jsonl"), tmp_path / "out", **asked)
    assert results["winner"] == "average_of_two" and len(results["winners_by_fold"]) == 3
    assert "The winner is the average of two models (the network mdre and logistic regression on the words)" in text
    assert "other candidates won" not in text
    answer = sonolex.predict(str(tmp_path / "out" / "run-epochs-1"), text="it is sunny today")["mood"]
    assert answer["label"] == "glad" and sum(answer["scores"].values()) == pytest.approx(1)


@pytest.mark.parametrize("label", ["mood", "height", "tags"])
def test_an_average_with_a_network_answers_the_mean_of_its_members_wherever_it_is_asked(
    label, corpus, tmp_path, monkeypatch
):
    """Selection is forced: whether an average wins is the contest's business."""
    tags = [f"{pitch};{mood}" for pitch, mood in zip(corpus.column("pitch"), corpus.column("mood"), strict=True)]
    corpus.with_column("tags", tags).write(corpus.root / "tagged.arrow")
    monkeypatch.setattr("sonolex.doors.fit.networks.SHAPES", ("mdre",))
    monkeypatch.setattr("sonolex.doors.fit.door._eligible", lambda *_: lambda c: isinstance(c, AverageCandidate))
    small = "mfcc_svm" if label == "height" else "words_logistic"
    monkeypatch.setattr(
        AverageCandidate, "pair", lambda self, _: tuple(m for m in self._members if m.name in (small, "mdre"))
    )
    asked = {"label": label, "folds": "none", "epochs": 2, "minutes": 1}
    results, _ = fitted(corpus.root / "tagged.arrow", tmp_path / "out", **asked)
    place = tmp_path / "out" / "run-epochs-2"
    assert results["winner"] == "average_of_two" and results["modalities"] == ["audio", "text"]
    network = load_predictions(place / "candidates" / f"{label}.mdre.json")
    other = load_predictions(place / "floors" / f"{label}.{small}.json")
    mean = {c: (a + b) / 2 for c, a, b in zip(network["clip_ids"], network["scores"], other["scores"], strict=True)}
    assert network["clip_ids"] == other["clip_ids"] and np.ptp(network["scores"] - other["scores"]) > 1e-3
    model = sonolex.load(str(place))
    for clip in corpus.where(split="test"):
        answer = model.predict(audio=clip.audio, text=clip.text)[label]
        found = [answer["value"]] if label == "height" else [answer["scores"][c] for c in sorted(answer["scores"])]
        assert found == pytest.approx(mean[clip.id].tolist(), abs=1e-4)
    clip = corpus[0]
    vector = model.embed(audio=clip.audio, text=clip.text)
    assert np.isfinite(vector).all() and vector.ndim == 1
    again = evaluate_model(place, str(tmp_path / "out" / "protocol.json"))
    assert again["scores"][label] == pytest.approx(results["scores"][label], abs=1e-4)


def test_what_a_killed_fit_left_half_written_is_gone_after_the_next(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    left = tmp_path / "out" / "run" / "candidates"
    left.mkdir(parents=True)
    (left / ".building-1.0a0b0c0d-mood.json").write_text("half")
    (left.parent / ".building-1.0a0b0c0d-model").mkdir()
    fitted(table, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".building*"))
