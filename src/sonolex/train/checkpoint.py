"""Save, load and resume, without pickle: tensors in safetensors, everything else in JSON.

A checkpoint is a folder that is complete or absent: it is written under another name and renamed. A *model folder* is
what users load: config.json, model.safetensors, the processor's files and a model card.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonolex import configs
from sonolex.data.manifest import Manifest
from sonolex.files import atomic_folder, load_object, save_json
from sonolex.hub import local_or_hub
from sonolex.processors.base import Processor
from sonolex.systems.base import System, seeded_build, system_name, system_type
from sonolex.tasks.base import Model, Task, TaskConfig, build_task, task_type
from sonolex.terminal import visible
from sonolex.train.cards import CARD, basic_card
from sonolex.train.run import Run
from sonolex.train.shapes import needs_values, shapes_only
from sonolex.weights import Stored, read_header, read_tensors, require_finite, require_fit, write_tensors

FORMAT_VERSION = 1
MOST_TASKS = 1000
RUNS_NAMED = 5
NOT_IN_OLDER = {"load_s"}  # of a training's loop state; checkpoints of older versions lack it


def build_model(kind: type[System], config: Any, tasks: tuple[TaskConfig, ...], *, seed: int) -> Model:
    """Return a model with random weights that depend only on its configs and ``seed``."""
    built = _built(kind, config, seed=seed)
    return Model(built, _built_tasks(tasks, built.pooled_dim, seed=seed))


def _built(kind: type[System], config: Any, *, seed: int) -> System:
    with seeded_build(seed):
        return kind(config)  # type: ignore[call-arg]


def _built_tasks(tasks: tuple[TaskConfig, ...], pooled_dim: int, *, seed: int) -> dict[str, Task]:
    return {t.name: build_task(t, pooled_dim, seed=seed + 1 + i) for i, t in enumerate(tasks)}


def save_model(folder: Path, model: Model, processor: Processor, *, provenance: dict[str, Any]) -> None:
    """Write a model folder, atomically. ``provenance`` records where the weights come from."""
    with atomic_folder(folder) as building:
        processor.save(building)
        save_json(
            building / "config.json",
            {
                "format_version": FORMAT_VERSION,
                "system": system_name(model.system),
                "config": model.system.config,
                "tasks": [{"kind": t.config.kind, "config": t.config} for _, t in model.task_items()],
                "provenance": provenance,
            },
        )
        write_tensors(building / "model.safetensors", _cpu_state(model), metadata={"format": "pt"})
        (building / CARD).write_text(basic_card(model, provenance), encoding="utf-8")


def provenance_of(run: Run, *, step: int, clips: Manifest) -> dict[str, Any]:
    """Return what a model folder records of the training of its weights on ``clips``."""
    longest_s = max((float(s) for s in clips.durations_s if math.isfinite(s)), default=0.0)
    inputs = {"modalities": list(run.data.loading.modalities), "longest_clip_s": round(longest_s, 3)}
    return {"run": run.name, "step": step, "seed": run.seed} | inputs


def model_folder(place: str | Path) -> Path:
    """Return a local model folder: a run's ``model``, the folder itself, or a download of ``hub:ORG/NAME``.

    Raises:
        FileNotFoundError: the path is not a model folder, or a repository that cannot be downloaded.
    """
    path = Path(place)
    if (path / "model" / "config.json").is_file():
        return path / "model"
    if path.is_dir() and not (path / "config.json").is_file():
        runs = sorted(str(p.parent.parent) for p in path.glob("*/model/config.json"))
        if runs:
            named = ", ".join(visible(run) for run in runs[:RUNS_NAMED]) + ", …" * (len(runs) > RUNS_NAMED)
            raise FileNotFoundError(f"`path` must be a run or model folder, but {place} holds runs: {named}. Name one.")
    return local_or_hub(place, wanted="a run or model folder", files=("*.json", "*.safetensors", CARD))


@dataclass(frozen=True)
class _SavedTask:
    kind: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class _Saved:
    """config.json of a model folder."""

    format_version: int
    system: str
    config: Mapping[str, Any]
    tasks: tuple[_SavedTask, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    folder: Path, *, trust_code: bool = False, own: Collection[str] = ()
) -> tuple[Model, Processor, dict[str, Any]]:
    """Return the model, its processor and its config.json; strictly: every weight must fit.

    Nothing in the folder is trusted: the config is compared with the weights before any of its sizes takes memory.

    Args:
        trust_code: the config may name a system or tasks outside the package; their code then runs.
        own: names outside the package that are trusted in any case, because the caller's own code gives them.

    Raises:
        FileNotFoundError: the folder is not a model folder.
        ValueError: another format, a file that is broken, or weights that do not fit the config.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"`path` must be a model folder with config.json, but {folder} is none.")
    values = load_object(file)
    if values.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{file} must have format_version {FORMAT_VERSION}, but has {values.get('format_version')!r:.40}."
        )
    if isinstance(values.get("tasks"), list) and len(values["tasks"]) > MOST_TASKS:
        raise ValueError(f"{file}: `tasks` must be at most {MOST_TASKS}, but are {len(values['tasks'])}.")
    saved = configs.from_json(_Saved, values, where=str(file))
    with _naming(file):
        kind, config, tasks = _configs_of(saved, file, lambda name: trust_code or name in own)
    stored = read_header(folder / "model.safetensors")
    with _naming(folder):
        processor = kind.processor_type.load(folder)
    with _no_model_of(file):
        differing = list(configs.differences(configs.to_json(config), configs.to_json(kind.matched(config, processor))))
    if differing:
        raise ValueError(
            f"{file} must fit the processor's files beside it, but differs in {', '.join(differing[:5])[:500]}."
        )
    return _loaded(folder, kind, config, tasks, stored), processor, values


