"""Run a model on recordings and texts, one after the other: items in, answers out, in the same order.

The steps are those of evaluation (decode, the model's own processor, encode). Only a few batches are in memory at a
time, however many items there are. An unusable item does not affect the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sonolex.audio.io import MAX_DURATION_S, AudioSource, describe_source, read_audio
from sonolex.processors.base import Processor
from sonolex.tasks.base import Model, Task
from sonolex.types import Example

BATCH_S = {"cpu": 16.0}  # of clips of 1 to 4 s, a CPU is fastest at 8 to 32 s (benchmarks/predict_batches.py)
OTHER_BATCH_S = 120.0
BATCHES_READ = 8  # at a time, so that clips of similar length share a batch
SHORTEST_WINDOW_S = 0.01
WINDOW_SHARES = (1.0, 0.99, 0.98, 0.95, 0.9)  # of a model's longest clip: frames overlap its ends


@dataclass(frozen=True)
class Item:
    """A recording, a text, or both.

    Attributes:
        name: its name in messages.
        offset_s, duration_s: an excerpt of the recording; None is all of it.
        problem: why the item cannot be used, if that is already known.
    """

    audio: AudioSource | None = None
    text: str | None = None
    name: str = ""
    offset_s: float | None = None
    duration_s: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Windows:
    """How a recording longer than ``window_s`` is cut: into windows that start every ``hop_s``.

    The last window is moved back to end with the recording.

    Raises:
        ValueError: a window or hop below `SHORTEST_WINDOW_S`, or a hop longer than the window.
    """

    window_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not (self.window_s >= SHORTEST_WINDOW_S and self.hop_s >= SHORTEST_WINDOW_S):
            raise ValueError(
                f"`window_s` and `hop_s` must be at least {SHORTEST_WINDOW_S}, but are {self.window_s:g} and "
                f"{self.hop_s:g}."
            )
        if self.hop_s > self.window_s:
            raise ValueError(
                f"`hop_s` must be at most `window_s` ({self.window_s:g}), or parts are left out, but is {self.hop_s:g}."
            )

    def cut(self, wave_S: np.ndarray, rate_hz: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield first sample and samples of every window."""
        window, hop = round(self.window_s * rate_hz), max(1, round(self.hop_s * rate_hz))
        for start in window_starts(len(wave_S), window, hop):
            yield start, wave_S[start : start + window]


@dataclass(frozen=True)
class Heard:
    """A model's outputs for an item, a row per window; a short recording or a text is one window.

    Attributes:
        scores: by task, (W, C).
        pooled_WD: one vector per window.
        starts_s, ends_s: of the windows in the recording, (W,); 0 for a text.
        error: why the item could not be used; the other fields are then empty.
    """

    item: Item
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    pooled_WD: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    starts_s: tuple[float, ...] = ()
    ends_s: tuple[float, ...] = ()
    error: Exception | None = None


