"""What the command line says about itself and about words it does not know, and which modules it can find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sonolex.cli import main
from sonolex.cli._own_options import option_lines, options_of
from sonolex.cli._parsing import GROUPS, find_verb, verb_names

CONSOLE_SCRIPT = (
    "import sys\nfrom sonolex.cli import main\nsys.argv[0] = 'sonolex'\nsys.exit(main())\n"  # as pip writes it
)
RECIPE = "from sonolex.recipes.quickstart import recipe, tiny\n"


def told(words: list[str], capsys) -> tuple[int, str, str]:
    """Return code, output and errors of a command."""
    try:
        code = main(words)
    except SystemExit as e:
        code = int(e.code or 0)
    found = capsys.readouterr()
    return code, found.out, found.err


def test_help_lists_every_verb_by_what_it_is_for(capsys):
    code, out, _ = told(["--help"], capsys)
    assert code == 0
    titles = ["your data:", "train:", "judge:", "use:"]
    assert [line for line in out.split("\n") if line in titles] == titles
    assert {find_verb(name).VERB.group for name in verb_names()} == {*GROUPS}
    assert all(f"\n  {name:12}" in out for name in verb_names())
    assert out.index("use:") < out.index("  predict ") < out.index("  search ")
    assert all(len(line) <= 100 for line in out.split("\n"))


@pytest.mark.parametrize("words", [[], ["predikt", "model"]])
def test_no_verb_and_an_unknown_one_end_with_2(words, capsys):
    code, out, err = told(words, capsys)
    assert code == 2 and out == "" and ("Did you mean 'predict'?" in err or not words)


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["predict", "model", "a.wav", "--tpo", "1"], "'--top'"),
        (["fit", "table.csv", "--label", "x", "--epoch", "3"], "'--epochs'"),
        (["evaluate", "model", "--protocol", "p", "--fodl=a"], "'--fold'"),
        (["train", "quickstart", "--epoch", "3"], "'--epochs'"),
        (["train", "quickstart", "--pretrain_epoch=3"], "'--pretrain-epochs'"),
        (["prepare", "emodb", "--emotion", "sad"], "'--emotions'"),
    ],
)
def test_an_unknown_option_names_the_nearest(words, nearest, capsys):
    code, _, err = told(words, capsys)
    assert code == 2 and f"Did you mean {nearest}?" in err and f"sonolex {words[0]}" in err
    assert "__main__.py" not in err


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["train", "quickstart", "--help"], ["--out", "--pretrain-epochs INT", "(default: 5)"]),
        (["table", "--help", "ctal4"], ["--against", "--rows STR …", "--strict, --no-strict"]),
        (["train", "quickstart", "--tiny", "-h"], ["the recipe quickstart with --tiny has no options"]),
        (["prepare", "emodb", "--help"], ["--root", "--emotions", "options of the corpus emodb"]),
        (["sweep", "quickstart", "--space", "optim.lr=1e-4:1e-2", "--help"], ["--trials", "--pretrain-epochs INT"]),
        (["train", "--help"], ["--slurm"]),
    ],
)
def test_the_help_of_a_recipe_shows_its_own_options_too(words, options, capsys):
    code, out, err = told(words, capsys)
    assert code == 0 and err == ""
    assert all(option in out for option in options), out


def test_help_for_a_recipe_that_does_not_exist_names_the_nearest(capsys):
    code, out, err = told(["train", "quikstart", "--help"], capsys)
    assert code == 2 and out == "" and "Did you mean 'quickstart'?" in err


def test_options_are_explained_by_the_docstring():
    def recipe(*, rows: tuple[str, ...] = (), num_epochs: int = 3, strict: bool = True, name: str = ""):
        """Return runs.

        Args:
            rows: of the table,
                in its order.
            num_epochs, name: both of them.
        """

    lines = option_lines(recipe, of="recipe r")
    assert lines == [
        "options of the recipe r:",
        "  --rows STR …            of the table, in its order.",
        "  --num-epochs INT        both of them. (default: 3)",
        "  --strict, --no-strict   (default: True)",
        "  --name STR              both of them.",
    ]
    assert options_of(recipe, ["--num_epochs=4", "--no-strict"], of="recipe r") == {
        "rows": (),
        "num_epochs": 4,
        "strict": False,
        "name": "",
    }


def run_console_script(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what pip installs: a script elsewhere, so that the working folder is not on Python's path by itself."""
    script = folder / "bin" / "sonolex"
    script.parent.mkdir(exist_ok=True)
    script.write_text(CONSOLE_SCRIPT, encoding="utf-8")
    return subprocess.run([sys.executable, str(script), *words], cwd=folder, capture_output=True, text=True)


def test_the_console_script_finds_a_recipe_beside_the_user(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.py").write_text(RECIPE, encoding="utf-8")
    done = run_console_script(["train", "mine.recipe", "--help"], tmp_path)
    assert done.returncode == 0 and "options of the recipe mine.recipe" in done.stdout, done.stderr


def test_but_runs_nothing_there_unless_the_user_names_it(tmp_path):
    """A stranger's folder with modules named like installed or built-in ones, or like an own one that a file names."""
    for name in ("numpy", "torch", "json", "sonolex_plugins"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the folder ran')\n", encoding="utf-8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.py").write_text(RECIPE, encoding="utf-8")
    for words in (["doctor"], ["train", "mine.recipe", "--help"]):  # named: looked for there last
        done = run_console_script(words, tmp_path)
        assert done.returncode == 0 and "a file of the folder ran" not in done.stdout + done.stderr
    (tmp_path / "p.json").write_text('{"manifest": "m.csv", "kind": "mine.recipe", "task": {}}', encoding="utf-8")
    done = run_console_script(["evaluate", "model", "--protocol", "p.json", "--trust-code"], tmp_path)
    assert done.returncode == 2 and "mine.recipe" in done.stderr and "not found" in done.stderr


def test_a_device_called_gpu_is_told_its_name(capsys):
    from sonolex.devices import device_names

    code, _, err = told(["predict", "model", "a.wav", "--device", "gpu"], capsys)
    assert code == 2 and f"({', '.join(device_names())}), but is 'gpu'. GPUs are called cuda" in err


def test_a_missing_file_says_where_it_was_looked_for_and_a_corpus_how_to_name_it(tmp_path, capsys, monkeypatch):
    from sonolex.audio.io import AudioError, read_audio

    monkeypatch.chdir(tmp_path)
    with pytest.raises(AudioError, match=rf"Correct the path; it was looked for in {tmp_path}\."):
        read_audio("gone.wav", rate_hz=16_000)
    with pytest.raises(AudioError, match=r"Correct the path\.$"):
        read_audio(tmp_path / "gone.wav", rate_hz=16_000)
    monkeypatch.delenv("SONOLEX_DATA", raising=False)
    code, _, err = told(["prepare", "emodb"], capsys)
    assert code == 2 and "--root" in err and "SONOLEX_DATA" in err
