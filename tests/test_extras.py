"""Each extra works with its own packages alone, and sonolex without any."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sonolex.cli import doctor
from tests.extras_alone import EXTRAS, FEATURES, FINE, brought_along

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `tests.extras_alone` printed, in a process of its own."""
    if importlib.util.find_spec("lhotse") is None:
        pytest.skip("the extras are not installed: pip install -e '.[dev]'")
    paths = [str(ROOT), str(ROOT / "src")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = [sys.executable, "-m", "tests.extras_alone", str(tmp_path_factory.mktemp("extras"))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_extra_has_a_feature_that_is_tried():
    assert set(EXTRAS) == set(FEATURES)


def test_without_any_extra_every_module_is_imported(found):
    assert found["modules"] > 200
    assert {"transformers", "matplotlib", "lhotse", "optuna", "tensorboard"} <= set(found["hidden"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_without_it_a_feature_says_in_one_line_which_extra_to_install(found, extra):
    said = found["without"][extra]
    assert said.startswith("ImportError: ") and f"pip install 'sonolex[{extra}]'" in said and "\n" not in said


@pytest.mark.parametrize("extra", EXTRAS)
def test_with_it_alone_a_feature_works(found, extra):
    """Seen before: `bridges` lacked urllib3, which lhotse imports, and asked for the extra that was installed."""
    assert found["alone"][extra] == FINE


def test_doctor_names_every_extra():
    assert set(EXTRAS) == {extra for extra, _ in doctor.OPTIONAL.values()}


def test_what_make_installs_is_pinned_and_hashed():
    pins = _pins(ROOT / "constraints.txt")
    locked = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", locked.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert _pins(ROOT / "requirements.txt") == {name: v for name, v in pins.items() if name != "torch"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    needed = brought_along(r for r in wanted if not r.startswith("sonolex["))
    builds = {
        name for name in needed if name.startswith(("nvidia-", "cuda-", "triton"))
    }  # come with torch's CUDA build
    assert needed - builds <= set(pins)


def _pins(file: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\\\]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}
