"""The inputs of small models: statistics of every clip, and counts of the terms in every transcript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
import scipy.sparse
import torch

from sonolex.arrays import load_arrays, save_arrays
from sonolex.audio.statistics import RATE_HZ, SET_SIZES, VERSION, clip_statistics
from sonolex.cache import FEATURES, keep_within, most_bytes, note_use
from sonolex.configs import cache_folder
from sonolex.data.digests import audio_marks
from sonolex.data.manifest import Clip, Manifest
from sonolex.files import recover
from sonolex.locks import holding
from sonolex.protocols.base import digest
from sonolex.systems.statistics import FARTHEST
from sonolex.text import word_and_letter_ngrams
from sonolex.train.preflight import has_audio

MOST_TERMS = 20_000
FEWEST_CLIPS = 2
THREADS = 2
MOST_BYTES = 8 << 30


@dataclass(frozen=True)
class Features:
    """Statistics and terms of all clips of a table.

    Attributes:
        audio_NF: all sets of `sonolex.audio.statistics`, in their order; zeros where a clip has no audio.
        heard_N: which clips have audio.
        terms: of all transcripts, those in at least `FEWEST_CLIPS`.
        counts_NV: how often each term occurs in each clip's transcript.
    """

    audio_NF: np.ndarray
    heard_N: np.ndarray
    terms: tuple[str, ...]
    counts_NV: scipy.sparse.csr_matrix

    @property
    def has_audio(self) -> bool:
        """Whether some clip has audio."""
        return bool(self.heard_N.any())

    @property
    def has_words(self) -> bool:
        """Whether some clip has a transcript with terms that others have too."""
        return bool(self.counts_NV.nnz)

    def columns(self, sets: Sequence[str]) -> np.ndarray:
        """Return the columns of ``audio_NF`` that hold these sets, in this order."""
        return np.concatenate([self._places[name] for name in sets]) if sets else np.zeros(0, int)

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        ends = np.cumsum(list(SET_SIZES.values()))
        return {name: np.arange(end - SET_SIZES[name], end) for name, end in zip(SET_SIZES, ends, strict=True)}


def measured(manifest: Manifest, *, words: bool, advance: Callable[[float], None] = lambda amount: None) -> Features:
    """Return the features of every clip; ``advance`` is called for each clip that is measured.

    Statistics are kept in the cache (`sonolex.cache`), by the clips' audio.
    """
    texts = [t or "" for t in manifest.column("text")] if words else [""] * len(manifest)
    terms, counts_NV = _terms_of(texts)
    heard_N = has_audio(manifest)
    audio_NF = np.zeros((len(manifest), sum(SET_SIZES.values())), np.float32)
    if heard_N.any():
        audio_NF[heard_N] = _statistics(manifest.take(np.flatnonzero(heard_N)), advance)
    return Features(audio_NF, heard_N, terms, counts_NV)


def _statistics(manifest: Manifest, advance: Callable[[float], None]) -> np.ndarray:
    """Return the statistics (N, F) of clips that all have audio, measured once for clips with the same audio."""
    marks = _marks(manifest)
    row_of = {mark: row for row, mark in enumerate(marks)}
    kinds = sorted(row_of)
    settings = [VERSION, RATE_HZ, SET_SIZES, np.__version__, scipy.__version__, torch.__version__]
    path = cache_folder() / FEATURES / f"v{VERSION}-{digest([settings, kinds])}.npz"
    with holding(path.parent, path.name):  # a second process reads what the first one wrote
        if path.is_file():
            note_use(path)
            saved = load_arrays(path, most_bytes=MOST_BYTES)
        else:
            recover(path.parent, name=path.name)
            with ThreadPoolExecutor(THREADS, initializer=lambda: torch.set_num_threads(1)) as pool:
                rows = []
                for row in pool.map(_statistics_of, manifest.take([row_of[mark] for mark in kinds])):
                    rows.append(row)
                    advance(1)
            saved = {"marks": np.array(kinds), "audio_NF": np.stack(rows)}
            save_arrays(path, saved)
    keep_within(path.parent, most_bytes(FEATURES), newest=path)
    place = {mark: i for i, mark in enumerate(saved["marks"].tolist())}
    return saved["audio_NF"][[place[mark] for mark in marks]]


def _marks(manifest: Manifest) -> list[str]:
    """Return an identifier of every clip's audio: its digest, or else its file and the excerpt's times."""
    digests = manifest.column("audio_digest")
    excerpts = zip(manifest.column("offset_s"), manifest.column("duration_s"), strict=True)
    pairs = zip(digests, audio_marks(manifest, places=True), excerpts, strict=True)
    return [mark if known is not None else f"{mark}, {start} to {length}" for known, mark, (start, length) in pairs]


def standards(audio_NF: np.ndarray, heard_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of statistics over the clips that have audio; 1 for a statistic that does not vary."""
    if not heard_N.any():
        return np.zeros(audio_NF.shape[1], np.float32), np.ones(audio_NF.shape[1], np.float32)
    known = audio_NF[heard_N].astype(np.float64)
    centre_F, spread_F = known.mean(0), known.std(0)
    constant = spread_F < 1e-6 * np.maximum(1.0, np.abs(centre_F))
    return centre_F.astype(np.float32), np.where(constant, 1.0, spread_F).astype(np.float32)


