from __future__ import annotations

import numpy as np
import pytest
import torch

from sonolex.audio.io import read_audio
from sonolex.audio.views import Views
from sonolex.data.loader import Loader, Loading, clip_seed
from sonolex.data.manifest import manifest_from_rows
from tests.data.corpora.miniatures import wav

ROWS = [np.arange(0, 5), np.arange(5, 11), np.arange(11, 13)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_and_cache_change_nothing(workers, corpus, processor):
    views = Views(speed=0.2, vtlp=0.1, noise_snr_db=5, num_time_masks=1, num_mel_masks=1, crop_share=0.2, equalise_db=3)
    plain = Loader(corpus, processor, loading=Loading(num_workers=0, cache_mb=0, views=views), training=True)
    other = Loader(corpus, processor, loading=Loading(num_workers=workers, views=views), training=True)
    for _ in range(2):  # the second time from the cache
        for a, b in zip(plain.batches(ROWS, epoch=2), other.batches(ROWS, epoch=2), strict=True):
            assert a.clip_ids == b.clip_ids and a.seeds == b.seeds
            assert torch.equal(a.frames.values, b.frames.values) and torch.equal(a.tokens.values, b.tokens.values)
            assert a.frames.lengths == b.frames.lengths == tuple(a.frames.valid.sum(1).tolist())


def test_views_change_with_the_epoch_and_are_off_in_evaluation(corpus, processor):
    loading = Loading(num_workers=0, views=Views(gain_db=10, vtlp=0.2))
    training = Loader(corpus, processor, loading=loading, training=True)
    evaluation = Loader(corpus, processor, loading=loading)
    first, second = (next(iter(training.batches(ROWS, epoch=e))).frames.values for e in (0, 1))
    assert not torch.equal(first, second)
    first, second = (next(iter(evaluation.batches(ROWS, epoch=e))).frames.values for e in (0, 1))
    assert torch.equal(first, second)


def test_mixup_mixes_about_its_share_the_same_way_in_any_batch_and_never_in_evaluation(corpus, processor):
    loading = Loading(modalities=("audio",), num_workers=0, mixup=0.5)
    loader = Loader(corpus, processor, loading=loading, training=True)
    (whole,) = loader.batches([np.arange(len(corpus))], epoch=1)
    halves = list(loader.batches([np.arange(24, len(corpus)), np.arange(24)], epoch=1))
    assert whole.own_shares[24:] == halves[0].own_shares and whole.own_shares[:24] == halves[1].own_shares
    assert whole.other_labels["pitch"][:24] == halves[1].other_labels["pitch"]
    mixed = [s for s in whole.own_shares if s < 1]
    assert len(mixed) / len(corpus) == pytest.approx(0.5, abs=0.2) and np.mean(mixed) == pytest.approx(0.5, abs=0.1)
    (plain,) = Loader(corpus, processor, loading=loading).batches([np.arange(len(corpus))])
    assert not plain.own_shares and not plain.other_labels
    with pytest.raises(ValueError, match="mixup"):
        Loading(mixup=0.5)


def test_partners_are_never_the_clip_itself_nor_one_that_says_the_same(corpus, processor):
    spoken = [" ".join(t.split()) if t else t for t in corpus.column("text")]
    sounds = {i: processor.finish(processor.front(read_audio(corpus[i].audio, rate_hz=8000)), "c") for i in range(40)}
    drawn = 0
    for seed in range(8):
        loader = Loader(corpus, processor, loading=Loading(num_workers=0, partners=0.5), seed=seed)
        (batch,) = loader.batches([np.arange(40)])
        has_partner = batch.partners.valid.any(1)
        drawn += int(has_partner.sum())
        for row in has_partner.nonzero()[:, 0].tolist():
            frames = batch.partners.values[row, batch.partners.valid[row]]
            same = [i for i, s in sounds.items() if s.shape == frames.shape and torch.equal(s, frames)]
            assert row not in same
            assert all(spoken[i].lower() != spoken[row].lower() for i in same)
        (halves, _) = loader.batches([np.arange(20), np.arange(20, 40)])
        shown = halves.partners.valid.any(1)
        assert torch.equal(shown, has_partner[:20])  # whatever the batch
    assert drawn / 320 == pytest.approx(0.5, abs=0.08)


def test_partners_that_cannot_be_found_are_an_error_that_names_the_clip(processor, corpus):
    same = manifest_from_rows(
        [{"id": f"c{i}", "audio": corpus[i].audio, "text": "  Same words! " if i else "same WORDS"} for i in range(4)],
        root=corpus.root,
    )
    loader = Loader(same, processor, loading=Loading(num_workers=0, partners=1.0))
    with pytest.raises(ValueError, match=r"another transcript.*clip 'c0'"):
        next(iter(loader.batches([np.arange(4)])))
    with pytest.raises(ValueError, match="partners"):
        Loading(partners=1.5)


def test_modalities_are_dropped_at_their_rate_and_never_both(corpus, processor):
    loading = Loading(num_workers=0, drop_audio=0.3, drop_text=0.3)
    loader = Loader(corpus, processor, loading=loading, training=True)
    audio, text, total = 0, 0, 0
    for epoch in range(12):
        for batch in loader.batches([np.arange(len(corpus))], epoch=epoch):
            has_audio, has_text = batch.frames.valid.any(1), batch.tokens.valid.any(1)
            assert (has_audio | has_text).all()
            audio, text, total = audio + int(has_audio.sum()), text + int(has_text.sum()), total + len(batch)
    assert audio / total == pytest.approx(0.7, abs=0.07) and text / total == pytest.approx(0.7, abs=0.07)


def test_a_modality_that_is_not_wanted_is_not_read(corpus, processor):
    batch = next(iter(Loader(corpus, processor, loading=Loading(modalities=("text",))).batches(ROWS)))
    assert batch.frames is None and batch.tokens is not None


def broken(corpus, tmp_path, count):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    rows = [{"id": c.id, "audio": c.audio, "duration_s": c.duration_s} for c in corpus]
    for i in range(count):
        rows[i]["audio"] = str(tmp_path / "bad.wav")
    return manifest_from_rows(rows, root="/")


def test_a_bad_clip_stops_the_run_by_name_unless_told_to_skip(corpus, processor, tmp_path):
    manifest = broken(corpus, tmp_path, 2)
    with pytest.raises(ValueError, match="clip000"):
        list(Loader(manifest, processor, loading=Loading()).batches(ROWS))
    loader = Loader(manifest, processor, loading=Loading(on_bad_clip="skip"))
    batches = list(loader.batches(ROWS))
    assert batches[0].clip_ids == ("clip002", "clip003", "clip004")
    assert sorted(loader.bad_clips) == ["clip000", "clip001"]


def test_too_many_bad_clips_stop_even_a_skipping_run(corpus, processor, tmp_path):
    loading = Loading(on_bad_clip="skip", max_bad_clips=3)
    with pytest.raises(ValueError, match="max_bad_clips"):
        list(Loader(broken(corpus, tmp_path, 5), processor, loading=loading).batches(ROWS))


def test_a_batch_of_bad_clips_only_is_none(corpus, processor, tmp_path):
    loader = Loader(broken(corpus, tmp_path, 5), processor, loading=Loading(on_bad_clip="skip"))
    assert next(iter(loader.batches(ROWS))) is None


def test_a_clip_without_a_wanted_modality_is_refused_by_name(processor):
    manifest = manifest_from_rows([{"id": "mute", "text": "words"}])
    with pytest.raises(ValueError, match="mute"):
        list(Loader(manifest, processor, loading=Loading(modalities=("audio",))).batches([np.array([0])]))


def test_clip_seeds_are_fixed_forever():
    """A change here changes every training run: these numbers must not move."""
    assert clip_seed(0, 0, "a") == 2204035707372948387
    assert clip_seed(0, 1, "a") != clip_seed(0, 0, "a") != clip_seed(1, 0, "a")


@pytest.mark.parametrize(
    "changes", [{"modalities": ("smell",)}, {"on_bad_clip": "hide"}, {"drop_audio": 0.8, "drop_text": 0.8}]
)
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ValueError, match="must"):
        Loading(**changes)


def test_an_excerpt_at_the_start_of_a_file_is_not_the_whole_file(tmp_path, processor):
    wav(tmp_path / "long.wav", seconds=2.0)
    rows = [{"id": "part", "audio": "long.wav", "offset_s": 0.0, "duration_s": 0.5}, {"id": "all", "audio": "long.wav"}]
    loader = Loader(manifest_from_rows(rows, root=tmp_path), processor, loading=Loading(num_workers=0))
    (batch,) = loader.batches([np.arange(2)])
    assert batch.frames.lengths == (26, 101)
