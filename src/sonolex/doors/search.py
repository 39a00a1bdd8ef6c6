"""Search recordings by words or by another recording: an index of a folder's aligned vectors.

An index is a folder of `sonolex.doors.vector_files`, memory-mapped for searching, so it may be larger than memory. It
names the model that computed its vectors.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sonolex.audio.containers import SUFFIXES
from sonolex.devices import AUTO
from sonolex.doors.api import Pipeline
from sonolex.doors.vector_files import Card, GrowingFiles, VectorFiles
from sonolex.files import recover
from sonolex.locks import only_here

AT_ONCE = 64  # recordings embedded together
SAVED_EVERY_S = 30.0


@dataclass(frozen=True)
class Hit:
    """A recording and the cosine of its vector with the query's."""

    path: str
    similarity: float


class SoundIndex:
    """An opened index. The model is loaded at the first query that needs it.

    Attributes:
        model: run folder, model folder or ``hub:ORG/NAME``: the one passed in, or else the one that the index names.
    """

    def __init__(
        self, files: VectorFiles, *, model: str | Path | None = None, device: str = AUTO, trust_code: bool = False
    ):
        self._files, self._device, self._trust_code = files, device, trust_code
        self.model, self._model_is_named = str(model or files.card.model), model is not None
        self._pipeline: Pipeline | None = None

    @classmethod
    def open(
        cls, folder: str | Path, *, model: str | Path | None = None, device: str = AUTO, trust_code: bool = False
    ) -> SoundIndex:
        """Return the index in ``folder``; its vectors stay on disk. They are read once, to check them.

        Args:
            model: where the index's model is now; default: the folder where it was. A model of the hub must be named:
                an index from somebody else downloads nothing.
            trust_code: the model's folder may name code of its own, which then runs.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: an index that is not as it was written.
        """
        return cls(VectorFiles(Path(folder)), model=model, device=device, trust_code=trust_code)

    def __len__(self) -> int:
        return len(self._files)

    def search(self, *, text: str | None = None, audio: str | Path | None = None, top: int = 10) -> list[Hit]:
        """Return the nearest recordings, nearest first.

        Raises:
            FileNotFoundError: no model is named, and the index's own is not on this machine.
            ValueError: neither words nor a recording, or both; a model whose weights differ from the index's.
        """
        if (text is None) == (audio is None):
            raise ValueError("`text` or `audio` must be given, and only one of them.")
        if self._pipeline is None:
            if not self._model_is_named and not Path(self.model).is_dir():
                raise FileNotFoundError(
                    f"`model` must be named: {self._files.folder} was made with {self.model}, which is no folder here."
                )
            pipeline = _aligning(self.model, self._device, self._trust_code)
            if _weights_of(pipeline) != self._files.card.weights:
                raise ValueError(
                    f"`model` must have the weights that {self._files.folder} was made with, but {self.model} has "
                    "others. Name the model with `model`, or index with this one into another folder."
                )
            self._pipeline = pipeline
        return self.nearest(self._pipeline.embed(text=text, audio=audio), top=top)

    def nearest(self, vector_D: np.ndarray, *, top: int = 10) -> list[Hit]:
        """Return the recordings whose vectors are nearest to this one by cosine: all of them are compared."""
        matches = self._files.nearest(np.asarray(vector_D), top=top)
        return [Hit(self._files.path(row), similarity) for row, similarity in matches]


def build_index(
    folder: str | Path, *, model: str | Path, out: str | Path, device: str = AUTO, trust_code: bool = False
) -> tuple[int, int]:
    """Embed the recordings under ``folder`` that ``out`` lacks; return the numbers of new recordings and of all.

    The index is saved every half minute, so the same command resumes where it stopped.

    Raises:
        FileNotFoundError: no recordings there.
        ValueError: a model without aligned vectors, or an index of another model or of other weights.
        AudioError: a recording that cannot be used, by name.
        Held: another process writes the index.
    """
    from rich.progress import track

    folder, out = Path(folder).resolve(), Path(out)
    recordings = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    files = sorted(map(str, recordings))
    if not files:
        raise FileNotFoundError(f"`folder` must hold recordings ({', '.join(SUFFIXES)}), but {folder} has none.")
    pipeline = _aligning(model, device, trust_code)
    place = str(Path(model).resolve()) if Path(model).exists() else str(model)
    with only_here(out, "index", "writes"):
        recover(out)
        index = GrowingFiles(out, Card(place, _weights_of(pipeline), pipeline.model.system.pooled_dim))
        known = set(index.paths)
        new = [f for f in files if f not in known]
        saved = time.perf_counter()
        parts = [new[start : start + AT_ONCE] for start in range(0, len(new), AT_ONCE)]
        try:
            for part in track(parts, "embedding recordings", disable=len(parts) < 2, transient=True):
                index.add(pipeline.embed(audio=part), part)
                if time.perf_counter() - saved > SAVED_EVERY_S:
                    index.save()
                    saved = time.perf_counter()
        finally:  # an unreadable recording must not lose those before it
            index.save()
    return len(new), len(index.paths)


def _aligning(model: str | Path, device: str, trust_code: bool) -> Pipeline:
    """Return the model, whose vectors must be comparable across modalities."""
    pipeline = Pipeline.load(model, device=device, trust_code=trust_code)
    if not pipeline.model.system.aligns_modalities:
        raise ValueError(
            f"`model` must be a system whose vectors are aligned across modalities (CALM with pooled='aligned'), "
            f"but {model} is {pipeline.model.system.name} without."
        )
    return pipeline


def _weights_of(pipeline: Pipeline) -> str:
    """Return a digest of the model's weights: an index's vectors compare only with vectors of the same weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(pipeline.model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
