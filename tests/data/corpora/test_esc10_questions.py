from __future__ import annotations

from collections import Counter

from sonolex.data.corpora import esc10_questions
from sonolex.protocols.base import find_protocol


def test_a_question_about_a_sound_says_nothing_by_itself(shared_data):
    manifest = esc10_questions.prepare(shared_data / "esc10")
    folds = find_protocol("esc10_questions").folds(manifest)
    assert len(manifest) == 1200 and [len(f.report) for f in folds] == [240] * 5
    for fold in folds:
        answers = Counter(zip(fold.report.column("text"), fold.report.column("present"), strict=True))
        questions = {t for t, a in answers if a}
        assert all(answers[t, "yes"] == answers[t, "no"] for t in questions) and len(questions) == 40
        open_counts = Counter(zip(fold.report.column("text"), fold.report.column("heard"), strict=True))
        # every open phrasing with every answer, equally often
        assert {n for (t, a), n in open_counts.items() if a} == {2}
