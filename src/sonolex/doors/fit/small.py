"""Small models: support vector machines, logistic regression and constants, fitted by scikit-learn, kept as a system.

Scikit-learn only fits; its weights are copied into `sonolex.systems.statistics` at once, and that system makes all
predictions, here and later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import scipy.sparse
import torch

from sonolex.doors.fit.features import Features, inverse_frequencies, standardised, standards, weighted_terms
from sonolex.doors.fit.question import ABSENT, ClassQuestion, NumberQuestion, Question
from sonolex.systems.statistics import Statistics, StatisticsConfig

ALL_SETS = ("mfcc", "log_mel", "course", "functionals")
MOST_KERNEL_CLIPS = 8000  # a kernel machine takes memory and time by their square
MOST_PAIRED_CLASSES = 30
AT_ONCE = 512


@dataclass(frozen=True)
class Small:
    """A kind of small model.

    Attributes:
        name: its name in tables.
        method: "constant", "svm" (RBF), "linear_svm" or "logistic"; their counterparts for numbers are the median,
            SVR, linear SVR and ridge regression.
        sets: statistics it reads; empty for a model of words.
        words: whether it reads transcripts.
        floor: whether it is a baseline that anybody would try first.
        costs: values of C to choose from.
    """

    name: str
    method: str
    sets: tuple[str, ...] = ()
    words: bool = False
    floor: bool = False
    costs: tuple[float, ...] = (1.0,)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that it reads."""
        return tuple(m for m, read in (("audio", bool(self.sets)), ("text", self.words)) if read)


def small_models(features: Features, question: Question) -> list[Small]:
    """Return the small models that suit a table, the constant first."""
    rbf, linear, logistic = (1.0, 10.0), (0.01, 0.1), (0.01, 0.1, 1.0)
    sets = ("mfcc",) if features.has_audio else ()
    models = [Small(question.constant_name, "constant", sets, words=not sets, floor=True)]
    if features.has_audio:
        models += [
            Small("mfcc_svm", "svm", ("mfcc",), floor=True, costs=rbf),
            Small("log_mel_svm", "svm", ("log_mel",), floor=True, costs=rbf),
            Small("functionals_svm", "svm", ("functionals",), costs=rbf),
            Small("functionals_logistic", "logistic", ("functionals",), costs=logistic),
            Small("all_statistics_svm", "svm", ALL_SETS, costs=rbf),
            Small("all_statistics_linear", "linear_svm", ALL_SETS, costs=linear),
            Small("all_statistics_logistic", "logistic", ALL_SETS, costs=logistic),
        ]
    if features.has_words:
        models.append(Small("words_logistic", "logistic", (), words=True, floor=True, costs=(1.0, 10.0, 100.0)))
    if features.has_audio and features.has_words:
        models.append(Small("statistics_and_words_logistic", "logistic", ALL_SETS, words=True, costs=logistic))
    return models


@dataclass(frozen=True)
class Fitted:
    """A small model after fitting: the system, and the terms whose ids it reads."""

    small: Small
    system: Statistics
    terms: np.ndarray

    def outputs(self, features: Features, rows: np.ndarray) -> np.ndarray:
        """Return its outputs (rows, C), float64, before calibration."""
        s = self.system
        audio = standardised(
            features.audio_NF[np.ix_(rows, features.columns(self.small.sets))],
            features.heard_N[rows],
            s.centre_F.numpy(),
            s.spread_F.numpy(),
        )
        scale = s.config.text_scale
        words = weighted_terms(features.counts_NV[rows][:, self.terms], s.idf_V.numpy(), scale)
        outputs = []
        with torch.inference_mode():
            for start in range(0, len(rows), AT_ONCE):
                piece = slice(start, start + AT_ONCE)
                x_BD = np.concatenate([audio[piece], words[piece].toarray().astype(np.float32)], 1)
                outputs.append(s.outputs(torch.from_numpy(x_BD)).double().numpy())
        return np.concatenate(outputs) if outputs else np.zeros((0, s.config.num_outputs))


