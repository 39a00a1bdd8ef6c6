"""What works with only some of the installed packages: sonolex as if installed with one extra, or with none.

    python -m tests.extras_alone FOLDER
    python -m tests.extras_alone --fresh FOLDER

The first one hides: it reads pyproject.toml and the installed packages' own requirements, hides every package that the
chosen extra does not bring along, imports every module of sonolex, then uses each extra's feature in a process that
sees that extra only. Prints JSON: what each feature said without any extra, and with its own.

The second one installs: sonolex in a fresh environment, and each extra in one of its own on top of it. It needs the
registry, two gigabytes and half an hour.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: wanted for name, wanted in PROJECT["optional-dependencies"].items() if name != "dev"}
FINE = "fine"


class OnlyFrom:
    """Finds modules as Python does, but for those of packages that are not visible."""

    def __init__(self) -> None:
        self.visible: set[str] = set()
        self.owners = {name: {_normal(o) for o in owners} for name, owners in metadata.packages_distributions().items()}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        owners = self.owners.get(name.partition(".")[0])
        hidden = owners is not None and "sonolex" not in owners and not owners & self.visible
        return None if hidden else PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: Any = metadata.DistributionFinder.Context()) -> Iterable[Any]:  # noqa: B008
        found = metadata.MetadataPathFinder.find_distributions(context)
        return [d for d in found if _normal(d.metadata["Name"]) in self.visible | {"sonolex"}]

    def invalidate_caches(self) -> None:
        PathFinder.invalidate_caches()


def brought_along(wanted: Iterable[str]) -> set[str]:
    """Return the installed packages that these requirements install, and what those need in turn."""
    from packaging.requirements import Requirement

    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = _normal(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            needed = [Requirement(text) for text in metadata.requires(requirement.name) or []]
            waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def demo(folder: Path) -> None:
    from sonolex.data import espeak

    assert espeak.speak("<speak>good morning</speak>", voice="en-us").size > 1000
    assert espeak.phones("good", voice="en-us")


def report(folder: Path) -> None:
    from sonolex.results.report import write_html
    from tests.saved_runs import make_run

    make_run(folder / "run")
    assert write_html([folder / "run"], folder / "report.html").stat().st_size > 10_000


def tensorboard(folder: Path) -> None:
    from sonolex.train.journal import Journal

    Journal(folder).write("step", step=1, loss=0.5)
    if not list(folder.glob("tensorboard/*tfevents*")):  # a run goes on without, and doctor says how to have it
        raise ImportError("no TensorBoard: pip install 'sonolex[tensorboard]'")


def search(folder: Path) -> None:
    from sonolex.train import study

    optuna = study.import_optuna()
    made = optuna.create_study(storage=f"sqlite:///{folder}/study.sqlite")
    made.optimize(lambda trial: trial.suggest_float("lr", 0, 1) ** 2, n_trials=5)
    optuna.importance.get_param_importances(made, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def bridges(folder: Path) -> None:
    from sonolex.data import bridges as between

    clips = _clips(folder)
    assert len(between.from_lhotse(between.to_lhotse(clips))) == len(clips)
    assert len(between.from_datasets(between.to_datasets(clips))) == len(clips)


def lars(folder: Path) -> None:
    from sonolex.train.optim import build_optimizer
    from sonolex.train.run import Optim

    build_optimizer(_model(), Optim(algorithm="lars", lr=0.1)).step()


def asr(folder: Path) -> None:
    import numpy as np

    from sonolex.annotate.recognisers.pocketsphinx import open_recogniser

    assert open_recogniser(None).transcribe(np.zeros(16_000, np.float32)) is not None


def speecht5(folder: Path) -> None:
    from sonolex.systems.base import build_system
    from sonolex.systems.speecht5 import SpeechT5Config
    from sonolex.text import load_letters

    (folder / "text.txt").write_text("good morning\nbad evening\n" * 20, encoding="utf-8")
    model = folder / "letters.model"
    try:
        from sentencepiece import SentencePieceTrainer

        sizes = {"vocab_size": 20, "model_type": "char", "hard_vocab_limit": False, "minloglevel": 2}
        SentencePieceTrainer.train(input=str(folder / "text.txt"), model_prefix=str(model.with_suffix("")), **sizes)
    except ImportError:
        load_letters(model)  # says it in our words
    assert load_letters(model).get_vocab_size() > 10
    assert build_system("speecht5", SpeechT5Config.tiny()).pooled_dim


def whisper(folder: Path) -> None:
    from sonolex.annotate.recognisers.whisper import open_recogniser

    try:
        open_recogniser(str(folder / "no-model"))
    except (FileNotFoundError, ValueError):
        return  # which comes after transformers was found
    raise AssertionError("there is no model")


FEATURES: dict[str, Callable[[Path], None]] = {
    f.__name__: f for f in (demo, report, tensorboard, search, bridges, lars, asr, speecht5, whisper)
}


def _clips(folder: Path) -> Any:
    import numpy as np
    import soundfile

    from sonolex.data.manifest import manifest_from_rows

    soundfile.write(folder / "clip.wav", 0.1 * np.ones(8000), 8000)
    row = {"id": "clip", "audio": "clip.wav", "duration_s": 1.0, "sampling_rate": 8000, "text": "a", "speaker": "b"}
    return manifest_from_rows([row], root=folder)


def _model() -> Any:
    from sonolex.systems.base import build_system
    from sonolex.systems.ctal import CtalConfig
    from sonolex.tasks.base import Model

    return Model(build_system("ctal", CtalConfig.tiny()), {})


def said(feature: str, folder: Path) -> str:
    """Return "fine", or what using the feature raised."""
    folder.mkdir(parents=True)
    try:
        FEATURES[feature](folder)
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return FINE


def _with_extra(extra: str, folder: Path, answers: Any) -> None:
    answers.put(said(extra, folder))


def main(folder: Path) -> None:
    finder = OnlyFrom()
    core, extras = brought_along(PROJECT["dependencies"]), {e: brought_along(w) for e, w in EXTRAS.items()}
    finder.visible = core
    sys.meta_path = [finder if f is PathFinder else f for f in sys.meta_path]
    package = importlib.import_module("sonolex")
    modules = [m.name for m in pkgutil.walk_packages(package.__path__, "sonolex.") if not m.name.endswith("__main__")]
    for name in modules:
        importlib.import_module(name)
    found: dict[str, Any] = {"modules": len(modules), "alone": {}}
    found["without"] = {extra: said(extra, folder / "none" / extra) for extra in EXTRAS}
    found["hidden"] = sorted(set().union(*extras.values()) - core)
    context = multiprocessing.get_context("fork")  # what is loaded already is the core's, and takes seconds to load
    for extra in EXTRAS:
        answers = context.SimpleQueue()
        finder.visible = core | extras[extra]
        process = context.Process(target=_with_extra, args=(extra, folder / "one" / extra, answers))
        process.start()
        process.join()
        found["alone"][extra] = answers.get() if process.exitcode == 0 else f"exit code {process.exitcode}"
    print(json.dumps(found))


def fresh(folder: Path) -> int:
    """Install sonolex without an extra, then with each one; return how many features do not do as they should."""
    root = Path(__file__).parents[1]
    constrained = ["install", "--quiet", "--constraint", str(root / "constraints.txt")]
    core = _environment(folder / "core")
    _pip(core, *constrained, "torch")
    _pip(core, *constrained, str(root))
    wrong = 0
    for extra in ("", *EXTRAS):
        python = _environment(folder / (extra or "none"), on_top_of=core)
        if extra:
            _pip(python, *constrained, f"{root}[{extra}]")
        for feature in EXTRAS:
            words = [
                str(python),
                "-m",
                "tests.extras_alone",
                "--feature",
                feature,
                str(folder / "used" / extra / feature),
            ]
            answer = subprocess.run(words, cwd=root, capture_output=True, text=True).stdout.strip()
            # An extra may bring along what another one needs (transformers); its own feature it must.
            right = answer == FINE or (
                feature != extra and "ImportError: " in answer and f"sonolex[{feature}]" in answer
            )
            wrong += not right
            if feature == extra or not right:
                print(f"{extra or 'none'}: {feature}: {answer or 'died'}", flush=True)
        if not extra:
            print("none: every feature asks for its extra" if not wrong else "none: see above", flush=True)
    return wrong


def _environment(folder: Path, *, on_top_of: Path | None = None) -> Path:
    """Return the Python of a new environment, which also sees another one's packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder.resolve() / "bin" / "python"
    if on_top_of is not None:
        (below,) = on_top_of.parents[1].glob("lib/python*/site-packages")
        (own,) = folder.glob("lib/python*/site-packages")
        (own / "core.pth").write_text(f"{below}\n", encoding="utf-8")
    return python


def _pip(python: Path, *words: str) -> None:
    subprocess.run([str(python), "-m", "pip", *words], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--fresh":
        sys.exit(1 if fresh(Path(sys.argv[2])) else 0)
    if sys.argv[1] == "--feature":
        print(said(sys.argv[2], Path(sys.argv[3])))
    else:
        main(Path(sys.argv[1]))