class Listener:
    """A model with its processor on a device."""

    def __init__(self, model: Model, processor: Processor, device: torch.device):
        self.model, self.processor, self.device = model, processor, device

    @property
    def answering_tasks(self) -> list[str]:
        """Names of the tasks that answer for a single clip."""
        return [n for n, t in self.model.task_items() if t.needs_encoding and type(t).decide is not Task.decide]

    def require_accepted(self, item: Item) -> None:
        """Raise ValueError unless the system accepts the item's modalities."""
        if item.problem:
            raise ValueError(item.problem)
        has_text = bool(item.text and item.text.strip())
        modalities = {n for n, v in (("audio", item.audio is not None), ("text", has_text)) if v}
        if frozenset(modalities) not in self.model.system.accepts:
            accepted = " or ".join(sorted(" + ".join(sorted(m)) for m in self.model.system.accepts))
            raise ValueError(
                f"{item.name} must have {accepted} for {self.model.system.name}, "
                f"but has {' + '.join(sorted(modalities)) or 'nothing'}."
            )

    def windows(self, window_s: float | None, hop_s: float | None, *, trained_s: float = float("inf")) -> Windows:
        """Return how long recordings are cut; by default, windows as long as the longest training clip, no overlap.

        Args:
            trained_s: the length of that clip; if it is infinite (not known), the longest clip that the model takes.

        Raises:
            ValueError: ``window_s`` is longer than the model takes, or missing for a model without a limit.
        """
        longest_s = self.processor.config.longest_s
        if window_s is not None:
            windows = Windows(window_s, window_s if hop_s is None else hop_s)
            if self._fits(window_s):
                return windows
            raise ValueError(
                f"`window_s` must be at most {self._longest_window_s():g}, this model's longest clip, but is "
                f"{window_s:g}."
            )
        default_s = trained_s if trained_s < longest_s and self._fits(trained_s) else self._longest_window_s()
        if not np.isfinite(default_s):
            raise ValueError(
                "`window_s` must be given for a model whose clips may have any length (its processor has no limit)."
            )
        return Windows(default_s, default_s if hop_s is None else hop_s)

    def hear(
        self,
        items: Iterable[Item],
        *,
        batch_s: float | None = None,
        windows: Windows | None = None,
        advance: Callable[[float], None] = lambda amount: None,
    ) -> Iterator[Heard]:
        """Yield the model's outputs for each item, in order; those of an unusable item hold its ``error``.

        Args:
            batch_s: padded seconds computed together; default: by the device. It changes speed and memory only.
            windows: how recordings longer than a window are cut; None: every recording is one clip.
            advance: called with the share of an item that is done.
        """
        batch_s = BATCH_S.get(self.device.type, OTHER_BATCH_S) if batch_s is None else batch_s
        read: list[_Read] = []
        waiting_s = 0.0
        for item in items:
            read.append(self._read(item, windows))
            waiting_s += sum(map(self._seconds, read[-1].examples)) or 1.0
            advance(0.5)
            if waiting_s >= BATCHES_READ * batch_s:
                yield from self._computed(read, batch_s, advance)
                read, waiting_s = [], 0.0
        yield from self._computed(read, batch_s, advance)

    def pieces(self, audio: AudioSource, *, window_s: float, hop_s: float) -> tuple[np.ndarray, Iterator[Item]]:
        """Return where the windows of a recording start, in seconds (windows,), and the windows as items.

        Raises:
            AudioError: audio that cannot be used.
        """
        rate_hz, name = self.processor.config.rate_hz, describe_source(audio)
        wave_S = read_audio(audio, rate_hz=rate_hz, clip_id=name, max_duration_s=float("inf"))
        starts = window_starts(len(wave_S), round(window_s * rate_hz), max(1, round(hop_s * rate_hz)))
        window = round(window_s * rate_hz)
        items = (Item((wave_S[s : s + window], rate_hz), name=f"{name} from {s / rate_hz:g} s") for s in starts)
        return np.array(starts) / rate_hz, items

    def _read(self, item: Item, windows: Windows | None) -> _Read:
        read = _Read(item)
        try:
            self.require_accepted(item)
            for start_s, end_s, example in self._examples(item, windows):
                read.starts_s.append(start_s)
                read.ends_s.append(end_s)
                read.examples.append(example)
        except ValueError as e:  # AudioError, or an item that does not suit the system
            read = _Read(item, error=e)
        return read

    def _examples(self, item: Item, windows: Windows | None) -> Iterator[tuple[float, float, Example]]:
        """Yield start, end and example of every window of an item."""
        if item.audio is None:
            yield 0.0, 0.0, self.processor.example(item.name, front=None, text=item.text)
            return
        rate_hz = self.processor.config.rate_hz
        wave_S = read_audio(
            item.audio,
            rate_hz=rate_hz,
            clip_id=item.name,
            offset_s=item.offset_s or 0.0,
            duration_s=item.duration_s if item.offset_s is not None else None,
            max_duration_s=MAX_DURATION_S if windows is None else float("inf"),
        )
        if windows is None or len(wave_S) <= round(windows.window_s * rate_hz):
            pieces: Iterable[tuple[int, np.ndarray]] = [(0, wave_S)]
        elif item.text and item.text.strip():
            raise ValueError(
                f"{item.name} must have no text to be cut into windows, because the words of each window are not "
                "known. Leave the text out, or cut the recording into clips with their own words."
            )
        else:
            pieces = windows.cut(wave_S, rate_hz)
        for start, piece_S in pieces:
            front = self.processor.front(piece_S)
            example = self.processor.example(item.name, front=front, text=item.text)
            yield start / rate_hz, (start + len(piece_S)) / rate_hz, example

    def _computed(self, read: Sequence[_Read], batch_s: float, advance: Callable[[float], None]) -> Iterator[Heard]:
        """Run the model on the items in batches of similar length, and yield its outputs in the items' order."""
        owners = [(r, w) for r in read for w in range(len(r.examples))]
        examples = [r.examples[w] for r, w in owners]
        for rows in self._batches(examples, batch_s):
            batch = self.processor.collate([examples[r] for r in rows]).to(self.device)
            scores, pooled_BD = self.model.predict(batch)
            by_task = {name: s.cpu().numpy() for name, s in scores.items()}
            vectors = pooled_BD.cpu().numpy()
            for i, row in enumerate(rows):
                owner, window = owners[row]
                owner.outputs[window] = ({n: s[i] for n, s in by_task.items()}, vectors[i])
        for r in read:
            advance(0.5)
            yield r.joined()

    def _batches(self, examples: Sequence[Example], batch_s: float) -> Iterator[list[int]]:
        """Yield rows of similar length, of at most ``batch_s`` padded seconds together."""
        seconds = [self._seconds(e) for e in examples]
        rows: list[int] = []
        for row in sorted(range(len(examples)), key=seconds.__getitem__):
            if rows and seconds[row] * (len(rows) + 1) > batch_s:
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows

    def _seconds(self, example: Example) -> float:
        """Return an example's length for batching; text alone, and audio below a second, count as one second."""
        frames = 0 if example.audio is None else len(example.audio)
        return max(1.0, frames / self.processor.positions_per_second)

    def _longest_window_s(self) -> float:
        """Return the longest window that the model takes: its longest clip, or a little less."""
        longest_s = self.processor.config.longest_s
        return next((s for share in WINDOW_SHARES if self._fits(s := round(share * longest_s, 2))), 0.8 * longest_s)

    def _fits(self, seconds: float) -> bool:
        """Return whether the processor takes a clip of this length."""
        rate_hz = self.processor.config.rate_hz
        if seconds > min(2 * self.processor.config.longest_s, MAX_DURATION_S):
            return False
        noise_S = np.random.default_rng(0).normal(size=max(1, round(seconds * rate_hz))).astype(np.float32)
        try:
            self.processor.example("a window", front=self.processor.front(0.1 * noise_S), text=None)
        except ValueError:
            return False
        return True


