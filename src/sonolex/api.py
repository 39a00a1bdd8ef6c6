"""Use a trained model on files or arrays: `Pipeline.load`, `embed`, `predict`.

The steps are those of evaluation (decode, the model's own processor, encode), so the numbers are those of evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex.audio.io import AudioSource, describe_source, read_audio
from sonolex.devices import AUTO, find_device
from sonolex.systems.base import Processor
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import load_model, model_folder, save_model
from sonolex.types import Example

PROGRESS_FROM_CLIPS = 64


class Pipeline:
    """A trained model with its processor. One item in, one answer out; many in, a list out, in the same order."""

    def __init__(self, model: Model, processor: Processor, *, info: dict[str, Any], device: str = AUTO):
        self.device = find_device(device)
        self.model = model.to(self.device).eval()
        self.processor, self.info = processor, info

    @classmethod
    def load(cls, place: str | Path, *, device: str = AUTO, trust_code: bool = False) -> Pipeline:
        """Return the model in a run folder, in a model folder, or on the Hugging Face hub (``hub:ORG/NAME``).

        Args:
            trust_code: the folder may name a system or tasks outside the package; their code then runs.

        Raises:
            FileNotFoundError: nothing of the kind is there.
            ValueError: a broken file, weights that do not fit their config, or a device that this machine does not
                have.
        """
        find_device(device)  # before anything is read
        model, processor, info = load_model(model_folder(place), trust_code=trust_code)
        return cls(model, processor, info=info, device=device)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks `predict` answers."""
        return [name for name, task in self.model.task_items() if task.needs_encoding]

    def embed(self, *, audio: Any = None, text: Any = None, batch_s: float = 120.0) -> np.ndarray:
        """Return one pooled vector per clip: (D,) for one item, (clips, D) for a list.

        Args:
            audio: a path, encoded bytes, a binary file, ``(array, rate)``, or a list of these; None for none.
            text: a transcript or a list of them; None for none.
            batch_s: padded seconds of audio computed together; it changes speed and memory only.

        Raises:
            AudioError: audio that cannot be used, by name.
            ValueError: modalities the system does not accept, or lists of different lengths.
        """
        single, items = _items(audio, text)
        vectors = [pooled for _, pooled in self._answers(items, batch_s)]
        return vectors[0] if single else np.stack(vectors)

    def predict(self, *, audio: Any = None, text: Any = None, top: int | None = None, batch_s: float = 120.0) -> Any:
        """Return {task: answer} for one item, a list of these for a list.

        An answer of a classification is ``{"label", "score", "scores"}`` with scores in falling order, at most ``top``
        of them; of a regression ``{"value"}``. Arguments and errors as in `embed`.
        """
        single, items = _items(audio, text)
        answers = []
        for scores, _ in self._answers(items, batch_s):
            answer = {}
            for name, task in self.model.task_items():
                if name in scores:
                    answer[name] = task.decide(scores[name][None])[0]
                    if top is not None and "scores" in answer[name]:
                        answer[name]["scores"] = dict(list(answer[name]["scores"].items())[:top])
            answers.append(answer)
        return answers[0] if single else answers

    def embed_windows(
        self, audio: AudioSource, *, window_s: float = 10.0, hop_s: float | None = None, batch_s: float = 120.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors (windows, D) of a long recording and where each window starts, in seconds (windows,).

        Every window is embedded as a clip of its own, so its vector does not depend on ``batch_s``. The last window is
        moved back to end with the recording; a recording shorter than a window is one window. Beside the model and the
        decoded samples (4 bytes each at the model's rate), memory holds one batch of ``batch_s`` seconds at a time.

        Args:
            window_s, hop_s: length of a window, and from one to the next (default: no overlap).

        Raises:
            AudioError: audio that cannot be used.
            ValueError: windows or hops that are not positive.
        """
        hop_s = window_s if hop_s is None else hop_s
        if not (window_s > 0 and hop_s > 0):
            raise ValueError(f"`window_s` and `hop_s` must be positive, but are {window_s} and {hop_s}.")
        rate = self.processor.config.rate_hz
        wave_S = read_audio(audio, rate_hz=rate, clip_id=describe_source(audio), max_duration_s=float("inf"))
        window, hop = round(window_s * rate), max(1, round(hop_s * rate))
        last = max(0, len(wave_S) - window)
        starts = [*range(0, last, hop), last]
        at_once = max(1, int(batch_s // window_s))
        vectors = []
        with _progress(len(starts)) as advance:
            for first in range(0, len(starts), at_once):
                part = starts[first : first + at_once]
                items = [((wave_S[s : s + window], rate), None) for s in part]
                vectors += [pooled for _, pooled in self._answers(items, batch_s, quiet=True)]
                advance(len(part))
        return np.stack(vectors), np.array(starts) / rate

    def save(self, folder: str | Path) -> None:
        """Write a model folder that `load` reads."""
        save_model(Path(folder), self.model, self.processor, provenance=self.info.get("provenance", {}))

    def push_to_hub(self, hub_id: str, *, private: bool = False) -> str:
        """Upload the model folder to the Hugging Face hub and return its address. Needs a login and the network."""
        import tempfile

        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as place:
            self.save(Path(place) / "model")
            api = HfApi()
            api.create_repo(hub_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=hub_id, folder_path=Path(place) / "model"))

    def _answers(
        self, items: Sequence[tuple[AudioSource | None, str | None]], batch_s: float, *, quiet: bool = False
    ) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Return scores by task and the pooled vector of every item, computed in batches of similar length."""
        for number, (audio, text) in enumerate(items):
            self._require_accepted(number, audio, text)
        answers: list[Any] = [None] * len(items)
        with _progress(0 if quiet else len(items)) as advance:
            # Features are small beside samples; read all of them first so that batches can be cut by length.
            examples = []
            for number, (audio, text) in enumerate(items):
                examples.append(self._example(number, audio, text))
                advance(0.5)
            for rows in self._batches(examples, batch_s):
                batch = self.processor.collate([examples[r] for r in rows]).to(self.device)
                scores, pooled_BD = self.model.predict(batch)
                for i, row in enumerate(rows):
                    by_task = {n: s[i].cpu().numpy() for n, s in scores.items()}
                    answers[row] = (by_task, pooled_BD[i].cpu().numpy())
                    _require_finite(examples[row].clip_id, *by_task.values(), answers[row][1])
                    advance(0.5)
        return answers

    def _example(self, number: int, audio: AudioSource | None, text: str | None) -> Example:
        front = None
        clip_id = f"item {number}" if audio is None else f"item {number}: {describe_source(audio)}"
        if audio is not None:
            front = self.processor.front(read_audio(audio, rate_hz=self.processor.config.rate_hz, clip_id=clip_id))
        return self.processor.example(clip_id, front=front, text=text)

    def _batches(self, examples: Sequence[Example], batch_s: float) -> Iterator[list[int]]:
        lengths = [0 if e.audio is None else len(e.audio) for e in examples]
        per_second = self.processor.positions_per_second
        rows: list[int] = []
        for row in sorted(range(len(examples)), key=lambda r: lengths[r]):
            longest = max(lengths[row], per_second)  # text alone counts as a second
            if rows and longest * (len(rows) + 1) > batch_s * per_second:
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows

    def _require_accepted(self, number: int, audio: AudioSource | None, text: str | None) -> None:
        given = {n for n, v in (("audio", audio is not None), ("text", bool(text and text.strip()))) if v}
        if frozenset(given) not in self.model.system.accepts:
            accepted = " or ".join(sorted(" + ".join(sorted(m)) for m in self.model.system.accepts))
            raise ValueError(
                f"item {number} must have {accepted} for {self.model.system.name}, "
                f"but has {' + '.join(sorted(given)) or 'nothing'}."
            )


def _items(audio: Any, text: Any) -> tuple[bool, list[tuple[Any, Any]]]:
    """Return whether one item was given, and the items as (audio, text) pairs."""
    audios = None if audio is None or _is_one_audio(audio) else list(audio)
    texts = None if text is None or isinstance(text, str) else list(text)
    if audios is None and texts is None:
        if audio is None and text is None:
            raise ValueError("`audio` or `text` must be given, but neither is.")
        return True, [(audio, text)]
    if (audios is None and audio is not None) or (texts is None and text is not None):
        raise ValueError("`audio` and `text` must both be one item or both be lists.")
    count = len(audios) if audios is not None else len(texts or [])
    audios = [None] * count if audios is None else audios
    texts = [None] * count if texts is None else texts
    if len(audios) != len(texts):
        raise ValueError(f"`audio` and `text` must be equally long, but have {len(audios)} and {len(texts)} items.")
    if not audios:
        raise ValueError("`audio` and `text` must have at least one item, but are empty.")
    return False, list(zip(audios, texts, strict=True))


def _require_finite(clip_id: str, *numbers: np.ndarray) -> None:
    if not all(np.isfinite(n).all() for n in numbers):
        raise ValueError(
            f"{clip_id}: the model's answer must be finite numbers, but holds NaN or infinity. Check its config and "
            "weights."
        )


def _is_one_audio(audio: Any) -> bool:
    if isinstance(audio, str | Path | bytes) or hasattr(audio, "read"):
        return True
    if isinstance(audio, tuple) and len(audio) == 2 and np.isscalar(audio[1]):
        return True
    if isinstance(audio, np.ndarray | torch.Tensor):
        raise ValueError("`audio` must say its rate: pass (array, rate), or a list of such pairs.")
    if isinstance(audio, Iterable):
        return False
    raise TypeError(
        f"`audio` must be a path, bytes, a binary file, (array, rate) or a list, but is {type(audio).__name__}."
    )


class _progress:
    """Context: a function that advances a bar, shown for long lists only."""

    def __init__(self, num_clips: int):
        self._bar = None
        if num_clips >= PROGRESS_FROM_CLIPS:
            from rich.progress import Progress

            self._bar = Progress(transient=True)
            self._task = self._bar.add_task("clips", total=num_clips)

    def __enter__(self) -> Any:
        if self._bar is None:
            return lambda amount: None
        self._bar.start()
        return lambda amount: self._bar.update(self._task, advance=amount) if self._bar else None

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