def fitted(small: Small, cost: float, features: Features, question: Question, rows: np.ndarray, *, seed: int) -> Fitted:
    """Return ``small`` fitted to these clips. ``seed`` draws the clips of a kernel machine if there are too many."""
    columns = features.columns(small.sets)
    audio_NF, heard_N = features.audio_NF[np.ix_(rows, columns)], features.heard_N[rows]
    centre_F, spread_F = standards(audio_NF, heard_N)
    x: Any = standardised(audio_NF, heard_N, centre_F, spread_F)
    terms, scale, idf_V = np.zeros(0, int), 1.0, np.zeros(0, np.float32)
    if small.words:
        counts_NV = features.counts_NV[rows]
        terms = np.flatnonzero(np.asarray((counts_NV > 0).sum(0)).ravel() >= 1)
        terms = terms[:1] if small.method == "constant" else terms
        scale = max(1.0, len(columns) ** 0.5 / 2)
        idf_V = inverse_frequencies(counts_NV[:, terms])
        x = scipy.sparse.csr_matrix(
            scipy.sparse.hstack([scipy.sparse.csr_matrix(x), weighted_terms(counts_NV[:, terms], idf_V, scale)])
        )
    kernel_rows = np.arange(len(rows))
    if small.method == "svm" and len(rows) > MOST_KERNEL_CLIPS:
        kernel_rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_KERNEL_CLIPS])
    readout = _readout(small.method, cost, x[kernel_rows], question, rows[kernel_rows])
    config = StatisticsConfig(
        num_audio=len(columns),
        num_terms=len(terms),
        kernel="linear" if readout.support is None else "rbf",
        num_support=0 if readout.support is None else len(readout.support),
        gamma=readout.gamma,
        num_outputs=question.num_outputs,
        pairs=readout.pairs,
        text_scale=scale,
    )
    return Fitted(small, _filled(config, readout, centre_F, spread_F, idf_V), terms)


@dataclass
class _Readout:
    """Weights (D, P) and the other parameters of the decisions; ``absent`` are classes without training clips."""

    weight: np.ndarray
    bias: np.ndarray
    support: np.ndarray | None = None
    gamma: float = 0.0
    pairs: bool = False
    absent: Sequence[int] = ()


def _filled(config: StatisticsConfig, readout: _Readout, centre_F: Any, spread_F: Any, idf_V: Any) -> Statistics:
    """Return the system with these parameters."""
    system = Statistics(config).eval().requires_grad_(False)
    values = {"centre_F": centre_F, "spread_F": spread_F, "idf_V": idf_V, "weight_DP": readout.weight}
    values |= {"bias_P": readout.bias} | ({} if readout.support is None else {"support_ND": readout.support})
    for name, value in values.items():
        getattr(system, name).copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
    system.offset_C[list(readout.absent)] = ABSENT
    return system


def _readout(method: str, cost: float, x: Any, question: Question, rows: np.ndarray) -> _Readout:
    y = question.targets[rows]
    present = np.unique(y)
    if method == "constant" or (isinstance(question, ClassQuestion) and len(present) < 2):
        bias = question.constant(rows)
        return _Readout(np.zeros((x.shape[1], len(bias))), bias)
    if isinstance(question, NumberQuestion):
        return _regression(method, cost, x, y)
    if not isinstance(question, ClassQuestion):
        return _tagging(method, cost, x, y)
    if method == "logistic" or question.num_outputs > MOST_PAIRED_CLASSES:
        return _logistic(cost, x, y, present, question.num_outputs)
    return _pairwise(method, cost, x, y, present, question.num_outputs)


def _logistic(cost: float, x: Any, y: np.ndarray, present: np.ndarray, num_classes: int) -> _Readout:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=cost, class_weight="balanced", max_iter=500).fit(x, y)
    weight, bias = np.zeros((x.shape[1], num_classes)), np.zeros(num_classes)
    if len(present) == 2:  # one decision, for the second class
        weight[:, present[1]], bias[present[1]] = model.coef_[0], model.intercept_[0]
    else:
        weight[:, present], bias[present] = model.coef_.T, model.intercept_
    return _Readout(weight, bias, absent=np.setdiff1d(np.arange(num_classes), present).tolist())


