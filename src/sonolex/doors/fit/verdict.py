"""What a fit found, in words: what won, whether that is clear, and what to do next."""

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
    """What a verdict is about.

    Attributes:
        winner: the final model's candidate, in words of `called`.
        chosen: whether the user named the system.
        by_block: winners of the single folds, in words.
        crossed: whether the table was cross-validated.
        speakers: number of known ones; 0 for none.
        clips_of: number of clips by class; empty without classes.
        remarks: on trainings that ended early or did not begin.
        misspelt: labels that look like others misspelt.
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
    """Return a candidate in words; of an average, what it is of."""
    words = CALLED.get(name, f"the network {name}")
    return f"{words} ({' and '.join(called(m) for m in members)})" if members else words


def verdict(table: Table, row: str, situation: Situation) -> list[str]:
    """Return sentences: what won, by how much against the best floor, whether it is clear, and what to do next."""
    own = next(r for r in table.rows if r.name == row)
    floors = [r for r in table.rows if r.floor]
    lines = [_first(table, own, situation)]
    if floors:
        lines.append(_against(table, own, best_row(table, floors)))
    lines += [*situation.remarks, *_next(situation)]
    return lines


def _first(table: Table, own: Row, situation: Situation) -> str:
    value = own.mean(table.primary)
    metric = metric_title(table, table.primary)
    between = (
        f" (95 % interval over {own.over}: {own.interval[0]:.3f} to {own.interval[1]:.3f})" if own.interval else ""
    )
    chosen = "you chose" if situation.chosen else "the winner is"
    how = "cross-validated" if situation.crossed else "on the test part"
    line = f"{chosen} {situation.winner}: {metric} {value:.3f}, {how}{between}."
    if situation.crossed and not situation.chosen and {*situation.by_block} != {situation.winner}:
        chosen_by = Counter(words.partition(" (")[0] for words in situation.by_block)
        folds = ", ".join(f"{words} in {count}" for words, count in chosen_by.most_common())
        line += f" Each of {len(situation.by_block)} folds chose anew ({folds}), and the score is that of choosing."
    return line[0].upper() + line[1:]


def _against(table: Table, own: Row, floor: Row) -> str:
    found = difference(table, own.name, floor.name)
    better = -found.mean if table.less_is_better else found.mean
    name = called(floor.name.removeprefix("floor: "))
    by = f"{abs(found.mean):.3f} {'better' if better > 0 else 'worse'} than"
    if abs(found.mean) < 5e-4:
        return f"It is as good as the best floor, {name} ({floor.mean(table.primary):.3f}), and not better."
    clear = _clear(found, own.over, less_is_better=table.less_is_better)
    return f"It is {by} the best floor, {name} ({floor.mean(table.primary):.3f}); {clear}."


def _clear(found: Difference, over: str, *, less_is_better: bool) -> str:
    if found.interval is None:
        return "whether that is chance is not known"
    low, high = sorted(-v for v in found.interval) if less_is_better else found.interval
    said = "this is clear" if found.clear else "this may be chance"
    return f"{said}: over {over} it is {low:+.3f} to {high:+.3f} better"


def _next(situation: Situation) -> list[str]:
    """Return what would help most."""
    lines = []
    if situation.misspelt:
        more = f" and {len(situation.misspelt) - 5} more" if len(situation.misspelt) > 5 else ""
        listed = visible(", ".join(situation.misspelt[:5]))
        lines.append(f"Labels that look misspelt: {listed}{more}. Each is a class of its own: correct the table.")
    if 0 < situation.speakers < FEW_SPEAKERS:
        lines.append(
            f"More speakers would help most: there are {situation.speakers}, and new voices are what it will hear."
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
    found = class_recalls(row)
    width = max((len(visible(name)) for name in found), default=0)
    return [f"  {visible(name):{width}}  recall {value:.2f} of {count} clips" for name, (value, count) in found.items()]
