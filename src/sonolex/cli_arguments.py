"""The arguments of the command line's verbs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import IO

from sonolex.configs import module_names
from sonolex.devices import AUTO
from sonolex.terminal import say

SWEEPS = ("noise", "reverberation", "speed")  # those of audio; "words" is for models that read text
DEFAULT_OUT = "runs"
TRAINING = ("train", "table", "sweep", "fit", "units")
COMPUTING = (*TRAINING, "transcribe", "evaluate", "robustness", "similarity", "embed", "predict", "index", "search")
Verb = Callable[[str], argparse.ArgumentParser]


def parser(functions: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """Return the parser; ``functions`` are the verbs by name, and their docstrings say what they do."""
    parser = _Parser(prog="sonolex", description=(__import__("sonolex").__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

    def verb(name: str) -> argparse.ArgumentParser:
        words = functions[name].__doc__ or ""
        added = verbs.add_parser(name, help=words.split("\n")[0], description=words)
        added.set_defaults(function=functions[name])
        return added

    for add in (_data_verbs, _training_verbs, _scoring_verbs, _model_verbs):
        add(verb)
    verb("doctor")
    for name in COMPUTING:
        _computing(verbs.choices[name])
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose messages hold the user's words, made visible: a shell may have put file names there."""

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        say(message, end="", file=sys.stderr if file is None else file)


