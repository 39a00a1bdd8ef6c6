"""Run folders of strangers, through the command line: one line that names file and field, or all of it as text."""

from __future__ import annotations

import json
import os
import re
import resource
from html.parser import HTMLParser

import numpy as np
import pytest

from sonolex.arrays import save_arrays
from sonolex.cli import main
from tests.saved_runs import make_run, predictions
from tests.test_arrays import HOSTILE as HOSTILE_ARRAYS

CLASSIFICATION = {"classes": ["no", "yes"], "metric_names": ["accuracy"]}


def results(**changes):
    def change(run):
        saved = json.loads((run / "results.json").read_text())
        (run / "results.json").write_text(json.dumps(saved | changes))

    return change


def without(name):
    def change(run):
        saved = json.loads((run / "results.json").read_text())
        del saved[name]
        (run / "results.json").write_text(json.dumps(saved))

    return change


def environment(**changes):
    def change(run):
        saved = json.loads((run / "results.json").read_text())
        saved["environment"] |= changes
        (run / "results.json").write_text(json.dumps(saved))

    return change


def mood(file="predictions/mood.json", **changes):
    def change(run):
        saved = json.loads((run / file).read_text())
        (run / file).write_text(json.dumps(saved | changes))

    return change


def written(file, content):
    def change(run):
        (run / file).parent.mkdir(exist_ok=True)
        (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def fifo(file):
    def change(run):
        (run / file).unlink(missing_ok=True)
        os.mkfifo(run / file)

    return change


def linked(file, target):
    def change(run):
        (run / file).unlink(missing_ok=True)
        (run / file).symlink_to(target)

    return change


def sparse(file, num_bytes):
    def change(run):
        with (run / file).open("wb") as f:
            f.truncate(num_bytes)

    return change


DEEP = "[" * 200_000
IDS = [f"one-{i}" for i in range(60)]
ROBUST = {"scores": {"mood": {"accuracy": 0.5}}, "primary": "accuracy", "units": {"noise": "dB"}}
WRONG = {  # change -> what the one line says
    "results that are a list": (written("results.json", "[]"), r"results\.json must hold an object"),
    "results that are a number": (written("results.json", "1e999"), r"results\.json must hold an object"),
    "results that are empty": (written("results.json", ""), r"results\.json must hold JSON"),
    "results cut short": (written("results.json", '{"run": "a"'), r"results\.json must hold JSON"),
    "results of bytes": (written("results.json", b"\xff\xfe\x00"), r"results\.json must hold JSON"),
    "results nested deeply": (written("results.json", DEEP), r"results\.json must hold JSON"),
    "results with a number of 10,000 digits": (written("results.json", "9" * 10_000), r"results\.json must hold JSON"),
    "results of 40 GB": (sparse("results.json", 40 << 30), r"results\.json must have at most"),
    "results that are a pipe": (fifo("results.json"), r"results\.json must be a file"),
    "results that are a device": (linked("results.json", "/dev/zero"), r"results\.json must be a file"),
    "results without a row": (without("row"), "`row` must be text.*missing"),
    "results without a seed": (without("seed"), "`seed` must be a whole number.*missing"),
    "results without scores": (without("scores"), "`scores` must be metrics by task.*missing"),
    "results without a fold": (without("fold"), "`fold` must be text.*missing"),
    "results without a card": (without("card"), "`card` must be.*missing"),
    "results without a primary metric": (without("primary"), "`primary` must be text.*missing"),
    "results without an environment": (without("environment"), "`environment` must be.*missing"),
    "a row that is a list": (results(row=["a"]), "`row` must be text.*a list of 1"),
    "a row of 10 MB": (results(row="x" * (10 << 20)), "`row` must be text"),
    "a run that is a number": (results(run=5), "`run` must be text"),
    "a seed that is text": (results(seed="0"), "`seed` must be a whole number"),
    "a seed that is true": (results(seed=True), "`seed` must be a whole number"),
    "a seed of 500 digits": (results(seed=10**500), "`seed` must be.*more than 64 bits"),
    "a fingerprint of markup": (results(fingerprint="<script>"), "`fingerprint` must be up to 64 letters"),
    "a fingerprint of escapes": (results(fingerprint="a\x1b]0;x\x07"), "`fingerprint` must be up to 64 letters"),
    "a protocol that is a mapping": (results(protocol={}), "`protocol` must be text"),
    "scores that are a list": (results(scores=[1]), "`scores` must be metrics by task"),
    "scores of numbers": (results(scores={"mood": 1.0}), "`scores` must be metrics by task"),
    "scores of 100,000 tasks": (results(scores={f"t{i}": {} for i in range(100_000)}), "`scores` must be metrics"),
    "a task without predictions": (results(scores={"other": {}}), r"predictions/other\.json"),
    "a task that leaves the folder": (results(scores={"../../../etc/passwd": {}}), r"%2E%2E%2F%2E%2E%2F.*passwd\.json"),
    "published text": (results(published={"a": {"accuracy": "<b>"}}), "`published` must be finite numbers"),
    "published infinity": (results(published={"a": {"accuracy": float("inf")}}), "`published` must be finite"),
    "published lists": (results(published=[["a", 1]]), "`published` must be finite numbers"),
    "notes that are a number": (results(notes=7), "`notes` must be text"),
    "modalities that are text": (results(modalities="audio"), "`modalities` must be a list of text"),
    "a time that is not a number": (results(train_s=float("nan")), "`train_s` must be a finite number"),
    "no time": (without("train_s"), "`train_s` must be a finite number.*missing"),
    "no size": (without("num_parameters"), "`num_parameters` must be a whole number.*missing"),
    "a time of waiting that is a list": (results(load_s=[1]), "`load_s` must be a finite number or nothing"),
    "a negative count": (results(trained_clips=-1), "`trained_clips` must be a whole number"),
    "cores of markup": (environment(num_cpus="<img src=x onerror=alert(1)>"), "`environment.num_cpus` must be a whole"),
    "a version that is a list": (environment(torch=["2"]), "`environment.torch` must be text"),
    "predictions that are a list": (written("predictions/mood.json", "[]"), r"mood\.json must hold an object"),
    "predictions nested deeply": (written("predictions/mood.json", DEEP), r"mood\.json must hold JSON"),
    "predictions of 40 GB": (sparse("predictions/mood.json", 40 << 30), r"mood\.json must have at most"),
    "predictions that are a pipe": (fifo("predictions/mood.json"), r"mood\.json must be a file"),
    "predictions that link to themselves": (linked("predictions/mood.json", "mood.json"), r"mood\.json"),
    "a scorer of the system": (mood(scorer="os.system"), r"mood\.json: `scorer` must be one of"),
    "a scorer that is a list": (mood(scorer=["verification"]), r"mood\.json: `scorer` must be one of"),
    "an unknown option": (mood(options=CLASSIFICATION | {"__class__": 1}), r"mood\.json: `options` of classification"),
    "an option of another scorer": (mood(options=CLASSIFICATION | {"num_folds": 3}), r"mood\.json: `options`"),
    "an option twice given": (mood(options=CLASSIFICATION | {"labels": []}), r"mood\.json: `options`"),
    "options that are a list": (mood(options=[]), r"mood\.json: `options` must be a mapping"),
    "options without classes": (mood(options={"metric_names": ["accuracy"]}), "must have classes"),
    "an unknown metric": (mood(options=CLASSIFICATION | {"metric_names": ["eval"]}), r"mood\.json: `metric_names`"),
    "classes twice": (mood(options=CLASSIFICATION | {"classes": ["no", "no"]}), r"mood\.json: `classes`"),
    "classes of numbers": (mood(options=CLASSIFICATION | {"classes": [0, 1]}), r"mood\.json: `classes`"),
    "a million classes": (
        mood(options=CLASSIFICATION | {"classes": [str(i) for i in range(1_000_000)]}), "`scores`.*1000000 numbers",
    ),
    "a label that is no class": (mood(labels=["maybe"] + ["yes"] * 59), r"`labels` of .*mood\.json.*'maybe'"),
    "labels that are lists": (mood(labels=[["yes"]] * 60), r"mood\.json: `labels` must be a list of text"),
    "no labels": (mood(labels=None), r"mood\.json: `labels` must be a list"),
    "fewer labels than clips": (mood(labels=["yes"]), r"`labels` of .*mood\.json must be of 60 clips"),
    "a clip twice": (mood(clip_ids=["a"] * 60), r"`clip_ids` must be a list of different texts"),
    "no clips": (mood(clip_ids=[], labels=[], scores=[]), r"`clip_ids` must be a list of different texts, at least"),
    "clip ids that are numbers": (mood(clip_ids=list(range(60))), "`clip_ids` must be"),
    "scores that are not numbers": (mood(scores=[[float("nan"), 1.0]] * 60), "`scores` must be equally long lists"),
    "infinite scores": (mood(scores=[[float("inf"), 1.0]] * 60), "`scores` must be equally long lists of finite"),
    "ragged scores": (mood(scores=[[1.0], [1.0, 2.0]] * 30), "`scores` must be equally long lists"),
    "scores that are text": (mood(scores=[["1.0", "2.0"]] * 60), "`scores` must be equally long lists"),
    "scores of 500 digits": (mood(scores=[[10**500, 1]] * 60), "`scores` must be equally long lists"),
    "scores in three dimensions": (mood(scores=[[[1.0, 2.0]]] * 60), "`scores` must be equally long lists"),
    "scores of no width": (mood(scores=[[]] * 60), "`scores` must be equally long lists"),
    "scores of another width": (mood(scores=[[0.1, 0.2, 0.7]] * 60), "`scores` of .* must have 2 numbers, but has 3"),
    "fewer scores than clips": (mood(scores=[[1.0, 2.0]]), "`scores` of .* must be of 60 clips"),
    "groups that are mappings": (mood(groups=[{}] * 60), "`groups` must be a list of text or nothing"),
    "a regression of text": (
        mood(scorer="regression", options={"metric_names": ["mae"]}, scores=[[1.0]] * 60, labels=["1"] * 60),
        r"`labels` of .*mood\.json must be what regression scores, but one is '1'",
    ),
    "a regression of two numbers": (
        mood(scorer="regression", options={"metric_names": ["mae"]}, labels=[1] * 60), "must have 1 numbers, but has 2",
    ),
    "tags that are no classes": (
        mood(scorer="tagging", options={"classes": ["no", "yes"]}, labels=["no;evil"] * 60), "`labels` of .*'no;evil'",
    ),
    "thresholds of another number": (
        mood(scorer="tagging", options={"classes": ["no", "yes"], "thresholds": [0.5]}), "`thresholds`.*one for each",
    ),
    "a verification of a million pairs of pairs": (
        mood(scorer="verification", options={}, clip_ids=[str(i) for i in range(40_000)], labels=["a", "b"] * 20_000,
             scores=[[1]] * 40_000), "at most 10,000 clips for verification, but has 40,000",
    ),
    "a retrieval of three halves": (
        mood(scorer="retrieval", options={}, scores=[[1, 2, 3]] * 60), "must have 4 numbers, but has 3",
    ),
    "a probe of one speaker's class": (
        mood(scorer="probe", options={}, groups=["anna"] * 60), "2 groups .* of every class",
    ),
    "floors that are a list": (written("floors/mood.majority.json", "[]"), r"mood\.majority\.json must hold an object"),
    "floors of other clips' number": (mood("floors/mood.majority.json", scores=[[1, 0]]), r"mood\.majority\.json"),
}  # fmt: skip
WRONG_ON_PAGES = {  # files that only a report reads
    "a journal of lists": (written("journal.jsonl", "[1]\n"), r"journal\.jsonl.*line 1 is not one"),
    "a journal nested deeply": (written("journal.jsonl", DEEP), r"journal\.jsonl.*line 1 is not one"),
    "a journal that is a folder": (lambda run: ((run / "journal.jsonl").unlink(), (run / "journal.jsonl").mkdir()),
                                   r"journal\.jsonl must be a file"),
    "a journal that is a pipe": (fifo("journal.jsonl"), r"journal\.jsonl must be a file"),
    "a journal of 40 GB": (sparse("journal.jsonl", 40 << 30), r"journal\.jsonl must be a file of at most"),
    "a step that is text": (
        written("journal.jsonl", '{"event": "step", "step": "1", "total": 1}'), "`step` and `total`",
    ),
    "a loss that is no number": (
        written("journal.jsonl", '{"event": "step", "step": 1, "total": NaN}'), "finite numbers",
    ),
    "a loss of 500 digits": (
        written("journal.jsonl", '{"event": "step", "step": 1, "total": %s}' % ("9" * 500)), "finite numbers",
    ),
    "robustness that is a list": (written("robustness.json", "[]"), r"robustness\.json must hold an object"),
    "robustness without points": (
        written("robustness.json", json.dumps(ROBUST)), r"robustness\.json: `sweeps` must be",
    ),
    "robustness of text": (
        written("robustness.json", json.dumps(ROBUST | {"sweeps": {"noise": [{"amount": "x", "scores": {}}]}})),
        r"robustness\.json: `sweeps.noise.amount` must be a finite number",
    ),
    "robustness that lacks a score": (
        written("robustness.json", json.dumps(ROBUST | {"sweeps": {"noise": [{"amount": 1, "scores": {"mood": {}}}]}})),
        r"`sweeps.noise` of .*robustness\.json must have a unit and every score",
    ),
    "embeddings that are a pipe": (fifo("predictions/embeddings.npz"), r"embeddings\.npz must be a file"),
    "embeddings of other names": (
        lambda run: save_arrays(run / "predictions/embeddings.npz", {"x": np.zeros(3)}), r"`pooled` \(clips, D\)",
    ),
    "embeddings of three dimensions": (
        lambda run: save_arrays(
            run / "predictions/embeddings.npz", {"pooled": np.zeros((3, 2, 2)), "groups": np.array(["a"] * 3)}
        ), r"`pooled` \(clips, D\)",
    ),
    "embeddings with fewer groups": (
        lambda run: save_arrays(
            run / "predictions/embeddings.npz", {"pooled": np.zeros((3, 2)), "groups": np.array(["a"] * 2)}
        ), "`groups` of .* must be of 3 clips",
    ),
    **{
        f"embeddings: {name}": (written("predictions/embeddings.npz", content), r"embeddings\.npz must hold arrays")
        for name, content in HOSTILE_ARRAYS.items()
    },
}  # fmt: skip


def one_line_about(words, capsys, message):
    """Run the command line; its only answer must be one line on stderr, at little cost."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(words) == 2
    printed = capsys.readouterr()
    assert re.search(message, printed.err), printed.err
    assert printed.err.count("\n") == 1 and len(printed.err) < 1200 and printed.err.rstrip("\n").isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 700_000  # kilobytes; files here have 10 MB


@pytest.mark.parametrize("verb", ["compare", "report"])
@pytest.mark.parametrize("case", WRONG)
def test_a_hostile_run_folder_is_refused_in_one_line(case, verb, tmp_path, capsys):
    change, message = WRONG[case]
    change(make_run(tmp_path / "a"))
    one_line_about([verb, str(tmp_path)], capsys, message)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("case", WRONG_ON_PAGES)
def test_broken_files_that_only_a_page_reads_are_refused_in_one_line_too(case, tmp_path, capsys):
    change, message = WRONG_ON_PAGES[case]
    change(make_run(tmp_path / "a"))
    assert main(["compare", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert re.search(message, printed) and printed.count("\n") == 1 and not (tmp_path / "report.html").exists()


def test_two_folds_must_have_the_same_classes_in_the_same_order(tmp_path, capsys):
    make_run(tmp_path / "a", fold="one")
    other = make_run(tmp_path / "b", fold="three")
    mood(options=CLASSIFICATION | {"classes": ["yes", "no"]})(other)
    mood("floors/mood.majority.json", options=CLASSIFICATION | {"classes": ["yes", "no"]})(other)
    one_line_about(["compare", str(tmp_path)], capsys, "predictions of one row must agree.*differ in: classes")


def test_a_copied_run_is_not_counted_as_a_second_one(tmp_path, capsys):
    make_run(tmp_path / "a")
    assert main(["compare", str(tmp_path), str(tmp_path / "a")]) == 0
    assert "60 clips" in capsys.readouterr().out  # not 120
    make_run(tmp_path / "b")
    one_line_about(["compare", str(tmp_path)], capsys, "one run of each seed and fold")


def test_folders_that_link_to_themselves_are_walked_once(tmp_path, capsys):
    run = make_run(tmp_path / "a")
    (run / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert main(["compare", str(tmp_path)]) == 0
    assert "60 clips" in capsys.readouterr().out


ESC = "\x1b]0;owned\x07\x1b[31m"
MARKUP = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> | `x` $10%-$20% \\frac{ ![](http://evil) "
    + ESC
    + "\u202e\nend"
)
NAMES = [
    MARKUP,
    "_hidden",
    "$10%-$20%",
    "$",
    "$^$",
    "\\alpha_{",
    "a;b",
    "none",
    "怒り 분노 غضب",
    "x" * 900,
    "",
    "{0}%s{{}}",
]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_data(self, data):
        self.text += data


def hostile_run(folder, **options):
    """Return a run in which everything that may be text is hostile text."""
    run = make_run(folder, row=MARKUP, card={"protocol": MARKUP}, **options)
    results(
        run=MARKUP, protocol=MARKUP, fold=MARKUP, notes=MARKUP, primary=MARKUP, published={MARKUP: {MARKUP: 0.5}},
        modalities=[MARKUP],
    )(run)  # fmt: skip
    environment(sonolex=MARKUP, torch=MARKUP, git_commit="<b>" + ESC)(run)
    rng = np.random.default_rng(0)
    true = rng.integers(0, len(NAMES), 60)
    (run / "predictions/mood.json").write_text(json.dumps(predictions(true, true[::-1], classes=NAMES)))
    (run / "floors/mood.majority.json").rename(run / f"floors/mood.<script>{ESC.replace('/', '')}.json")
    scores = {MARKUP: {MARKUP: 0.4}}
    points = [{"amount": a, "scores": scores} for a in (0, 5)]
    robustness = {"scores": scores, "primary": MARKUP, "units": {MARKUP: MARKUP}, "sweeps": {MARKUP: points}}
    (run / "robustness.json").write_text(json.dumps(robustness))
    groups = np.array([NAMES[i % len(NAMES)] for i in range(40)])
    save_arrays(run / "predictions/embeddings.npz", {"pooled": rng.normal(size=(40, 4)), "groups": groups})
    return run


def test_a_page_shows_hostile_names_as_text_and_can_run_and_load_nothing(tmp_path, capsys):
    hostile_run(tmp_path / "a")
    for share in (5, 50):
        hostile_run(tmp_path / f"b{share}")
        (tmp_path / f"b{share}" / "predictions/embeddings.npz").unlink()
        results(row=f"{MARKUP}, {share} % of labels")(tmp_path / f"b{share}")
    assert main(["report", str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "table", "tr", "th", "td", "div",
        "img", "code", "bdi",
    }  # fmt: skip
    assert {(tag, name) for tag, name, _ in page.attributes} <= {
        ("html", "lang"), ("meta", "charset"), ("meta", "http-equiv"), ("meta", "content"), ("meta", "name"),
        ("div", "class"), ("tr", "class"), ("img", "src"), ("img", "alt"),
    }  # fmt: skip
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert all(s.startswith("data:image/png;base64,") for s in sources) and len(alts) == len(sources) >= 6
    assert all(len(a) > 20 for a in alts) and any("<script>" in a for a in alts)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    shown = MARKUP.replace("\n", "\\n").replace("\u202e", "\\u202e").replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert page.text.count(shown) >= 8 and all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("words", [[], ["--markdown"], ["--times"], ["--against", "published"]])
def test_tables_show_hostile_names_on_one_line_each(words, tmp_path, capsys):
    hostile_run(tmp_path / "a")
    hostile_run(tmp_path / "b", seed=1)
    results(row="other")(tmp_path / "b")
    mark = ["--against", MARKUP] if words[:1] == ["--against"] else words
    results(seed=0)(tmp_path / "b")
    results(primary="accuracy")(tmp_path / "a")
    assert main(["compare", str(tmp_path), *mark]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.split("\n")) and out.count("x1b") > 4
    assert not [line for line in out.split("\n") if line.startswith("end")]
    if words == ["--markdown"]:
        rows = [line for line in out.split("\n") if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        assert not re.search(r"(?<!\\)[<>`$\[]", "".join(rows))


def test_an_error_about_a_hostile_name_is_visible_too(tmp_path, capsys):
    hostile_run(tmp_path / "a")
    hostile_run(tmp_path / "b", fingerprint="bbb")
    assert main(["compare", str(tmp_path)]) == 2
    assert main(["compare", str(tmp_path / f"none{ESC}")]) == 2
    hostile_run(tmp_path / "alone" / "a")
    assert main(["compare", str(tmp_path / "alone"), "--against", "nothing"]) == 2
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and printed.count("\n") == 3  # one line each
    with pytest.raises(SystemExit):
        main(["compare", "x", f"--wrong{ESC}"])
    assert "--wrong\\x1b" in capsys.readouterr().err
