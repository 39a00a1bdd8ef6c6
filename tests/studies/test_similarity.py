"""Speech and text inside a model, by layer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sonolex.results.plots import plot_similarity
from sonolex.studies import similarity as module
from sonolex.studies.similarity import linear_cka, similarity, similarity_lines
from sonolex.systems.base import build_system, system_type
from sonolex.tasks.base import Model
from sonolex.train.checkpoint import save_model
from tests.systems.test_contract import PROCESSORS, SYSTEMS


class Rules:
    modalities = ("audio", "text")


@pytest.mark.parametrize(("name", "places"), [("speecht5", 4), ("calm", 4), ("ctal", 1)])
def test_every_layer_is_compared(name, places, corpus, tmp_path, monkeypatch):
    kind = system_type(name)
    config = SYSTEMS[name][1 if name == "speecht5" else 0]
    waves = [np.random.default_rng(i).normal(size=8000).astype(np.float32) for i in range(3)]
    processor = kind.processor_type.create(PROCESSORS[name], transcripts=corpus.column("text"), waves=iter(waves))
    model = Model(build_system(name, kind.matched(config, processor)), {})
    save_model(tmp_path / "model", model, processor, provenance={})
    monkeypatch.setattr(module, "find_protocol", lambda name, **_: Rules())
    monkeypatch.setattr(module, "protocol_manifest", lambda rules, options: corpus)
    monkeypatch.setattr(module, "find_fold", lambda rules, manifest, fold: type("Fold", (), {"report": corpus}))
    rows = similarity(tmp_path / "model", "any", out=tmp_path / "out")
    assert len(rows) == places and rows[-1]["place"] == "pooled"
    assert all(0 <= r["cka"] <= 1 + 1e-9 and 0 <= r["recall_at_1"] <= 1 for r in rows)
    assert json.loads((tmp_path / "out" / "similarity.json").read_text())["rows"] == rows
    assert len(similarity_lines(rows)) == places + 1
    assert plot_similarity(tmp_path / "out").read_bytes().startswith(b"\x89PNG")


def test_cka_sees_through_rotation_and_scale_and_nothing_in_unrelated_vectors():
    rng = np.random.default_rng(0)
    x_ND, other_ND = rng.normal(size=(500, 6)), rng.normal(size=(500, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert linear_cka(x_ND, 3 * x_ND @ rotation + 7) == pytest.approx(1.0)
    assert linear_cka(x_ND, other_ND) < 0.05
    assert linear_cka(x_ND, np.ones((500, 2))) == 0.0
    by_hand = np.array([[1.0], [-1.0]]), np.array([[1.0, 1.0], [-1.0, 1.0]])  # the second one's constant goes
    assert linear_cka(*by_hand) == pytest.approx(1.0)
