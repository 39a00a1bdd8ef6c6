"""The arguments of the command line's verbs."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from sonolex.configs import module_names, suggestion
from sonolex.devices import AUTO
from sonolex.terminal import say

SWEEPS = ("noise", "reverberation", "speed")  # those of audio; "words" is for models that read text
DEFAULT_OUT = "runs"
TRAINING = ("train", "table", "sweep", "fit", "units")
COMPUTING = (*TRAINING, "transcribe", "evaluate", "robustness", "similarity", "embed", "predict", "index", "search")
ASKING = ("train", "table", "sweep", "prepare")  # verbs whose recipe or corpus reads what is left
GROUPS = {
    "your data": ("prepare", "download", "transcribe", "phones", "units"),
    "train": ("fit", "train", "table", "sweep"),
    "judge": ("evaluate", "robustness", "similarity", "compare", "report"),
    "use": ("predict", "embed", "index", "search"),
    "this machine": ("doctor", "cache"),
}
Verb = Callable[[str], argparse.ArgumentParser]


def parser(functions: Mapping[str, Callable[[argparse.Namespace], Any]]) -> argparse.ArgumentParser:
    """Return the parser; ``functions`` are the verbs by name, and their docstrings say what they do."""
    description = (__import__("sonolex").__doc__ or "").split("\n")[0]
    parser = _Parser(prog="sonolex", description=description, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    summaries = parser.summaries = dict[str, str]()

    def verb(name: str) -> argparse.ArgumentParser:
        words = functions[name].__doc__ or ""
        summaries[name] = words.split("\n")[0]
        added = verbs.add_parser(name, help=words.split("\n")[0], description=words, allow_abbrev=False)
        added.set_defaults(function=functions[name])
        return added

    for add in (_data_verbs, _training_verbs, _scoring_verbs, _model_verbs, _machine_verbs):
        add(verb)
    for name in COMPUTING:
        _computing(verbs.choices[name])
    return parser


def read_words(
    words: Sequence[str], functions: Mapping[str, Callable[[argparse.Namespace], Any]]
) -> tuple[argparse.Namespace, list[str]]:
    """Return the arguments of one command, and what is left for a recipe or corpus to read.

    ``help`` of the arguments is the verb's help where that of a recipe or corpus is asked for as well. Verbs and
    options that do not exist end the process with code 2 and the nearest that do.
    """
    top = parser(functions)
    if not words or words[0].startswith("-"):
        return top.parse_args(words), []  # help, or what is missing
    verbs = next(a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    if words[0] not in verbs:
        top.error(
            f"`verb` must be one that `sonolex --help` lists, but is {words[0]!r}.{suggestion(words[0], [*verbs])}"
        )
    verb, rest = verbs[words[0]], list(words[1:])
    asks = words[0] in ASKING and any(w in ("-h", "--help") for w in rest)
    if asks:
        rest = [w for w in rest if w not in ("-h", "--help")]
        if not any(not w.startswith("-") for w in rest):
            rest = ["--help"]
    read = verb.parse_known_args if words[0] in ASKING else verb.parse_known_intermixed_args
    arguments, rest = read(rest)
    if rest and words[0] not in ASKING:
        _refuse(verb, rest)
    arguments.verb, arguments.help = words[0], verb.format_help() if asks else ""
    return arguments, rest


def _refuse(verb: argparse.ArgumentParser, rest: Sequence[str]) -> None:
    """End the process over words that a verb does not know."""
    wrong = next((w for w in rest if w.startswith("-")), None)
    if wrong is None:
        verb.error(f"nothing must be left over, but is: {' '.join(rest)}")
    known = [o for a in verb._actions for o in a.option_strings]
    name = wrong.partition("=")[0]
    verb.error(f"option {name} must be one that `{verb.prog} --help` lists, but is none.{suggestion(name, known)}")


class _Parser(argparse.ArgumentParser):
    """A parser whose messages hold the user's words, made visible: a shell may have put file names there."""

    summaries: dict[str, str] | None = None

    def format_help(self) -> str:
        """Return the help; that of the command itself lists its verbs by what they are for."""
        if self.summaries is None:
            return super().format_help()
        lines = ["usage: sonolex VERB …", "", *textwrap.wrap(self.description or "", 100)]
        for title, verbs in GROUPS.items():
            lines += ["", f"{title}:"]
            for name in verbs:
                first, *others = textwrap.wrap(self.summaries[name], 86)
                lines += [f"  {name:12}{first}", *(f"{'':14}{line}" for line in others)]
        return "\n".join(
            [*lines, "", "sonolex VERB --help says more, and sonolex train RECIPE --help what a recipe takes.", ""]
        )

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:
        say(message, end="", file=sys.stderr if file is None else file)


def _computing(p: argparse.ArgumentParser) -> None:
    p.add_argument("--device", default=AUTO, help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps")
    p.add_argument("--threads", type=int, metavar="N", help="that compute one operation (default: `sonolex doctor`)")


def _data_verbs(verb: Verb) -> None:
    p = verb("prepare")
    p.add_argument("corpus", help=", ".join(module_names("data.corpora")))
    p.add_argument("--root", help="folder of the unpacked release (default: the corpus under $SONOLEX_DATA)")
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
        p.add_argument("--root", help="folder of the corpus (default: the corpus under $SONOLEX_DATA)")
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
        p.add_argument(
            "inputs", nargs="*", help="recordings, folders of them, and tables (.csv, .tsv, .jsonl, .parquet, .arrow)"
        )
        p.add_argument("--text", nargs="+", help="transcripts, one a recording (or without recordings)")
        p.add_argument("--audio-column", metavar="NAME", help="of tables: the column with paths (default: audio)")
        p.add_argument("--text-column", metavar="NAME", help="of tables: the column with texts (default: text)")
        _trust_code(p)
        if name == "embed":
            p.add_argument("--out", default="embeddings.npy", help="file to write")
            p.add_argument("--window-s", type=float, help="cut one long recording into windows of so many seconds")
            p.add_argument("--hop-s", type=float, help="from one window to the next (default: no overlap)")
        else:
            p.add_argument("--top", type=int, help="show only so many classes")
            _errors_and_windows(p)
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


def _errors_and_windows(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--on-error",
        choices=("stop", "record"),
        default="stop",
        help="at an input that cannot be used, stop (default), or record the error in its line, go on, and end with "
        "code 1",
    )
    p.add_argument(
        "--long",
        choices=("refuse", "window"),
        default="refuse",
        help="a recording beyond the model's longest clip is an error (default), or is heard in windows",
    )
    p.add_argument(
        "--window-s", type=float, help="with --long window: their length (default: that of the longest training clip)"
    )
    p.add_argument("--hop-s", type=float, help="with --long window: from one to the next (default: no overlap)")
    p.add_argument(
        "--pool",
        choices=("mean", "each"),
        default="mean",
        help="with --long window: one answer by the mean of the windows' scores (default), or each window's own line",
    )


def _machine_verbs(verb: Verb) -> None:
    verb("doctor")
    p = verb("cache")
    p.add_argument("--clear", metavar="NAME", help="remove floors, features, a generated corpus by its name, or all")


def _trust_code(p: argparse.ArgumentParser) -> None:
    words = "let the model's files name code of their own, outside the package, which then runs on this machine"
    p.add_argument("--trust-code", action="store_true", help=words)