def standardised(audio_NF: np.ndarray, heard_N: np.ndarray, centre_F: np.ndarray, spread_F: np.ndarray) -> np.ndarray:
    """Return (N, F) float32 as `sonolex.systems.statistics` computes it; zeros where a clip has no audio."""
    z_NF = np.clip((audio_NF - centre_F) / spread_F, -FARTHEST, FARTHEST)
    return z_NF * heard_N[:, None].astype(np.float32)


def inverse_frequencies(counts_NV: scipy.sparse.csr_matrix) -> np.ndarray:
    """Return the smoothed inverse document frequency of every term, (V,) float32."""
    num_clips, num_terms = counts_NV.shape  # type: ignore[misc]
    with_term_V = np.bincount(counts_NV.indices, minlength=num_terms)  # every entry is above 0
    return (np.log((1 + num_clips) / (1 + with_term_V)) + 1).astype(np.float32)


def weighted_terms(counts_NV: scipy.sparse.csr_matrix, idf_V: np.ndarray, scale: float) -> scipy.sparse.csr_matrix:
    """Return TF-IDF with logarithmic counts, rows of length ``scale`` (or 0), as the system computes it."""
    weights_NV = counts_NV.astype(np.float64)
    weights_NV.data = 1 + np.log(weights_NV.data)
    weights_NV = scipy.sparse.csr_matrix(weights_NV.multiply(idf_V[None]))
    lengths_N = np.sqrt(np.asarray(weights_NV.multiply(weights_NV).sum(1)).ravel())
    return scipy.sparse.csr_matrix(scipy.sparse.diags(scale / np.maximum(lengths_N, 1e-12)) @ weights_NV)


def _statistics_of(clip: Clip) -> np.ndarray:
    return clip_statistics(clip.samples(RATE_HZ), tuple(SET_SIZES))


def _terms_of(texts: Sequence[str]) -> tuple[tuple[str, ...], scipy.sparse.csr_matrix]:
    """Return the most frequent terms and how often each text has each."""
    counted = [Counter(word_and_letter_ngrams(text)) for text in texts]
    with_term = Counter(term for terms in counted for term in terms)
    kept = sorted((t for t, n in with_term.items() if n >= FEWEST_CLIPS), key=lambda t: (-with_term[t], t))
    terms = tuple(sorted(kept[:MOST_TERMS]))
    ids = {term: i for i, term in enumerate(terms)}
    cells = [(row, ids[t], n) for row, counts in enumerate(counted) for t, n in counts.items() if t in ids]
    rows, columns, values = zip(*cells, strict=True) if cells else ((), (), ())
    matrix = scipy.sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), len(terms)), dtype=np.float64)
    return terms, matrix
