"""Rows to batches: read audio, drop modalities, run the processor, in worker threads, always in order.

Threads, not processes: decoding, FFTs and matrix products release Python's lock, and nothing has to be pickled. Each
worker uses one intra-op thread (OpenMP on small tensors is 30–100 times slower under load).
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from threading import Barrier, Lock
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sonolex.audio.degrade import Degradation, wrong_words
from sonolex.audio.io import MAX_DURATION_S, AudioError
from sonolex.audio.views import Views, mix_clips
from sonolex.data.manifest import Clip, Manifest
from sonolex.types import MODALITIES, Batch, Example

PREFETCH_BATCHES = 4
MIXUP_BETA = (10.0, 10.0)
PARTNER_SALT = 0x9A12
PARTNER_TRIES = 100
MIXUP_SALT = 0xA11D  # mixing and other randomness of one clip must not draw the same numbers


class ProcessorLike(Protocol):
    """The part of a processor that the loader uses; `sonolex.processors.base.Processor` is one."""

    @property
    def config(self) -> Any: ...
    def front(self, wave_S: np.ndarray) -> Tensor: ...
    def example(
        self,
        clip_id: str,
        *,
        front: Tensor | None,
        text: str | None,
        labels: Any,
        seed: int,
        views: Views,
        other_labels: Any,
        own_share: float,
        partner: Tensor | None,
    ) -> Example: ...
    def collate(self, examples: Sequence[Example]) -> Batch: ...


@dataclass(frozen=True)
class Loading:
    """How clips are read.

    Attributes:
        modalities: what the model may see; the rest is dropped.
        drop_audio, drop_text: chance that a training clip loses one modality; it never loses both.
        views: random views of training clips.
        mixup: chance that a training clip is mixed with another one of the manifest, shares from Beta(10, 10); the
            labels count by their shares (AST section 3.1). Needs audio without text.
        partners: chance that a clip with audio and text brings the audio of another clip along, for objectives that ask
            whether sound and words belong together: never its own audio, never a clip with the same transcript.
            In training and evaluation alike; None where no objective asks.
        degradation: applied to every recording first, for robustness curves.
        on_bad_clip: "error" stops at the first file that cannot be used, "skip" leaves it out and lists it.
        max_bad_clips: "skip" stops when more clips than this are bad.
        max_duration_s: longer clips are bad.
        num_workers: reading threads; 0 reads in the calling thread.
        cache_mb: memory for the deterministic part of features, so that later epochs skip decoding.
    """

    modalities: tuple[str, ...] = MODALITIES
    drop_audio: float = 0.0
    drop_text: float = 0.0
    views: Views = field(default_factory=Views)
    mixup: float = 0.0
    partners: float | None = None
    degradation: Degradation | None = None
    on_bad_clip: str = "error"
    max_bad_clips: int = 100
    max_duration_s: float = MAX_DURATION_S
    num_workers: int = 2
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        if not self.modalities or set(self.modalities) - set(MODALITIES):
            raise ValueError(f"`modalities` must be some of {MODALITIES}, but is {self.modalities}.")
        if self.on_bad_clip not in ("error", "skip"):
            raise ValueError(f"`on_bad_clip` must be error or skip, but is {self.on_bad_clip!r}.")
        if not (0 <= self.drop_audio <= 1 and 0 <= self.drop_text <= 1 and self.drop_audio + self.drop_text <= 1):
            raise ValueError("`drop_audio` and `drop_text` must be at least 0 and together at most 1.")
        if self.partners is not None and not 0 <= self.partners <= 1:
            raise ValueError(f"`partners` must be 0 to 1, or None, but is {self.partners}.")
        if not 0 <= self.mixup <= 1 or (self.mixup and self.modalities != ("audio",)):
            raise ValueError(f"`mixup` must be 0 to 1, and 0 unless modalities are ('audio',), but is {self.mixup}.")


@dataclass(frozen=True)
class BadClip:
    """A clip that was left out, and why."""

    clip_id: str
    problem: str


class Loader:
    """Reads rows of one manifest for one processor.

    Args:
        prepare: called on every batch in the worker thread; tasks add targets and corruption here.
        training: apply random views and modality dropping.
        seed: of all per-clip randomness, together with epoch and clip id.
    """

    def __init__(
        self,
        manifest: Manifest,
        processor: ProcessorLike,
        *,
        loading: Loading,
        prepare: Callable[[Batch], Batch] | None = None,
        training: bool = False,
        seed: int = 0,
        cache: FeatureCache | None = None,
    ):
        self.manifest, self.processor, self.loading = manifest, processor, loading
        self.training, self.seed = training, seed
        self._prepare = prepare
        self._cache = cache if cache is not None else FeatureCache(loading.cache_mb)
        self.bad_clips: dict[str, BadClip] = {}

    def batches(self, row_lists: Sequence[np.ndarray], *, epoch: int = 0) -> Iterator[Batch | None]:
        """Yield one batch per list of rows, in order; None where no row of a list could be used."""
        if self.loading.num_workers == 0:
            for rows in row_lists:
                yield self._batch(rows, epoch)
            return
        with _worker_pool(self.loading.num_workers) as pool:
            waiting: deque[Future[Batch | None]] = deque()
            ahead = iter(row_lists)
            try:
                for rows in ahead:
                    waiting.append(pool.submit(self._batch, rows, epoch))
                    if len(waiting) >= PREFETCH_BATCHES + self.loading.num_workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batch(self, rows: np.ndarray, epoch: int) -> Batch | None:
        examples = [e for e in (self._example(int(row), epoch) for row in rows) if e is not None]
        if not examples:
            return None
        batch = self.processor.collate(examples)
        return self._prepare(batch) if self._prepare else batch

    def _example(self, row: int, epoch: int) -> Example | None:
        clip = self.manifest[row]
        seed = clip_seed(self.seed, epoch, clip.id)
        use_audio, use_text = self._modalities(clip, seed)
        try:
            front = self._front(clip) if use_audio else None
            other_labels, own_share = {}, 1.0
            if self.training and front is not None and self.loading.mixup:
                front, other_labels, own_share = self._mixed(front, np.random.default_rng([seed, MIXUP_SALT]))
            return self.processor.example(
                clip.id,
                front=front,
                text=self._text(clip) if use_text else None,
                labels=clip.labels,
                seed=seed,
                views=self.loading.views if self.training else Views(),
                other_labels=other_labels,
                own_share=own_share,
                partner=self._partner(clip, seed) if use_audio and use_text else None,
            )
        except ValueError as e:  # AudioError, or a clip that does not fit the system
            if self.loading.on_bad_clip == "error":
                raise
            self.bad_clips[clip.id] = BadClip(clip.id, str(e))
            if len(self.bad_clips) > self.loading.max_bad_clips:
                raise ValueError(
                    f"`max_bad_clips` ({self.loading.max_bad_clips}) is exceeded; the last one: {e} "
                    "See bad_clips.jsonl of the run, and repair the corpus or raise the limit."
                ) from e
            return None

    def _mixed(self, front: Tensor, rng: np.random.Generator) -> tuple[Tensor, Mapping[str, Any], float]:
        """Return the features mixed with another clip's, that clip's labels and this one's share; or unmixed."""
        if rng.random() >= self.loading.mixup:
            return front, {}, 1.0
        other = self.manifest[int(rng.integers(len(self.manifest)))]
        share = float(np.clip(rng.beta(*MIXUP_BETA), 1e-3, 1 - 1e-3))
        return mix_clips(front, self._front(other), share), other.labels, share

    def _partner(self, clip: Clip, seed: int) -> Tensor | None:
        """Return the features of another clip with another transcript, or None if this clip is to have none."""
        rng = np.random.default_rng([seed, PARTNER_SALT])
        if self.loading.partners is None or rng.random() >= self.loading.partners:
            return None
        for _ in range(PARTNER_TRIES):
            other = self.manifest[int(rng.integers(len(self.manifest)))]
            if other.audio is not None and not _same_clip(clip, other):
                return self._front(other)
        raise ValueError(
            f"`partners` must find a clip with another recording and another transcript, but {PARTNER_TRIES} draws "
            f"found none for clip {clip.id!r}. Add clips with other transcripts, or leave out the matching objective."
        )

    def _modalities(self, clip: Clip, seed: int) -> tuple[bool, bool]:
        audio = "audio" in self.loading.modalities and clip.audio is not None
        text = "text" in self.loading.modalities and bool(clip.text and clip.text.strip())
        if not audio and not text:
            wanted = " or ".join(self.loading.modalities)
            raise ValueError(
                f"clip must have {wanted}, but has neither (clip {clip.id!r}). Remove it from the manifest."
            )
        if self.training and audio and text:
            draw = (seed % 1_000_003) / 1_000_003
            audio = draw >= self.loading.drop_audio
            text = not (self.loading.drop_audio <= draw < self.loading.drop_audio + self.loading.drop_text)
        return audio, text

    def _text(self, clip: Clip) -> str | None:
        share = self.loading.degradation.word_errors if self.loading.degradation else 0.0
        if not clip.text or not share:
            return clip.text
        rng = np.random.default_rng(clip_seed(self.seed, 0, clip.id))
        return wrong_words(clip.text, share, vocabulary=self._vocabulary, rng=rng)

    @cached_property
    def _vocabulary(self) -> list[str]:
        return sorted({word for text in self.manifest.column("text") for word in (text or "").split()})

    def _front(self, clip: Clip) -> Tensor:
        cached = self._cache.get(clip.id)
        if cached is not None:
            return cached
        rate_hz = self.processor.config.rate_hz
        wave_S = clip.samples(rate_hz, max_duration_s=self.loading.max_duration_s)
        if self.loading.degradation is not None:
            seed = clip_seed(self.seed, 0, clip.id)
            wave_S = self.loading.degradation.apply(wave_S, rate_hz=rate_hz, seed=seed)
        front = self.processor.front(wave_S)
        self._cache.put(clip.id, front)
        return front


