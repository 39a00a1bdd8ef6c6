"""Names to modules, and frozen dataclasses to JSON and back. Standard library only.

A name on the command line or in a checkpoint is a module name; this file is the one place that resolves it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def module_names(package: str) -> list[str]:
    """Return the public module names in ``sonolex.<package>``, without importing them."""
    folder = Path(__file__).parent.joinpath(*package.split("."))
    hidden = ("_", "base")
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith(hidden))


def find_module(package: str, name: str) -> types.ModuleType:
    """Return the module ``sonolex.<package>.<name>``; ``name`` may also be a dotted path of the user's own module.

    Raises:
        ValueError: no such module, with the nearest names.
    """
    if "." in name:
        return importlib.import_module(name)
    names = module_names(package)
    if name not in names:
        raise ValueError(f"`{package}` must be one of {names}, but is {name!r}.{suggestion(name, names)}")
    return importlib.import_module(f"sonolex.{package}.{name}")


def to_json(config: Any) -> Any:
    """Return plain JSON values of a dataclass, recursively. Tuples become lists, paths strings."""
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


def from_json(config_type: type[T], values: dict[str, Any], *, where: str = "") -> T:
    """Return ``config_type`` built from JSON values.

    Raises:
        ValueError: unknown fields, all of them at once, each with the nearest known name.
    """
    hints = typing.get_type_hints(config_type)
    known = {f.name for f in dataclasses.fields(config_type) if f.init}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        hints_text = "".join(f"\n  {name}{suggestion(name, sorted(known))}" for name in unknown)
        raise ValueError(f"`{where or config_type.__name__}` has unknown fields:{hints_text}")
    return config_type(**{name: _value(hints[name], value) for name, value in values.items()})


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


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        for candidate in inner:
            if isinstance(value, dict) == dataclasses.is_dataclass(candidate):
                return _value(candidate, value)
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if origin is tuple:
        inner = arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else None
        return tuple(_value(inner or a, v) for v, a in zip(value, _cycle(arguments, len(value)), strict=True))
    if origin is dict:
        return {k: _value(arguments[1], v) for k, v in value.items()}
    if hint is Path:
        return Path(value)
    return value


def _cycle(arguments: tuple, length: int) -> tuple:
    return (arguments[0],) * length if len(arguments) == 2 and arguments[1] is Ellipsis else arguments


def suggestion(name: str, known: list[str]) -> str:
    """Return a question that names the nearest known name, or nothing."""
    import difflib  # here, because it is slow to import and `sonolex --help` does not need it

    nearest = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
