"""Who may import whom (docs/architecture.md), by walking every import of the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sonolex"
FLOOR = {"types", "configs", "files", "locks", "hub", "terminal", "names", "arrays", "devices", "weights", "torch_file"}
FLOOR |= {"progress", "cache", "labels", "groups", "places"}
TRAINED = {"systems.base", "tasks.base", "train.checkpoint"}  # what a trained model is read through
# layer of a module, which is its top folder or the nearest one named here: prefixes it may import
ALLOWED = {
    "places": set(),
    "types": {"places"},
    "configs": set(),
    "files": {"configs"},
    "locks": {"files"},
    "hub": {"terminal"},
    "terminal": set(),
    "names": set(),
    "arrays": {"files"},
    "devices": set(),
    "weights": {"files"},
    "torch_file": {"files"},
    "progress": set(),
    "cache": {"configs", "files", "locks"},
    "tokenizer_limits": set(),
    "eer": set(),
    "text": FLOOR | {"tokenizer_limits"},
    "metrics": FLOOR,
    "labels": set(),
    "groups": set(),
    "floors": {"labels", "metrics"},
    "scores": {"configs", "labels", "groups", "metrics", "eer", "scores.base"},
    "audio": FLOOR | {"audio"},
    "nn": FLOOR | {"nn"},
    "objectives": FLOOR,
    "pretrained": FLOOR | {"nn", "pretrained"},
    "processors": FLOOR | {"audio", "text", "nn", "objectives", "pretrained", "processors"},
    "systems": FLOOR | {"audio", "text", "nn", "objectives", "pretrained", "processors", "systems.base"},
    "systems/ctal_rows": FLOOR
    | {"audio", "text", "nn", "objectives", "processors", "systems.base", "systems.ctal", "systems.ctal_rows.base"},
    "data": FLOOR | {"audio", "data"},
    "tasks": FLOOR | {"scores", "floors", "systems.base", "nn", "objectives", "metrics", "tasks.base"},
    "protocols": FLOOR | {"data", "tasks", "metrics", "protocols"},
    "train": FLOOR
    | {"floors", "audio", "data", "nn.dropout", "processors.base", "systems.base", "tasks.base", "protocols.base"}
    | {"metrics", "train"},
    "recipes": FLOOR
    | {"audio", "data", "processors", "systems", "tasks", "protocols", "train", "metrics"}
    | {"recipes.base"},
    "annotate": FLOOR | {"audio", "data", "pretrained.files", "objectives", "annotate", "train.building"} | TRAINED,
    "studies": FLOOR | {"audio", "data", "protocols.base", "train", "studies"} | TRAINED,
    "results": FLOOR | {"scores.base", "metrics", "train.journal", "results"},
    "doors": FLOOR
    | {
        "metrics",
        "audio",
        "text",
        "data",
        "processors",
        "systems",
        "tasks",
        "protocols.base",
        "train",
        "results",
        "pretrained.checkpoint",
        "doors",
    },
    "cli": FLOOR | {"data", "train", "annotate", "studies", "results", "doors", "cli"},
}
BENCHMARKS = sorted((SOURCE.parents[1] / "benchmarks").rglob("*.py"))
FILES = sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py" and p != SOURCE / "__main__.py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sonolex":
            inner = node.module.removeprefix("sonolex").lstrip(".")
            names = [inner] if inner else []
            # "from sonolex.audio import features" imports a module of the folder, "from sonolex import configs" too
            if not inner or (SOURCE / inner.replace(".", "/")).is_dir():
                names = [f"{inner}.{a.name}".lstrip(".") for a in node.names]
            found |= set(names)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("sonolex.") for a in node.names if a.name.startswith("sonolex.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_module_imports_only_the_layers_below_it(path):
    inside = path.relative_to(SOURCE)
    layer = next(p for p in (*map(str, inside.parents), inside.parts[0].removesuffix(".py")) if p in ALLOWED)
    own = ".".join(inside.parent.parts) + "._"  # what the modules of one folder share
    wrong = {
        i
        for i in imports_of(path)
        if not (i.startswith(own) or any(i == a or i.startswith(a + ".") for a in ALLOWED[layer]))
    }
    assert not wrong, f"{inside} imports {sorted(wrong)}"


@pytest.mark.parametrize("path", [*FILES, *BENCHMARKS], ids=lambda p: "/".join(p.parts[-3:]))
def test_nothing_outside_a_folder_imports_a_private_module_inside_it(path):
    inside = ".".join(path.relative_to(SOURCE).with_suffix("").parts) if path in FILES else "benchmarks"
    private = {i: i[: i.index("._")] for i in imports_of(path) if "._" in i}
    wrong = {i for i, folder in private.items() if not inside.startswith(folder + ".")}
    assert not wrong, f"{path} imports {sorted(wrong)}"


def test_nothing_imports_the_command_line():
    others = [p for p in FILES if p.parent.name != "cli"]
    assert not [p for p in others if any(i == "cli" or i.startswith("cli.") for i in imports_of(p))]


def test_only_the_loop_and_what_launches_it_import_fabric():
    users = [p.name for p in FILES if "lightning_fabric" in p.read_text(encoding="utf-8")]
    assert users == ["loop.py", "processes.py"]


def test_only_audio_io_opens_audio_and_only_generated_corpora_write_it():
    users = {str(p.relative_to(SOURCE)) for p in FILES if "import soundfile" in p.read_text(encoding="utf-8")}
    names = ("tonewords", "_spoken", "sound_scenes")
    writers = {f"data/corpora/{name}.py" for name in names}
    assert users - writers - {"cli/doctor.py"} == {"audio/io.py"}


@pytest.mark.parametrize("command", ["import sonolex", "from sonolex.cli import main; main(['--help'])"])
def test_importing_and_help_stay_light(command):
    code = (
        f"import sys\ntry:\n    exec({command!r})\nexcept SystemExit: pass\n"
        "heavy = [m for m in ('torch', 'transformers', 'numpy', 'lightning_fabric') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tables_need_no_torch():
    code = (
        "import sys\nfrom sonolex.configs import module_names\nfrom sonolex.results import compare, paired, report\n"
        "from sonolex.scores.base import find_scorer\nfor name in module_names('scores'): find_scorer(name)\n"
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_is_printed_through_the_terminals_own_function():
    users = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert set(users) == {"terminal.py"}


def test_no_progress_bar_reads_markup_in_names():
    told = [p for p in FILES if "add_task(" in p.read_text(encoding="utf-8")]
    for path in told:
        text = path.read_text(encoding="utf-8")
        assert "markup=False" in text or 'add_task("' in text, path
