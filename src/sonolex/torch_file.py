"""Tensors in files that ``torch.save`` wrote, without torch.load and without running anything in them.

torch.load hands a TorchScript archive to torch.jit.load, which runs it, allocates whatever size a file claims, and lets
a pickle set the state of any class that it may name. Here the file's parts are checked first, the pickle may name
only stand-ins for tensors and plain containers, and anything else it names becomes one inert object. Tensors are
read when the pickle is done, each within its storage.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from sonolex.files import require_file

MOST_PICKLE_BYTES = 16 << 20  # names, shapes and settings: a released checkpoint has some hundred kilobytes
MOST_OPERATIONS = 4_000_000
MOST_MEMBERS = 100_000
MOST_DIMENSIONS = 8
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch before 1.6
PROGRAM = ("constants.pkl", "code/")  # what only a TorchScript archive holds
T = TypeVar("T")


def read_torch(path: Path, *, under: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a torch file by their names; everything else in it is ignored.

    Args:
        under: key of the dictionary that holds them; None for the whole file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no torch file, it is a program (TorchScript), or its claims do not match its content.
    """

    def tensors(archive: _Zip | _Legacy) -> dict[str, Tensor]:
        content: Any = archive.content
        if under is not None:
            content = content.get(under) if isinstance(content, dict) else None
        if not _holds_tensors(content):
            raise _Refused("has no weights" + (f" under {under!r}" if under else ""))
        return _tensors(content, archive)

    return _opened(path, tensors)


