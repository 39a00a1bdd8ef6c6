"""Which clips of a table a network can read, before it is trained on them."""

from __future__ import annotations

from sonolex.data.manifest import Manifest, ManifestError
from sonolex.doors.fit.folder import modalities_of
from sonolex.doors.fit.networks import Network
from sonolex.doors.fit.table import SKIP, require_enough
from sonolex.systems.base import LONGEST_STARTER_S, system_type
from sonolex.train.building import new_processor
from sonolex.train.preflight import long_texts, unreadable_clips


def readable_by(network: Network, manifest: Manifest, *, skip_bad: bool) -> tuple[Manifest, list[str]]:
    """Return the clips that a network can read, and a note on each one left out.

    Raises:
        ManifestError: clips or transcripts that are too long for it, unless ``skip_bad``.
        ValueError: it reads none of the table's modalities.
    """
    reader = system_type(network.system, trust_code=True)
    modalities = reader.readable(modalities_of(manifest))
    config = network.start[1].config if network.start else reader.starter(num_clips=1, longest_s=LONGEST_STARTER_S)[1]
    longest_s = float(manifest.durations_s.max()) if "audio" in modalities else 0.0
    if longest_s >= config.longest_s:
        problem = f"audio must last less than {config.longest_s:g} s, but lasts up to {longest_s:.0f} s"
        raise ManifestError("the table", [problem], cure="Cut the recordings.")
    if "text" not in modalities or not long_texts(manifest.column("text"), config):
        return manifest, []
    processor = network.start[1] if network.start else new_processor(network.system, config, manifest)
    bad = unreadable_clips(manifest, processor, ("text",))
    if bad and not skip_bad:
        raise ManifestError("the table", list(bad.values()), cure=SKIP)
    kept = manifest.take([row for row in range(len(manifest)) if row not in bad])
    notes = [f"left out: {problem}" for problem in bad.values()]
    require_enough(len(kept), "the table", notes)
    return kept, notes
