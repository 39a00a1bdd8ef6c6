from __future__ import annotations

from sonolex.labels import class_name


def test_labels_have_one_spelling():
    assert [class_name(v) for v in (3, 3.0, "3", True, 2.5)] == ["3", "3", "3", "yes", "2.5"]
