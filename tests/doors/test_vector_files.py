"""Vectors on disk: the nearest are the nearest, and no byte of a file crashes or changes a number unsaid."""

from __future__ import annotations

import json
import random
import zlib

import numpy as np
import pytest

from sonolex.doors import vector_files
from sonolex.doors.vector_files import CARD, PATHS, VECTORS, Card, GrowingFiles, VectorFiles

COUNT, DIM = 300, 8
ODD = ["a\nb.wav", "\udce9.wav", '"quoted"', "\u2028"]  # a line feed, a byte that is no text, JSON's own, a line end


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)


@pytest.fixture
def folder(vectors, tmp_path):
    growing = GrowingFiles(tmp_path, Card("model", "weights", DIM))
    growing.add(vectors[:100], [*ODD, *(f"{i}.wav" for i in range(4, 100))])
    growing.save()
    again = GrowingFiles(tmp_path, Card("model", "weights", DIM))
    again.add(vectors[100:], [f"{i}.wav" for i in range(100, COUNT)])
    again.save()
    return tmp_path


@pytest.mark.parametrize("block", [DIM, 7 * DIM, 1 << 19])
def test_the_nearest_are_found_exactly_whatever_the_blocks(folder, vectors, monkeypatch, block):
    monkeypatch.setattr(vector_files, "BLOCK_NUMBERS", block)
    opened = VectorFiles(folder)
    assert [opened.path(row) for row in range(5)] == [*ODD, "4.wav"] and len(opened) == COUNT
    query = np.random.default_rng(1).normal(size=DIM)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    found = opened.nearest(query, top=5)
    assert [row for row, _ in found] == np.argsort(-cosines)[:5].tolist()
    assert np.allclose([c for _, c in found], np.sort(cosines)[::-1][:5], atol=1e-3)
    assert len(opened.nearest(query, top=10 * COUNT)) == COUNT


def test_an_empty_index_finds_nothing_and_wrong_queries_are_refused(folder, tmp_path):
    (tmp_path / "none").mkdir()
    empty = GrowingFiles(tmp_path / "none", Card("model", "weights", DIM))
    empty.save()
    assert VectorFiles(tmp_path / "none").nearest(np.ones(DIM), top=3) == []
    with pytest.raises(ValueError, match="must have 8 numbers"):
        VectorFiles(folder).nearest(np.ones(DIM + 1), top=1)
    with pytest.raises(ValueError, match="`top` must be at least 1"):
        VectorFiles(folder).nearest(np.ones(DIM), top=0)


def test_what_a_killed_process_appended_is_cut_off(folder, vectors):
    for name in (VECTORS, PATHS):
        with (folder / name).open("ab") as file:
            file.write(b"half")
    assert len(VectorFiles(folder)) == COUNT
    growing = GrowingFiles(folder, Card("model", "weights", DIM))
    growing.add(vectors[:1], ["new"])
    growing.save()
    opened = VectorFiles(folder)
    assert opened.paths()[COUNT:] == ["new"] and opened.nearest(vectors[0], top=2)[1][1] > 0.999


@pytest.mark.parametrize("name", [VECTORS, PATHS, CARD])
@pytest.mark.parametrize("checksums_fit", [False, True], ids=["changed", "changed with its checksum"])
def test_400_changes_of_each_file_are_one_line_or_harmless(folder, vectors, name, checksums_fit):
    """Seen before: SEGV, ABRT or BUS in 81 of 400 (vectors.usearch) and 15 of 400 (paths.arrow)."""
    rng = random.Random(0)
    whole, card = (folder / name).read_bytes(), json.loads((folder / CARD).read_text())
    before, refused = VectorFiles(folder).nearest(vectors[7], top=3), 0
    for _ in range(400):
        changed = changed_bytes(whole, rng)
        (folder / name).write_bytes(changed)
        if checksums_fit and name != CARD:
            field, size = ("vectors_crc32", 2 * COUNT * DIM) if name == VECTORS else ("paths_crc32", len(changed))
            sizes = {} if name == VECTORS else {"paths_bytes": size}
            (folder / CARD).write_text(json.dumps(card | sizes | {field: zlib.crc32(changed[:size])}))
        try:
            opened = VectorFiles(folder)
            found = opened.nearest(vectors[7], top=3)
            opened.paths()
        except ValueError as e:
            refused += 1
            assert str(folder) in str(e) and "\n" not in str(e)
            continue
        assert all(np.isfinite(cosine) for _, cosine in found)
        if not checksums_fit and name != CARD:
            assert found == before  # behind what counts
    assert refused > 100


def changed_bytes(whole: bytes, rng: random.Random) -> bytes:
    """Return bytes that were flipped, overwritten, cut off, doubled or put in."""
    changed, at = bytearray(whole), rng.randrange(len(whole))
    kind = rng.randrange(5)
    if kind == 0:
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        end = min(at + rng.randrange(1, 64), len(changed))
        changed[at:end] = bytes(rng.choice((0, 0xFF, 0x7C)) for _ in range(at, end))
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        changed[at:at] = changed[at : at + rng.randrange(1, 64)]
    else:
        changed[at:at] = rng.choice((b"\n", b"9999999999", b"[" * 5000, b"-1", b"null", b"\x00"))
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"count": 1 << 47}, "at least"),
        ({"count": -1}, "differs in count"),
        ({"count": 299}, "checksum"),
        ({"dim": 0}, "differs in dim"),
        ({"dim": True}, "differs in dim"),
        ({"model": 7}, "differs in model"),
        ({"format_version": 1}, "`format_version` 2, but has 1"),
        ({"more": 1}, "differs in more"),
    ],
)
def test_an_index_card_that_is_not_as_written_is_refused_with_its_cure(folder, change, told):
    (folder / CARD).write_text(json.dumps(json.loads((folder / CARD).read_text()) | change))
    with pytest.raises(ValueError, match=told) as caught:
        VectorFiles(folder)
    assert f"Remove {folder / CARD}, and `sonolex index` makes the index again." in str(caught.value)


def test_a_half_written_or_older_card_says_what_to_do_and_then_the_index_is_made_again(folder, vectors):
    for text in ('{"model": "/mod', '{"model": "m", "recordings": 4}'):
        (folder / CARD).write_text(text)
        with pytest.raises(ValueError, match=r"index\.json must have .*Remove|index\.json must hold JSON.*Remove"):
            GrowingFiles(folder, Card("model", "weights", DIM))
    (folder / CARD).unlink()
    growing = GrowingFiles(folder, Card("model", "weights", DIM))
    growing.add(vectors[:2], ["a", "b"])
    growing.save()
    assert VectorFiles(folder).paths() == ["a", "b"]


def test_opened_vectors_stay_on_disk(folder):
    assert isinstance(VectorFiles(folder)._vectors_ND.base, np.memmap)