def read_torch_groups(path: Path) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of a torch file by the dictionary that holds them: "" for the file itself, else its key.

    Dictionaries further down (an optimiser's moments) are not read. Raises as `read_torch`.
    """

    def groups(archive: _Zip | _Legacy) -> dict[str, dict[str, Tensor]]:
        content = archive.content
        if _holds_tensors(content):
            return {"": _tensors(content, archive)}
        holding = {k: v for k, v in content.items() if _holds_tensors(v)} if isinstance(content, dict) else {}
        if not holding:
            raise _Refused("has no weights")
        return {_name(key): _tensors(values, archive) for key, values in holding.items()}

    return _opened(path, groups)


def _opened(path: Path, read: Callable[[_Zip | _Legacy], T]) -> T:
    """Return what ``read`` makes of a file's archive. Raises as `read_torch`."""
    size = require_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            return read((_Zip if start.startswith(b"PK") else _Legacy)(file, size, start))
    except _BROKEN as e:
        raise ValueError(f"{path} must be a torch checkpoint, but {_reason(e)}.") from None


def _holds_tensors(content: Any) -> bool:
    return isinstance(content, dict) and any(isinstance(v, _Placed) for v in content.values())


def _tensors(content: dict, archive: _Zip | _Legacy) -> dict[str, Tensor]:
    numbers: dict[str, Tensor] = {}
    return {_name(k): _tensor(v, archive.read, numbers) for k, v in content.items() if isinstance(v, _Placed)}


class _Refused(Exception):
    """Why a file is not read, to go into a sentence after "but"."""


_BROKEN = (
    _Refused,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _reason(error: Exception) -> str:
    reason = f"{error}" if isinstance(error, _Refused) else f"cannot be read ({type(error).__name__}: {error})"
    return " ".join(reason.split())[:300]


class _Storage(NamedTuple):
    """Numbers somewhere in the file. ``first`` and ``count`` are those of a view; ``size`` is the whole's."""

    dtype: torch.dtype
    key: str
    size: int
    first: int
    count: int


class _Placed(NamedTuple):
    """A tensor that has not been read."""

    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Zip:
    """torch 1.6 and later: a zip archive of a pickle and its storages, none of them compressed."""

    def __init__(self, file: Any, size: int, start: bytes):
        self._zip = zipfile.ZipFile(file)
        members = self._zip.infolist()
        if len(members) > MOST_MEMBERS:
            raise _Refused(f"has {len(members)} parts")
        self._members = {m.filename.partition("/")[2]: m for m in members}
        if any(name.startswith(PROGRAM) for name in self._members):
            raise _Refused(
                "is a TorchScript archive: a program, which would have to be run. Save its state_dict() instead"
            )
        if len(self._members) < len(members) or len({m.filename.partition("/")[0] for m in members}) != 1:
            raise _Refused("has several parts of one name, or more than one folder")
        if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members):
            raise _Refused("has compressed or encrypted parts, which torch.save never writes")
        if sum(m.file_size for m in members) > size:  # parts that share bytes
            raise _Refused("claims to hold more than it does")
        if "byteorder" in self._members and self._part("byteorder", 16) != b"little":
            raise _Refused("was written on a big-endian machine. Save it again")
        if "data.pkl" not in self._members:
            raise _Refused("has no data.pkl")
        self.content = _unpickled(self._part("data.pkl", MOST_PICKLE_BYTES))

    def read(self, storage: _Storage) -> bytearray:
        name, size = f"data/{storage.key}", storage.size * storage.dtype.itemsize
        if name not in self._members or self._members[name].file_size != size:
            raise _Refused(f"does not hold the {size} bytes of {name!r:.80}")
        numbers = bytearray(size)
        part: Any = self._zip.open(self._members[name])
        with part:
            if part.readinto(numbers) != size or part.read(1):
                raise _Refused(f"does not hold the {size} bytes of {name!r:.80}")
        return numbers

    def _part(self, name: str, most_bytes: int) -> bytes:
        if self._members[name].file_size > most_bytes:
            raise _Refused(f"has {self._members[name].file_size:,} bytes in {name}, at most {most_bytes:,} are read")
        return self._zip.read(self._members[name])


class _Legacy:
    """torch before 1.6: pickles one after the other, then the storages in the order of the last pickle."""

    def __init__(self, file: Any, size: int, start: bytes):
        if start.startswith(b"version https://git-lfs"):
            raise _Refused("is a Git LFS pointer. Download the file that it stands for")
        if start[257:262] == b"ustar":
            raise _Refused("is a tar archive of the first torch releases. Load and save it with torch 1.x")
        self._file, self._size = file, size
        head = io.BytesIO(file.read(MOST_PICKLE_BYTES))
        if _unpickled_next(head) != LEGACY_MAGIC or _unpickled_next(head) != LEGACY_PROTOCOL:
            raise _Refused("does not begin as one")
        system = _unpickled_next(head)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise _Refused("was written on a big-endian machine. Save it again")
        storages: dict[str, _Storage] = {}
        self.content = _unpickled_next(head, storages)
        keys = _unpickled_next(head)
        self._places = self._storage_places(head.tell(), keys, storages)

    def _storage_places(self, place: int, keys: Any, storages: Mapping[str, _Storage]) -> dict[str, int]:
        """Return where each storage's numbers begin, after their count."""
        if not isinstance(keys, list) or any(k not in storages for k in keys) or len(set(keys)) < len(keys):
            raise _Refused("lists storages that none of its tensors has")
        places = {}
        for key in keys:
            self._file.seek(place)
            (count,) = struct.unpack("<q", self._file.read(8))
            if count != storages[key].size:
                raise _Refused(f"has two sizes for the storage {key!r:.80}")
            places[key] = place + 8
            place += 8 + count * storages[key].dtype.itemsize
        if place > self._size:
            raise _Refused("is cut off")
        return places

    def read(self, storage: _Storage) -> bytearray:
        numbers = bytearray(storage.size * storage.dtype.itemsize)
        self._file.seek(self._places[storage.key])
        self._file.readinto(numbers)
        return numbers


def _tensor(placed: _Placed, read: Callable[[_Storage], bytearray], numbers: dict[str, Tensor]) -> Tensor:
    """Return a tensor, checked to lie within its storage, which is read once and kept in ``numbers``."""
    storage, shape, strides = placed.storage, placed.shape, placed.strides
    count = math.prod(shape)
    last = placed.first + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else 0
    if count > storage.count or last >= max(1, storage.count):
        raise _Refused(f"has a tensor of shape {shape} in a storage of {storage.count} numbers")
    if not count:
        return torch.empty(shape, dtype=storage.dtype)
    if storage.key not in numbers:
        numbers[storage.key] = torch.frombuffer(read(storage), dtype=storage.dtype)
    return numbers[storage.key].as_strided(shape, strides, storage.first + placed.first)


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise _Refused(f"has a weight whose name is no text but a {type(key).__name__}")
    return key


# Objects that a pickle may create. None is a function or class whose state a pickle could change for everyone: BUILD
# (setting state) reaches instances only, of classes that refuse or ignore it.


class _Dict(dict):
    """An OrderedDict of the file; torch sets an attribute on it, which is not kept."""

    def __setstate__(self, _: object) -> None:
        pass


class _Inert:
    """Stands for any object of a pickle that is neither a tensor nor a plain container."""

    __slots__ = ()

    def __init__(self, *_: object, **__: object):
        pass

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass


class _Maker:
    """A function that a pickle may call."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]):
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, _: object) -> None:
        raise pickle.UnpicklingError("a pickle must not change a function")


def _dictionary(*arguments: Any) -> _Dict:
    return _Dict(*arguments)


def _size(numbers: Any = ()) -> tuple[int, ...]:
    return _counts(numbers)


def _placed(storage: Any, first: Any, shape: Any, strides: Any, *_: Any) -> _Placed:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor must lie in a storage")
    shape, strides = _counts(shape), _counts(strides)
    if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
        raise pickle.UnpicklingError(f"a tensor must have at most {MOST_DIMENSIONS} dimensions, each with its stride")
    return _Placed(storage, _counts((first,))[0], shape, strides)


def _parameter(placed: Any, *_: Any) -> Any:
    return placed


def _counts(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
        raise pickle.UnpicklingError("sizes, strides and places must be whole numbers, at least 0")
    return tuple(numbers)


_MAKERS = {
    ("collections", "OrderedDict"): _dictionary,
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor"): _placed,
    ("torch._utils", "_rebuild_tensor_v2"): _placed,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, pickled: bytes, storages: dict[str, _Storage]):
        super().__init__(io.BytesIO(pickled), encoding="utf-8", errors="replace")
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        make = _MAKERS.get((module, name))
        return _Inert if make is None else _Maker(make)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("a stored object must be a storage")
        _, dtype, key, _, size, *view = pid
        if dtype not in _STORAGES.values():
            return _Inert()  # numbers of a kind that no weight has
        (size,) = _counts((size,))
        storage = _Storage(dtype, str(key), size, 0, size)
        if self._storages.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError(f"the storage {storage.key!r:.80} must have one size and type")
        if view and view[0] is not None:
            _, first, count = view[0]
            first, count = _counts((first, count))
            if first + count > size:
                raise pickle.UnpicklingError(f"a view must lie within the storage {storage.key!r:.80}")
            return storage._replace(first=first, count=count)
        return storage


def _unpickled(pickled: bytes, storages: dict[str, _Storage] | None = None) -> Any:
    return _unpickled_next(io.BytesIO(pickled), storages)


def _unpickled_next(file: io.BytesIO, storages: dict[str, _Storage] | None = None) -> Any:
    """Return the content of the next pickle in ``file``, after checking every operation in it."""
    start, most = file.tell(), 0
    for most, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if most > MOST_OPERATIONS:
            raise _Refused(f"has more than {MOST_OPERATIONS:,} objects")
        if operation.name in _PUTS and int(argument or 0) > most:  # the memo is a list as long as its largest number
            raise _Refused("numbers its objects wrongly")
        if operation.name in _NEVER:
            raise _Refused(f"uses {operation.name}, which torch.save never writes")
    end = file.tell()
    file.seek(start)
    return _Unpickler(file.read(end - start), {} if storages is None else storages).load()


_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_NEVER = ("EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID")
