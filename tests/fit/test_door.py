"""`sonolex fit` as a whole, on tables of words, which are quick: what is compared, refused, saved and said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import sonolex
from sonolex.compare import compare_runs
from sonolex.evaluate import evaluate_model
from sonolex.fit import fit

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
    assert "How well can mood be told?" in page and "Selection scores of" in page and "recall" in page
    assert ("below the best floor" in page) == ("worse than the best floor" in text)


def test_networks_that_get_no_time_are_named_and_the_rest_competes(tmp_path):
    table = write_table(tmp_path / "mine.jsonl")
    results, text = fitted(table, tmp_path / "out")
    assert "The network ctal was not tried: only 0 s were left for it (--minutes)." in text
    assert set(results["candidates"]["mood"]) == {"majority", "words_logistic"}
    assert results["winner"] == "words_logistic"


def test_where_nothing_can_be_learned_the_majority_wins_and_is_saved(tmp_path):
    lines = [{"text": "the same", "speaker": f"s{i % 6}", "mood": "glad" if i % 5 else "sad"} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    results, text = fitted(tmp_path / "t.jsonl", tmp_path / "out")
    assert results["scores"]["mood"]["balanced_accuracy"] == 0.5 and "as good as the best floor" in text
    assert set(sonolex.predict(str(tmp_path / "out" / "run"), text="the same")["mood"]["scores"]) == {"glad", "sad"}
