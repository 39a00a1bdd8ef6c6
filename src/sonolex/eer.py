"""The equal error rate of verification: exact over all trials, and sampled as CTAL's released code does."""

from __future__ import annotations

import numpy as np

GE2E_SPEAKERS = 4  # of one round of CTAL's sampled EER


def eer(same_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Return the equal error rate over all N trials: where the ROC's straight lines cross fpr = 1 − tpr.

    ``same_N`` is True for trials of one speaker; larger scores must mean "same". Exact (docs/reference.md, Metrics).

    Raises:
        ValueError: only one kind of trial.
    """
    fpr, miss = _error_curves(same_N, scores_N)
    above = int(np.argmax(fpr >= miss))  # first point at or past the crossing
    if above == 0:
        return float(fpr[0])
    gap_before, gap_after = miss[above - 1] - fpr[above - 1], fpr[above] - miss[above]
    share = gap_before / (gap_before + gap_after) if gap_before + gap_after > 0 else 0.0
    return float(fpr[above - 1] + share * (fpr[above] - fpr[above - 1]))


def all_pairs(speakers: np.ndarray, embeddings_BD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return same-speaker flags (N,) and cosines (N,) of every unordered pair of clips."""
    first, second = np.triu_indices(len(speakers), k=1)
    unit_BD = embeddings_BD / np.maximum(np.linalg.norm(embeddings_BD, axis=1, keepdims=True), 1e-12)
    cosines_BB = unit_BD @ unit_BD.T
    return speakers[first] == speakers[second], cosines_BB[first, second]


def eer_interval(
    same_N: np.ndarray,
    scores_N: np.ndarray,
    groups_N2: np.ndarray,
    *,
    num_draws: int = 100,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a bootstrap interval of `eer` that draws *clips*, not trials: trials of one clip are not independent.

    ``groups_N2`` holds the two clip numbers of each trial; a draw weights a trial by how often both were drawn.
    """
    rng = np.random.default_rng(seed)
    num_clips = int(groups_N2.max()) + 1
    order = np.argsort(-scores_N, kind="stable")
    scores, same, pairs = scores_N[order], same_N[order].astype(bool), groups_N2[order]
    values = []
    for _ in range(num_draws):
        weight = np.bincount(rng.integers(0, num_clips, num_clips), minlength=num_clips)
        times = (weight[pairs[:, 0]] * weight[pairs[:, 1]]).astype(float)
        fpr, miss = _rates(scores, same, times)
        nearest = int(np.argmin(np.abs(fpr - miss)))
        values.append((fpr[nearest] + miss[nearest]) / 2)
    tail = (1 - level) / 2
    return float(np.quantile(values, tail)), float(np.quantile(values, 1 - tail))


def eer_ge2e_sampled(
    embeddings_by_speaker: dict[str, np.ndarray],
    *,
    seed: int = 0,
    num_speakers: int = GE2E_SPEAKERS,
    num_clips: int = 50,
) -> float:
    """Return the EER of CTAL's released code: sampled, optimistic, not a pairwise EER. Only to compare with it.

    Repeats 10 × speakers times: ``num_speakers`` speakers × ``num_clips`` clips drawn with replacement, half enrol.
    Clips score against other speakers' enrolment centroids and their own speaker's *leave-one-out centroid of the
    verification half*; thresholds 0…1 in steps of 0.01. Reference G. Differs: drawing is seeded.
    """
    rng = np.random.default_rng(seed)
    names = sorted(embeddings_by_speaker)
    if len(names) < num_speakers:
        raise ValueError(f"`embeddings_by_speaker` must have at least {num_speakers} speakers, but has {len(names)}.")
    rates = []
    for _ in range(10 * len(names)):
        drawn = rng.choice(len(names), num_speakers, replace=False)
        clips = [embeddings_by_speaker[names[s]] for s in drawn]
        unit = np.stack([_unit(x[rng.integers(0, len(x), num_clips)]) for x in clips])  # (speakers, clips, D)
        rates.append(_ge2e_round(unit[:, : num_clips // 2], unit[:, num_clips // 2 :]))
    return float(np.mean(rates))


def _error_curves(same_N: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false-acceptance and miss rates, from the strictest threshold to the laxest."""
    if len(same_N) != len(scores_N):
        raise ValueError(f"`same` and `scores` must be equally many, but are {len(same_N)} and {len(scores_N)}.")
    order = np.argsort(-scores_N, kind="stable")
    return _rates(scores_N[order], same_N[order].astype(bool), np.ones(len(order)))


def _rates(scores_N: np.ndarray, same_N: np.ndarray, times_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both rates of trials in falling order of score, each counted ``times_N`` times; ties move together."""
    last_of_tie = np.append(np.diff(scores_N) != 0, True)
    hits = np.cumsum(times_N * same_N)[last_of_tie]
    alarms = np.cumsum(times_N * ~same_N)[last_of_tie]
    if hits[-1] == 0 or alarms[-1] == 0:
        raise ValueError("trials must include same-speaker and different-speaker pairs, but include one kind only.")
    return np.append(0.0, alarms / alarms[-1]), np.append(1.0, 1 - hits / hits[-1])


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _ge2e_round(enrol: np.ndarray, verify: np.ndarray) -> float:
    """Return the EER of one round of samples; ``enrol`` and ``verify`` are (speakers, clips, D) unit vectors."""
    num_speakers, num_clips, _ = verify.shape
    centroids = _unit(enrol.mean(1))
    scores = np.einsum("scd,kd->sck", verify, centroids)
    own_centroids = _unit((verify.sum(1, keepdims=True) - verify) / (num_clips - 1))
    for s in range(num_speakers):
        scores[s, :, s] = np.sum(verify[s] * own_centroids[s], -1)
    same = np.broadcast_to(np.eye(num_speakers, dtype=bool)[:, None, :], scores.shape)
    best_gap, best_rate = np.inf, 1.0
    for threshold in np.arange(0, 1.0001, 0.01):
        accepted = scores > threshold
        false_accept, miss = accepted[~same].mean(), 1 - accepted[same].mean()
        if abs(false_accept - miss) < best_gap:
            best_gap, best_rate = abs(false_accept - miss), (false_accept + miss) / 2
    return float(best_rate)
