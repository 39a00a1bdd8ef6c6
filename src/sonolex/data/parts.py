"""Training, validation and test part of a user's table: from its ``split`` column, or divided here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sonolex.data.checks import same_audio
from sonolex.data.columns import ManifestError
from sonolex.data.folds import class_counts, deal_folds, wants_folds
from sonolex.data.manifest import Manifest
from sonolex.data.splits import disjoint_splits

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Divided:
    """A table with train, validation or test in ``split``, notes on how, and warnings of what flatters its scores.

    With ``folds`` it is cross-validated instead, by its column ``fold``.
    """

    manifest: Manifest
    notes: list[str]
    warnings: list[str]
    folds: bool = False

    @property
    def parts(self) -> list[str]:
        """The part or the fold of every clip."""
        return self.manifest.column("fold" if self.folds else "split")


def divide(
    manifest: Manifest,
    *,
    strata: Sequence[str] | None,
    seed: int,
    names_speakers: bool = False,
    folds: str = "none",
) -> Divided:
    """Return the table divided by its column ``split``, into folds, by speaker, or at random, with notes and warnings.

    Args:
        strata: a class for every clip, of which every part gets its share.
        names_speakers: the question is who speaks, so every speaker has to be in training.
        folds: "none"; "auto", where a single test part would say little (`wants_folds`) and the table has no split of
            its own; a number; or "speaker".

    Raises:
        ManifestError: a ``split`` that is not train, validation or test in every row; with ``names_speakers``,
            a speaker of the test part that is not in training.
    """
    column_parts = _column_parts(manifest)
    if folds not in ("none", "auto") and column_parts is not None:
        problem = f"it divides the table already, so `folds` must be auto or none, but is {folds}"
        raise ManifestError("column 'split'", [problem], cure="Remove the column, or the option.")
    reason = (
        wants_folds(manifest, strata, test_share=SHARES["test"]) if folds == "auto" and column_parts is None else ""
    )
    if reason or folds not in ("none", "auto"):
        return _in_folds(manifest, strata, seed, names_speakers, folds, reason)
    if column_parts is not None:
        parts, notes = _with_validation(manifest, column_parts, strata, seed, names_speakers)
    elif names_speakers:
        parts, notes = _within_speakers(manifest, seed)
    else:
        parts, notes = _divided(manifest, strata, seed)
    warnings = _of_speakers(manifest, parts, column_parts is not None, names_speakers) + _twice(manifest, parts)
    return _counted(Divided(manifest.with_column("split", parts), notes, warnings), strata)


def _in_folds(
    manifest: Manifest, strata: Sequence[str] | None, seed: int, names_speakers: bool, folds: str, reason: str
) -> Divided:
    dealt = deal_folds(manifest, strata, wanted=folds, seed=seed, names_speakers=names_speakers)
    why = f", because {reason} (--folds none divides once)" if reason else ""
    notes = [f"{dealt.notes[0]}; each is tested by models of the others{why}", *dealt.notes[1:]]
    warnings = dealt.warnings + _twice(manifest, dealt.names)
    folded = manifest.with_column("fold", dealt.names).with_column("split", [None] * len(manifest))
    return _counted(Divided(folded, notes, warnings, folds=True), strata)


def _counted(divided: Divided, strata: Sequence[str] | None) -> Divided:
    """Return the same with notes on the clips of each class and part, and warnings where they are few."""
    if strata is None:
        return divided
    lines, warnings = class_counts(strata, divided.parts)
    return replace(divided, notes=[*divided.notes, *lines, *(f"WARNING: {w}." for w in warnings)])


def _twice(manifest: Manifest, parts: Sequence[str]) -> list[str]:
    again = same_audio(manifest, parts)
    listed = ", ".join(f"{a} = {b}" for a, b in again[:NAMES_SHOWN])
    return [f"{len(again)} clips have the same audio as a clip of another part ({listed})"] if again else []


def _column_parts(manifest: Manifest) -> list[str] | None:
    """Return the parts that the column ``split`` names; None if it is absent or empty."""
    values = manifest.column("split")
    if not any(values):
        return None
    parts = [PART_NAMES.get((v or "").strip().casefold()) for v in values]
    counts = Counter("(empty)" if v is None else repr(v) for v in values)
    listed = ", ".join(f"{v} in {n} rows" for v, n in counts.most_common(10))
    cure = "Correct the column, or remove it and the table is divided by speaker."
    if None in parts:
        wanted = "train, validation (dev, val, valid) or test (eval) in every row"
        raise ManifestError("column 'split'", [f"it must say {wanted}, but says {listed}"], cure=cure)
    if not {"train", "test"} <= set(parts):
        problem = f"it must name clips to train on and clips to test on, but says {listed}"
        raise ManifestError("column 'split'", [problem], cure=cure)
    return [str(p) for p in parts]


def _with_validation(
    manifest: Manifest, column_parts: list[str], strata: Sequence[str] | None, seed: int, names_speakers: bool
) -> tuple[list[str], list[str]]:
    """Return the column's parts, with validation taken from train if there is none, and notes on it."""
    counts = Counter(column_parts)
    if "validation" in counts:
        return column_parts, ["split: as given in column 'split': " + ", ".join(f"{n} {counts[n]}" for n in SHARES)]
    rows = [i for i, p in enumerate(column_parts) if p == "train"]
    speakers = [manifest.column("speaker")[i] for i in rows]
    shares = {n: SHARES[n] / (SHARES["train"] + SHARES["validation"]) for n in ("train", "validation")}
    train_strata = [strata[i] for i in rows] if strata is not None else None
    if not names_speakers and None not in speakers and len(set(speakers)) >= 2:
        inner, how = disjoint_splits(speakers, shares=shares, seed=seed, strata=train_strata), "by speaker"
    else:
        groups = speakers if names_speakers else train_strata or [""] * len(rows)
        inner = _stratified([str(g) for g in groups], seed, held=("validation",), share=shares["validation"])
        how = "at random"
    parts = list(column_parts)
    for row, part in zip(rows, inner, strict=True):
        parts[row] = part
    if "validation" not in parts:
        raise ManifestError("column 'split'", ["its training part is too small to take validation clips from"])
    note = f"split: as given in column 'split'; it has no validation part, so that was taken from train {how}: "
    counts = Counter(parts)
    return parts, [note + ", ".join(f"{n} {counts[n]}" for n in SHARES)]


