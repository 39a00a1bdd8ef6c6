"""Cross-validation of a user's table: folds that share no speaker, with every class in each where possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonolex.data.columns import ManifestError
from sonolex.data.manifest import Manifest

NUM_FOLDS = 5
FEW_SPEAKERS = 40  # a test part of 15 % of them would be six voices
FEW_CLIPS = 30  # of the smallest class in such a test part
MOST_CLIPS = 5000  # above, five trainings cost more than they tell
FEWEST_PER_PART = 10
FEWEST_TRIES, MOST_TRIES = 4, 40
GIVEN_FOLDS = (3, 20)


@dataclass(frozen=True)
class Folds:
    """The fold of every clip ("1", "2", …), notes on how it was chosen, and warnings of what flatters the scores."""

    names: list[str]
    notes: list[str]
    warnings: list[str]


def wants_folds(manifest: Manifest, strata: Sequence[str] | None, *, test_share: float) -> str:
    """Return why a table is too small for a single test part, empty if it is not.

    It is too small with fewer than `FEW_SPEAKERS` speakers, or where the smallest class would have fewer than
    `FEW_CLIPS` clips in the test part; never with more than `MOST_CLIPS` clips.
    """
    if len(manifest) > MOST_CLIPS:
        return ""
    speakers = {s for s in manifest.column("speaker") if s is not None}
    if 0 < len(speakers) < FEW_SPEAKERS:
        tested = max(1, round(test_share * len(speakers)))
        return f"a test part of {test_share:.0%} would have {tested} of the {len(speakers)} speakers"
    counts = Counter(strata) if strata is not None else Counter({"": len(manifest)})
    smallest = min(counts, key=lambda name: counts[name])
    if counts[smallest] * test_share < FEW_CLIPS:
        what = f" of {smallest!r}" if strata is not None else ""
        return f"a test part of {test_share:.0%} would have {max(1, round(test_share * counts[smallest]))} clips{what}"
    return ""


def deal_folds(
    manifest: Manifest, strata: Sequence[str] | None, *, wanted: str, seed: int, names_speakers: bool = False
) -> Folds:
    """Return the folds of a table: from its column ``fold``, by speaker, or by recording or clip.

    Args:
        wanted: "auto", a number of folds, or "speaker" (one a fold).
        names_speakers: the question is who speaks, so that every speaker has to be in training.

    Raises:
        ManifestError: fewer speakers than folds, or no speakers where they are wanted.
    """
    folds = _column_folds(manifest)
    if wanted == "auto" and folds is not None:
        return Folds(folds, [f"folds: {len(set(folds))}, as given in column 'fold'"], _shared(manifest, folds))
    groups, how, warnings = _groups(manifest, names_speakers)
    by_speaker = how == "speaker"
    count = _number(wanted, groups, by_speaker)
    parts = stratified_groups(groups, strata, count, seed=seed)
    notes = [f"folds: {count}, {_described(how)}"]
    return Folds([str(p + 1) for p in parts], notes, warnings)


def class_counts(strata: Sequence[str], parts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return lines with the clips of each class in each part, and warnings about classes of which a part has few."""
    counts = Counter(zip(strata, parts, strict=True))
    names = sorted(set(parts), key=lambda p: (len(p), p))
    classes = sorted(set(strata))
    width = max(len(c) for c in classes)
    lines = [f"  {'clips by part':{width}}  {'  '.join(f'{n:>6}' for n in names)}"] if classes else []
    lines += [f"  {c:{width}}  {'  '.join(f'{counts[c, n]:>{max(6, len(n))}}' for n in names)}" for c in classes]
    few = [
        f"{c!r} ({min(counts[c, n] for n in names)})"
        for c in classes
        if min(counts[c, n] for n in names) < FEWEST_PER_PART
    ]
    warnings = []
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        warnings.append(
            f"some part has fewer than {FEWEST_PER_PART} clips of {', '.join(few[:5])}{more}: recall there is a rough "
            "number"
        )
    return lines, warnings


