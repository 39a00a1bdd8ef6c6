"""The verbs that use a trained model: embed, predict, index, search. Nothing heavy is imported before one runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sonolex.files import atomic_file
from sonolex.progress import counting
from sonolex.terminal import say

if TYPE_CHECKING:
    from sonolex.api import Pipeline
    from sonolex.inputs import Asked


def embed(arguments: argparse.Namespace) -> None:
    """Write pooled vectors of recordings, folders of them, or the rows of tables, as .npy."""
    import numpy as np

    from sonolex.inputs import is_folder, is_table

    model = _loaded(arguments)
    if arguments.window_s is not None:
        one = arguments.inputs[0] if len(arguments.inputs) == 1 else ""
        if not one or arguments.text or is_folder(one) or is_table(one):
            raise ValueError("`--window-s` must have exactly one recording and no text.")
        vectors, starts_s = model.embed_windows(one, window_s=arguments.window_s, hop_s=arguments.hop_s)
        say(f"{len(starts_s)} windows, the last from {starts_s[-1]:g} s")
    else:
        found = []
        with counting("vectors") as advance:
            for vector in model.vectors(asked.item for asked in _asked(arguments, model)):
                found.append(vector)
                advance(1)
        vectors = np.stack(found)
    with atomic_file(Path(arguments.out)) as building, building.open("wb") as file:
        np.save(file, vectors)
    say(f"{arguments.out}: {vectors.shape}")


def predict(arguments: argparse.Namespace) -> int:
    """Print one line of JSON for each recording, row of a table or text, in order and as soon as it is known."""
    from sonolex.predicting import print_answers, say_failures

    model = _loaded(arguments)
    model.require_tasks()
    hearing = {name: getattr(arguments, name) for name in ("top", "long", "window_s", "hop_s", "pool")}
    failed = print_answers(model, _asked(arguments, model), stop=arguments.on_error == "stop", **hearing)
    if failed:
        say_failures(failed, "sonolex predict")
    return 1 if failed else 0


def _loaded(arguments: argparse.Namespace) -> Pipeline:
    from sonolex.api import Pipeline

    return Pipeline.load(arguments.model, device=arguments.device, trust_code=arguments.trust_code)


def _asked(arguments: argparse.Namespace, model: Pipeline) -> Iterator[Asked]:
    """Return what the words of the command line ask the model about, one item after the other."""
    from sonolex.inputs import asked_items

    named = {"audio": arguments.audio_column, "text": arguments.text_column}
    columns = {meaning: column for meaning, column in named.items() if column is not None}

    def note(text: str) -> None:
        say(text, file=sys.stderr)

    return asked_items(arguments.inputs, arguments.text, reads=model.modalities, note=note, columns=columns)


def index(arguments: argparse.Namespace) -> None:
    """Embed every recording in a folder for `search`; recordings that are in the index already are not read again."""
    from sonolex.search import build_index

    options = {"device": arguments.device, "trust_code": arguments.trust_code}
    added, total = build_index(arguments.folder, model=arguments.model, out=arguments.out, **options)
    say(f"{arguments.out}: {total} recordings, {added} of them new")


def search(arguments: argparse.Namespace) -> None:
    """Find the recordings of an index that are nearest to words or to another recording."""
    from sonolex.search import SoundIndex

    opened = SoundIndex.open(
        arguments.index, model=arguments.model, device=arguments.device, trust_code=arguments.trust_code
    )
    if arguments.model is None:  # somebody else's index may name any model
        say(f"model, as {arguments.index} names it: {opened.model}", file=sys.stderr)
    for hit in opened.search(text=arguments.words, audio=arguments.audio, top=arguments.top):
        say(f"{hit.similarity:.3f}  {hit.path}")
