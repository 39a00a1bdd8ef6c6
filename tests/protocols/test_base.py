from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sonolex.data.manifest import manifest_from_rows
from sonolex.protocols.base import Fold, Protocol, find_fold, find_protocol
from sonolex.tasks.classification import ClassificationConfig

ROWS = [
    {"id": f"{split}{i}", "text": "x", "split": split, "speaker": f"{split}{i % 2}", "mood": "ab"[i % 2]}
    for split in ("train", "validation", "test")
    for i in range(4)
]


def split(manifest):
    return [Fold("only", *(manifest.where(split=s) for s in ("train", "validation", "test")))]


PROTOCOL = Protocol(
    "p",
    "nothing",
    split,
    (ClassificationConfig("mood", label="mood", classes=("a", "b")),),
    "accuracy",
    ("id", "speaker"),
)


def test_a_speaker_in_training_and_report_is_refused():
    rows = [dict(r) for r in ROWS]
    rows[-1]["speaker"] = "train0"
    with pytest.raises(ValueError, match="'train0'"):
        PROTOCOL.folds(manifest_from_rows(rows))


def test_selecting_on_the_report_part_must_be_stated_and_is_never_training_on_it():
    def both(manifest):
        test = manifest.where(split="test")
        return [Fold("only", manifest.where(split="train"), test, test)]

    manifest = manifest_from_rows(ROWS)
    with pytest.raises(ValueError, match="disjoint"):
        replace(PROTOCOL, split=both).folds(manifest)
    with pytest.raises(ValueError, match="selection_rule"):
        replace(PROTOCOL, selects_on_report=True)
    flagged = replace(PROTOCOL, split=both, selects_on_report=True, selection_rule="best on the report part")
    assert len(flagged.folds(manifest)) == 1 and "report part" in flagged.card(manifest)["selection_rule"]
    leaking = replace(flagged, split=lambda m: [Fold("only", m, m.where(split="test"), m.where(split="test"))])
    with pytest.raises(ValueError, match="disjoint"):
        leaking.folds(manifest)


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match=r"\['report'\] must have clips"):
        PROTOCOL.folds(manifest_from_rows(ROWS[:8]))


def test_the_fingerprint_covers_parts_labels_classes_and_rules():
    manifest = manifest_from_rows(ROWS)
    prints = [PROTOCOL.fingerprint(manifest)]
    other = [dict(r) for r in ROWS]
    other[0]["mood"] = "b"
    prints.append(PROTOCOL.fingerprint(manifest_from_rows(other)))
    prints.append(PROTOCOL.fingerprint(manifest_from_rows(ROWS[:-1])))
    prints.append(replace(PROTOCOL, selection_rule="last step").fingerprint(manifest))
    prints.append(replace(PROTOCOL, primary="macro_f1").fingerprint(manifest))
    renamed = ClassificationConfig("mood", label="mood", classes=("b", "a"))
    prints.append(replace(PROTOCOL, tasks=(renamed,)).fingerprint(manifest))
    assert len(set(prints)) == len(prints)
    assert PROTOCOL.fingerprint(manifest.take(range(11, -1, -1))) == prints[0]


def test_folds_are_found_by_name():
    manifest = manifest_from_rows(ROWS)
    assert find_fold(PROTOCOL, manifest, None).name == find_fold(PROTOCOL, manifest, "only").name == "only"
    with pytest.raises(ValueError, match="must be one of only"):
        find_fold(PROTOCOL, manifest, "other")


def test_a_protocol_of_ones_own_is_a_json_file(tmp_path):
    manifest = manifest_from_rows(ROWS)
    manifest.write(tmp_path / "m.arrow")
    card = {"manifest": "m.arrow", "kind": "classification", "modalities": ["text"], "disjoint": ["speaker"]}
    task = {"name": "mood", "label": "mood", "classes": ["a", "b"]}
    (tmp_path / "p.json").write_text(json.dumps(card | {"task": task}))
    protocol = find_protocol(str(tmp_path / "p.json"))
    assert len(protocol.folds(manifest)[0].report) == 4 and protocol.tasks[0].classes == ("a", "b")
    (tmp_path / "p.json").write_text(json.dumps(card | {"task": task | {"lable": "x"}}))
    with pytest.raises(ValueError, match="Did you mean 'label'"):
        find_protocol(str(tmp_path / "p.json"))


def own_protocol(folder, **changes):
    manifest_from_rows(ROWS, root=folder).write(folder / "m.arrow")
    card = {"manifest": "m.arrow", "kind": "classification", "modalities": ["text"], "disjoint": []}
    task = {"name": "mood", "label": "mood", "classes": ["a", "b"], **changes}
    (folder / "p.json").write_text(json.dumps(card | {"task": task}))
    return find_protocol(str(folder / "p.json"))


def test_the_fingerprint_of_ones_own_clips_covers_their_content_and_their_scoring(tmp_path):
    manifest = manifest_from_rows(ROWS)
    protocol = own_protocol(tmp_path)
    words = manifest.with_column("text", ["other words", *manifest.column("text")[1:]])
    with_digests = manifest.with_column("audio_digest", [f"d{i}" for i in range(12)])
    again = manifest.with_column("audio_digest", ["new", *(f"d{i}" for i in range(1, 12))])
    audio = replace(protocol, modalities=("audio",))
    prints = [protocol.fingerprint(m) for m in (manifest, words)]
    prints += [audio.fingerprint(m) for m in (manifest, with_digests, again)]
    prints.append(own_protocol(tmp_path, metric_names=["accuracy"]).fingerprint(manifest))
    moods = manifest.with_column("feeling", manifest.column("mood"))
    prints.append(own_protocol(tmp_path, label="feeling").fingerprint(moods))
    assert len(set(prints)) == len(prints)
    assert protocol.fingerprint(with_digests) == prints[0]  # a model that reads words alone hears nothing
    assert own_protocol(tmp_path, dropout=0.5, weight=2.0).fingerprint(manifest) == prints[0]


def test_a_card_of_ones_own_clips_counts_shared_speakers_and_uncovered_audio(tmp_path):
    protocol = replace(own_protocol(tmp_path), modalities=("audio", "text"))
    rows = [dict(r) for r in ROWS]
    rows[-1]["speaker"] = "train0"
    card = protocol.card(manifest_from_rows(rows))
    assert card["fold given, speakers"] == "1 of 3 in the report part are in training or selection too"
    assert card["fold given, audio"] == "known of 0 of 12 clips (column audio_digest)"
    assert "scoring" not in PROTOCOL.card(manifest_from_rows(ROWS))  # fingerprints of corpora stay as published


def test_unknown_protocols_suggest_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'iemocap4'"):
        find_protocol("iemocap")
