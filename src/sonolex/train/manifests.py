"""Load a run's sources as manifests: a user's own table, a corpus, or a part of a protocol's fold."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

from sonolex import configs, terminal
from sonolex.data.loader import clip_seed
from sonolex.data.manifest import FORMATS, Manifest, concatenate, read_manifest
from sonolex.protocols.base import Protocol, find_fold, find_protocol
from sonolex.train.run import Source

TEXT_CHARACTERS_PER_S = 15.0  # reading speed that gives clips without audio a length to be batched by


def load_source(source: Source) -> Manifest:
    """Return the clips of a source, with durations."""
    options = tuple(sorted(source.options.items()))
    if source.manifest is not None:
        manifest = _user_manifest(source.manifest)
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
    """Return the clips of all sources as one manifest; a clip in several sources counts once."""
    return concatenate([load_source(s) for s in sources])


def protocol_manifest(protocol: Protocol, options: tuple = ()) -> Manifest:
    """Return the whole corpus of a protocol."""
    return _corpus(protocol.corpus, tuple(sorted((dict(protocol.corpus_options) | dict(options)).items())))


def batching_s(manifest: Manifest) -> np.ndarray:
    """Return the length each clip is batched by: its duration, or its transcript's reading time if that is longer."""
    characters = np.array([len(t or "") for t in manifest.column("text")], float)
    return np.maximum(np.nan_to_num(manifest.durations_s), characters / TEXT_CHARACTERS_PER_S)


def source_ids(clips: Manifest) -> set[str]:
    """Return the recordings that clips were cut from, where the corpus names them."""
    return {str(s) for s in clips.column("source_id") if s is not None}


def _user_manifest(path: str) -> Manifest:
    """Return a user's manifest, and print once its notes on how it was read."""
    manifest = read_manifest(path)
    if manifest.notes and path not in _NOTES_PRINTED:
        _NOTES_PRINTED.add(path)
        for note in manifest.notes:
            terminal.say(f"{path}: {note}", file=sys.stderr)
    return manifest


_NOTES_PRINTED: set[str] = set()


@lru_cache(maxsize=32)
def _corpus(name: str, options: tuple) -> Manifest:
    if Path(name).suffix in FORMATS:
        return read_manifest(name)
    return configs.find_module("data.corpora", name, trust_code=True).prepare(**dict(options))


@lru_cache(maxsize=256)
def _fold_part(protocol_name: str, fold: str | None, part: str, options: tuple) -> Manifest:
    protocol = find_protocol(protocol_name)
    return find_fold(protocol, protocol_manifest(protocol, options), fold).part(part)
