"""AST, SSAST and VCR-AST against transformers, the papers' counts and their own parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sonolex.audio.patches import Grid
from sonolex.audio.views import Views
from sonolex.nn.embeddings import NormalisedPatches
from sonolex.nn.spectrogram_transformer import SPECIAL_TOKENS
from sonolex.nn.transformer import initialise_truncated
from sonolex.objectives.vicreg import loss_floor
from sonolex.pretrained.ast import encoder_names, import_ast
from sonolex.processors.spectrogram import SpectrogramConfig, SpectrogramProcessor
from sonolex.systems.ast import Ast, AstConfig
from sonolex.systems.base import count_parameters
from sonolex.systems.ssast import Ssast, SsastConfig
from sonolex.systems.vcr_ast import VcrAst, VcrAstConfig

UNUSED_DEIT_HEADS = {768: 2 * (1000 * 768 + 1000), 384: 2 * (1000 * 384 + 1000)}
SIZES = {"num_layers": 2, "width": 32, "num_heads": 2, "ffn_width": 64}


@pytest.fixture(scope="module")
def theirs():
    from transformers import ASTConfig, ASTModel

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_length=64,
        num_mel_bins=32,
        frequency_stride=8,
        time_stride=8,
        attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.0,
    )
    model = ASTModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def ours_like(theirs, **changes) -> Ast:
    grid = Grid(stride_frames=8, stride_bins=8, num_mels=32, partial="drop")
    model = Ast(AstConfig(grid=grid, table_frames=64, norm_eps=1e-12, **SIZES, **changes)).eval()
    weights = encoder_names(theirs.state_dict())
    report = import_ast(model.embedding, model.layers, model.norm, weights, size=(7, 3), patch=(16, 16))
    assert not report.unused and not report.missing
    return model


def test_states_and_pooled_vector_equal_transformers_given_the_same_weights(theirs):
    model = ours_like(theirs)
    frames = torch.randn(3, 64, 32)
    processor = SpectrogramProcessor(SpectrogramConfig(num_mels=32, frames="fixed", max_frames=64))
    batch = processor.collate([processor.example(f"c{i}", front=f, text=None) for i, f in enumerate(frames)])
    ours = model.encode(batch)
    with torch.no_grad():
        given = theirs(batch.frames.values)
    assert torch.allclose(ours.pooled_BD, given.pooler_output, atol=1e-4)
    # Their patches run along time within a band, ours along bands within a column.
    ours_by_band = ours.streams["audio"][:, 2:].reshape(3, 7, 3, 32).transpose(1, 2).flatten(1, 2)
    assert torch.allclose(ours_by_band, given.last_hidden_state[:, 2:], atol=1e-4)


def test_a_run_may_start_from_a_checkpoint_folder(theirs, tmp_path):
    from transformers import ASTForAudioClassification

    model = ASTForAudioClassification(theirs.config)
    model.audio_spectrogram_transformer.load_state_dict(theirs.state_dict())
    model.save_pretrained(tmp_path)
    expected = ours_like(theirs)
    grid = Grid(stride_frames=8, stride_bins=8, num_mels=32, partial="drop")
    found = Ast(AstConfig(grid=grid, table_frames=64, norm_eps=1e-12, **SIZES)).eval()
    (report,) = found.import_pretrained({"ast": str(tmp_path)}).values()
    assert not report.missing and all("classifier" not in k for k in report.used)
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    with pytest.raises(ValueError, match="ast, ssast, deit"):
        found.import_pretrained({"vit": str(tmp_path)})


def test_old_key_names_of_released_checkpoints_are_understood(theirs):
    from sonolex.pretrained.ast import _released_name

    released = {f"audio_spectrogram_transformer.{_released_name(k)}": v for k, v in theirs.state_dict().items()}
    released = encoder_names(released | {"classifier.dense.weight": torch.zeros(2, 32)})
    model = Ast(AstConfig(grid=Grid(stride_frames=8, stride_bins=8, num_mels=32), table_frames=64, **SIZES))
    report = import_ast(model.embedding, model.layers, model.norm, released, size=(7, 3), patch=(16, 16))
    assert not report.missing and report.unused == ("classifier.dense.weight",)


def test_a_vit_is_no_deit(tmp_path):
    """It once was read as one: nothing of it was used, and training went on from random weights."""
    from transformers import ViTConfig, ViTForImageClassification, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = ViTConfig(**sizes, image_size=32, patch_size=8)
    model = Ast(AstConfig(grid=Grid(stride_frames=8, stride_bins=8, num_mels=32), table_frames=64, **SIZES))
    for number, kind in enumerate((ViTModel, ViTForImageClassification)):
        kind(config).save_pretrained(tmp_path / str(number))
        with pytest.raises(ValueError, match=r"must be a checkpoint of deit"):
            model.import_pretrained({"deit": str(tmp_path / str(number))})


def test_deit_weights_lose_their_colours_and_their_positions_fit_our_grid():
    from transformers import DeiTConfig, DeiTModel

    torch.manual_seed(0)
    theirs = DeiTModel(
        DeiTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
        )
    )
    model = Ast(AstConfig(grid=Grid(frames=8, bins=8, num_mels=16), table_frames=80, **SIZES))
    options = {"size": (4, 4), "patch": (8, 8)}
    report = import_ast(model.embedding, model.layers, model.norm, encoder_names(theirs.state_dict()), **options)
    assert not report.missing and set(report.unused) == {"pooler.dense.weight", "pooler.dense.bias"}
    weight = theirs.state_dict()["embeddings.patch_embeddings.projection.weight"]
    assert torch.allclose(model.embedding.project.weight, weight.sum(1).transpose(1, 2).flatten(1))
    positions = theirs.state_dict()["embeddings.position_embeddings"][0, 2:].reshape(4, 4, 32)
    middle = positions[1:3].mean(1)  # two of four bands, from the middle; ten columns interpolated from four
    assert torch.allclose(model.embedding.position.reshape(10, 2, 32).mean(0), middle, atol=0.02)
    weights = encoder_names(theirs.state_dict())
    import_ast(model.embedding, model.layers, model.norm, weights, **options, channels="mean")
    assert torch.allclose(model.embedding.project.weight, weight.mean(1).transpose(1, 2).flatten(1))
    with pytest.raises(ValueError, match="multiply to its 16"):
        import_ast(model.embedding, model.layers, model.norm, weights, size=(5, 4), patch=(8, 8))


def test_parameter_counts_are_those_of_the_papers():
    ssast = count_parameters(Ssast(SsastConfig.base(table_frames=512)))
    assert ssast + UNUSED_DEIT_HEADS[768] == 88_566_736  # 88.57M
    vcr = VcrAst(VcrAstConfig.base(table_frames=512, hidden_patches="dropped"))
    assert count_parameters(vcr.expander) == 36_724_736  # 36.73M
    assert ssast + UNUSED_DEIT_HEADS[768] + count_parameters(vcr.expander) == 125_291_472  # 125.29M
    small = count_parameters(Ssast(SsastConfig.small(table_frames=512))) + UNUSED_DEIT_HEADS[384]
    expander = count_parameters(VcrAst(VcrAstConfig.small(table_frames=512)).expander)
    assert round(small / 1e6, 2) == 22.76 and round((small + expander) / 1e6, 2) == 57.91
    tiny = count_parameters(Ssast(SsastConfig.tiny())) + 2 * (1000 * 192 + 1000)
    assert round(tiny / 1e6, 2) == 6.05


def test_a_clip_longer_than_the_position_table_has_its_own_stretch_whatever_the_batch():
    torch.manual_seed(0)
    model = Ssast(SsastConfig(grid=Grid(frames=4, bins=8, num_mels=16), table_frames=40, **SIZES)).eval()
    processor = SpectrogramProcessor(SpectrogramConfig(num_mels=16))
    made = [processor.example(f"c{n}", front=torch.randn(n, 16), text=None) for n in (12, 55, 130)]
    together = model.encode(processor.collate(made)).pooled_BD
    alone = torch.cat([model.encode(processor.collate([e])).pooled_BD for e in made])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_third_of_a_second_and_a_minute_have_finite_vectors_and_padding_is_the_published_value():
    model = Ast(AstConfig(table_frames=1024, **SIZES)).eval()
    processor = SpectrogramProcessor(SpectrogramConfig())
    rng = np.random.default_rng(0)
    for seconds in (0.01, 0.3, 60.0):
        wave = rng.normal(size=int(16_000 * seconds)).astype(np.float32) * 0.1
        example = processor.example("clip", front=processor.front(wave), text=None)
        assert model.encode(processor.collate([example])).pooled_BD.isfinite().all()
    fixed = SpectrogramProcessor(SpectrogramConfig(frames="fixed", max_frames=1024))
    padded = fixed.finish(fixed.front(wave[:16_000]), "clip")
    assert padded.shape == (1024, 128) and padded[-1, 0].item() == pytest.approx(0.467, abs=1e-3)
    with pytest.raises(ValueError, match=r"6000 frames.*long"):
        processor.finish(torch.zeros(6001, 128), "long")


def test_dropped_patches_are_not_seen():
    torch.manual_seed(0)
    config = VcrAstConfig(
        grid=Grid(frames=4, bins=4, num_mels=16),
        table_frames=64,
        hidden_share=0.5,
        hidden_patches="dropped",
        freq_mask_bins=0,
        time_mask_frames=0,
        expander_width=8,
        **SIZES,
    )
    model = VcrAst(config).eval()
    processor = SpectrogramProcessor(SpectrogramConfig(num_mels=16))
    front = torch.randn(64, 16)
    batch = model.corrupt(processor.collate([processor.example("c", front=front, text=None, seed=5)]))
    before = model.pretraining_rows(batch)["first"]
    hidden = batch.extras["first_hidden_BP"][0].reshape(16, 4)
    changed = batch.extras["first"].values.clone()
    for column, row in hidden.nonzero().tolist():
        changed[0, 4 * column : 4 * column + 4, 4 * row : 4 * row + 4] = 9.0
    batch.extras["first"] = batch.extras["first"].with_values(changed)
    assert torch.equal(before, model.pretraining_rows(batch)["first"])
    column, row = (~hidden).nonzero()[0].tolist()
    changed[0, 4 * column, 4 * row] += 1.0
    assert not torch.equal(before, model.pretraining_rows(batch)["first"])


def test_views_of_the_published_range_lose_whole_spectra_and_clamped_ones_never_do():
    config = VcrAstConfig(**SIZES, grid=Grid(), table_frames=512, expander_width=8)

    def erased(mask_range: str) -> float:
        model = VcrAst(replace(config, mask_range=mask_range))
        views = [model._view(torch.ones(512, 128), torch.Generator().manual_seed(s)) for s in range(400)]
        return float(np.mean([not v.any() for v in views]))

    assert erased("axis") == 0.0
    assert erased("published") == pytest.approx(0.075, abs=0.04)  # parameters of 1 to 200 on 128 bands


def test_views_are_in_decibels_whatever_the_corpus_deviation():
    config = VcrAstConfig(
        **SIZES,
        grid=Grid(num_mels=16),
        table_frames=64,
        expander_width=8,
        freq_mask_bins=0,
        time_mask_frames=0,
        views=Views(gain_db=6),
    )
    processor = SpectrogramProcessor(SpectrogramConfig(num_mels=16, std=3.0))
    model = VcrAst(VcrAst.matched(config, processor))
    views = [model._view(torch.zeros(4, 16), torch.Generator().manual_seed(s)) for s in range(200)]
    largest = max(float(v.abs().max()) for v in views)
    assert largest == pytest.approx(6 * np.log(10) / 10 / (2 * 3.0), rel=0.05)


def test_a_training_step_sees_a_share_of_the_patches_and_evaluation_all():
    torch.manual_seed(0)
    config = AstConfig(**SIZES, grid=Grid(frames=4, bins=4, num_mels=16), table_frames=64, keep_patches=0.25)
    model = Ast(config)
    processor = SpectrogramProcessor(SpectrogramConfig(num_mels=16))
    lengths = (64, 8, 4)
    batch = processor.collate([processor.example(str(n), front=torch.randn(n, 16), text=None, seed=n) for n in lengths])
    seen = model.train().encode(batch).valid["audio"].sum(1) - SPECIAL_TOKENS
    assert seen.tolist() == [16, 2, 1]
    first, second = (model.encode(batch).pooled_BD for _ in range(2))
    assert not torch.equal(first, second)
    assert (model.eval().encode(batch).valid["audio"].sum(1) - SPECIAL_TOKENS).tolist() == [64, 8, 4]


def test_normalised_patches_differ_by_shape_not_only_by_level():
    torch.manual_seed(0)
    quiet, other = torch.randn(2, 1, 1, 64) * 0.1 - 2.0
    linear, dual = nn.Linear(64, 32), NormalisedPatches(64, 32)
    for layer in (linear, dual):
        initialise_truncated(layer)
    assert F.cosine_similarity(linear(quiet), linear(other), dim=-1) > 0.9
    assert F.cosine_similarity(dual(quiet), dual(other), dim=-1) < 0.7
    assert not torch.allclose(dual(quiet), dual(quiet + 1.0))  # the level is still there


def test_statistics_are_measured_on_training_clips_and_a_later_run_keeps_them():
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.normal(size=n).astype(np.float32) for n in (8000, 16_000)]
    wanted = SpectrogramConfig(statistics="measured")
    processor = SpectrogramProcessor.create(wanted, transcripts=(), waves=iter(waves))
    values = torch.cat([processor.front(w) for w in waves])
    assert processor.config.mean == pytest.approx(values.mean().item(), rel=1e-5)
    assert processor.config.std == pytest.approx(values.std().item(), rel=1e-3)
    assert not processor.conflicts(wanted) and not processor.conflicts(processor.config)
    assert processor.conflicts(SpectrogramConfig())
    with pytest.raises(ValueError, match="training clips"):
        SpectrogramProcessor.create(wanted, transcripts=())


def test_the_journaled_floor_is_exact_in_half_precision_too():
    model = VcrAst(VcrAstConfig(grid=Grid(num_mels=16), table_frames=64, expander_width=64, **SIZES))
    rows = {view: torch.randn(12, 32) for view in ("first", "second")}
    with torch.autocast("cpu", torch.bfloat16):
        terms = model.joint_losses(rows)
    assert terms["floor"].mean.item() == pytest.approx(loss_floor(12, 64), rel=1e-6)
    assert terms["expander_rank"].mean.item() <= 11 and {n for n, t in terms.items() if t.weight} == set(
        model.objectives
    )
