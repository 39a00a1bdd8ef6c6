from __future__ import annotations

import numpy as np

from sonolex.report import write_html
from tests.saved_runs import make_run


def test_the_page_is_one_file_with_pictures_and_no_links_outside(tmp_path):
    make_run(tmp_path / "a")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a/predictions/embeddings.npz", pooled=rng.normal(size=(40, 4)), groups=np.array(["x", "y"] * 20)
    )
    page = write_html([tmp_path], tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # confusion matrix, curves, t-SNE
    assert "http" not in page.replace("https://", "http").split("base64")[0]
    assert "the paper" in page and "aaa" in page


def test_label_fractions_become_a_curve(tmp_path):
    for share in (10, 50, 100):
        make_run(tmp_path / f"f{share}", row=f"model, {share} % of labels", accuracy=0.5 + share / 250)
    page = write_html([tmp_path], tmp_path / "report.html").read_text()
    assert "Label fractions" in page
