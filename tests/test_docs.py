"""Python in the documentation runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages talk about: the quickstart's runs (tiny) and two recordings."""
    pytest.importorskip("espeakng_loader")
    from sonolex.data.corpora import tonewords
    from sonolex.recipes import quickstart
    from sonolex.train.series import train_all

    folder = tmp_path_factory.mktemp("docs")
    train_all(quickstart.tiny(), folder / "runs" / "quickstart", quiet=True, say=lambda text: None)
    clips = tonewords.prepare(size="tiny")
    shutil.copy(str(clips[0].audio), folder / "clip.wav")  # libsndfile goes by content, not by name
    shutil.copy(str(clips[1].audio), folder / "other.flac")
    return folder


@pytest.mark.parametrize("code", SNIPPETS)
def test_a_snippet_runs(code, place, monkeypatch):
    monkeypatch.chdir(place)
    namespace: dict = {}
    exec(compile(code, "snippet", "exec"), namespace)
    assert namespace


def test_every_link_between_pages_leads_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_no_page_names_this_machine():
    assert not [p for p in PAGES if f"{Path.home()}/" in p.read_text(encoding="utf-8")]


def test_every_citation_can_be_followed():
    """Papers are cited by section, our own facts by a page of this repository."""
    code = [*(ROOT / "src").rglob("*.py"), *PAGES]
    nowhere = re.compile(r"\breference [A-I]\d*\b|\bsource document|\b(?:design|performance|feasibility|field)\.md")
    assert not [str(p.relative_to(ROOT)) for p in code if nowhere.search(p.read_text(encoding="utf-8"))]
    cited = {m for p in code for m in re.findall(r"\bdocs/[\w/]+\.md", p.read_text(encoding="utf-8"))}
    assert not [page for page in sorted(cited) if not (ROOT / page).is_file()]
