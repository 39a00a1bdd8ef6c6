"""Is a block found among others by the frames it shares with its neighbour? CALM's alignment in time, on unseen voices.

    sonolex train calm_tables --table neighbours --corpus tonewords --size small --out runs/neighbours
    python -m benchmarks neighbours --runs runs/neighbours

Of every clip one block is drawn, and the block ``gap`` further on is searched among those of all other clips (of any
voice, and of its own voice alone). Blocks of 50 frames every 30 share 20 frames at gap 1 and none at gap 2. Beside the
two alignments: blocks' mean spectra, which were never trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from benchmarks._folders import folders_of_runs
from sonolex.audio.patches import cut_blocks
from sonolex.data.loader import Loader, Loading, clip_seed
from sonolex.data.manifest import Manifest
from sonolex.recipes.calm_tables import recipe
from sonolex.systems.calm import Calm, draw_pairs, pairs_by_rate
from sonolex.train.checkpoint import load_model
from sonolex.train.manifests import load_sources
from sonolex.types import Batch

ONLY_WHEN_NAMED = True
GAPS = (1, 2)
BATCH = 64


def run(options: Sequence[str] = ()) -> None:
    (folder,) = folders_of_runs(__doc__, options)
    runs = recipe(table="neighbours", corpus="tonewords", size="small")
    clips = load_sources(next(r for r in runs if r.data.report).data.report)
    print(f"  recall@1 on {len(clips)} clips, chance {1 / len(clips):.4f} among all: gap 1 / gap 2, and within a voice")
    shown_floor = False
    for r in runs:
        if r.init_from is None and (folder / r.name / "results.json").is_file():
            model, processor, _ = load_model(folder / r.name / "model")
            system = model.eval().system
            assert isinstance(system, Calm)
            loader = Loader(clips, processor, loading=Loading(modalities=("audio",), num_workers=0))
            rows = np.array_split(np.arange(len(clips)), -(-len(clips) // BATCH))
            batches = [b for b in loader.batches(rows) if b is not None]
            if not shown_floor:
                _show("mean spectra, untrained", system, batches, clips, trained=False)
                shown_floor = True
            name = f"aligned with neighbours at gap {system.config.neighbour_gap}"
            _show(name, system, batches, clips, trained=True)
    if not shown_floor:
        raise SystemExit(
            f"{folder} must hold finished alignments of the table `neighbours`, but holds none; train them first."
        )


def _show(name: str, system: Calm, batches: list[Batch], clips: Manifest, *, trained: bool) -> None:
    voices = np.array(clips.column("speaker"))
    by_id = {clip_id: row for row, clip_id in enumerate(clips.column("id"))}
    place = np.array([by_id[i] for b in batches for i in b.clip_ids])
    shown = []
    for gap in GAPS:
        found = [_pairs(system, b, gap, trained=trained) for b in batches]
        vectors_N2D, there_N = torch.cat([v for v, _ in found]), torch.cat([t for _, t in found]).numpy()
        among_all, among_own = _recall(vectors_N2D[there_N], voices[place][there_N])
        shown.append(f"{among_all:.3f}, {among_own:.3f}")
    print(f"  {name:44} {' / '.join(shown)}", flush=True)


@torch.inference_mode()
def _pairs(system: Calm, batch: Batch, gap: int, *, trained: bool) -> tuple[Tensor, Tensor]:
    """Return a block of each clip and the one ``gap`` further (B, 2, D), and which clips have both."""
    assert batch.frames is not None and batch.frames.lengths is not None
    generators = [Generator().manual_seed(clip_seed(0, 0, i)) for i in batch.clip_ids]
    pairs_B3 = draw_pairs(system.config.blocks, batch.frames.lengths, generators, gap=gap)
    there_B = pairs_B3[:, 2] >= 0
    if trained:
        return system.audio.of_pairs(batch.frames, pairs_by_rate(pairs_B3, len(system.config.blocks))), there_B
    blocks_BNSF, (valid_BNS, *_) = cut_blocks(batch.frames, system.config.blocks[0])
    share_BNS1 = (valid_BNS / valid_BNS.sum(2, keepdim=True).clamp_min(1))[..., None]
    means_BNF = (blocks_BNSF * share_BNS1).sum(2)
    chosen_B2 = pairs_B3[:, 1:].clamp_min(0)
    return means_BNF.gather(1, chosen_B2[..., None].expand(-1, -1, means_BNF.shape[2])), there_B


def _recall(pairs_N2D: Tensor, voices: np.ndarray) -> tuple[float, float]:
    """Return how often the true neighbour is the nearest: among all, and among those of the same voice."""
    anchors_ND, others_ND = F.normalize(pairs_N2D, dim=-1).unbind(1)
    scores_NN = anchors_ND @ others_ND.T
    own_N = scores_NN.diagonal()
    same_NN = torch.from_numpy(voices[:, None] == voices[None])
    nearer_NN = scores_NN > own_N[:, None]
    return float((~nearer_NN.any(1)).float().mean()), float((~(nearer_NN & same_NN).any(1)).float().mean())
