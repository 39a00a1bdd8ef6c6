"""CTAL's figure 4: do a model's vectors know ten unseen speakers apart, before any fine-tuning?

    sonolex table ctal4 --protocol tonewords_all --seeds 0 --out runs/table4
    python -m benchmarks speakers --runs runs/table4/pretrain-ctal-0 runs/table4/pretrain-mockingjay-0

EMO-DB's ten speakers, of whom pre-training heard nothing. Beside the picture (t-SNE, speakers.png), two numbers that do
not depend on how it was drawn: the silhouette of the speakers in cosine distance (-1 to 1, 0 for no clusters), and how
often the nearest other recording is the same speaker's (chance 0.1), both also for the clips' mean spectra. The nearest
recording may not be the same sentence, which all speakers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._folders import folders_of_runs
from sonolex import load
from sonolex.data.corpora import emodb
from sonolex.data.manifest import Manifest
from sonolex.recipes.base import corpus_options

ONLY_WHEN_NAMED = True


def run(options: Sequence[str] = ()) -> None:
    runs = folders_of_runs(__doc__, options, several=True)
    clips = emodb.prepare(corpus_options("emodb4", "emodb")["root"], strict=False)
    speakers, sentences = np.array(clips.column("speaker")), np.array(clips.column("sentence"))
    vectors = {"mean spectrum": _spectra(clips)}
    vectors |= {run.name: load(run).embed(audio=[str(c.audio) for c in clips]) for run in runs}
    print(f"{'':44} silhouette  nearest of another sentence  nearest")
    for name, x_ND in vectors.items():
        silhouette, across, nearest = measures(x_ND, speakers, sentences)
        print(f"{name:44} {silhouette:10.3f} {across:28.3f} {nearest:8.3f}")
    _draw(vectors, speakers, Path("speakers.png"))


def measures(x_ND: np.ndarray, speakers: np.ndarray, sentences: np.ndarray) -> tuple[float, float, float]:
    """Return the silhouette of the speakers, and how often the nearest other recording is the same speaker's."""
    from sklearn.metrics import silhouette_score

    centred_ND = x_ND - x_ND.mean(0)
    unit_ND = centred_ND / np.linalg.norm(centred_ND, axis=1, keepdims=True)
    cosine_NN = unit_ND @ unit_ND.T
    np.fill_diagonal(cosine_NN, -np.inf)
    nearest = (speakers[cosine_NN.argmax(1)] == speakers).mean()
    cosine_NN[sentences[:, None] == sentences] = -np.inf
    across = (speakers[cosine_NN.argmax(1)] == speakers).mean()
    return float(silhouette_score(centred_ND, speakers, metric="cosine")), float(across), float(nearest)


def _spectra(clips: Manifest) -> np.ndarray:
    from sonolex.audio.features import librosa_log_mel

    sizes = {"fft_samples": 512, "window_samples": 400, "hop_samples": 160, "num_mels": 80}
    return np.stack([librosa_log_mel(torch.from_numpy(c.samples(16_000)), **sizes).mean(0).numpy() for c in clips])


def _draw(vectors: dict[str, np.ndarray], speakers: np.ndarray, file: Path) -> None:
    import matplotlib.pyplot as plt
    from sklearn.manifold import TSNE

    figure, panels = plt.subplots(1, len(vectors), figsize=(4 * len(vectors), 4), squeeze=False)
    for panel, (name, x_ND) in zip(panels[0], vectors.items(), strict=True):
        places_N2 = TSNE(random_state=0, metric="cosine", init="random").fit_transform(x_ND - x_ND.mean(0))
        for speaker in sorted(set(speakers)):
            panel.scatter(*places_N2[speakers == speaker].T, s=6, label=speaker)
        panel.set_title(name)
        panel.set_axis_off()
    panels[0][-1].legend(fontsize=6)
    figure.savefig(file, dpi=120, bbox_inches="tight")
    print(file)
