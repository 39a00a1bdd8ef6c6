"""Arrays are read without believing what a file says about itself."""

from __future__ import annotations

import io
import os
import resource
import zipfile

import numpy as np
import pytest

from sonolex.arrays import load_arrays, save_arrays


def npy(header: bytes, content: bytes = b"") -> bytes:
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def npz(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(f"{name}.npy", content)
    return made.getvalue()


def zeros(num_bytes: int) -> bytes:
    return npz(x=npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,)}" % num_bytes, bytes(num_bytes)))


def pickled() -> bytes:
    made = io.BytesIO()
    np.savez(made, x=np.array([{}], object))
    return made.getvalue()


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s,), }"
HOSTILE = {
    "no zip": b"PK\x03\x04",
    "empty": b"",
    "a claim of 4 terabytes": npz(x=npy(HEADER % b"1000000000000", bytes(8))),
    "a negative shape": npz(x=npy(HEADER % b"-1", bytes(8))),
    "a shape that overflows": npz(x=npy(HEADER % (b"9" * 40), bytes(8))),
    "a shape of text": npz(x=npy(HEADER % b"'a'", bytes(8))),
    "a bomb": zeros(200 << 20),
    "objects": pickled(),
    "no array": npz(x=b"hello"),
    "a header of nested brackets": npz(x=npy(b"(" * 5000)),
    "version 3": npz(x=b"\x93NUMPY\x03\x00" + bytes(100)),
    "dates": npz(x=npy(b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }", bytes(8))),
    "records": npz(
        x=npy(b"{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(8))
    ),
    "more than is there": npz(x=npy(HEADER % b"4", bytes(8))),
    "less than is there": npz(x=npy(HEADER % b"1", bytes(8))),
    "cut": zeros(1000)[:-40],
    "broken content": zeros(100_000).replace(bytes(8), b"\xff" * 8, 1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line_before_it_takes_memory(case, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(HOSTILE[case])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"x\.npz must hold arrays of numbers or text") as e:
        load_arrays(path, most_bytes=64 << 20)
    assert "\n" not in str(e.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_only_regular_files_of_an_allowed_size_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.npz")
    with pytest.raises(ValueError, match="must be a file"):
        load_arrays(tmp_path / "fifo.npz", most_bytes=1 << 20)
    save_arrays(tmp_path / "x.npz", {"x": np.random.default_rng(0).normal(size=1000)})
    with pytest.raises(ValueError, match="at most 100 bytes"):
        load_arrays(tmp_path / "x.npz", most_bytes=100)
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "y.npz", most_bytes=100)


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {
        "a/b": np.random.default_rng(0).normal(size=(3, 4)),
        "names": np.array(["ü", "怒り", ""]),
        "by column": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 5), np.float32),
    }
    save_arrays(tmp_path / "x.npz", arrays)
    found = load_arrays(tmp_path / "x.npz", most_bytes=1 << 20)
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[n], v) and found[n].dtype == v.dtype for n, v in arrays.items())
