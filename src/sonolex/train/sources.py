"""From a run's description to manifests, a processor and a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sonolex import configs, terminal
from sonolex.data.loader import clip_seed
from sonolex.data.manifest import FORMATS, Manifest, concatenate, read_manifest
from sonolex.files import load_json, load_object, save_json
from sonolex.processors.base import Processor
from sonolex.protocols.base import Protocol, find_fold, find_protocol
from sonolex.systems.base import system_type
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import build_model, load_model, load_system_weights, model_folder
from sonolex.train.run import Run, Source

CLIPS_MEASURED = 1000  # enough for a mean and a deviation of spectrogram values
HEARD = "heard_sources.json"  # in a run's folder: recordings its weights were trained on, pre-training included
TEXT_CHARACTERS_PER_S = 15.0  # reading speed that gives clips without audio a length to be batched by


def load_source(source: Source) -> Manifest:
    """Return the clips of a source, with durations."""
    options = tuple(sorted(source.options.items()))
    if source.manifest is not None:
        manifest = _own_manifest(source.manifest)
    elif source.corpus is not None:
        manifest = _corpus(source.corpus, options)
    else:
        assert source.protocol is not None
        manifest = _fold_part(source.protocol, source.fold, source.part, options)
    if source.where:
        manifest = manifest.where(**source.where)
    if source.share < 1:
        manifest = _share_of(manifest, source.share, source.draw)
    for old, new in source.rename.items():
        manifest = manifest.with_column(new, manifest.column(old))
    return manifest if not np.isnan(manifest.durations_s).any() else manifest.with_durations()


def _share_of(manifest: Manifest, share: float, draw: int) -> Manifest:
    """Return the clips that come first in an order of their ids which depends on ``draw`` alone."""
    order = sorted(range(len(manifest)), key=[clip_seed(draw, 0, i) for i in manifest.column("id")].__getitem__)
    return manifest.take(sorted(order[: max(1, round(share * len(manifest)))]))


def load_sources(sources: tuple[Source, ...]) -> Manifest:
    """Return the clips of all sources as one manifest; a clip that several sources give counts once."""
    return concatenate([load_source(s) for s in sources])


def require_unseen_report(run: Run, train: Manifest, earlier: Mapping[str, Path]) -> None:
    """Raise ValueError if a run would report on what it knows.

    Under a protocol: clips that it trains or selects on. Always: recordings (``source_id``) that ``init_from`` heard in
    pre-training, unless the run allows them.
    """
    if not run.data.report:
        return
    clips = load_sources(run.data.report)
    again = sorted(_heard_before(run, earlier) & source_ids(clips))
    if again and not run.data.allow_heard_sources:
        raise ValueError(
            f"`report` must hold recordings that {run.init_from} did not hear in pre-training, but {len(again)} were "
            f"heard, for example source_id {again[0]!r} (run {run.name!r}). Leave them out of the pre-training, or "
            "set allow_heard_sources=True, which the run's recipe.json will say."
        )
    if run.data.protocol is None:
        return
    report = set(clips.column("id"))
    parts = [("trained", train)]
    if run.data.selection and not find_protocol(run.data.protocol).selects_on_report:
        parts.append(("selected", load_sources(run.data.selection)))
    for use, clips in parts:
        seen = sorted(report & set(clips.column("id")))
        if seen:
            raise ValueError(
                f"`report` must hold clips that are not {use} on, but {len(seen)} are, for example {seen[0]!r} "
                f"(run {run.name!r})."
            )


def write_heard(folder: Path, run: Run, clips: Manifest, earlier: Mapping[str, Path]) -> None:
    """Write the recordings that the run's weights are trained on, those of ``init_from`` included."""
    save_json(folder / HEARD, sorted(_heard_before(run, earlier) | source_ids(clips)))


def _heard_before(run: Run, earlier: Mapping[str, Path]) -> set[str]:
    """Return the recordings that the weights of ``init_from`` were trained on, as far as is known."""
    if run.init_from is None:
        return set()
    path = Path(earlier.get(run.init_from, run.init_from)) / HEARD
    if not path.is_file():
        return set()
    heard = load_json(path, cure="Train that run again in another folder.")
    if not isinstance(heard, list) or not all(isinstance(s, str) for s in heard):
        raise ValueError(f"{path} must be a list of recordings, but is not. Write or copy it again.")
    return set(heard)


def source_ids(clips: Manifest) -> set[str]:
    """Return the recordings that clips were cut from, where the corpus names them."""
    return {str(s) for s in clips.column("source_id") if s is not None}


def require_same_run(folder: Path, run: Run) -> None:
    """Raise ValueError if the folder holds a run with other settings, naming the fields that differ."""
    path = folder / "recipe.json"
    if not path.is_file():
        return
    saved = load_object(path, cure="Remove this file, and the same command writes it again.")
    wanted = configs.to_json(run)
    differing = sorted(configs.differences(saved, wanted))
    if differing:
        raise ValueError(
            f"{folder} must hold the same run, but differs in {', '.join(differing)}. "
            "Name another folder, or remove this one to start again."
        )


def protocol_manifest(protocol: Protocol, options: tuple = ()) -> Manifest:
    """Return the whole corpus of a protocol."""
    return _corpus(protocol.corpus, tuple(sorted((dict(protocol.corpus_options) | dict(options)).items())))


def batching_s(manifest: Manifest) -> np.ndarray:
    """Return the length each clip is batched by: its duration, or its transcript's reading time if that is longer."""
    characters = np.array([len(t or "") for t in manifest.column("text")], float)
    return np.maximum(np.nan_to_num(manifest.durations_s), characters / TEXT_CHARACTERS_PER_S)


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
        return model, processor, Start(imports=model.system.import_pretrained(run.pretrained))
    own = {run.system, *(t.kind for t in run.tasks)}
    start, processor, _ = load_model(model_folder(earlier.get(run.init_from, run.init_from)), own=own)
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


def new_processor(system: str, config: Any, manifest: Manifest) -> Processor:
    """Return a processor with what has to be learned learned from the clips of ``manifest``."""
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
    """Return up to CLIPS_MEASURED row numbers out of so many, evenly."""
    return np.unique(np.linspace(0, count - 1, CLIPS_MEASURED).round().astype(int)).tolist() if count else []


def _own_manifest(path: str) -> Manifest:
    """Return a user's manifest, and say once what has to be said about how it was read."""
    manifest = read_manifest(path)
    if manifest.notes and path not in _SAID:
        _SAID.add(path)
        for note in manifest.notes:
            terminal.say(f"{path}: {note}", file=sys.stderr)
    return manifest


_SAID: set[str] = set()


@lru_cache(maxsize=32)
def _corpus(name: str, options: tuple) -> Manifest:
    if Path(name).suffix in FORMATS:
        return read_manifest(name)
    return configs.find_module("data.corpora", name, trust_code=True).prepare(**dict(options))


@lru_cache(maxsize=256)
def _fold_part(protocol_name: str, fold: str | None, part: str, options: tuple) -> Manifest:
    protocol = find_protocol(protocol_name)
    return find_fold(protocol, protocol_manifest(protocol, options), fold).part(part)