def _pairwise(method: str, cost: float, x: Any, y: np.ndarray, present: np.ndarray, num_classes: int) -> _Readout:
    """Return an SVC's decisions between every two classes; a class without clips loses all of its decisions."""
    from sklearn.svm import SVC

    kernel = "linear" if method == "linear_svm" else "rbf"
    gamma = 1.0 / x.shape[1]
    model = SVC(C=cost, kernel=kernel, gamma=gamma, class_weight="balanced").fit(x, y)
    support, starts = x[model.support_], np.concatenate([[0], np.cumsum(model.n_support_)])
    weight = np.zeros((len(support), num_classes * (num_classes - 1) // 2))
    bias = np.zeros(weight.shape[1])
    places = {pair: place for place, pair in enumerate(combinations(range(num_classes), 2))}
    for (first, second), place in places.items():
        if (first in present) != (second in present):
            bias[place] = 1.0 if first in present else -1.0
    sign = -1.0 if len(present) == 2 else 1.0  # of two classes, scikit-learn's decision is for the second
    for number, (i, j) in enumerate(combinations(range(len(present)), 2)):
        place = places[int(present[i]), int(present[j])]
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        weight[of_i, place] = sign * model.dual_coef_[j - 1, of_i]
        weight[of_j, place] = sign * model.dual_coef_[i, of_j]
        bias[place] = sign * model.intercept_[number]
    absent = np.setdiff1d(np.arange(num_classes), present).tolist()
    if kernel == "linear":
        return _Readout(support.T @ weight, bias, pairs=True, absent=absent)
    return _Readout(weight, bias, support, gamma, pairs=True, absent=absent)


def _regression(method: str, cost: float, x: Any, y: np.ndarray) -> _Readout:
    from sklearn.linear_model import Ridge
    from sklearn.svm import SVR

    if method == "logistic":
        model = Ridge(alpha=1 / cost).fit(x, y)
        return _Readout(model.coef_[:, None], np.array([model.intercept_]))
    kernel, gamma = ("linear" if method == "linear_svm" else "rbf"), 1.0 / x.shape[1]
    model = SVR(C=cost, kernel=kernel, gamma=gamma).fit(x, y)
    support, weight = x[model.support_], model.dual_coef_.T
    if kernel == "linear":
        return _Readout(support.T @ weight, model.intercept_)
    return _Readout(weight, model.intercept_, support, gamma)


def _tagging(method: str, cost: float, x: Any, y_NC: np.ndarray) -> _Readout:
    """Return one yes-or-no decision per tag; a tag on all training clips, or on none, gets that constant answer."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    kernel, gamma = ("linear" if method == "linear_svm" else "rbf"), 1.0 / x.shape[1]
    rbf = method == "svm"
    weight, bias = np.zeros((x.shape[0] if rbf else x.shape[1], y_NC.shape[1])), np.zeros(y_NC.shape[1])
    for c, yes in enumerate(y_NC.T > 0):
        if yes.all() or not yes.any():
            bias[c] = -ABSENT if yes.all() else ABSENT
            continue
        if method == "logistic":
            model = LogisticRegression(C=cost, class_weight="balanced", max_iter=500).fit(x, yes)
            weight[:, c], bias[c] = model.coef_[0], model.intercept_[0]
            continue
        svm = SVC(C=cost, kernel=kernel, gamma=gamma, class_weight="balanced").fit(x, yes)
        bias[c] = svm.intercept_[0]
        if rbf:
            weight[svm.support_, c] = svm.dual_coef_[0]
        else:
            weight[:, c] = svm.coef_[0]
    if not rbf:
        return _Readout(weight, bias)
    used = np.flatnonzero(weight.any(1))
    used = used if len(used) else np.arange(1)
    return _Readout(weight[used], bias, x[used], gamma)