@dataclass
class _Read:
    """An item after reading: an example per window and then the model's outputs, or the error."""

    item: Item
    examples: list[Example] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    error: Exception | None = None
    outputs: dict[int, tuple[dict[str, np.ndarray], np.ndarray]] = field(default_factory=dict)

    def joined(self) -> Heard:
        """Return the outputs of all windows, in order."""
        if self.error is not None:
            return Heard(self.item, error=self.error)
        rows = [self.outputs[w] for w in range(len(self.examples))]
        scores = {name: np.stack([s[name] for s, _ in rows]) for name in rows[0][0]}
        pooled_WD = np.stack([vector for _, vector in rows])
        if not all(np.isfinite(x).all() for x in (*scores.values(), pooled_WD)):
            return Heard(self.item, error=_not_finite(self.item))
        return Heard(self.item, scores, pooled_WD, tuple(self.starts_s), tuple(self.ends_s))


def _not_finite(item: Item) -> ValueError:
    return ValueError(
        f"{item.name}: the model's answer must be finite numbers, but holds NaN or infinity. Check its config and "
        "weights."
    )


def window_starts(num_samples: int, window: int, hop: int) -> list[int]:
    """Return the first samples of windows that cover a recording; the last window ends with it, or is all of it."""
    last = max(0, num_samples - window)
    return [*range(0, last, hop), last]


def named_items(pairs: Iterable[tuple[Any, Any]]) -> Iterator[Item]:
    """Yield (audio, text) pairs as items, named by their number and source."""
    for number, (audio, text) in enumerate(pairs):
        source = "" if audio is None else f": {describe_source(audio)}"
        yield Item(audio, text, f"item {number}{source}")
