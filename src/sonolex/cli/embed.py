"""Write pooled vectors of recordings, folders of them, or the rows of tables, as .npy."""

from __future__ import annotations

import argparse
from pathlib import Path

from sonolex.cli._models import add_model_and_inputs, inputs_of, loaded
from sonolex.cli._parsing import Verb
from sonolex.files import atomic_file
from sonolex.progress import counting
from sonolex.terminal import say

VERB = Verb("use", computes=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_and_inputs(parser)
    parser.add_argument("--out", default="embeddings.npy", help="file to write")
    parser.add_argument("--window-s", type=float, help="cut one long recording into windows of this many seconds")
    parser.add_argument("--hop-s", type=float, help="from one window to the next (default: no overlap)")


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from sonolex.doors.inputs import is_folder, is_table

    model = loaded(arguments)
    if arguments.window_s is not None:
        recording = arguments.inputs[0] if len(arguments.inputs) == 1 else ""
        if not recording or arguments.text or is_folder(recording) or is_table(recording):
            raise ValueError("`--window-s` must have exactly one recording and no text.")
        vectors, starts_s = model.embed_windows(recording, window_s=arguments.window_s, hop_s=arguments.hop_s)
        say(f"{len(starts_s)} windows, the last from {starts_s[-1]:g} s")
    else:
        rows = []
        with counting("vectors") as advance:
            for vector in model.vectors(one.item for one in inputs_of(arguments, model)):
                rows.append(vector)
                advance(1)
        vectors = np.stack(rows)
    with atomic_file(Path(arguments.out)) as building, building.open("wb") as file:
        np.save(file, vectors)
    say(f"{arguments.out}: {vectors.shape}")
