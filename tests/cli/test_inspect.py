"""`sonolex inspect`: what a checkpoint is, and what would be used of it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sonolex.cli import main
from tests.pretrained.test_ast import ssast_file


def test_a_checkpoint_is_named_with_the_systems_that_take_it(tmp_path, capsys):
    ssast_file(tmp_path / "SSAST-Base-Patch-400.pth", (16, 16))
    assert main(["inspect", str(tmp_path), "--keys"]) == 0
    said = capsys.readouterr().out
    assert "SSAST-Base-Patch-400.pth: SSAST\n" in said and "(float32, int64)" in said
    assert 'ssast, pretrained={"ssast": …}: 48 used, 4 not, 0 missing' in said
    assert 'vcr_ast, pretrained={"ssast": …}: 39 used, 13 not, 0 missing' in said
    assert "not used: gpredlayer.0.weight" in said and "not used: head.weight" in said


def test_what_no_system_takes_is_told_too(tmp_path, capsys):
    torch.save({"conv1.weight": torch.zeros(2, 3)}, tmp_path / "resnet.pth")
    assert main(["inspect", str(tmp_path / "resnet.pth")]) == 0
    said = capsys.readouterr().out
    assert "of no kind that sonolex knows (it has tensors such as 'conv1.weight')" in said and "no system" in said


def test_a_model_of_our_own_is_called_one(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"system": "ctal", "config": {}}')
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    assert main(["inspect", str(tmp_path)]) == 0
    assert "a model that sonolex saved (start from it with init_from)" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["nowhere.pth", "nowhere"])
def test_a_missing_checkpoint_is_one_line(place, tmp_path, capsys):
    assert main(["inspect", str(tmp_path / place)]) == 2
    assert "Traceback" not in capsys.readouterr().err
