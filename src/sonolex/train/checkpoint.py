"""Save, load and resume, without pickle: tensors in safetensors, everything else in JSON.

A checkpoint is a folder that is complete or absent: it is written under another name and renamed. A *model folder* is
what users load: config.json, model.safetensors, the processor's files and a model card.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sonolex import configs
from sonolex.files import atomic_folder, load_object, save_json
from sonolex.hub import local_or_hub
from sonolex.systems.base import Processor, build_system, count_parameters, system_type
from sonolex.tasks.base import Model, TaskConfig, build_task, task_type
from sonolex.terminal import markdown

FORMAT_VERSION = 1


def build_model(system: str, config: Any, tasks: tuple[TaskConfig, ...], *, seed: int) -> Model:
    """Return a model with random weights that depend only on its configs and ``seed``."""
    built = build_system(system, config, seed=seed)
    heads = {t.name: build_task(t, built.pooled_dim, seed=seed + 1 + i) for i, t in enumerate(tasks)}
    return Model(built, heads)


def save_model(folder: Path, model: Model, processor: Processor, *, provenance: dict[str, Any]) -> None:
    """Write a model folder, atomically. ``provenance`` says where the weights come from."""
    with atomic_folder(folder) as building:
        processor.save(building)
        save_json(
            building / "config.json",
            {
                "format_version": FORMAT_VERSION,
                "system": model.system.name,
                "config": model.system.config,
                "tasks": [{"kind": t.config.kind, "config": t.config} for _, t in model.task_items()],
                "provenance": provenance,
            },
        )
        save_file(_cpu_state(model), building / "model.safetensors", metadata={"format": "pt"})
        (building / "README.md").write_text(_model_card(model, provenance), encoding="utf-8")


def model_folder(place: str | Path) -> Path:
    """Return a local model folder: a run's ``model``, the folder itself, or a download of a hub id.

    Raises:
        FileNotFoundError: a path that is no model folder, or a hub id that cannot be reached.
    """
    path = Path(place)
    if (path / "model" / "config.json").is_file():
        return path / "model"
    return local_or_hub(path, wanted="a run or model folder", files=("*.json", "*.safetensors"))


def load_model(folder: Path) -> tuple[Model, Processor, dict[str, Any]]:
    """Return the model, its processor and its config.json; strictly: every weight must fit.

    Raises:
        FileNotFoundError: the folder is no model folder.
        ValueError: another format, or weights that do not fit the config.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"`path` must be a model folder with config.json, but {folder} is none.")
    saved = load_object(folder / "config.json")
    if saved.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{folder} must have format_version {FORMAT_VERSION}, but has {saved.get('format_version')}.")
    kind = system_type(saved["system"])
    tasks = tuple(configs.from_json(task_type(t["kind"]).config_type, t["config"]) for t in saved["tasks"])
    model = build_model(saved["system"], configs.from_json(kind.config_type, saved["config"]), tasks, seed=0)
    weights = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise ValueError(f"{folder}: weights must fit the config, but {missing[:5]} miss and {unexpected[:5]} are new.")
    return model, kind.processor_type.load(folder), saved


def load_system_weights(model: Model, weights: dict[str, Tensor]) -> list[str]:
    """Copy a saved model's system weights into ``model``; return the names that stay random.

    Raises:
        ValueError: a weight of another shape, or one the system does not have.
    """
    own = model.system.state_dict()
    given = {k.removeprefix("system."): v for k, v in weights.items() if k.startswith("system.")}
    wrong = [k for k, v in given.items() if k not in own or own[k].shape != v.shape]
    if wrong:
        raise ValueError(f"`init_from` must fit the system, but {wrong[:5]} ({len(wrong)} in all) do not.")
    model.system.load_state_dict(given, strict=False)
    heads = {k: v for k, v in weights.items() if k.startswith("tasks.")}
    fitting = {k: v for k, v in heads.items() if k in (state := model.state_dict()) and state[k].shape == v.shape}
    model.load_state_dict(fitting, strict=False)
    return sorted((set(own) - set(given)) | {k for k in model.state_dict() if k.startswith("tasks.")} - set(fitting))


def save_training_state(folder: Path, model: Model, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write weights, optimiser state and loop state; nothing else decides how training goes on."""
    tensors, scalars = _flat_optimizer(optimizer)
    with atomic_folder(folder) as building:
        save_file(_cpu_state(model), building / "model.safetensors")
        save_file(tensors, building / "optimizer.safetensors")
        save_json(building / "state.json", {"loop": state, "optimizer": scalars})


def load_training_state(folder: Path, model: Model, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what `save_training_state` wrote and return the loop state."""
    model.load_state_dict(load_file(folder / "model.safetensors"))
    saved = load_object(folder / "state.json")
    tensors = load_file(folder / "optimizer.safetensors")
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": saved["optimizer"]["param_groups"]})
    return saved["loop"]


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete ``step-*`` checkpoint of a run, None if there is none."""
    found = sorted(folder.glob("step-*/state.json"))
    return found[-1].parent if found else None


def environment() -> dict[str, Any]:
    """Return what a result must say about where it was made: commit, versions, machine."""
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


def _model_card(model: Model, provenance: dict[str, Any]) -> str:
    tasks = ", ".join(f"{markdown(name)} ({task.config.kind})" for name, task in model.task_items())
    accepted = "; ".join(sorted(" + ".join(sorted(m)) for m in model.system.accepts))
    return (
        "---\nlibrary_name: sonolex\nlicense: apache-2.0\ntags:\n- audio\n- speech\n---\n\n"
        f"# {model.system.name}\n\n"
        f"{count_parameters(model.system):,} parameters. Tasks: {tasks}. Accepts: {accepted}.\n\n"
        "```python\nimport sonolex\nmodel = sonolex.load('this folder')\nmodel.predict(audio='clip.wav')\n```\n\n"
        f"Trained by: {markdown(json.dumps(configs.to_json(provenance), sort_keys=True))}\n"
    )
