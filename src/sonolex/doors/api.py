"""Use a trained model on files or arrays: `Pipeline.load`, `embed`, `predict`.

The steps are those of evaluation (decode, the model's own processor, encode), so the numbers are those of evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex.audio.io import AudioSource
from sonolex.configs import one_of
from sonolex.devices import AUTO, find_device
from sonolex.doors.answering import SHORTEST_WINDOW_S, Heard, Item, Listener, Windows, named_items
from sonolex.processors.base import Processor
from sonolex.progress import counting
from sonolex.systems.base import count_parameters
from sonolex.tasks.base import Model
from sonolex.terminal import visible
from sonolex.train.cards import CARD, read_card, with_licence
from sonolex.train.checkpoint import load_model, model_folder, save_model

PROGRESS_FROM_CLIPS = 64
CLASSES_SHOWN = 8
MODELS_KEPT = 2
_KEPT: dict[Any, Pipeline] = {}


@dataclass(frozen=True)
class Answer:
    """A model's answer for an item.

    Attributes:
        tasks: {task: answer}, as `Pipeline.predict` returns it; empty with an ``error`` or with ``pool="each"``.
        windows: number of windows in the item; 1 for a recording that was not cut.
        each: with ``pool="each"``, one {"start_s", "end_s", "answers": {task: answer}} per window.
        error: why the item could not be used.
    """

    item: Item
    tasks: dict[str, Any] = field(default_factory=dict)
    windows: int = 1
    each: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None


def kept_pipeline(place: str | Path, *, device: str = AUTO, trust_code: bool = False) -> Pipeline:
    """Return `Pipeline.load` of these arguments; the same object again as long as no file in its folder changes.

    The `MODELS_KEPT` models that were used last are kept.
    """
    folder = model_folder(place).resolve()
    files = sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in folder.iterdir() if f.is_file())
    key = (folder, tuple(files), find_device(device), trust_code)
    pipeline = _KEPT.pop(key, None) or Pipeline.load(place, device=device, trust_code=trust_code)
    _KEPT[key] = pipeline  # the last one used comes last
    while len(_KEPT) > MODELS_KEPT:
        del _KEPT[next(iter(_KEPT))]
    return pipeline


class Pipeline:
    """A trained model with its processor. One item in, one answer out; many in, a list out, in the same order."""

    def __init__(self, model: Model, processor: Processor, *, info: dict[str, Any], device: str = AUTO, card: str = ""):
        self.device = find_device(device)
        self.model = model.to(self.device).eval()
        self.processor, self.info, self.card = processor, info, card
        self._listener = Listener(self.model, processor, self.device)

    @classmethod
    def load(cls, place: str | Path, *, device: str = AUTO, trust_code: bool = False) -> Pipeline:
        """Return the model in a run folder, in a model folder, or on the Hugging Face hub (``hub:ORG/NAME``).

        Args:
            device: what computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps.
            trust_code: the folder may name a system or tasks outside the package; their code then runs.

        Raises:
            FileNotFoundError: there is no model at ``place``.
            ValueError: a broken file, weights that do not fit their config, or a device that this machine does not
                have.
        """
        find_device(device)  # before anything is read
        folder = model_folder(place)
        model, processor, info = load_model(folder, trust_code=trust_code)
        return cls(model, processor, info=info, device=device, card=read_card(folder))

    def __repr__(self) -> str:
        tasks = [f"{visible(name)} ({self._kind(name)})" for name in self.tasks]
        longest_s = self.processor.config.longest_s
        return (
            f"Pipeline({self.model.system.name}, {count_parameters(self.model):,} parameters, on {self.device}; "
            f"tasks: {', '.join(tasks) or 'none'}; reads {' and '.join(self.modalities)}, "
            f"{self.processor.config.rate_hz} Hz"
            + (f", clips up to {longest_s:g} s)" if np.isfinite(longest_s) else ", clips of any length)")
        )

    def _kind(self, task: str) -> str:
        config = dict(self.model.task_items())[task].config
        classes = [visible(c) for c in config.classes]
        more = ["…"] * (len(classes) > CLASSES_SHOWN)
        return config.kind + (f": {', '.join([*classes[:CLASSES_SHOWN], *more])}" if classes else "")

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks `predict` answers."""
        return self._listener.answering_tasks

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model was trained to read, if its folder says so, else what its system can read."""
        readable = {m for accepted in self.model.system.accepts for m in accepted}
        provenance = self.info.get("provenance")
        trained = provenance.get("modalities") if isinstance(provenance, dict) else None
        known = {m for m in trained if isinstance(m, str)} if isinstance(trained, list) else readable
        return tuple(sorted(readable & known or readable))

    def embed(self, *, audio: Any = None, text: Any = None, batch_s: float | None = None) -> np.ndarray:
        """Return one pooled vector per clip: (D,) for one item, (clips, D) for a list.

        Args:
            audio: a path, encoded bytes, a binary file, ``(array, rate)``, or a list of these; None for none.
            text: a transcript or a list of them; None for none.
            batch_s: padded seconds of audio computed together; default: by the device. It changes speed and memory
                only.

        Raises:
            AudioError: audio that cannot be used, by name.
            ValueError: modalities the system does not accept, or lists of different lengths.
        """
        single, items = _items(audio, text)
        vectors = self.vectors(items, batch_s=batch_s, total=len(items))
        return next(vectors) if single else np.stack(list(vectors))

    def vectors(
        self, items: Iterable[Item], *, batch_s: float | None = None, total: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yield one pooled vector (D,) per item, as they come. Raises as `embed`."""
        with _bar(total) as advance:
            for outputs in self._listener.hear(items, batch_s=batch_s, advance=advance):
                if outputs.error is not None:
                    raise outputs.error
                yield outputs.pooled_WD[0]

    def predict(
        self,
        *,
        audio: Any = None,
        text: Any = None,
        top: int | None = None,
        batch_s: float | None = None,
        on_error: str = "raise",
        long: str = "refuse",
        window_s: float | None = None,
        hop_s: float | None = None,
        pool: str = "mean",
    ) -> Any:
        """Return {task: answer} for one item, a list of these for a list.

        An answer of a classification is ``{"label", "score", "scores"}`` with scores in falling order, at most ``top``
        of them; of a regression ``{"value"}``. Other arguments and errors as in `embed`.

        Args:
            on_error: "raise" the first error, or "return" each error in place of the item's answer.
            long: "refuse" a recording that is longer than the model's longest clip, or cut it into windows ("window").
            window_s, hop_s: length of a window, and from one to the next; default: the longest clip it was trained on
                (or, if its folder does not say, the longest it takes), no overlap.
            pool: "mean" decides by the mean of the windows' scores; "each" returns, with ``long="window"``, a list of
                ``{"start_s", "end_s", "answers": {task: answer}}`` in place of an item's answer.
        """
        single, items = _items(audio, text)
        one_of("on_error", on_error, ("raise", "return"))
        if on_error == "raise":
            for item in items:  # before anything is computed
                self._listener.require_accepted(item)
        cutting: dict[str, Any] = {"long": long, "window_s": window_s, "hop_s": hop_s, "pool": pool}
        answers = []
        for answer in self.predict_each(items, top=top, batch_s=batch_s, total=len(items), **cutting):
            if answer.error is not None and on_error == "raise":
                raise answer.error
            answers.append(answer.error or answer.each or answer.tasks)
        return answers[0] if single else answers

    def predict_each(
        self,
        items: Iterable[Item],
        *,
        top: int | None = None,
        batch_s: float | None = None,
        long: str = "refuse",
        window_s: float | None = None,
        hop_s: float | None = None,
        pool: str = "mean",
        total: int | None = None,
    ) -> Iterator[Answer]:
        """Yield an `Answer` for each item, in order and as they come: memory does not grow with their number.

        Arguments as in `predict`. The `Answer` for an unusable item holds its error.

        Raises:
            ValueError: a model without a task, or impossible windows.
        """
        self.require_tasks()
        windows = self.windows(long, window_s=window_s, hop_s=hop_s, pool=pool)
        return self._each(items, top, batch_s, windows, pool, total)

    def windows(
        self, long: str, *, window_s: float | None = None, hop_s: float | None = None, pool: str = "mean"
    ) -> Windows | None:
        """Return how long recordings are cut into windows; None if they are refused. Raises as `predict`."""
        one_of("long", long, ("refuse", "window"))
        one_of("pool", pool, ("mean", "each"))
        if long == "window":
            return self._listener.windows(window_s, hop_s, trained_s=self._longest_trained_s())
        if window_s is not None or hop_s is not None or pool != "mean":
            raise ValueError(
                "`window_s`, `hop_s` and `pool` are for long='window' (--long window), but long is 'refuse'."
            )
        return None

    def _longest_trained_s(self) -> float:
        """Return the length of the longest training clip; infinite if the model's folder does not record it."""
        provenance = self.info.get("provenance")
        saved_s = provenance.get("longest_clip_s") if isinstance(provenance, dict) else None
        if isinstance(saved_s, int | float) and not isinstance(saved_s, bool) and saved_s >= SHORTEST_WINDOW_S:
            return float(saved_s)
        return float("inf")

    def require_tasks(self) -> None:
        """Raise ValueError unless `predict` has a task to answer."""
        if self.tasks:
            return
        kinds = sorted({t.config.kind for _, t in self.model.task_items()}) or ["none"]
        raise ValueError(
            f"the model must have a task with answers, but has only {', '.join(kinds)}: it is pre-trained, and not yet "
            "trained to predict anything. Train it with `sonolex fit TABLE --label COLUMN --from MODEL`, or take its "
            "vectors with `sonolex embed`."
        )

    def _each(
        self,
        items: Iterable[Item],
        top: int | None,
        batch_s: float | None,
        windows: Windows | None,
        pool: str,
        total: int | None,
    ) -> Iterator[Answer]:
        with _bar(total) as advance:
            for outputs in self._listener.hear(items, batch_s=batch_s, windows=windows, advance=advance):
                yield self._answer(outputs, top, pool if windows is not None else "mean")

    def _answer(self, outputs: Heard, top: int | None, pool: str) -> Answer:
        if outputs.error is not None:
            return Answer(outputs.item, error=outputs.error)
        count = len(outputs.pooled_WD)
        if pool == "mean":
            return Answer(outputs.item, self._decided(outputs, slice(0, count), top), count)
        spans = zip(outputs.starts_s, outputs.ends_s, strict=True)
        each = [
            {"start_s": start, "end_s": end, "answers": self._decided(outputs, slice(w, w + 1), top)}
            for w, (start, end) in enumerate(spans)
        ]
        return Answer(outputs.item, windows=count, each=each)

    def _decided(self, outputs: Heard, windows: slice, top: int | None) -> dict[str, Any]:
        """Return {task: answer} by the pooled scores of these windows."""
        answers: dict[str, Any] = {}
        for name, task in self.model.task_items():
            if name not in outputs.scores or name not in self.tasks:
                continue
            scores_WC = outputs.scores[name][windows]
            scores_C = scores_WC[0] if len(scores_WC) == 1 else task.pooled(scores_WC)
            answers[name] = task.decide(scores_C[None])[0]
            if top is not None and "scores" in answers[name]:
                answers[name]["scores"] = dict(list(answers[name]["scores"].items())[:top])
        return answers

    def embed_windows(
        self, audio: AudioSource, *, window_s: float = 10.0, hop_s: float | None = None, batch_s: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors (windows, D) of a long recording and where each window starts, in seconds (windows,).

        Every window is embedded as a clip of its own, so its vector does not depend on ``batch_s``. The last window is
        moved back to end with the recording; a recording shorter than a window is one window. Beside the model and the
        decoded samples (4 bytes each at the model's rate), memory holds a few batches of ``batch_s`` seconds at a time.

        Args:
            window_s, hop_s: length of a window, and from one to the next (default: no overlap).

        Raises:
            AudioError: audio that cannot be used.
            ValueError: windows or hops that are not positive.
        """
        if not (window_s > 0 and (hop_s is None or hop_s > 0)):
            raise ValueError(f"`window_s` and `hop_s` must be positive, but are {window_s} and {hop_s}.")
        starts_s, pieces = self._listener.pieces(audio, window_s=window_s, hop_s=window_s if hop_s is None else hop_s)
        vectors = np.stack(list(self.vectors(pieces, batch_s=batch_s, total=len(starts_s))))
        return vectors, starts_s

    def save(self, folder: str | Path, *, licence: str = "") -> None:
        """Write a model folder that `load` reads.

        Args:
            licence: identifier of the licence that you give the weights (``cc-by-4.0``), for the model card; without
                it an existing card stays as it is, and a new one names no licence.
        """
        save_model(Path(folder), self.model, self.processor, provenance=self.info.get("provenance", {}))
        if self.card or licence:
            (Path(folder) / CARD).write_text(
                with_licence(self.card or read_card(Path(folder)), licence), encoding="utf-8"
            )

    def push_to_hub(self, hub_id: str, *, private: bool = False, licence: str = "") -> str:
        """Upload the model folder to the Hugging Face hub and return its address. Needs a login and the network."""
        import tempfile

        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as place:
            self.save(Path(place) / "model", licence=licence)
            api = HfApi()
            api.create_repo(hub_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=hub_id, folder_path=Path(place) / "model"))


def _bar(total: int | None) -> Any:
    return counting("clips", total, quiet=total is None or total < PROGRESS_FROM_CLIPS)


def _items(audio: Any, text: Any) -> tuple[bool, Sequence[Item]]:
    """Return whether the arguments are a single item, and the items."""
    audios = None if audio is None or _is_one_audio(audio) else list(audio)
    texts = None if text is None or isinstance(text, str) else list(text)
    if audios is None and texts is None:
        if audio is None and text is None:
            raise ValueError("`audio` or `text` must be given, but neither is.")
        return True, list(named_items([(audio, text)]))
    if (audios is None and audio is not None) or (texts is None and text is not None):
        raise ValueError("`audio` and `text` must both be one item or both be lists.")
    count = len(audios) if audios is not None else len(texts or [])
    audios = [None] * count if audios is None else audios
    texts = [None] * count if texts is None else texts
    if len(audios) != len(texts):
        raise ValueError(f"`audio` and `text` must be equally long, but have {len(audios)} and {len(texts)} items.")
    if not audios:
        raise ValueError("`audio` and `text` must have at least one item, but are empty.")
    for number, one in enumerate(audios):
        if isinstance(one, tuple) and len(one) == 2:
            _require_rate_last(f"item {number} of `audio`", one)
    return False, list(named_items(zip(audios, texts, strict=True)))


def _require_rate_last(what: str, pair: tuple[Any, Any]) -> None:
    if np.isscalar(pair[0]) and isinstance(pair[1], np.ndarray | torch.Tensor | list):
        raise ValueError(f"{what} must be (array, rate), but is (rate, array) with {pair[0]} first. Swap the two.")


def _is_one_audio(audio: Any) -> bool:
    if isinstance(audio, str | Path | bytes) or hasattr(audio, "read"):
        return True
    if isinstance(audio, tuple) and len(audio) == 2:
        _require_rate_last("`audio`", audio)
        if np.isscalar(audio[1]) and not isinstance(audio[1], str | bytes):
            return True
    if isinstance(audio, np.ndarray | torch.Tensor):
        raise ValueError("`audio` must come with its rate: pass (array, rate), or a list of such pairs.")
    if isinstance(audio, Iterable):
        return False
    raise TypeError(
        f"`audio` must be a path, bytes, a binary file, (array, rate) or a list, but is {type(audio).__name__}."
    )
