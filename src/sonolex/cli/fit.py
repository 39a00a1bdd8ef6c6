"""Train on your own recordings: one table in, a model and a report out."""

from __future__ import annotations

import argparse

from sonolex.cli._models import PLACES
from sonolex.cli._parsing import Verb
from sonolex.configs import module_names

VERB = Verb("train", computes=True, trains=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tables = "CSV, TSV, JSONL, Parquet or Arrow with audio or text and labels, or a folder of classes"
    parser.add_argument("table", help=tables)
    _add_columns(parser)
    systems = ", ".join(n for n in module_names("systems") if n != "average")
    system = f"the network to train, however it scores (default: candidates compete): {systems}"
    parser.add_argument("--system", help=system)
    parser.add_argument("--from", help=f"{PLACES} whose weights a candidate starts from")
    minutes = "time for networks (default: by the number of clips, and printed)"
    parser.add_argument("--minutes", type=float, help=minutes)
    parser.add_argument("--epochs", type=int, help="of networks (default: by the number of clips and the time)")
    parser.add_argument("--lr", type=float, help="peak rate of networks (default: 1e-3, a fifth of it with --from)")
    parser.add_argument("--batch-s", type=float, help="seconds of audio in a batch of networks (default: 64)")
    folds = "auto (cross-validation of a small table), none (one test part), speaker (one a fold), or a number"
    parser.add_argument("--folds", default="auto", help=folds)
    parser.add_argument("--split-seed", type=int, default=0, help="seed of the table's division (default: 0)")
    parser.add_argument("--out", help="folder for the model and the report (default: runs/fit-TABLE-LABEL)")
    skip = "leave out rows that cannot be used, after listing them"
    parser.add_argument("--skip-bad", action="store_true", help=skip)
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_columns(parser: argparse.ArgumentParser) -> None:
    label = "column to predict; several, repeated or joined by commas, are tasks of one model; a folder needs none"
    parser.add_argument("--label", action="append", metavar="COLUMN", help=label)
    task = "classification, regression or tagging, also COLUMN=KIND (default: guessed from the labels, and printed)"
    parser.add_argument("--task", action="append", default=[], metavar="KIND", help=task)
    several = 'separator of several labels in one cell, for example "|"'
    parser.add_argument("--multilabel", default="", metavar="SEPARATOR", help=several)
    variants = "make one class of labels that differ only in capitals, blanks or forms of a character"
    parser.add_argument("--merge-variants", action="store_true", help=variants)
    for name, what in (("audio", "paths of recordings"), ("text", "transcripts"), ("speaker", "who speaks")):
        column = f"column of {what} (default: by its name)"
        parser.add_argument(f"--{name}-column", default="", metavar="COLUMN", help=column)


def run(arguments: argparse.Namespace) -> None:
    from sonolex.doors.fit import fit

    fit(
        arguments.table,
        label=arguments.label,
        task=arguments.task,
        multilabel=arguments.multilabel,
        columns={name: getattr(arguments, f"{name}_column") for name in ("audio", "text", "speaker")},
        merge_variants=arguments.merge_variants,
        system=arguments.system,
        start_from=getattr(arguments, "from"),
        epochs=arguments.epochs,
        lr=arguments.lr,
        batch_s=arguments.batch_s,
        out=arguments.out,
        skip_bad=arguments.skip_bad,
        folds=arguments.folds,
        split_seed=arguments.split_seed,
        minutes=arguments.minutes,
        seed=arguments.seed,
        device=arguments.device,
        quiet=arguments.quiet,
    )
