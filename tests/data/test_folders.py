"""Folders of class folders as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from sonolex.data.folders import folder_manifest, is_class_folder
from sonolex.data.manifest import ManifestError, manifest_from_rows


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_subfolders_are_classes_and_notes_name_everything_left_out(tmp_path):
    folder = folder_of(
        tmp_path,
        *("angry/1.wav", "angry/2.FLAC", "sad/1.wav", "sad/anna/2.wav", "sad/anna/deep/3.mp3"),
        *("loose.wav", "README.md", "sad/notes.txt", "sad/._1.wav", "empty/.keep", ".git/x.wav"),
    )
    manifest = folder_manifest(folder, label="emotion")
    classes = dict(zip(manifest.column("audio"), manifest.column("emotion"), strict=True))
    assert classes == {
        "angry/1.wav": "angry",
        "angry/2.FLAC": "angry",
        "sad/1.wav": "sad",
        "sad/anna/2.wav": "sad",
        "sad/anna/deep/3.mp3": "sad",
    }
    assert manifest[0].audio == str(folder / "angry/1.wav") and "speaker" not in manifest.table.column_names
    text = "\n".join(manifest.notes)
    assert "5 recordings in 2 folders, which are the classes (column 'emotion')" in text
    assert "left out: 5 files that are not recordings (.git/x.wav, README.md, empty/.keep, …)" in text
    assert "left out: 1 recordings that lie in no class's folder (loose.wav)" in text
    assert "no recordings in the folders '.git', 'empty'" in text
    assert "2 recordings lie in folders within their class's (sad/anna/2.wav, sad/anna/deep/3.mp3)" in text


def test_parts_above_the_classes_are_the_split(tmp_path):
    folder = folder_of(tmp_path, *(f"{part}/{mood}/{part}.wav" for part in ("Train", "dev", "test") for mood in "ab"))
    manifest = folder_manifest(folder)
    assert sorted(manifest.column("label")) == ["a", "a", "a", "b", "b", "b"]
    assert set(manifest.column("split")) == {"train", "validation", "test"}
    assert "split: the folders Train, dev, test are the parts of the table" in manifest.notes


def test_classes_keep_their_spelling(tmp_path):
    folder = folder_of(tmp_path, "01/a.wav", "02/b.wav", "1/c.wav")
    assert folder_manifest(folder).column("label") == ["01", "02", "1"]


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "but has none"), (("a.wav",), "but has none"), (("x/a.wav",), "one folder only ('x')")],
)
def test_folders_without_classes_are_refused_with_the_layout(names, message, tmp_path):
    with pytest.raises(ManifestError, match=r"FOLDER/CLASS/recording\.wav") as caught:
        folder_manifest(folder_of(tmp_path, *names))
    assert message in str(caught.value)


def test_a_folder_with_a_manifest_is_no_folder_of_classes(tmp_path):
    assert is_class_folder(tmp_path) and not is_class_folder(tmp_path / "none")
    manifest_from_rows([{"text": "x"}]).write(tmp_path / "manifest.csv")
    assert not is_class_folder(tmp_path)