def _divided(manifest: Manifest, strata: Sequence[str] | None, seed: int) -> tuple[list[str], list[str]]:
    speakers = manifest.column("speaker")
    if None not in speakers and len(set(speakers)) >= len(SHARES):
        parts = disjoint_splits(speakers, shares=SHARES, seed=seed, strata=strata)
        counts = {n: len({s for s, p in zip(speakers, parts, strict=True) if p == n}) for n in SHARES}
        return parts, [
            "split: by speaker, no speaker in two parts: " + ", ".join(f"{n} {c}" for n, c in counts.items())
        ]
    parts = _stratified(strata or [""] * len(manifest), seed)
    return parts, ["split: at random, because there are " + ("too few speakers" if any(speakers) else "no speakers")]


def _within_speakers(manifest: Manifest, seed: int) -> tuple[list[str], list[str]]:
    """Return parts that all speakers are in: by session or recording where every speaker has enough, else at random."""
    speakers = manifest.column("speaker")
    for column in ("session", "source_id"):
        places = manifest.column(column)
        if None in places:
            continue
        if min(Counter(speaker for speaker, _ in set(zip(speakers, places, strict=True))).values()) < len(SHARES):
            continue
        parts = [""] * len(speakers)
        for speaker in sorted(set(speakers)):
            rows = [i for i, s in enumerate(speakers) if s == speaker]
            speaker_parts = disjoint_splits([places[i] for i in rows], shares=SHARES, seed=seed)
            for row, part in zip(rows, speaker_parts, strict=True):
                parts[row] = part
        return parts, [f"split: within speakers, because they are the classes; no {column} in two parts"]
    parts = _stratified([str(s) for s in speakers], seed)
    few = sorted(s for s, n in Counter(speakers).items() if n < len(SHARES))
    notes = ["split: within speakers, because they are the classes, at random"]
    if few:
        listed = f"{len(few)} speakers have fewer than {len(SHARES)} clips"
        notes.append(f"{listed}: all in training, none tested ({_some(few)})")
    return parts, notes


def _stratified(
    strata: Sequence[str], seed: int, *, held: Sequence[str] = ("test", "validation"), share: float = SHARES["test"]
) -> list[str]:
    """Deal the rows of every stratum to the parts in proportion, at random; every part gets some if it can."""
    rng = np.random.default_rng(seed)
    parts = ["train"] * len(strata)
    for value in sorted(set(strata)):
        rows = rng.permutation([i for i, s in enumerate(strata) if s == value])
        num_held = max(1, round(share * len(rows))) if len(rows) > len(held) else 0
        for place, name in enumerate(held):
            for i in rows[place * num_held : (place + 1) * num_held]:
                parts[i] = name
    return parts


def _of_speakers(manifest: Manifest, parts: Sequence[str], from_column: bool, names_speakers: bool) -> list[str]:
    """Return warnings about speakers who are in several parts, or unknown."""
    speakers = manifest.column("speaker")
    of = {n: {s for s, p in zip(speakers, parts, strict=True) if p == n and s is not None} for n in SHARES}
    if names_speakers:
        unknown = sorted((of["test"] | of["validation"]) - of["train"])
        if unknown:
            raise ManifestError(
                "column 'split'",
                [f"all speakers must be in training to be told apart, but {len(unknown)} are not ({_some(unknown)})"],
            )
        return []
    if not any(speakers):
        return [
            "no column 'speaker', so the same voices may be in training and test and the scores flatter. "
            "Add a speaker column for an honest number"
        ]
    warnings = []
    both = sorted(of["test"] & (of["train"] | of["validation"]))
    if both:
        warnings.append(
            f"{len(both)} of the {len(of['test'])} speakers of the test part are in training or validation too "
            f"({_some(both)}), so the scores flatter"
        )
    both = sorted(of["validation"] & of["train"]) if from_column else []
    if both:
        warnings.append(f"{len(both)} speakers of the validation part are in training too ({_some(both)})")
    unnamed = sum(s is None for s in speakers)
    if unnamed:
        warnings.append(f"{unnamed} clips have no speaker: whether their voices are in two parts is not known")
    return warnings


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
