"""Names to modules, and frozen dataclasses to JSON and back. Standard library only.

A name on the command line or in a checkpoint is a module name; this file is the one place that resolves it. Names
read from files must be built in; only the user can name code of their own.
"""

from __future__ import annotations

import importlib
import math
import os
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PROMISED = {  # what every module of a package must define
    "systems": "SYSTEM",
    "tasks": "TASK",
    "scores": "SCORER",
    "protocols": "PROTOCOL",
    "data.corpora": "prepare",
    "recipes": "recipe",
    "annotate.recognisers": "open_recogniser",
}
EXACT = 2**53  # up to here a float holds every whole number
PLACES = {"systems": ("systems", "systems.ctal_rows")}  # folders of bare names, where they are more than the package
MOST_PROBLEMS = 20  # listed at once
MOST_LETTERS = 500  # of one problem, which may quote anything from a file


def module_names(package: str) -> list[str]:
    """Return the public module names in ``sonolex.<package>``, without importing them."""
    return sorted(_modules(package))


def _modules(package: str) -> dict[str, str]:
    """Return the dotted paths of a package's public modules, by their bare names."""
    modules: dict[str, str] = {}
    places = PLACES.get(package, (package,))
    for place in places:
        folder = Path(__file__).parent.joinpath(*place.split("."))
        stems = (p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file())
        paths = {name: f"{place}.{name}" for name in stems if name.isidentifier()}
        modules |= {n: path for n, path in paths.items() if not n.startswith(("_", "base")) and path not in places}
    return modules


def find_module(package: str, name: str, *, trust_code: bool = False) -> types.ModuleType:
    """Return the module ``sonolex.<package>.<name>``; the rows of CTAL's tables are systems too.

    Args:
        name: with ``trust_code`` also the dotted path of the user's own module, whose code then runs.
        trust_code: True where the user chose ``name``, in Python or on the command line; never where a file did.

    Raises:
        ValueError: no such module, with the nearest names, or one that lacks what its package promises.
    """
    modules = _modules(package)
    if isinstance(name, str) and name in modules:
        return importlib.import_module(f"sonolex.{modules[name]}")
    dotted = isinstance(name, str) and "." in name and all(part.isidentifier() for part in name.split("."))
    if not (dotted and trust_code):
        code = " Code outside the package runs only where you name it yourself, or with --trust-code." * dotted
        names = sorted(modules)
        near = suggestion(name, names) if isinstance(name, str) else ""
        raise ValueError(f"`{package}` must be one of {', '.join(names)}, but is {reprlib.repr(name)}.{near}{code}")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name and f"{name}.".startswith(f"{e.name}."):  # not an import that fails inside the user's module
            raise ValueError(f"`{package}` must be a module that Python can import, but {name!r} is not found.") from e
        raise
    if not hasattr(module, PROMISED[package]):
        raise ValueError(f"`{name}` must have {PROMISED[package]} to be one of `{package}`, but has not.")
    return module


def look_here_for(names: Iterable[Any]) -> None:
    """Let Python find modules in the working folder if one of ``names``, which the user typed, is a dotted path.

    ``python -m sonolex`` looks there in any case. The folder comes last, so that no file in it replaces an installed
    module. Without such a name it is not searched: a stranger's folder runs nothing.
    """
    here = str(Path.cwd())
    if any(map(_is_dotted, names)) and not {"", here} & set(sys.path):
        sys.path.append(here)


def _is_dotted(name: Any) -> bool:
    """Return whether a name can be that of a module in a package, and is no file."""
    parts = name.split(".") if isinstance(name, str) else ()
    return len(parts) > 1 and all(map(str.isidentifier, parts)) and not Path(name).exists()


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, but is {value!r}.")


def to_json(config: Any) -> Any:
    """Return plain JSON values of a dataclass, recursively. Tuples become lists, paths strings."""
    import dataclasses  # here, as below: like `pkgutil` it brings `inspect`, a seventh of what `sonolex --help` takes

    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {str(k): to_json(v) for k, v in config.items()}
    if isinstance(config, list | tuple | set | frozenset):
        items = sorted(config) if isinstance(config, set | frozenset) else config
        return [to_json(v) for v in items]
    if isinstance(config, Path):
        return str(config)
    return config


def from_json(config_type: type[T], values: Any, *, where: str = "") -> T:
    """Return ``config_type`` built from JSON values.

    Raises:
        ValueError: unknown or missing fields and values of another type, all of them at once.
    """
    problems: list[str] = []
    config = _built(config_type, values, "", problems)
    if problems:
        more = ["and more"] * (len(problems) > MOST_PROBLEMS)
        lines = "\n  ".join([*problems[:MOST_PROBLEMS], *more])
        raise ValueError(f"{where or config_type.__name__} has fields that cannot be used:\n  {lines}")
    return config


