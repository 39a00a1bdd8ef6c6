"""The command line: verbs only. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sonolex.configs import find_module, module_names

SWEEPS = ("noise", "reverberation", "speed")  # those of audio; "words" is for models that read text
DEFAULT_OUT = "runs"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code. Mistakes of the user are one message, not a traceback."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.verb not in ("train", "prepare", "sweep"):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        arguments.function(arguments)
    except (ValueError, TypeError, OSError, ImportError) as e:
        print(f"sonolex {arguments.verb}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def prepare(arguments: argparse.Namespace) -> None:
    """Make a manifest of a corpus in its official layout."""
    options = _options_of(find_module("data.corpora", arguments.corpus).prepare, arguments.rest)
    manifest = find_module("data.corpora", arguments.corpus).prepare(arguments.root, **options).with_durations()
    print(manifest)
    if arguments.out:
        print(manifest.write(arguments.out))


def download(arguments: argparse.Namespace) -> None:
    """Download and unpack a corpus whose licence allows it; the same command goes on where it stopped."""
    from rich.progress import Progress

    from sonolex.data.download import download_corpus

    with Progress(transient=True) as bar:
        lines: dict[str, Any] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in lines:
                lines[name] = bar.add_task(name, total=total or None)
            bar.update(lines[name], completed=done)

        folder = download_corpus(arguments.corpus, arguments.out, mirror=arguments.mirror, progress=progress)
    print(f"{folder}. Next: sonolex prepare {arguments.corpus} --root {folder}")


def train(arguments: argparse.Namespace) -> None:
    """Train the runs of a recipe; the same command again goes on where it stopped."""
    from sonolex.train.series import train_all

    module = find_module("recipes", arguments.recipe)
    recipe = module.tiny if arguments.tiny else module.recipe
    runs = recipe(**_options_of(recipe, arguments.rest))
    folder = Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}")
    if arguments.slurm:
        from sonolex.train.slurm import write_sbatch

        words = [
            "train",
            arguments.recipe,
            "--out",
            str(folder),
            *(["--tiny"] if arguments.tiny else []),
            *arguments.rest,
        ]
        print(f"sbatch {write_sbatch(Path(arguments.slurm), words, gpus=arguments.gpus, hours=arguments.hours)}")
        return
    train_all(runs, folder, quiet=arguments.quiet)
    print(f"Results are in {folder}. Next: sonolex report {folder}")


def sweep(arguments: argparse.Namespace) -> None:
    """Search over a recipe's settings; several of these commands share one study, and a killed one is taken over."""
    from sonolex.report import plot_sweep
    from sonolex.train.sweep import parse_choice
    from sonolex.train.sweep import sweep as search

    module = find_module("recipes", arguments.recipe)
    recipe = module.tiny if arguments.tiny else module.recipe
    folder = Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}-sweep")
    found = search(
        recipe,
        [parse_choice(c) for c in arguments.space],
        folder,
        options=_options_of(recipe, arguments.rest),
        run=arguments.run,
        trials=arguments.trials,
        storage=arguments.storage,
        prune=not arguments.no_prune,
        seed=arguments.seed,
        quiet=arguments.quiet,
    )
    print(f"best on the selection part: {found['value']:.4f} with {found['best']}")
    print("importance: " + ", ".join(f"{n} {v:.2f}" for n, v in found["importance"].items()))
    print(f"{folder / 'sweep.json'}, {plot_sweep(folder)}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a trained model under a protocol."""
    import json

    from sonolex.evaluate import evaluate_model

    results = evaluate_model(
        arguments.model, arguments.protocol, fold=arguments.fold, root=arguments.root, out=arguments.out
    )
    print(json.dumps({k: results[k] for k in ("protocol", "fold", "fingerprint", "scores", "floors")}, indent=2))


def robustness(arguments: argparse.Namespace) -> None:
    """Score a trained model under noise, reverberation and speed change."""
    from sonolex.robustness import robustness as sweep
    from sonolex.robustness import robustness_lines

    results = sweep(
        arguments.model,
        arguments.protocol,
        fold=arguments.fold,
        root=arguments.root,
        out=arguments.out,
        sweeps=arguments.sweeps,
    )
    print("\n".join(robustness_lines(results)))


def similarity(arguments: argparse.Namespace) -> None:
    """Compare a model's states of speech with those of its text, layer by layer."""
    from sonolex.similarity import similarity as measure
    from sonolex.similarity import similarity_lines

    rows = measure(arguments.model, arguments.protocol, fold=arguments.fold, root=arguments.root, out=arguments.out)
    print("\n".join(similarity_lines(rows)))


def compare(arguments: argparse.Namespace) -> None:
    """Print tables of runs, and differences from one row; refuse different fingerprints."""
    from sonolex.compare import compare_runs, markdown_tables, text_tables, time_lines
    from sonolex.paired import difference_lines

    tables = compare_runs(arguments.runs)
    print((markdown_tables if arguments.markdown else text_tables)(tables))
    if arguments.times:
        print("\n".join(["", *time_lines(arguments.runs)]))
    if arguments.against:
        print("\n".join(difference_lines(tables, arguments.against, markdown=arguments.markdown)))


def report(arguments: argparse.Namespace) -> None:
    """Write report.html and print its tables."""
    from sonolex.compare import compare_runs, text_tables
    from sonolex.report import write_html

    print(text_tables(compare_runs(arguments.runs)))
    out = arguments.out or Path(arguments.runs[0]) / "report.html"
    print(f"\n{write_html(arguments.runs, out)}")


def embed(arguments: argparse.Namespace) -> None:
    """Write pooled vectors of audio files as .npy."""
    import numpy as np

    from sonolex.api import Pipeline

    model = Pipeline.load(arguments.model)
    if arguments.window_s is not None:
        if len(arguments.audio) != 1 or arguments.text:
            raise ValueError("`--window-s` must have exactly one audio file and no text.")
        vectors, starts_s = model.embed_windows(arguments.audio[0], window_s=arguments.window_s, hop_s=arguments.hop_s)
        print(f"{len(starts_s)} windows, the last from {starts_s[-1]:g} s")
    else:
        vectors = model.embed(audio=arguments.audio or None, text=_texts(arguments))
    np.save(arguments.out, vectors)
    print(f"{arguments.out}: {vectors.shape}")


def predict(arguments: argparse.Namespace) -> None:
    """Print one JSON line per file."""
    import json

    from sonolex.api import Pipeline

    answers = Pipeline.load(arguments.model).predict(
        audio=arguments.audio or None, text=_texts(arguments), top=arguments.top
    )
    names = arguments.audio or arguments.text
    for name, answer in zip(names, answers, strict=True):
        print(json.dumps({"input": name, **answer}, ensure_ascii=False))


def fit(arguments: argparse.Namespace) -> None:
    """Train on your own recordings: one table in, a model and a report out."""
    from sonolex.fit import fit as fit_table

    fit_table(
        arguments.table,
        label=arguments.label,
        system=arguments.system,
        start_from=getattr(arguments, "from"),
        epochs=arguments.epochs,
        out=arguments.out,
        skip_bad=arguments.skip_bad,
        seed=arguments.seed,
        quiet=arguments.quiet,
    )


def doctor(arguments: argparse.Namespace) -> None:
    """Say what this machine has and what is missing."""
    from sonolex.doctor import diagnosis

    print(diagnosis())


def transcribe(arguments: argparse.Namespace) -> None:
    """Fill in missing transcripts with a speech recogniser; the same command goes on where it stopped."""
    from sonolex.transcribe import transcribe as fill

    print(fill(arguments.manifest, asr=arguments.asr, out=arguments.out))
    print(arguments.out)


def index(arguments: argparse.Namespace) -> None:
    """Embed every recording in a folder for `search`; recordings that are in the index already are not read again."""
    from sonolex.search import build_index

    added, total = build_index(arguments.folder, model=arguments.model, out=arguments.out)
    print(f"{arguments.out}: {total} recordings, {added} of them new")


def search(arguments: argparse.Namespace) -> None:
    """Find the recordings of an index that are nearest to words or to another recording."""
    from sonolex.search import SoundIndex

    for hit in SoundIndex.open(arguments.index).search(text=arguments.words, audio=arguments.audio, top=arguments.top):
        print(f"{hit.similarity:.3f}  {hit.path}")


Verb = Callable[[str, Callable[[argparse.Namespace], None]], argparse.ArgumentParser]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sonolex", description=(__import__("sonolex").__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")

    def verb(name: str, function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        words = function.__doc__ or ""
        added = verbs.add_parser(name, help=words.split("\n")[0], description=words)
        added.set_defaults(function=function)
        return added

    for add in (_data_verbs, _training_verbs, _scoring_verbs, _model_verbs):
        add(verb)
    verb("doctor", doctor)
    return parser


def _data_verbs(verb: Verb) -> None:
    p = verb("prepare", prepare)
    p.add_argument("corpus", help=", ".join(module_names("data.corpora")))
    p.add_argument("--root", help="folder of the unpacked release")
    p.add_argument("--out", help="manifest to write: .arrow, .parquet, .csv or .jsonl")
    p = verb("download", download)
    p.add_argument("corpus", help="a corpus that names its addresses, e.g. ravdess")
    p.add_argument("--out", required=True, help="folder for the release")
    p.add_argument("--mirror", help="address of a folder with the same files (and, if it has one, md5sums.txt)")
    p = verb("transcribe", transcribe)
    p.add_argument("manifest", help="manifest with clips that lack a transcript")
    p.add_argument("--asr", required=True, help="pocketsphinx, whisper:FOLDER or whisper:HUB_ID")
    p.add_argument("--out", required=True, help="manifest to write")


def _training_verbs(verb: Verb) -> None:
    p = verb("train", train)
    p.add_argument("recipe", help=", ".join(module_names("recipes")))
    p.add_argument("--out", help=f"folder of the runs (default: {DEFAULT_OUT}/RECIPE)")
    p.add_argument("--tiny", action="store_true", help="a size that trains in seconds")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    p.add_argument("--slurm", metavar="FILE", help="only write an sbatch file that trains, requeues and goes on")
    p.add_argument("--gpus", type=int, default=0, help="with --slurm: GPUs of the node (default: none)")
    p.add_argument("--hours", type=int, default=24, help="with --slurm: time limit (default: 24)")
    p = verb("sweep", sweep)
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
    p = verb("fit", fit)
    p.add_argument("table", help="CSV, TSV, JSONL, Parquet or Arrow with an audio column and labels")
    p.add_argument("--label", required=True, help="column to predict")
    p.add_argument("--system", default="ctal", help=", ".join(module_names("systems")))
    p.add_argument("--from", help="run folder, model folder or hub id to start from")
    p.add_argument("--epochs", type=int, help="default: by the number of clips")
    p.add_argument("--out", help="folder for the model and the report (default: runs/fit-TABLE-LABEL)")
    p.add_argument("--skip-bad", action="store_true", help="leave rows out that cannot be used, after listing them")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--quiet", action="store_true", help="no progress bar")


def _scoring_verbs(verb: Verb) -> None:
    for name, function in (("evaluate", evaluate), ("robustness", robustness), ("similarity", similarity)):
        p = verb(name, function)
        p.add_argument("model", help="run folder, model folder or hub id")
        p.add_argument("--protocol", required=True, help=", ".join(module_names("protocols")) + ", or a protocol.json")
        p.add_argument("--fold", help="default: the only one")
        p.add_argument("--root", help="folder of the corpus")
        if name == "evaluate":
            p.add_argument("--out", help="folder for results.json and predictions")
        elif name == "similarity":
            p.add_argument("--out", help="folder for similarity.json")
        else:
            p.add_argument("--out", help="folder for robustness.json; that of a run puts the curves into its report")
            p.add_argument("--sweeps", nargs="+", default=SWEEPS, help=f"some of {', '.join(SWEEPS)}, words")
    p = verb("compare", compare)
    p.add_argument("runs", nargs="+", help="folders of runs")
    p.add_argument("--markdown", action="store_true", help="as Markdown")
    p.add_argument("--times", action="store_true", help="also print the training time a clip, pre-trainings included")
    p.add_argument("--against", metavar="ROW", help="also print paired differences of every row from this one")
    p = verb("report", report)
    p.add_argument("runs", nargs="+", help="folders of runs")
    p.add_argument("--out", help="page to write (default: report.html in the first folder)")


def _model_verbs(verb: Verb) -> None:
    for name, function in (("embed", embed), ("predict", predict)):
        p = verb(name, function)
        p.add_argument("model", help="run folder, model folder or hub id")
        p.add_argument("audio", nargs="*", help="audio files")
        p.add_argument("--text", nargs="+", help="transcripts, one per file (or without files)")
        if name == "embed":
            p.add_argument("--out", default="embeddings.npy", help="file to write")
            p.add_argument("--window-s", type=float, help="cut one long recording into windows of so many seconds")
            p.add_argument("--hop-s", type=float, help="from one window to the next (default: no overlap)")
        else:
            p.add_argument("--top", type=int, help="show only so many classes")
    p = verb("index", index)
    p.add_argument("folder", help="folder of recordings, searched with all its subfolders")
    p.add_argument("--model", required=True, help="run folder, model folder or hub id of a system that aligns")
    p.add_argument("--out", required=True, help="folder for the index")
    p = verb("search", search)
    p.add_argument("index", help="folder that `sonolex index` wrote")
    p.add_argument("words", nargs="?", help="what to look for")
    p.add_argument("--audio", help="a recording to look for instead")
    p.add_argument("--top", type=int, default=10, help="how many to show (default: 10)")


def _options_of(function: Any, words: list[str]) -> dict[str, Any]:
    """Return a function's keyword options from command-line words, typed by its signature."""
    if not words:
        return {}
    import inspect

    import tyro

    given: dict[str, Any] = {}

    def capture(**options: Any) -> None:
        given.update(options)

    signature = inspect.signature(function, eval_str=True)
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    capture.__signature__ = signature.replace(parameters=keywords, return_annotation=None)  # type: ignore[attr-defined]
    capture.__annotations__ = {p.name: p.annotation for p in keywords}
    capture.__doc__ = function.__doc__
    tyro.cli(capture, args=words)
    return given


def _texts(arguments: argparse.Namespace) -> list[str] | None:
    return arguments.text or None
