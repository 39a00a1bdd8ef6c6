"""The result of a fit in words: the winner, whether its lead is clear, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sonolex.results.compare import Row, Table, best_row, class_recalls, metric_title
from sonolex.results.paired import Difference, difference
from sonolex.terminal import visible

FEW_SPEAKERS = 15
FEW_CLIPS = 25
CALLED = {
    "majority": "always the most frequent class",
    "median": "always the median",
    "mfcc_svm": "an SVM on MFCC statistics",
    "log_mel_svm": "an SVM on log-mel statistics",
    "functionals_svm": "an SVM on pitch, energy and voice quality",
    "functionals_logistic": "logistic regression on pitch, energy and voice quality",
    "all_statistics_svm": "an SVM on all statistics of the audio",
    "all_statistics_linear": "a linear SVM on all statistics of the audio",
    "all_statistics_logistic": "logistic regression on all statistics of the audio",
    "words_logistic": "logistic regression on the words",
    "statistics_and_words_logistic": "logistic regression on audio and words",
    "average_of_two": "the average of two models",
}


@dataclass(frozen=True)
class Situation:
    """The facts behind a verdict.

    Attributes:
        winner: the final model's candidate, in words of `called`.
        chosen: whether the user named the system.
        by_block: winners of the single folds, in words.
        crossed: whether the table was cross-validated.
        speakers: number of known speakers.
        clips_of: number of clips by class; empty without classes.
        remarks: on trainings that ended early or did not begin.
        misspelt: labels that look like misspellings of others.
    """

    winner: str
    chosen: bool
    by_block: Sequence[str]
    crossed: bool
    speakers: int
    clips_of: dict[str, int]
    remarks: Sequence[str] = ()
    misspelt: Sequence[str] = ()


def called(name: str, members: Sequence[str] = ()) -> str:
    """Return a candidate in words; for an average, with its members."""
    words = CALLED.get(name, f"the network {name}")
    return f"{words} ({' and '.join(called(m) for m in members)})" if members else words


def verdict(table: Table, row: str, situation: Situation) -> list[str]:
    """Return sentences: the winner, its lead over the best floor, whether it is clear, and what to do next."""
    fit_row = next(r for r in table.rows if r.name == row)
    floors = [r for r in table.rows if r.floor]
    lines = [_first(table, fit_row, situation)]
    if floors:
        lines.append(_against(table, fit_row, best_row(table, floors)))
    lines += [*situation.remarks, *_next(situation)]
    return lines


def _first(table: Table, row: Row, situation: Situation) -> str:
    value = row.mean(table.primary)
    metric = metric_title(table, table.primary)
    between = (
        f" (95 % interval over {row.over}: {row.interval[0]:.3f} to {row.interval[1]:.3f})" if row.interval else ""
    )
    chosen = "you chose" if situation.chosen else "the winner is"
    how = "cross-validated" if situation.crossed else "on the test part"
    line = f"{chosen} {situation.winner}: {metric} {value:.3f}, {how}{between}."
    if situation.crossed and not situation.chosen and {*situation.by_block} != {situation.winner}:
        chosen_by = Counter(words.partition(" (")[0] for words in situation.by_block)
        folds = ", ".join(f"{words} in {count}" for words, count in chosen_by.most_common())
        line += f" Each of {len(situation.by_block)} folds chose anew ({folds}), and the score includes that choice."
    return line[0].upper() + line[1:]


def _against(table: Table, row: Row, floor: Row) -> str:
    gap = difference(table, row.name, floor.name)
    better = -gap.mean if table.less_is_better else gap.mean
    name = called(floor.name.removeprefix("floor: "))
    by = f"{abs(gap.mean):.3f} {'better' if better > 0 else 'worse'} than"
    if abs(gap.mean) < 5e-4:
        return f"It is as good as the best floor, {name} ({floor.mean(table.primary):.3f}), and not better."
    clear = _clear(gap, row.over, less_is_better=table.less_is_better)
    return f"It is {by} the best floor, {name} ({floor.mean(table.primary):.3f}); {clear}."


def _clear(gap: Difference, over: str, *, less_is_better: bool) -> str:
    if gap.interval is None:
        return "whether that is chance is not known"
    low, high = sorted(-v for v in gap.interval) if less_is_better else gap.interval
    conclusion = "this is clear" if gap.clear else "this may be chance"
    return f"{conclusion}: over {over} it is {low:+.3f} to {high:+.3f} better"


def _next(situation: Situation) -> list[str]:
    """Return advice on what would help most."""
    lines = []
    if situation.misspelt:
        more = f" and {len(situation.misspelt) - 5} more" if len(situation.misspelt) > 5 else ""
        listed = visible(", ".join(situation.misspelt[:5]))
        lines.append(f"Labels that look misspelt: {listed}{more}. Each is a class of its own: correct the table.")
    if 0 < situation.speakers < FEW_SPEAKERS:
        lines.append(
            f"More speakers would help most: there are {situation.speakers}, and the model will meet new voices."
        )
    few = {c: n for c, n in situation.clips_of.items() if n < FEW_CLIPS}
    if few:
        listed = ", ".join(f"{visible(c)} ({n})" for c, n in sorted(few.items(), key=lambda p: p[1])[:5])
        lines.append(f"Too few clips to judge, and hardly to learn: {listed}. Record more, or join classes.")
    if not situation.speakers:
        lines.append("A column 'speaker' would make the numbers honest: the same voices may be in training and test.")
    return lines


def recall_lines(row: Row) -> list[str]:
    """Return the recall of every class, with the number of its clips."""
    recalls = class_recalls(row)
    width = max((len(visible(name)) for name in recalls), default=0)
    return [
        f"  {visible(name):{width}}  recall {value:.2f} of {count} clips" for name, (value, count) in recalls.items()
    ]