def differences(saved: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Yield every place where two JSON values differ, with both values.

    >>> list(differences({"a": {"b": 1}}, {"a": {"b": 2}}))
    ['a.b (1 → 2)']
    """
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted(set(saved) | set(wanted)):
            yield from differences(saved.get(key), wanted.get(key), f"{place}.{key}" if place else key)
    elif saved != wanted:
        yield f"{place} ({saved!r} → {wanted!r})"


def cache_folder() -> Path:
    """Return where generated corpora are kept: $SONOLEX_CACHE, or sonolex in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sonolex"
    return Path(os.environ.get("SONOLEX_CACHE", default))


def _built(config_type: Any, values: Any, place: str, problems: list[str]) -> Any:
    """Return the dataclass, or None after adding to ``problems`` what is wrong with ``values``."""
    import dataclasses

    before = len(problems)
    if not isinstance(values, dict):
        problems.append(_wrong(place or config_type.__name__, "an object", values))
        return None
    hints = _hints(config_type)
    fields = {f.name: f for f in dataclasses.fields(config_type) if f.init}
    unknown = [n for n in values if n not in fields][: MOST_PROBLEMS + 1]
    problems += [f"`{_at(place, n)}` is unknown.{suggestion(n, sorted(fields))}" for n in unknown]
    arguments = {n: _value(hints[n], v, _at(place, n), problems) for n, v in values.items() if n in fields}
    missing = dataclasses.MISSING
    problems += [
        f"`{_at(place, n)}` is missing."
        for n, f in fields.items()
        if n not in values and f.default is missing and f.default_factory is missing
    ]
    if len(problems) > before:
        return None
    try:
        return config_type(**arguments)
    except (ValueError, TypeError, ArithmeticError) as e:
        problems.append(f"{place}: {e}"[:MOST_LETTERS] if place else str(e)[:MOST_LETTERS])
        return None


@lru_cache(maxsize=256)
def _hints(config_type: Any) -> dict[str, Any]:
    return typing.get_type_hints(config_type)


def _value(hint: Any, value: Any, place: str, problems: list[str]) -> Any:
    """Return a JSON value converted to ``hint``, or add the problem to ``problems``; other hints take any value."""
    import dataclasses

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [a for a in arguments if a is not type(None)]
        fits = [a for a in inner if dataclasses.is_dataclass(a) == isinstance(value, dict)]
        return _value((fits or inner)[0], value, place, problems)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _built(hint, value, place, problems)
    if origin is tuple:
        return _tuple(arguments, value, place, problems)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            problems.append(_wrong(place, "an object", value))
            return None
        return {k: _value(arguments[1], v, _at(place, k), problems) for k, v in value.items()}
    if hint in _PLAIN:
        kind, fits_hint = _PLAIN[hint]
        if not fits_hint(value):
            problems.append(_wrong(place, kind, value))
        elif hint is Path:
            return Path(value)
        elif hint is float and isinstance(value, int) and abs(value) > EXACT:
            return float(value)  # as a whole number, torch has no room for it
    return value


def _tuple(arguments: tuple, value: Any, place: str, problems: list[str]) -> tuple:
    if not isinstance(value, list | tuple):
        problems.append(_wrong(place, "a list", value))
        return ()
    repeated = len(arguments) == 2 and arguments[1] is Ellipsis
    inner = arguments[:1] * len(value) if repeated else arguments
    if len(inner) != len(value):
        problems.append(_wrong(place, f"a list of {len(inner)}", value))
        return ()
    if repeated and inner and inner[0] in (str, int) and all(map(_PLAIN[inner[0]][1], value)):
        return tuple(value)  # a hundred thousand classes take no time
    elements = []
    for i, (v, a) in enumerate(zip(value, inner, strict=True)):
        elements.append(_value(a, v, f"{place}[{i}]", problems))
        if len(problems) > MOST_PROBLEMS:
            break
    return tuple(elements)


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number that a float can hold; 1 stands for 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_PLAIN: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    float: ("a finite number", _is_number),
    str: ("text", _is_text),
    Path: ("text", _is_text),
}


def _wrong(place: str, kind: str, value: Any) -> str:
    return f"`{place}` must be {kind}, but is {reprlib.repr(value)}."


def _at(place: str, name: str) -> str:
    """Return a field's path, printable whatever its name in the file."""
    shown = name if name.isidentifier() else reprlib.repr(name)
    return f"{place}.{shown}" if place else shown


def suggestion(name: str, known: list[str]) -> str:
    """Return a question that names the nearest known name, or nothing."""
    import difflib  # here, because it is slow to import and `sonolex --help` does not need it

    nearest = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
