"""Search over a recipe's settings with optuna: several processes or machines share one study, and none sees test data.

A trial is the recipe's last run (or a named one) with other values, trained without its report part and scored on its
selection part. Runs it starts from are trained once and shared. A trial's folder is named by its values, so a killed
process loses at most the steps since its last checkpoint: the next process takes its trial over.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sonolex import configs, terminal
from sonolex.devices import AUTO, find_device
from sonolex.files import save_json
from sonolex.locks import holding, is_held
from sonolex.protocols.base import digest
from sonolex.train.loop import train
from sonolex.train.run import Data, Run
from sonolex.train.study import asking, import_optuna, is_of_this_machine, keeping, open_study

STARTUP_TRIALS = 8  # at random, before values are proposed from earlier scores, and before any trial is pruned
WAIT_S = 2.0


@dataclass(frozen=True)
class Choice:
    """One searched value: a range of numbers, or one of several values.

    Attributes:
        name: a keyword of the recipe (``epochs``), or a field of its run (``optim.lr``, ``config.dropout``).
        low, high: of a range; ``log`` searches the exponent, ``whole`` takes integers.
        values: to choose from, if it is not a range.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    values: tuple[Any, ...] = ()


def parse_choice(text: str) -> Choice:
    """Return a choice as the command line gives it: NAME=LOW:HIGH, NAME=LOW:HIGH:log, or NAME=A,B,C.

    >>> parse_choice("optim.lr=1e-4:1e-2:log")
    Choice(name='optim.lr', low=0.0001, high=0.01, log=True, whole=False, values=())
    >>> parse_choice("config.num_layers=1:4").whole, parse_choice("optim.schedule=linear,cosine").values
    (True, ('linear', 'cosine'))
    """
    name, _, choices = text.partition("=")
    parts = choices.split(":")
    if not name or not choices or len(parts) > 3 or (len(parts) == 3 and parts[2] != "log"):
        raise ValueError(f"`--space` must be NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, but is {text!r}.")
    if len(parts) == 1:
        return Choice(name, values=tuple(_value(v) for v in choices.split(",")))
    low, high = (_value(p) for p in parts[:2])
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low >= high:
        raise ValueError(f"the range of {name!r} must be two numbers, the lower one first, but is {choices!r}.")
    log = len(parts) == 3
    whole = isinstance(low, int) and isinstance(high, int)
    return Choice(name, float(low), float(high), log=log, whole=whole)


def sweep(
    recipe: Callable[..., Sequence[Run]],
    space: Sequence[Choice],
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    run: str = "",
    trials: int = 30,
    storage: str = "",
    prune: bool = True,
    seed: int = 0,
    device: str = AUTO,
    quiet: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> dict[str, Any]:
    """Search until the study has ``trials`` finished trials; return the best values, and write sweep.json.

    Args:
        recipe: returns runs; ``options`` are its keywords that are not searched.
        run: which of its runs is searched; default: the last.
        storage: a database of optuna ("sqlite:///…", "postgresql://…"); default: a journal file in ``folder``, which
            processes of one machine, or of several with a common file system, may share.
        prune: stop trials early whose selection values lie below the median of earlier ones.

    Raises:
        ValueError: a name in ``space`` that neither recipe nor run has, a study of another search, or no such device.
        OSError: the study cannot be kept (a full disk, a database that cannot be reached).
    """
    optuna = import_optuna()
    find_device(device)  # every trial would fail
    folder.mkdir(parents=True, exist_ok=True)
    first = _searched(recipe, options or {}, run, {c.name: _first(c) for c in space})  # unknown names fail at once
    search = {"space": configs.to_json(space), "runs": configs.to_json(first)}
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS) if prune else optuna.pruners.NopPruner()
    with keeping(storage, folder):
        study = open_study(storage, folder, search, pruner)

        def trained(trial: Any) -> None:
            values = {c.name: _suggested(trial, c) for c in space}
            runs = _searched(recipe, options or {}, run, values)
            _run_trial(study, trial, runs, folder, optuna, prune=prune, device=device, quiet=quiet)
            say(f"trial {trial.number}: {_state(study, trial.number)}, {_listed(values)}")

        _work(study, storage, folder, optuna, trained, trials=trials, seed=seed, say=say)
        return _summary(study, space, folder, optuna)


