"""CALM beyond the contract: published counts, alignment by hand, what is hidden, and one model for either modality."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sonolex.audio.patches import Blocks, Grid, cut_blocks
from sonolex.nn.heads import FrameHead
from sonolex.objectives.corruption import choose_runs
from sonolex.systems.base import build_system, count_parameters
from sonolex.systems.calm import (
    PATCHES,
    Calm,
    CalmConfig,
    CalmProcessor,
    CalmProcessorConfig,
    SpecTran,
    Standardised,
)
from sonolex.tasks.base import Model, build_task
from sonolex.tasks.classification import ClassificationConfig
from sonolex.types import Batch, Example, Padded
from tests.systems import test_lengths

SIZES = {"num_layers": 2, "width": 32, "num_heads": 4, "ffn_width": 64, "max_tokens": 40}
SMALL = CalmConfig(**SIZES, blocks=(Blocks(12, 6),), grid=Grid(6, 8, 3, 4, num_mels=16))


@pytest.fixture(scope="module")
def processor(corpus):
    config = CalmProcessorConfig(rate_hz=8000, num_mels=16, max_frames=400, max_tokens=40, vocab_size=200)
    return CalmProcessor.create(config, transcripts=corpus.column("text"))


def batch_of(processor, corpus, modalities=("audio", "text"), rows=range(6)):
    from sonolex.audio.io import read_audio

    made = []
    for row in rows:
        clip = corpus[row]
        front = processor.front(read_audio(clip.audio, rate_hz=8000)) if "audio" in modalities else None
        text = clip.text if "text" in modalities else None
        made.append(processor.example(clip.id, front=front, text=text, seed=row + 1))
    return processor.collate(made)


def system_of(config, processor, seed=0):
    return build_system("calm", Calm.matched(config, processor), seed=seed)


@pytest.mark.parametrize(
    ("grid", "count"),
    [(PATCHES, 63), (Grid(2, 64, 1, 64, num_mels=64), 49), (Grid(20, 8, 10, 4, num_mels=64), 60)],
)
def test_a_block_has_the_published_number_of_patches(grid, count):
    assert grid.num_patches(50) == count


@pytest.mark.parametrize(("width", "heads", "spectran", "mam"), [(128, 2, 0.43e6, 0.43e6), (768, 12, 14.35e6, 3.05e6)])
def test_spectran_and_the_mam_head_come_near_the_parameters_of_table_4(width, heads, spectran, mam):
    part = SpecTran(
        160, 63, width=width, num_layers=2, num_heads=heads, ffn_width=4 * width, out_width=width, dropout=0.0
    )
    assert count_parameters(part) == pytest.approx(spectran, rel=0.02)
    assert count_parameters(part) == 2 * (12 * width**2 + 13 * width) + 161 * width + 63 * width + 3 * width
    assert count_parameters(FrameHead(width, 3200, eps=1e-12)) == pytest.approx(mam, rel=0.01)


def test_the_tiny_model_has_the_published_five_million_parameters():
    assert count_parameters(build_system("calm", CalmConfig.tiny())) == pytest.approx(5.2e6, rel=0.03)


@pytest.mark.parametrize("num_frames", [1, 49, 50, 51, 80, 81, 333])
def test_blocks_lose_no_frame_and_do_not_depend_on_padding(num_frames):
    blocks = Blocks(50, 30)
    frames_BTF = torch.randn(2, 400, 4)
    valid_BT = torch.arange(400) < torch.tensor([[num_frames], [400]])
    cut_BNSF, (valid_BNS, own_BN, counts) = cut_blocks(Padded.of(frames_BTF, valid_BT), blocks)
    assert int(valid_BNS[0].any(1).sum()) == blocks.num_blocks(num_frames)
    assert torch.equal(valid_BNS.any(2), own_BN)
    assert counts == (blocks.num_blocks(num_frames), blocks.num_blocks(400))
    seen = {30 * n + s for n, s in valid_BNS[0].nonzero().tolist()}
    assert seen == set(range(num_frames))
    assert torch.equal(cut_BNSF[1, 3], frames_BTF[1, 90:140])


def test_runs_of_blocks_are_hidden_as_often_as_the_paper_says():
    generator = torch.Generator().manual_seed(0)
    chosen = torch.stack([choose_runs(200, share=0.1, run=3, generator=generator) for _ in range(300)])
    assert float(chosen[:, 2:].float().mean()) == pytest.approx(1 - 0.9**3, abs=0.01)
    for row in chosen[:20].tolist():
        runs = "".join("x" if c else " " for c in row).rstrip("x").split()
        assert not runs or min(len(run) for run in runs) >= 3
    assert all(choose_runs(n, share=0.0, run=3, generator=generator).any() for n in (1, 2, 3, 9))


def test_mam_asks_for_the_log_mel_of_hidden_blocks_and_nothing_else(processor, corpus):
    system = system_of(replace(SMALL, stage="hide"), processor).eval()
    batch = system.corrupt(batch_of(processor, corpus))
    chosen_BN = batch.extras["hidden_0_BN"]
    blocks_BNSF, (valid_BNS, *_) = cut_blocks(batch.frames, SMALL.blocks[0])
    assert batch.counts["mam"] == int(valid_BNS[chosen_BN].sum()) * 16
    with torch.no_grad():
        for head in system.mam_heads:
            head.out.weight.zero_()
            head.out.bias.zero_()
        found = system.pretraining_losses(batch)["mam"]
    by_hand = blocks_BNSF[chosen_BN][valid_BNS[chosen_BN]].square().sum()
    assert float(found.sum) == pytest.approx(float(by_hand), rel=1e-5)


def test_hidden_blocks_cannot_be_seen(processor, corpus):
    """With everything hidden, the states do not depend on the sound."""
    system = system_of(replace(SMALL, stage="hide", block_share=1.0), processor).eval()
    batch = system.corrupt(batch_of(processor, corpus, ("audio",)))
    other = replace(batch, frames=batch.frames.with_values(torch.randn_like(batch.frames.values)))
    tokens = [system.audio(b.frames, hidden=b.extras) for b in (batch, other)]
    states = [system._states(None, t).pooled_BD for t in tokens]
    assert torch.equal(*states)


def test_neighbours_share_frames_unless_a_gap_is_asked_for(processor, corpus):
    for gap, shared in ((1, 6), (2, 0)):
        system = system_of(replace(SMALL, neighbour_gap=gap), processor)
        blocks = system.corrupt(batch_of(processor, corpus)).extras["pairs_0_N3"].tolist()
        times = {(clip, which): time for clip, which, time in blocks}
        gaps = [times[clip, 1] - times[clip, 0] for clip, which in times if which == 1]
        assert gaps and set(gaps) == {gap}
        assert SMALL.blocks[0].frames - gap * SMALL.blocks[0].hop == shared


def test_stages_have_their_own_objectives(processor, corpus):
    batch = batch_of(processor, corpus)
    for stage, separate, joint in (
        ("align", set(), {"neighbours", "alignment"}),
        ("hide", {"mlm", "mam"}, set()),
        ("both", {"mlm", "mam"}, {"neighbours", "alignment"}),
    ):
        system = system_of(replace(SMALL, stage=stage), processor)
        prepared = system.corrupt(batch)
        assert set(system.pretraining_losses(prepared)) == separate
        rows = system.pretraining_rows(prepared)
        assert set(system.joint_losses(rows) if rows else {}) == joint


@pytest.mark.parametrize("align", ["block", "clip", "transformer"])
def test_aligned_vectors_are_unit_and_independent_of_the_other_modality(processor, corpus, align):
    system = system_of(replace(SMALL, align=align, pooled="aligned"), processor).eval()
    both, audio, text = (
        system.encode(batch_of(processor, corpus, m)) for m in (("audio", "text"), ("audio",), ("text",))
    )
    assert torch.allclose(both.aligned["audio"], audio.aligned["audio"], atol=1e-5)
    assert torch.allclose(both.aligned["text"], text.aligned["text"], atol=1e-5)
    assert torch.allclose(both.aligned["audio"].norm(dim=-1), torch.ones(6), atol=1e-5)
    assert torch.allclose(audio.pooled_BD, audio.aligned["audio"], atol=1e-6)
    assert torch.allclose(both.pooled_BD, (both.aligned["audio"] + both.aligned["text"]) / 2, atol=1e-5)


def test_a_clip_without_words_in_a_mixed_batch_has_no_text_vector(processor, corpus):
    system = system_of(replace(SMALL, spaces="standardised", pooled="aligned"), processor).eval()
    alone = [batch_of(processor, corpus, m, rows=[i]) for i, m in enumerate((("audio", "text"), ("audio",), ("text",)))]

    def example(batch):
        audio, tokens = (None if x is None else x.values[0] for x in (batch.frames, batch.tokens))
        return Example(batch.clip_ids[0], audio, tokens)

    mixed = system.encode(processor.collate([example(batch) for batch in alone]))
    assert mixed.aligned["text"][1].abs().sum() == 0 == mixed.aligned["audio"][2].abs().sum()
    assert torch.allclose(mixed.pooled_BD, torch.cat([system.encode(b).pooled_BD for b in alone]), atol=1e-5)


def test_spaces_are_standardised_over_the_clips_that_have_a_vector():
    ours, theirs = Standardised(5, affine=False), torch.nn.BatchNorm1d(5, affine=False)
    x_ND, known_N = 3 * torch.randn(6, 5) + 2, torch.tensor([True, False, True, True, False, True])
    found_ND = ours(x_ND, known_N)
    torch.testing.assert_close(found_ND[known_N], theirs(x_ND[known_N]))
    assert not found_ND[~known_N].any()
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    before = ours.running_mean.clone(), ours.running_var.clone()
    for few_N in (torch.zeros(6, dtype=torch.bool), torch.arange(6) == 3):
        assert torch.equal(ours(x_ND, few_N), x_ND)  # fewer than two have no deviation
    assert torch.equal(ours.running_mean, before[0]) and torch.equal(ours.running_var, before[1])
    torch.testing.assert_close(ours.eval()(x_ND, known_N), theirs.eval()(x_ND))


@pytest.mark.parametrize("align", ["block", "transformer"])
def test_aligned_vectors_are_exported_too(corpus, align):
    config = replace(SMALL, align=align, spaces="standardised", pooled="aligned")
    test_lengths.test_encode_is_exported_for_every_length_and_batch("calm", config, corpus)


def test_a_joint_loss_is_that_of_the_clips_that_have_both(processor, corpus):
    """Clips without sound, words or a second block stay among the rows, and count for nothing."""
    system = system_of(replace(SMALL, spaces="standardised"), processor).train()
    kinds = ((("audio", "text"), range(5)), (("audio",), [5]), (("text",), [6]))
    parts = [batch_of(processor, corpus, modalities, rows=rows) for modalities, rows in kinds]
    with torch.no_grad():
        rows = [system.pretraining_rows(system.corrupt(part)) for part in parts]
        all_rows = {n: torch.cat([r[n] for r in rows]) for n in rows[0]}
        mixed, alone = system.joint_losses(all_rows), system.joint_losses(rows[0])
    assert mixed["alignment"].count == alone["alignment"].count == 5
    assert float(mixed["alignment"].sum) == pytest.approx(float(alone["alignment"].sum), rel=1e-5)
    assert mixed["neighbours"].count == all_rows["facts"][:, 1].sum()


def test_alignment_brings_a_clip_and_its_words_together(processor, corpus):
    quiet = {"dropout": 0.0, "attention_dropout": 0.0}
    system = system_of(replace(SMALL, stage="align", pooled="aligned", **quiet), processor)
    batch = system.corrupt(batch_of(processor, corpus, rows=range(12)))
    optimizer = torch.optim.Adam(system.parameters(), lr=3e-4)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        terms = system.joint_losses(system.pretraining_rows(batch))
        loss = sum(t.weight * t.mean for t in terms.values())
        loss.backward()
        optimizer.step()
        losses.append(terms["alignment"].mean.item())
    assert losses[-1] < 0.5 * losses[0]


def test_another_head_changes_no_heads_answer(processor, corpus):
    """Multi-task without interference: with a frozen backbone, heads neither see nor move each other."""
    batch = batch_of(processor, corpus)
    batch = replace(batch, labels={"mood": ("good", "bad") * 3, "pitch": ("low", "high") * 3})
    mood = ClassificationConfig("mood", label="mood", classes=("good", "bad"), hidden=64)
    pitch = ClassificationConfig("pitch", label="pitch", classes=("low", "high"), hidden=64)

    def trained(configs):
        system = system_of(SMALL, processor).eval().requires_grad_(False)
        model = Model(system, {c.name: build_task(c, system.pooled_dim) for c in configs})
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            model(model.prepare(batch)).total.backward()
            optimizer.step()
        return model.predict(batch)[0]

    assert torch.equal(trained([mood])["mood"], trained([mood, pitch])["mood"])


def test_words_alone_go_through_bert_as_transformers_does(tmp_path):
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    theirs = BertForPreTraining(BertConfig(**sizes, intermediate_size=64, max_position_embeddings=48)).eval()
    theirs.save_pretrained(tmp_path)
    ours = Calm(CalmConfig.like(tmp_path, max_tokens=16)).eval()
    reports = ours.import_pretrained({"bert": str(tmp_path)})
    assert not reports["bert"].missing
    tokens = torch.randint(5, 60, (3, 12))
    valid = torch.arange(12) < torch.tensor([[12], [5], [1]])
    with torch.no_grad():
        found = ours.encode(Batch(("a", "b", "c"), tokens=Padded.of(tokens, valid)))
        states = theirs(input_ids=tokens, attention_mask=valid.long(), output_hidden_states=True).hidden_states[-1]
    assert torch.allclose(found.pooled_BD, states[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match="gpt"):
        ours.import_pretrained({"gpt": str(tmp_path)})


@pytest.mark.parametrize(
    ("normalise", "gone"),
    [
        ("fixed", ()),
        ("level", ("level",)),
        ("mean", ("level", "channel")),
        ("utterance", ("level", "channel", "spread")),
    ],
)
def test_normalisation_takes_away_what_it_says(processor, normalise, gone):
    changed = CalmProcessor(replace(processor.config, normalise=normalise), processor.tokenizer)
    front = torch.randn(50, 16) * 3 - 7
    made = {"level": front + 2, "channel": front + torch.linspace(-1, 1, 16), "spread": front * 2}
    first = changed.finish(front, "c")
    same = {name for name, other in made.items() if torch.allclose(changed.finish(other, "c"), first, atol=1e-4)}
    assert same == set(gone)


def test_the_same_sound_at_another_time_is_another_token(processor):
    """Positions are as large as what stands there: a model has to see whether pitch rises or falls."""
    system = build_system("calm", Calm.matched(replace(SMALL, width=128, num_heads=4), processor)).eval()
    frames_BTF, valid_BT = torch.randn(1, 1, 16).expand(1, 48, 16), torch.ones(1, 48, dtype=torch.bool)
    audio = system.audio(Padded.of(frames_BTF, valid_BT))
    joined = system.embedding(None, Padded(audio.x_BND, audio.valid_BN), audio_times_T=audio.times_T)
    first, later = joined.split(joined.x_BLD)[1][0, [0, 3]]
    assert torch.allclose(audio.x_BND[0, 0], audio.x_BND[0, 3], atol=1e-6)
    assert torch.cosine_similarity(first, later, dim=0).item() < 0.9