def _configs_of(
    saved: _Saved, file: Path, trusted: Callable[[str], bool]
) -> tuple[type[System], Any, tuple[TaskConfig, ...]]:
    """Return the system's class and all configs. Raises ValueError with the problems of all of them."""
    kind = system_type(saved.system, trust_code=trusted(saved.system))
    problems: list[str] = []

    def checked(config_type: type, values: Mapping[str, Any], place: str) -> Any:
        try:
            return configs.from_json(config_type, values, where=f"{file}, {place}")
        except ValueError as e:
            problems.append(str(e))
            return None

    config = checked(kind.config_type, saved.config, "config")
    types = [task_type(t.kind, trust_code=trusted(t.kind)).config_type for t in saved.tasks]
    tasks = [checked(types[i], t.config, f"tasks[{i}].config") for i, t in enumerate(saved.tasks)]
    if not problems and len({t.name for t in tasks}) < len(tasks):
        problems.append(f"{file}: `tasks` must have different names, but are {[t.name for t in tasks]!r:.200}.")
    if problems:
        raise ValueError("\n".join(problems[: configs.MOST_PROBLEMS]))
    return kind, config, tuple(tasks)


def _loaded(
    folder: Path, kind: type[System], config: Any, tasks: tuple[TaskConfig, ...], stored: Mapping[str, Stored]
) -> Model:
    """Return the model with the weights of ``folder``, built without memory first, to be compared with the file."""
    file, where = folder / "config.json", f"{folder / 'model.safetensors'}"
    # The user's own code is run anyway, and may need real tensors.
    trusted = not all(t.__module__.startswith("sonolex.") for t in (kind, *map(type, tasks)))
    kind.import_extras()  # here: tensors that a module creates on import need memory
    with _no_model_of(file), nullcontext() if trusted else shapes_only(most_parts=_parts(stored, tasks)):
        model = build_model(kind, config, tasks, seed=0)
    expected = model.state_dict(keep_vars=True)
    require_fit(where, stored, expected)
    with _no_model_of(file):
        if not trusted:  # the shapes are right, so that memory may be taken
            system = _built(kind, config, seed=0) if needs_values(model.system) else model.system
            model = Model(system, _built_tasks(tasks, system.pooled_dim, seed=0))
    weights = read_tensors(folder / "model.safetensors")
    for name, value in weights.items():
        require_finite(where, name, value)
    model.load_state_dict({n: w.to(expected[n].dtype) for n, w in weights.items()}, assign=True)
    return model


def _parts(stored: Mapping[str, Stored], tasks: Sequence[TaskConfig]) -> int:
    """Return how many modules and parameters a model with these weights may have: ours register 3 to 5 for one."""
    return 8 * (len(stored) + len(tasks)) + 100


@contextmanager
def _naming(place: Path) -> Iterator[None]:
    """Context: a ValueError inside names ``place``."""
    try:
        yield
    except ValueError as e:
        if str(place) in str(e):
            raise
        raise ValueError(f"{place}: {e}") from e


@contextmanager
def _no_model_of(file: Path) -> Iterator[None]:
    """Context: turn any error inside into a ValueError that names the config file, whose numbers cause it."""
    try:
        yield
    except Exception as e:  # numbers that no model can have fail anywhere in it, as anything
        reason = " ".join(str(e).split())[:300]
        raise ValueError(f"{file} must describe a model, but none can be built from it: {reason}") from e


