"""The command line: verbs only. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonolex.cli_arguments import COMPUTING, DEFAULT_OUT, TRAINING, read_words
from sonolex.cli_options import option_lines, options_of
from sonolex.cli_use import embed, index, predict, search
from sonolex.configs import find_module, look_here_for
from sonolex.devices import AUTO, use_threads
from sonolex.files import write_text
from sonolex.terminal import say, visible
from sonolex.train.group import first_alone, is_first, said_once, together


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code. Mistakes of the user are one message, not a traceback."""
    with said_once():
        words = sys.argv[1:] if argv is None else argv
        arguments, arguments.rest = read_words(words, {function.__name__: function for function in VERBS})
    try:
        look_here_for([getattr(arguments, name, None) for name in ("recipe", "corpus", "protocol", "system")])
        if arguments.help:
            return _help(arguments)
        with together(arguments.verb, shared=arguments.verb in SHARED):
            if arguments.verb in COMPUTING:
                processes = getattr(arguments, "processes", 1)
                use_threads(arguments.threads, processes=processes, by_load=arguments.verb not in TRAINING)
            return arguments.function(arguments) or 0
    except BrokenPipeError:  # who read our answers has enough of them (`| head`)
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the interpreter flushes it at its end
        return 1
    except (ValueError, TypeError, OSError, ImportError) as e:
        say(f"sonolex {arguments.verb}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _help(arguments: argparse.Namespace) -> int:
    """Print the help of a verb and the options of the recipe or corpus that is named."""
    if arguments.verb == "prepare":
        name = f"corpus {arguments.corpus}"
        function = find_module("data.corpora", arguments.corpus, trust_code=True).prepare
    else:
        name = f"recipe {arguments.recipe}" + (" with --tiny" if arguments.tiny else "")
        module = find_module("recipes", arguments.recipe, trust_code=True)
        function = module.tiny if arguments.tiny else module.recipe
    say(arguments.help, *option_lines(function, of=name), sep="\n")
    return 0


def prepare(arguments: argparse.Namespace) -> None:
    """Make a manifest of a corpus in its official layout."""
    corpus = find_module("data.corpora", arguments.corpus, trust_code=True)
    manifest = corpus.prepare(
        arguments.root, **options_of(corpus.prepare, arguments.rest, of=f"corpus {arguments.corpus}")
    ).with_durations()
    say(manifest)
    if arguments.out:
        say(manifest.write(arguments.out))


def download(arguments: argparse.Namespace) -> None:
    """Download and unpack a corpus whose licence allows it; the same command goes on where it stopped."""
    from rich.progress import Progress, TextColumn

    from sonolex.data.download import download_corpus

    name = TextColumn("{task.description}", markup=False)
    with Progress(name, *Progress.get_default_columns()[1:], transient=True) as bar:
        lines: dict[str, Any] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in lines:
                lines[name] = bar.add_task(visible(name), total=total or None)
            bar.update(lines[name], completed=done)

        folder = download_corpus(arguments.corpus, arguments.out, mirror=arguments.mirror, progress=progress)
    say(f"{folder}. Next: sonolex prepare {arguments.corpus} --root {shlex.quote(str(folder))}")


def train(arguments: argparse.Namespace) -> None:
    """Train the runs of a recipe; the same command again goes on where it stopped."""
    _, runs = _recipe_and_runs(arguments)
    folder = Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}")
    if arguments.slurm:
        from sonolex.train.slurm import write_sbatch

        words = [
            "train",
            arguments.recipe,
            "--out",
            str(folder),
            *(["--tiny"] if arguments.tiny else []),
            *_computing_words(arguments),
            *arguments.rest,
        ]
        say(f"sbatch {write_sbatch(Path(arguments.slurm), words, gpus=arguments.gpus, hours=arguments.hours)}")
        return
    _train_shared(arguments, runs, folder)
    if is_first():
        say(f"Results are in {folder}. Next: sonolex report {shlex.quote(str(folder))}")