class FeatureCache:
    """Feature tensors by clip id, up to a size; what does not fit is computed again."""

    def __init__(self, max_mb: int):
        self._room = max_mb * 1_000_000
        self._kept: dict[str, Tensor] = {}
        self._lock = Lock()

    def get(self, clip_id: str) -> Tensor | None:
        return self._kept.get(clip_id)

    def put(self, clip_id: str, front: Tensor) -> None:
        size = front.numel() * front.element_size()
        with self._lock:
            if size <= self._room and clip_id not in self._kept:
                self._kept[clip_id] = front
                self._room -= size


def _same_clip(clip: Clip, other: Clip) -> bool:
    """Return whether two rows are one recording, or say the same words (case, punctuation and spaces aside)."""
    same_recording = clip.audio == other.audio and (clip.offset_s, clip.duration_s) == (
        other.offset_s,
        other.duration_s,
    )
    return clip.id == other.id or same_recording or _words(clip.text) == _words(other.text)


def _words(text: str | None) -> list[str]:
    return re.findall(r"\w+", (text or "").casefold())


def clip_seed(seed: int, epoch: int, clip_id: str) -> int:
    """Return the seed of one clip in one epoch: the same on every machine, process and in every order."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{clip_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2


def _worker_pool(num_workers: int) -> ThreadPoolExecutor:
    """Return a pool whose threads use one intra-op thread each, without changing the caller's number.

    torch.set_num_threads in any thread also resets MKL for all of them, so the caller's number is set again once every
    worker has started.
    """
    num_threads = torch.get_num_threads()
    started = Barrier(num_workers + 1)
    pool = ThreadPoolExecutor(num_workers, initializer=torch.set_num_threads, initargs=(1,))
    for _ in range(num_workers):
        pool.submit(started.wait)
    started.wait()
    torch.set_num_threads(num_threads)
    return pool


__all__ = ["AudioError", "BadClip", "FeatureCache", "Loader", "Loading", "clip_seed"]