def _computing(p: argparse.ArgumentParser) -> None:
    p.add_argument("--device", default=AUTO, help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps")
    p.add_argument("--threads", type=int, metavar="N", help="that compute one operation (default: `sonolex doctor`)")


def _data_verbs(verb: Verb) -> None:
    p = verb("prepare")
    p.add_argument("corpus", help=", ".join(module_names("data.corpora")))
    p.add_argument("--root", help="folder of the unpacked release")
    p.add_argument("--out", help="manifest to write: .arrow, .parquet, .csv or .jsonl")
    p = verb("download")
    p.add_argument("corpus", help="a corpus that names its addresses, e.g. ravdess")
    p.add_argument("--out", required=True, help="folder for the release")
    p.add_argument("--mirror", help="address of a folder with the same files (and, if it has one, md5sums.txt)")
    p = verb("transcribe")
    p.add_argument("manifest", help="manifest with clips that lack a transcript")
    p.add_argument("--asr", required=True, help="pocketsphinx, whisper:FOLDER or whisper:hub:ORG/NAME")
    p.add_argument("--out", required=True, help="manifest to write")
    p = verb("phones")
    p.add_argument("manifest", help="manifest with transcripts")
    p.add_argument("--lexicon", help="file in CMUdict's format")
    p.add_argument("--voice", help="of espeak-ng (en-us, de), for all words or for those the lexicon lacks")
    p.add_argument("--out", required=True, help="manifest to write")
    p = verb("units")
    p.add_argument("manifest", help="manifest with audio; with a column phones, each step's phone is found too")
    p.add_argument("--num-units", type=int, required=True, help="clusters")
    p.add_argument(
        "--model", help="run folder, model folder or hub:ORG/NAME whose states are clustered (default: log-mel)"
    )
    p.add_argument("--layer", type=int, default=-1, help="of the model (default: the last)")
    p.add_argument("--hop-ms", type=float, default=20.0, help="between log-mel frames (default: 20)")
    _trust_code(p)
    p.add_argument("--out", required=True, help="manifest to write")


def _training_verbs(verb: Verb) -> None:
    p = verb("train")
    p.add_argument("recipe", help=", ".join(module_names("recipes")))
    p.add_argument("--out", help=f"folder of the runs (default: {DEFAULT_OUT}/RECIPE)")
    p.add_argument("--tiny", action="store_true", help="a size that trains in seconds")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--slurm", metavar="FILE", help="only write an sbatch file that trains, requeues and goes on")
    p.add_argument("--gpus", type=int, default=0, help="with --slurm: GPUs of the node (default: none)")
    p.add_argument("--hours", type=int, default=24, help="with --slurm: time limit (default: 24)")
    p.add_argument("--processes", type=int, default=1, help="that share the runs (default: 1)")
    p = verb("table")
    p.add_argument("recipe", help="ctal4, calm_tables, or any other recipe")
    p.add_argument("--out", help=f"folder of the runs (default: {DEFAULT_OUT}/RECIPE)")
    p.add_argument("--tiny", action="store_true", help="a size that trains in seconds")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--processes", type=int, default=1, help="that share the runs (default: 1)")
    p.add_argument("--against", metavar="ROW", help="row that the others are compared with (default: the recipe's)")
    p = verb("sweep")
    p.add_argument("recipe", help=", ".join(module_names("recipes")))
    p.add_argument(
        "--space",
        nargs="+",
        required=True,
        metavar="NAME=VALUES",
        help="what to search: a keyword of the recipe or a field of its run, as LOW:HIGH, LOW:HIGH:log or A,B,C, "
        "e.g. optim.lr=1e-4:1e-2:log config.num_layers=1:4 optim.schedule=linear,cosine",
    )
    p.add_argument("--run", default="", help="which run of the recipe (default: the last)")
    p.add_argument("--trials", type=int, default=30, help="finished trials of the whole study (default: 30)")
    p.add_argument("--storage", default="", help="database of optuna; default: a file in the folder")
    p.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    p.add_argument("--out", help=f"folder of the study (default: {DEFAULT_OUT}/RECIPE-sweep)")
    p.add_argument("--tiny", action="store_true", help="the recipe at a size that trains in seconds")
    p.add_argument("--seed", type=int, default=0, help="of the search")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p = verb("fit")
    p.add_argument(
        "table", help="CSV, TSV, JSONL, Parquet or Arrow with audio or text and labels, or a folder of classes"
    )
    _fit_columns(p)
    p.add_argument(
        "--system",
        help="the network to train, whatever it comes to (default: candidates compete): "
        + ", ".join(n for n in module_names("systems") if n != "average"),
    )
    p.add_argument("--from", help="run folder, model folder or hub:ORG/NAME whose weights a candidate starts from")
    p.add_argument("--minutes", type=float, help="time for networks (default: by the number of clips, which is said)")
    p.add_argument("--epochs", type=int, help="of networks (default: by the number of clips and the time)")
    p.add_argument("--lr", type=float, help="peak rate of networks (default: 1e-3, a fifth of it with --from)")
    p.add_argument("--batch-s", type=float, help="seconds of audio in a batch of networks (default: 64)")
    p.add_argument(
        "--folds",
        default="auto",
        help="auto (cross-validation of a small table), none (one test part), speaker (one a fold), or a number",
    )
    p.add_argument("--split-seed", type=int, default=0, help="of how the table is divided (default: 0)")
    p.add_argument("--out", help="folder for the model and the report (default: runs/fit-TABLE-LABEL)")
    p.add_argument("--skip-bad", action="store_true", help="leave rows out that cannot be used, after listing them")
    p.add_argument("--seed", type=int, default=0, help="of training (default: 0)")
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def _fit_columns(p: argparse.ArgumentParser) -> None:
    words = "column to predict; several, repeated or joined by commas, are tasks of one model; a folder needs none"
    p.add_argument("--label", action="append", metavar="COLUMN", help=words)
    words = "classification, regression or tagging, also COLUMN=KIND (default: guessed from the labels, and said)"
    p.add_argument("--task", action="append", default=[], metavar="KIND", help=words)
    p.add_argument("--multilabel", default="", metavar="SEPARATOR", help='of several labels in one cell, as "|"')
    words = "make one class of labels that differ only in capitals, blanks or forms of a character"
    p.add_argument("--merge-variants", action="store_true", help=words)
    for name, what in (("audio", "paths of recordings"), ("text", "transcripts"), ("speaker", "who speaks")):
        words = f"column of {what} (default: by its name)"
        p.add_argument(f"--{name}-column", default="", metavar="COLUMN", help=words)


def _scoring_verbs(verb: Verb) -> None:
    for name in ("evaluate", "robustness", "similarity"):
        p = verb(name)
        p.add_argument("model", help="run folder, model folder or hub:ORG/NAME")
        p.add_argument("--protocol", required=True, help=", ".join(module_names("protocols")) + ", or a protocol.json")
        p.add_argument("--fold", help="default: the only one")
        p.add_argument("--root", help="folder of the corpus")
        _trust_code(p)
        if name == "evaluate":
            p.add_argument("--out", help="folder for results.json and predictions")
        elif name == "similarity":
            p.add_argument("--out", help="folder for similarity.json and its picture")
        else:
            p.add_argument("--out", help="folder for robustness.json; that of a run puts the curves into its report")
            p.add_argument("--sweeps", nargs="+", default=SWEEPS, help=f"some of {', '.join(SWEEPS)}, words")
    p = verb("compare")
    p.add_argument("runs", nargs="+", help="folders of runs")
    p.add_argument("--markdown", action="store_true", help="as Markdown")
    p.add_argument("--times", action="store_true", help="also print the training time a clip, pre-trainings included")
    p.add_argument("--against", metavar="ROW", help="also print paired differences of every row from this one")
    p = verb("report")
    p.add_argument("runs", nargs="+", help="folders of runs")
    p.add_argument("--out", help="page to write (default: report.html in the first folder)")


def _model_verbs(verb: Verb) -> None:
    for name in ("embed", "predict"):
        p = verb(name)
        p.add_argument("model", help="run folder, model folder or hub:ORG/NAME")
        p.add_argument("audio", nargs="*", help="audio files")
        p.add_argument("--text", nargs="+", help="transcripts, one per file (or without files)")
        _trust_code(p)
        if name == "embed":
            p.add_argument("--out", default="embeddings.npy", help="file to write")
            p.add_argument("--window-s", type=float, help="cut one long recording into windows of so many seconds")
            p.add_argument("--hop-s", type=float, help="from one window to the next (default: no overlap)")
        else:
            p.add_argument("--top", type=int, help="show only so many classes")
    p = verb("index")
    p.add_argument("folder", help="folder of recordings, searched with all its subfolders")
    p.add_argument("--model", required=True, help="run folder, model folder or hub:ORG/NAME of a system that aligns")
    p.add_argument("--out", required=True, help="folder for the index")
    _trust_code(p)
    p = verb("search")
    p.add_argument("index", help="folder that `sonolex index` wrote")
    p.add_argument("words", nargs="?", help="what to look for")
    p.add_argument("--audio", help="a recording to look for instead")
    p.add_argument("--model", help="where the index's model is now (default: where it was)")
    p.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")
    _trust_code(p)


def _trust_code(p: argparse.ArgumentParser) -> None:
    words = "let the model's files name code of their own, outside the package, which then runs on this machine"
    p.add_argument("--trust-code", action="store_true", help=words)