def load_system_weights(model: Model, weights: dict[str, Tensor]) -> list[str]:
    """Copy a saved model's system weights into ``model``; return the names that stay random.

    Raises:
        ValueError: a weight of another shape, or one the system does not have.
    """
    expected = model.system.state_dict()
    system_weights = {k.removeprefix("system."): v for k, v in weights.items() if k.startswith("system.")}
    wrong = [k for k, v in system_weights.items() if k not in expected or expected[k].shape != v.shape]
    if wrong:
        raise ValueError(f"`init_from` must fit the system, but {wrong[:5]} ({len(wrong)} in all) do not.")
    model.system.load_state_dict(system_weights, strict=False)
    heads = {k: v for k, v in weights.items() if k.startswith("tasks.")}
    fitting = {k: v for k, v in heads.items() if k in (state := model.state_dict()) and state[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return sorted(
        (set(expected) - set(system_weights)) | {k for k in model.state_dict() if k.startswith("tasks.")} - set(fitting)
    )


def save_training_state(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write weights, optimiser state and loop state; training goes on from these alone."""
    tensors, scalars = _flat_optimizer(optimizer)
    with atomic_folder(folder) as building:
        write_tensors(building / "model.safetensors", _cpu_state(model))
        write_tensors(building / "optimizer.safetensors", tensors)
        save_json(building / "state.json", {"loop": state, "optimizer": scalars})


def load_training_state(
    folder: Path, model: Model, optimizer: torch.optim.Optimizer, *, fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """Restore what `save_training_state` wrote and return the loop state.

    Args:
        fresh: the loop state of a new training; the saved one has the same names.

    Raises:
        ValueError: a file is broken, or of another model or optimiser.
    """
    weights, numbers = folder / "model.safetensors", folder / "optimizer.safetensors"
    saved = load_object(folder / "state.json")
    expected = model.state_dict(keep_vars=True)
    require_fit(str(weights), read_header(weights), expected)
    model_state, moments = read_tensors(weights), read_tensors(numbers)
    for file, tensors in ((weights, model_state), (numbers, moments)):
        for name, value in tensors.items():
            require_finite(str(file), name, value)
    state = _optimizer_state(optimizer, moments, numbers)
    try:
        loop, groups = saved["loop"], saved["optimizer"]["param_groups"]
        _require_loop_state(loop, fresh)
        _require_groups(groups, _flat_optimizer(optimizer)[1]["param_groups"])
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise ValueError(
            f"{folder / 'state.json'} must be the state of this training, but is not ({type(e).__name__}: {e}). "
            "Remove the checkpoint to go on from the one before."
        ) from e
    model.load_state_dict(model_state)
    return loop


def _require_loop_state(loop: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Raise ValueError unless the names are the same, counts and seconds are not negative, and all is finite."""
    needed = {name for name, begins in fresh.items() if begins is not None} - NOT_IN_OLDER
    if not needed <= loop.keys() <= fresh.keys():
        raise ValueError(f"'loop' must have {sorted(fresh)}")
    for name, value in loop.items():
        begins = fresh[name]
        if begins is None and value is None:
            continue
        kinds = int if isinstance(begins, int) else (int, float)
        if not isinstance(value, kinds) or not math.isfinite(value) or (begins is not None and value < 0):
            raise ValueError(f"{name!r} in 'loop' is {value!r:.40}")


def _require_groups(groups: Any, expected: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError unless groups of parameters are those of this training, at any rate."""
    if not isinstance(groups, list) or len(groups) != len(expected):
        raise ValueError(f"'param_groups' must be {len(expected)} groups")
    for number, (group, wanted) in enumerate(zip(groups, expected, strict=True)):
        if not isinstance(group, dict) or group.keys() != wanted.keys():
            raise ValueError(f"group {number} must have {sorted(wanted)}")
        differing = [name for name, value in wanted.items() if name != "lr" and group[name] != value]
        if differing:
            raise ValueError(f"group {number} differs in {', '.join(map(repr, differing))}")
        if not isinstance(group["lr"], int | float) or not math.isfinite(group["lr"]):
            raise ValueError(f"'lr' of group {number} is {group['lr']!r:.40}")


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], file: Path
) -> dict[int, dict[str, Tensor]]:
    """Return the optimiser's state by the number of its parameter; each tensor has its shape, or is one number."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        index = int(number) if number.isdecimal() and len(number) < 10 else -1
        if not 0 <= index < len(parameters) or (value.ndim and value.shape != parameters[index].shape):
            raise ValueError(f"{file} must hold the state of this optimiser, but {key!r} fits none of its parameters.")
        state.setdefault(index, {})[name] = value
    return state


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete ``step-*`` checkpoint of a run, None if there is none."""
    states = sorted(folder.glob("step-*/state.json"))
    return states[-1].parent if states else None


def environment() -> dict[str, Any]:
    """Return where a result was computed: commit, versions, machine."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "soxr", "soundfile", "scikit-learn")}
    return {
        "sonolex": metadata.version("sonolex"),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **versions,
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_state(model: Model) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}


def _flat_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    saved = optimizer.state_dict()
    tensors = {f"{i}.{k}": v.cpu().contiguous() for i, s in saved["state"].items() for k, v in s.items()}
    return tensors, {"param_groups": json.loads(json.dumps(saved["param_groups"]))}
