"""How many dimensions pre-trained networks use, on clips they never heard: deviation, rank and effective dimension.

    sonolex train ast_esc10 --out runs/esc10
    python -m benchmarks collapse --runs runs/esc10

Reads the pre-trainings of the recipe ``ast_esc10``. The batch of a pre-training bounds what its own journal can show
(12 clips have rank 11), so all networks are measured on the same held-out clips here: as whole clips, as a user embeds
them, and through the views their objective sees. The expander uses these clips' own batch statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._folders import folders_of_runs
from benchmarks._timing import claim
from sonolex.data.loader import Loader, Loading
from sonolex.objectives.vicreg import spread
from sonolex.recipes.ast_esc10 import HELD_OUT, PRETRAININGS, recipe
from sonolex.systems.vcr_ast import VcrAst
from sonolex.train.checkpoint import load_model
from sonolex.train.manifests import load_source
from sonolex.train.run import Source

ONLY_WHEN_NAMED = True
MEASURES = ("std", "rank", "effective_dim")


def run(options: Sequence[str] = ()) -> None:
    (folder,) = folders_of_runs(__doc__, options)
    found: dict[str, list[dict[str, float]]] = {}
    for r in recipe():
        if r.name.startswith("pretrain") and (folder / r.name / "results.json").is_file():
            _, kind, group, _ = r.name.split("-")
            esc10 = next(s for s in r.data.train if s.corpus == "esc10")
            clips = load_source(Source(corpus="esc10", options=esc10.options, where={"fold": HELD_OUT[group]}))
            for part, values in _spreads(folder / r.name, clips).items():
                found.setdefault(f"{kind}, {part}", []).append(values)
    for name, values in found.items():
        words = PRETRAININGS[name.split(",")[0]].words
        shown = " ".join(f"{m} {np.mean([v[m] for v in values]):8.3f}" for m in MEASURES)
        print(f"  {words + ',' + name.split(',')[1]:52} {shown}  ({len(values)} runs)")
    targets = {"expander": 5.0, "representation": 2.0}
    for part, target in ((f"{part} of {seen}", t) for seen in ("whole clips", "views") for part, t in targets.items()):
        ours, theirs = found.get(f"improved, {part}", []), found.get(f"published, {part}", [])
        for measure in MEASURES if ours and theirs else ():
            ratio = np.mean([v[measure] for v in ours]) / np.mean([v[measure] for v in theirs])
            claim(f"{part}, {measure}: improved over published", float(ratio), target)


@torch.inference_mode()
def _spreads(folder: Path, clips) -> dict[str, dict[str, float]]:
    model, processor, _ = load_model(folder / "model")
    loader = Loader(clips, processor, loading=Loading(modalities=("audio",), num_workers=0))
    system = model.eval().system
    batches = [b for b in loader.batches(_batches(len(clips))) if b is not None]
    seen = {"whole clips": torch.cat([system.encode(b).pooled_BD for b in batches])}
    if isinstance(system, VcrAst):
        seen["views"] = torch.cat([system.pretraining_rows(system.corrupt(b))["first"] for b in batches])
        system.expander.train()
    rows = {f"representation of {name}": rows_ND for name, rows_ND in seen.items()}
    if isinstance(system, VcrAst):
        rows |= {f"expander of {name}": system.expander(rows_ND) for name, rows_ND in seen.items()}
    return {name: {m: float(v) for m, v in spread(rows_ND).items()} for name, rows_ND in rows.items()}


def _batches(size: int) -> list[np.ndarray]:
    return np.array_split(np.arange(size), -(-size // 40))
