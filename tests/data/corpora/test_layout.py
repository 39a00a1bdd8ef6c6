from __future__ import annotations

import pytest

from sonolex.data.corpora import _layout


def test_the_root_is_found_in_sonolex_data(tmp_path, monkeypatch):
    monkeypatch.delenv("SONOLEX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"none is given. Name it with --root \(of prepare, .*SONOLEX_DATA"):
        _layout.corpus_root(None, "fsdd")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist. Name it with --root.*SONOLEX_DATA"):
        _layout.corpus_root(tmp_path / "nowhere", "fsdd")
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\$SONOLEX_DATA \(.*\) holds no emodb or emodb4"):
        _layout.corpus_root(None, "emodb", "emodb4")
    (tmp_path / "fsdd").mkdir()
    monkeypatch.setenv("SONOLEX_DATA", str(tmp_path))
    assert _layout.corpus_root(None, "fsdd") == tmp_path / "fsdd"
