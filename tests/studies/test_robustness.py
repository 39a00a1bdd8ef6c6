from __future__ import annotations

import json
import shutil

import pytest

from sonolex.cli import main
from sonolex.results.report import write_html
from sonolex.studies.robustness import robustness
from tests.train.helpers import PITCH, small_run


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    from sonolex.train.loop import train
    from sonolex.train.run import Budget

    folder = tmp_path_factory.mktemp("robust") / "run"
    train(
        small_run(corpus.root, tasks=(PITCH,), budget=Budget(epochs=12, batch_s=8, select="last")), folder, quiet=True
    )
    shutil.copytree(corpus.root, folder.parent / "corpus")  # a protocol's manifest lies with it
    rows = {"manifest": "corpus/manifest.arrow", "kind": "classification", "modalities": ["audio"]}
    task = {"name": "pitch", "label": "pitch", "classes": ["low", "high"]}
    (folder.parent / "protocol.json").write_text(json.dumps(rows | {"task": task}))
    return folder, folder.parent / "protocol.json"


def test_scores_fall_with_noise_and_the_curves_are_in_the_report(trained, capsys):
    folder, protocol = trained
    words = ["robustness", str(folder), "--protocol", str(protocol), "--out", str(folder), "--sweeps", "noise", "speed"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "as recorded" in printed and "noise (signal-to-noise ratio, dB)  20:" in printed
    results = json.loads((folder / "robustness.json").read_text())
    clean = results["scores"]["pitch"]["accuracy"]
    at = {p["amount"]: p["scores"]["pitch"]["accuracy"] for p in results["sweeps"]["noise"]}
    assert clean > 0.9 and list(at) == [20.0, 15.0, 10.0, 5.0, 0.0, -5.0] and at[20.0] >= at[-5.0]
    assert "Robustness" in write_html([folder], folder / "report.html").read_text()


def test_an_unknown_sweep_is_refused(trained):
    with pytest.raises(ValueError, match="reverberation"):
        robustness(trained[0], str(trained[1]), sweeps=("echo",))