def table(arguments: argparse.Namespace) -> None:
    """Fill a table of runs and print it: scores, floors, published numbers, and which differences are clear."""
    from sonolex.compare import compare_runs, markdown_tables, text_tables, time_lines
    from sonolex.paired import difference_lines

    module, runs = _recipe_and_runs(arguments)
    folder = Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}")
    _train_shared(arguments, runs, folder)
    if not is_first():
        return
    tables, times = compare_runs([folder]), time_lines([folder])
    against = arguments.against or getattr(module, "AGAINST", "")
    published = [f"  {row}: {values}" for row, values in getattr(module, "PUBLISHED", {}).items()]
    published = ["", "published, on the paper's corpora:", *published] if published else []
    paired = [t for t in tables if any(r.name == against for r in t.rows)]
    say(text_tables(tables), *difference_lines(paired, against), "", *times, *published, sep="\n")
    lines = [markdown_tables(tables), *difference_lines(paired, against, markdown=True), ""]
    write_text(folder / "table.md", "\n".join([*lines, *_fenced([*times, *published]), ""]))
    say(f"\n{folder / 'table.md'}")


def _fenced(lines: Sequence[str]) -> list[str]:
    """Return lines as they are in Markdown, between fences that none of them can close."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]


def _recipe_and_runs(arguments: argparse.Namespace) -> tuple[Any, Sequence[Any]]:
    module = find_module("recipes", arguments.recipe, trust_code=True)
    recipe = module.tiny if arguments.tiny else module.recipe
    with said_once():
        options = options_of(recipe, arguments.rest, of=f"recipe {arguments.recipe}")
    with first_alone():  # a recipe may look into its corpus, which may have to be made
        return module, recipe(**options)


def _train_shared(arguments: argparse.Namespace, runs: Sequence[Any], folder: Path) -> None:
    """Train runs in as many processes as are asked for; each takes what no other one has."""
    from sonolex.train.series import helpers, train_all

    words = ["train", arguments.recipe, "--out", str(folder), "--quiet"]
    words += [*(["--tiny"] if arguments.tiny else []), *_computing_words(arguments)]
    with helpers([*words, *arguments.rest], arguments.processes - 1):
        train_all(runs, folder, device=arguments.device, quiet=arguments.quiet)


def _computing_words(arguments: argparse.Namespace) -> list[str]:
    """Return ``--device`` and ``--threads`` as they were given, for another process."""
    threads = [] if arguments.threads is None else ["--threads", str(arguments.threads)]
    return [*([] if arguments.device == AUTO else ["--device", arguments.device]), *threads]


def sweep(arguments: argparse.Namespace) -> None:
    """Search over a recipe's settings; several of these commands share one study, and a killed one is taken over."""
    from sonolex.plots import plot_sweep
    from sonolex.train.sweep import parse_choice
    from sonolex.train.sweep import sweep as search

    module = find_module("recipes", arguments.recipe, trust_code=True)
    recipe = module.tiny if arguments.tiny else module.recipe
    folder = Path(arguments.out or f"{DEFAULT_OUT}/{arguments.recipe}-sweep")
    found = search(
        recipe,
        [parse_choice(c) for c in arguments.space],
        folder,
        options=options_of(recipe, arguments.rest, of=f"recipe {arguments.recipe}"),
        run=arguments.run,
        trials=arguments.trials,
        storage=arguments.storage,
        prune=not arguments.no_prune,
        seed=arguments.seed,
        device=arguments.device,
        quiet=arguments.quiet,
    )
    say(f"best on the selection part: {found['value']:.4f} with {found['best']}")
    say("importance: " + ", ".join(f"{n} {v:.2f}" for n, v in found["importance"].items()))
    say(f"{folder / 'sweep.json'}, {plot_sweep(folder)}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a trained model under a protocol; what JSON has no number for (an infinite d-prime) is null."""
    import json

    from sonolex.evaluate import evaluate_model

    results = evaluate_model(arguments.model, arguments.protocol, **_scoring(arguments))
    shown = {k: results[k] for k in ("protocol", "fold", "fingerprint", "scores", "floors")}
    say(json.dumps(_in_json(shown), indent=2, allow_nan=False))


def _in_json(values: Any) -> Any:
    """Return values with None for the numbers that JSON does not have."""
    if isinstance(values, dict):
        return {name: _in_json(value) for name, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def robustness(arguments: argparse.Namespace) -> None:
    """Score a trained model under noise, reverberation and speed change."""
    from sonolex.robustness import robustness as sweep
    from sonolex.robustness import robustness_lines

    results = sweep(arguments.model, arguments.protocol, sweeps=arguments.sweeps, **_scoring(arguments))
    say("\n".join(robustness_lines(results)))


def similarity(arguments: argparse.Namespace) -> None:
    """Compare a model's states of speech with those of its text, layer by layer."""
    from sonolex.plots import plot_similarity
    from sonolex.similarity import similarity as measure
    from sonolex.similarity import similarity_lines

    rows = measure(arguments.model, arguments.protocol, **_scoring(arguments))
    say("\n".join(similarity_lines(rows)))
    if arguments.out:
        say(f"{Path(arguments.out) / 'similarity.json'}, {plot_similarity(arguments.out)}")


def compare(arguments: argparse.Namespace) -> None:
    """Print tables of runs, and differences from one row; refuse different fingerprints."""
    from sonolex.compare import compare_runs, markdown_tables, text_tables, time_lines
    from sonolex.paired import difference_lines

    tables = compare_runs(arguments.runs)
    say((markdown_tables if arguments.markdown else text_tables)(tables))
    if arguments.times:
        say("\n".join(["", *time_lines(arguments.runs)]))
    if arguments.against:
        say("\n".join(difference_lines(tables, arguments.against, markdown=arguments.markdown)))


def report(arguments: argparse.Namespace) -> None:
    """Write report.html and print its tables."""
    from sonolex.compare import compare_runs, text_tables
    from sonolex.report import write_html

    say(text_tables(compare_runs(arguments.runs)))
    out = arguments.out or Path(arguments.runs[0]) / "report.html"
    say(f"\n{write_html(arguments.runs, out)}")


def cache(arguments: argparse.Namespace) -> None:
    """Say what is kept on this machine (floors, generated corpora), where and up to which size; or clear it."""
    from sonolex.cache import cache_lines, clear

    if arguments.clear is None:
        say("\n".join(cache_lines()))
        return
    gone = clear(arguments.clear)
    say(f"cleared {', '.join(k.name for k in gone) or 'nothing'}: {sum(k.num_bytes for k in gone) / 1e6:,.1f} MB")


def fit(arguments: argparse.Namespace) -> None:
    """Train on your own recordings: one table in, a model and a report out."""
    from sonolex.fit import fit as fit_table

    fit_table(
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


def doctor(arguments: argparse.Namespace) -> None:
    """Say what this machine has and what is missing."""
    from sonolex.doctor import diagnosis

    say(diagnosis())


def transcribe(arguments: argparse.Namespace) -> None:
    """Fill in missing transcripts with a speech recogniser; the same command goes on where it stopped."""
    from sonolex.transcribe import transcribe as fill

    say(fill(arguments.manifest, asr=arguments.asr, out=arguments.out, device=arguments.device))
    say(arguments.out)


def phones(arguments: argparse.Namespace) -> None:
    """Write how transcripts are pronounced: phones from a lexicon in CMUdict's format, or from espeak-ng."""
    from sonolex.phones import add_phones

    filled = add_phones(arguments.manifest, out=arguments.out, lexicon=arguments.lexicon, voice=arguments.voice)
    say(f"{filled}. Written to {arguments.out}")


def units(arguments: argparse.Namespace) -> None:
    """Write hidden units of audio: clusters of log-mel frames, or of a model's states; goes on where it stopped."""
    from sonolex.units import make_units

    options = {"num_units": arguments.num_units, "layer": arguments.layer, "hop_ms": arguments.hop_ms}
    options |= {"device": arguments.device, "trust_code": arguments.trust_code}
    filled = make_units(arguments.manifest, out=arguments.out, model=arguments.model, **options)
    say(f"{filled}. Written to {arguments.out}")


def _scoring(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that all verbs have which score a model."""
    return {n: getattr(arguments, n) for n in ("fold", "root", "out", "device", "trust_code")}


SHARED = ("train", "table")  # what several processes that torchrun started do together
VERBS = (
    prepare,
    download,
    transcribe,
    phones,
    units,
    train,
    table,
    sweep,
    fit,
    evaluate,
    robustness,
    similarity,
    compare,
    report,
    embed,
    predict,
    index,
    search,
    doctor,
    cache,
)
