"""Any name of a task can be part of a file's or a module's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonolex.names import MOST_BYTES, require_name, spelled

NAMES = [
    "", ".", "..", "../../x", "/etc/passwd", "a/b", "a.b", "a%2Eb", "a%2eb", "%", "%%", "%-", "v1.0",
    "mood [1-5]", "*", "$HOME", "a;b", "a\\b", "C:", " a", "a ", "a", "A", "naïve", "怒り",
    "怒" * 300, "怒" * 299 + "り",
    "x" * 1000, "x" * 999 + "y", "~", "-rf", "a\nb", "\ud800", "type", "type%",
]  # fmt: skip


@pytest.mark.parametrize("name", ["mood", "tone_2", "Valence", "two-class", "arousal 1", "Stimmung", "gefühl"])
def test_ordinary_names_are_spelled_as_they_are(name):
    assert spelled(name) == name


def test_different_names_are_spelled_differently_and_stay_in_their_folder():
    found = [spelled(n) for n in NAMES]
    assert len(set(found)) == len(NAMES)
    for s in found:
        assert s and not set(s) & set("./\\*[]?:;$\n\0") and len(s.encode()) <= MOST_BYTES


@given(st.text(), st.text())
def test_spelling_is_injective(first, second):
    assert (spelled(first) == spelled(second)) == (first == second)


def test_every_spelling_is_a_file(tmp_path):
    for name in NAMES:
        (tmp_path / f"{spelled(name)}.mfcc_cosine_level_removed.json").write_text(
            name[:1].encode(errors="replace").decode()
        )
    assert len(list(tmp_path.iterdir())) == len(NAMES)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x1b[31m", "x" * 1001, 5, None, ["a"], "\ud800"])
def test_a_name_that_is_no_name_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match="`name` must be text of 1 to 1000 characters") as e:
        require_name("name", name)
    assert "\n" not in str(e.value) and len(str(e.value)) < 250