def _work(
    study: Any,
    storage: str,
    folder: Path,
    optuna: Any,
    trained: Callable[[Any], None],
    *,
    trials: int,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Take one free trial after the other, until the study has ``trials``."""
    while True:
        with ExitStack() as held:
            with asking(storage, folder):  # a trial is locked before anyone looks for dead ones
                _take_over(study, folder, optuna, say, ownerless=is_of_this_machine(storage))
                elsewhere, here, finished = _numbers(study, folder, optuna)
                if finished + here + elsewhere < trials:
                    trial = _new_trial(study, folder, optuna, seed)
                    held.enter_context(holding(folder, trial.number))
                elif here:
                    trial = None
                else:
                    break
            if trial is None:  # other processes here have the last ones, and may still be killed
                time.sleep(WAIT_S)
                continue
            trained(trial)


def _run_trial(
    study: Any,
    trial: Any,
    runs: Sequence[Run],
    folder: Path,
    optuna: Any,
    *,
    prune: bool,
    device: str,
    quiet: bool,
) -> None:
    """Train one trial, after the runs it starts from, and tell the study."""
    reported: list[float] = []

    def watch(step: int, value: float) -> None:
        reported.append(value)
        trial.report(max(reported), step)
        if prune and trial.should_prune():
            raise optuna.TrialPruned

    try:
        earlier: dict[str, Path] = {}
        for before in runs[:-1]:
            earlier[before.name] = folder / "earlier" / digest(before)
            with holding(folder, earlier[before.name].name):
                train(before, earlier[before.name], earlier=earlier, device=device, quiet=quiet)
        place = folder / "trials" / digest(trial.params)
        with holding(folder, place.name):  # another trial with the same values reads this one's score
            result = train(runs[-1], place, earlier=earlier, device=device, quiet=quiet, watch=watch)
        study.tell(trial, result["selection_value"])
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except ValueError as e:  # values that no run can have, or a loss that is not finite
        trial.set_user_attr("problem", str(e))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _searched(
    recipe: Callable[..., Sequence[Run]], options: Mapping[str, Any], name: str, values: Mapping[str, Any]
) -> list[Run]:
    """Return the searched run with these values, last, after the runs it starts from, without report parts."""
    keywords = {n: v for n, v in values.items() if "." not in n}
    runs = {r.name: _without_report(r) for r in recipe(**(dict(options) | keywords))}
    if name and name not in runs:
        raise ValueError(f"`run` must be one of {', '.join(runs)}, but is {name!r}.")
    wanted = runs[name] if name else list(runs.values())[-1]
    for field, value in values.items():
        if "." in field:
            wanted = _with_field(wanted, field.split("."), value, field)
    chain = [wanted]
    while chain[0].init_from in runs:
        chain.insert(0, runs[str(chain[0].init_from)])
    return chain


def _without_report(run: Run) -> Run:
    if not run.data.selection:
        return run
    data = {f.name: getattr(run.data, f.name) for f in dataclasses.fields(Data)}
    return replace(run, data=Data(**(data | {"report": (), "protocol": None, "fold": None, "also_report": ()})))


def _with_field(config: Any, path: Sequence[str], value: Any, whole: str) -> Any:
    """Return a dataclass with one field, given by its path, replaced."""
    known = [f.name for f in dataclasses.fields(config)] if dataclasses.is_dataclass(config) else []
    if path[0] not in known or isinstance(config, type):
        raise ValueError(
            f"`--space` must name fields of the run, but {whole!r} is none.{configs.suggestion(path[0], known)}"
        )
    if len(path) > 1:
        value = _with_field(getattr(config, path[0]), path[1:], value, whole)
    return replace(config, **{path[0]: value})


def _new_trial(study: Any, folder: Path, optuna: Any, seed: int) -> Any:
    """Return a new trial, or one that was taken over, with the machine and folder that it is trained in."""
    number = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=seed + number)
    trial = study.ask()
    trial.set_user_attr("place", _place(folder))
    return trial


def _place(folder: Path) -> str:
    return f"{socket.gethostname()}:{folder.resolve()}"


def _take_over(study: Any, folder: Path, optuna: Any, say: Callable[[str], None], *, ownerless: bool) -> None:
    """Put trials of this folder's dead processes back into the queue; they go on from their last checkpoint.

    Args:
        ownerless: also trials without an owner: their process died while it took them.
    """
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        owner = trial.user_attrs.get("place")
        mine = owner == _place(folder) or (owner is None and ownerless)
        if mine and not is_held(folder, trial.number):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params)
            say(f"trial {trial.number}: its process is gone; taken over")


def _numbers(study: Any, folder: Path, optuna: Any) -> tuple[int, int, int]:
    """Return how many trials run on other machines, how many in this folder, and how many are finished."""
    trials, states = study.get_trials(deepcopy=False), optuna.trial.TrialState
    running = [t for t in trials if t.state == states.RUNNING]
    here = sum(t.user_attrs.get("place") == _place(folder) for t in running)
    done = sum(t.state in (states.COMPLETE, states.PRUNED) or "problem" in t.user_attrs for t in trials)
    return len(running) - here, here, done


def _summary(study: Any, space: Sequence[Choice], folder: Path, optuna: Any) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        problems = sorted({t.user_attrs["problem"] for t in trials if "problem" in t.user_attrs})
        raise ValueError(f"no trial of {folder} was completed. {' '.join(problems)}")
    summary = {
        "best": study.best_trial.params,
        "value": study.best_value,
        "importance": _importance(study, complete, optuna),
        "trials": [
            {"number": t.number, "state": t.state.name.lower(), "value": t.value, "values": t.params} for t in trials
        ],
    }
    save_json(folder / "sweep.json", summary)
    return summary


def _importance(study: Any, complete: Sequence[Any], optuna: Any) -> dict[str, float]:
    """Return each value's share of the variance of the scores (fANOVA); empty if trials are too few or score alike."""
    if len(complete) < 4 or len({t.value for t in complete}) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return {n: float(v) for n, v in optuna.importance.get_param_importances(study, evaluator=evaluator).items()}


def _suggested(trial: Any, choice: Choice) -> Any:
    if choice.values:
        return trial.suggest_categorical(choice.name, list(choice.values))
    if choice.whole:
        return trial.suggest_int(choice.name, int(choice.low), int(choice.high), log=choice.log)
    return trial.suggest_float(choice.name, choice.low, choice.high, log=choice.log)


def _first(choice: Choice) -> Any:
    return choice.values[0] if choice.values else int(choice.low) if choice.whole else choice.low


def _value(text: str) -> Any:
    """Return a word of the command line as a number, a truth value, or itself."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return text


def _state(study: Any, number: int) -> str:
    trial = study.get_trials(deepcopy=False)[number]
    value = "" if trial.value is None else f" {trial.value:.4f}"
    return trial.state.name.lower() + value + "".join(f" ({p})" for p in [trial.user_attrs.get("problem")] if p)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in values.items())