def stratified_groups(groups: Sequence[str], strata: Sequence[str] | None, num_parts: int, *, seed: int) -> np.ndarray:
    """Return a part number (N,) for every row, that of its group, so that parts are alike in size and strata.

    Groups are dealt in random orders, the large ones first, each to the part that lacks most of what it has, a few
    times, and more often while a part lacks a stratum. The best deal leaves the fewest strata out of parts; of several
    such deals, it has the smallest deviations.
    """
    names, group_N = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    stratum_N = np.unique(np.asarray([str(s) for s in strata]), return_inverse=True)[1] if strata is not None else None
    stratum_N = np.zeros(len(group_N), int) if stratum_N is None else stratum_N
    counts_GS = np.zeros((len(names), int(stratum_N.max()) + 1))
    np.add.at(counts_GS, (group_N, stratum_N), 1)
    share_GS = counts_GS / counts_GS.sum(0)
    rng = np.random.default_rng(seed)
    best, best_cost = np.zeros(len(names), int), (np.inf, np.inf)
    for number in range(MOST_TRIES):
        if number >= FEWEST_TRIES and (not best_cost[0] or len(names) > MOST_CLIPS):
            break
        dealt, have_PS = _dealt(share_GS, num_parts, rng)
        cost = (float((have_PS == 0).sum()), float(((have_PS - 1 / num_parts) ** 2).sum()))
        if cost < best_cost:
            best, best_cost = dealt, cost
    return best[group_N]


def _dealt(share_GS: np.ndarray, num_parts: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a part for every group, and the share of every stratum that each part then has."""
    order = rng.permutation(len(share_GS))
    order = order[np.argsort(-share_GS[order].max(1), kind="stable")]
    have_PS, dealt = np.zeros((num_parts, share_GS.shape[1])), np.zeros(len(share_GS), int)
    number_P = np.zeros(num_parts)
    for place, group in enumerate(order):
        gain_P = ((have_PS + share_GS[group] - 1 / num_parts) ** 2 - (have_PS - 1 / num_parts) ** 2).sum(1)
        if len(order) - place <= (number_P == 0).sum():
            gain_P = np.where(number_P == 0, gain_P, np.inf)
        dealt[group] = part = int(gain_P.argmin())
        have_PS[part] += share_GS[group]
        number_P[part] += 1
    return dealt, have_PS


def _column_folds(manifest: Manifest) -> list[str] | None:
    """Return the folds that the column ``fold`` names, None where it names none, or too few or many."""
    values = manifest.column("fold")
    if any(v is None or not v.strip() for v in values):
        return None
    return [v.strip() for v in values] if GIVEN_FOLDS[0] <= len(set(values)) <= GIVEN_FOLDS[1] else None


def _shared(manifest: Manifest, folds: Sequence[str]) -> list[str]:
    folds_of: dict[str, set[str]] = {}
    for speaker, fold in zip(manifest.column("speaker"), folds, strict=True):
        if speaker is not None:
            folds_of.setdefault(speaker, set()).add(fold)
    both = sorted(s for s, names in folds_of.items() if len(names) > 1)
    if both:
        return [f"{len(both)} of {len(folds_of)} speakers are in several of the given folds, so the scores flatter"]
    return [] if folds_of else [_NO_SPEAKERS]


def _groups(manifest: Manifest, names_speakers: bool) -> tuple[list[str], str, list[str]]:
    """Return the group of every clip that must stay in one part, the kind of group, and warnings for the scores."""
    speakers, ids = manifest.column("speaker"), manifest.column("id")
    known = {s for s in speakers if s is not None}
    for column in ("session", "source_id"):
        places = manifest.column(column)
        if (names_speakers or not known) and None not in places and len(set(places)) >= NUM_FOLDS:
            return list(places), column, [] if names_speakers else [_NO_SPEAKERS]
    if names_speakers:
        return list(ids), "clip", []
    if len(known) < 3:
        few = f"there are only {len(known)} speakers, who are in every part, so the scores flatter: add speakers"
        return list(ids), "clip", [few if known else _NO_SPEAKERS]
    unnamed = sum(s is None for s in speakers)
    warnings = (
        [f"{unnamed} clips have no speaker: whether their voices are in two parts is not known"] if unnamed else []
    )
    return (
        [f"clip {i}" if s is None else f"speaker {s}" for s, i in zip(speakers, ids, strict=True)],
        "speaker",
        warnings,
    )


def _number(wanted: str, groups: Sequence[str], by_speaker: bool) -> int:
    available = len(set(groups))
    if wanted == "speaker":
        if not by_speaker:
            problem = "`folds` can only be speaker with a column 'speaker' that names at least 3 speakers"
            raise ManifestError("the table", [problem], cure="Give --folds 5, or add the column.")
        return available
    if wanted == "auto":
        return min(NUM_FOLDS, available)
    if int(wanted) > available:
        what = "speakers" if by_speaker else "clips or recordings"
        raise ManifestError("the table", [f"`folds` must be at most the {available} {what}, but is {wanted}"])
    return int(wanted)


def _described(how: str) -> str:
    if how == "speaker":
        return "no speaker in two of them"
    if how == "clip":
        return "of clips at random, in equal shares of every class"
    return f"no {how} in two of them"


_NO_SPEAKERS = (
    "no column 'speaker', so the same voices may be in training and test and the scores flatter. "
    "Add a speaker column for an honest number"
)
