"""Build the processor and the model that a run describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sonolex.data.manifest import Manifest
from sonolex.processors.base import Processor
from sonolex.systems.base import system_type
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import build_model, load_model, load_system_weights, model_folder
from sonolex.train.run import Run

CLIPS_MEASURED = 1000  # enough for a mean and a deviation of spectrogram values


@dataclass(frozen=True)
class Start:
    """Where a run's weights came from: names that stay random under ``init_from``, and reports of ``pretrained``."""

    random_names: Sequence[str] = ()
    imports: Mapping[str, Any] = field(default_factory=dict)


def build(run: Run, manifest: Manifest, *, earlier: dict[str, Path]) -> tuple[Model, Processor, Start]:
    """Return the run's model and processor, and where the weights came from."""
    kind = system_type(run.system, trust_code=True)
    columns = {n: manifest.column(n) for n in manifest.table.column_names}
    tasks = tuple(t.matched(columns) for t in run.tasks)
    if run.init_from is None:
        processor = new_processor(run.system, run.processor, manifest)
        config = kind.matched(run.config, processor)
        model = build_model(kind, config, tasks, seed=run.seed)
        return model, processor, Start(imports=_imports(model, run.pretrained))
    trusted_names = {run.system, *(t.kind for t in run.tasks)}
    start, processor, _ = load_model(model_folder(earlier.get(run.init_from, run.init_from)), own=trusted_names)
    if type(start.system) is not kind:
        raise ValueError(f"`init_from` must hold a {run.system} model, but {run.init_from} holds {start.system.name}.")
    differing = processor.conflicts(run.processor)
    if differing:
        raise ValueError(
            f"`processor` must be that of {run.init_from}, whose weights expect it, but differs in "
            f"{', '.join(differing)} (run {run.name!r})."
        )
    config = kind.matched(run.config, processor)
    model = build_model(kind, config, tasks, seed=run.seed)
    return model, processor, Start(load_system_weights(model, start.state_dict()))


def _imports(model: Model, sources: Mapping[str, str]) -> Mapping[str, Any]:
    """Fill the system's parts from published checkpoints. Raises ValueError that names the checkpoints."""
    try:
        return model.system.import_pretrained(sources)
    except ValueError as e:
        if not sources or any(place in str(e) for place in sources.values()):
            raise
        places = ", ".join(f"{part} from {place}" for part, place in sources.items())
        raise ValueError(f"`pretrained` ({places}): {e}") from e


def new_processor(system: str, config: Any, manifest: Manifest) -> Processor:
    """Return a processor whose learned parts (a tokenizer, statistics) come from the clips of ``manifest``."""
    transcripts = [t for t in manifest.column("text") if t]
    waves, pairs = _waves(manifest, config.rate_hz), _pairs(manifest, config.rate_hz)
    kind = system_type(system, trust_code=True).processor_type
    return kind.create(config, transcripts=transcripts, waves=waves, pairs=pairs)


def _waves(manifest: Manifest, rate_hz: int) -> Iterator[np.ndarray]:
    """Yield the samples of up to CLIPS_MEASURED clips, spread over the manifest."""
    for row in spread(len(manifest)):
        clip = manifest[row]
        if clip.audio is not None:
            yield clip.samples(rate_hz)


def _pairs(manifest: Manifest, rate_hz: int) -> Iterator[tuple[np.ndarray, str]]:
    """Yield samples and transcripts of up to CLIPS_MEASURED clips that have both."""
    written = [row for row, text in enumerate(manifest.column("text")) if text]
    for clip in (manifest[written[i]] for i in spread(len(written))):
        if clip.audio is not None:
            yield clip.samples(rate_hz), str(clip.text)


def spread(count: int) -> list[int]:
    """Return up to CLIPS_MEASURED row numbers out of ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, CLIPS_MEASURED).round().astype(int)).tolist() if count else []
