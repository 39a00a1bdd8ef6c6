from __future__ import annotations

import pytest

from sonolex.data.corpora import audioset
from tests.data.corpora.miniatures import text, wav


def test_audioset_has_several_tags_per_excerpt_and_counts_what_has_disappeared(tmp_path, capsys):
    classes = ["index,mid,display_name", '0,/m/09x0r,"Speech"', '1,/m/05zppz,"Male speech, man speaking"']
    classes += [f"{i},/m/{i},class {i}" for i in range(2, 527)]
    text(tmp_path / "class_labels_indices.csv", classes)
    head = ["# Segments csv created", "# num_ytids=3", "# YTID, start_seconds, end_seconds, positive_labels"]
    listed = ['--a, 30.000, 40.000, "/m/09x0r,/m/05zppz"', 'b_b, 0.000, 9.500, "/m/2"', 'gone, 0.000, 10.000, "/m/3"']
    text(tmp_path / "eval_segments.csv", head + listed)
    wav(tmp_path / "eval" / "Y--a.wav")
    wav(tmp_path / "eval" / "b_b_0.wav")
    manifest = audioset.prepare(tmp_path, segments=("eval",), strict=False)
    assert manifest.column("tags") == ["Speech;Male speech, man speaking", "class 2"]
    assert manifest.column("split") == ["test"] * 2 and "found 2 of 3" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"expected 20371 listed excerpts, found 3[\s\S]*1 of 3 listed"):
        audioset.prepare(tmp_path, segments=("eval",))
    with pytest.raises(ValueError, match="segments"):
        audioset.prepare(tmp_path, segments=("test",))
