"""The folder of fits: the table as it was divided, its protocol, and a run folder for each set of options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sonolex import configs
from sonolex.data.loader import Loading
from sonolex.data.manifest import Manifest
from sonolex.data.parts import Divided
from sonolex.devices import find_device
from sonolex.doors.fit.blocks import Blocks
from sonolex.doors.fit.contest import Outcome
from sonolex.doors.fit.question import Question
from sonolex.doors.fit.saving import Winner, metrics_of, write_answers
from sonolex.doors.fit.settings import Settings
from sonolex.files import load_object, save_json
from sonolex.protocols.base import digest, find_protocol
from sonolex.systems.base import count_parameters, system_name
from sonolex.train.cards import write_card
from sonolex.train.checkpoint import environment, save_model
from sonolex.train.evaluation import evaluate, write_embeddings
from sonolex.train.manifests import protocol_manifest
from sonolex.train.preflight import has_audio

FIT = "fit.json"
PROTOCOL = "protocol.json"
VECTORS_KEPT = 300
BATCH_S, BATCH_CLIPS = 120.0, 128


def modalities_of(manifest: Manifest) -> list[str]:
    """Return the modalities of a table's clips."""
    has_text = any(manifest.column("text"))
    return [m for m, present in (("audio", has_audio(manifest).any()), ("text", has_text)) if present]


def finished(place: Path, settings: Settings) -> dict[str, Any] | None:
    """Return the results of a finished fit; None for an unfinished one.

    Raises:
        ValueError: the folder holds a fit with other options.
    """
    if not (place / "results.json").is_file():
        return None
    saved = load_object(place / FIT, cure="Remove the folder, and the same command fits again.")
    differing = sorted(configs.differences(saved.get("options"), _options(settings)))
    if differing:
        raise ValueError(f"{place} must hold the same fit, but differs in {', '.join(differing)}. Name another --out.")
    results = load_object(place / "results.json", cure="Remove the folder, and the same command fits again.")
    return results if "verdict" in results else None


def write_table(folder: Path, divided: Divided, questions: Sequence[tuple[str, dict[str, Any]]]) -> Path:
    """Write the manifest and the protocol, so that models can be scored on them later; return the protocol's path.

    Args:
        questions: kind and settings of every task.

    Raises:
        ValueError: the folder's protocol has other tasks.
    """
    clips, path, tasks = divided.manifest, folder / PROTOCOL, _task_fields(questions)
    if path.is_file() and (folder / "manifest.arrow").is_file():
        _require_same_question(path, tasks)
        return path
    speakers, parts = clips.column("speaker"), divided.parts
    by_speaker = all(speakers) and len(set(zip(speakers, parts, strict=True))) == len(set(speakers))
    clips.write(folder / "manifest.arrow")
    card = {
        "manifest": "manifest.arrow",
        **tasks,
        "modalities": modalities_of(clips),
        "folds": divided.folds,
        "name": _name_of(clips, questions, parts),
        "disjoint": ["speaker"] if by_speaker else [],
        "notes": "; ".join(f"WARNING: {w}" for w in divided.warnings),
    }
    save_json(path, card)
    return path


def _task_fields(questions: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the fields of a protocol.json that define its tasks."""
    if len(questions) == 1:
        return {"kind": questions[0][0], "task": questions[0][1]}
    return {"tasks": [{"kind": kind, **task} for kind, task in questions]}


def _require_same_question(path: Path, tasks: dict[str, Any]) -> None:
    saved = load_object(path, cure="Remove the folder, and the same command fits again.")
    before = {name: saved.get(name) for name in tasks}
    differing = sorted(configs.differences(before, configs.to_json(tasks)))
    if differing:
        raise ValueError(
            f"{path.parent} must hold fits of the same question, but differs in {', '.join(differing)}. "
            "Name another folder with --out."
        )


def _name_of(clips: Manifest, questions: Sequence[tuple[str, dict[str, Any]]], parts: Sequence[str]) -> str:
    """Return a name that depends only on clips, labels and parts, so that a table keeps it wherever it lies."""
    labels = [clips.column(str(task["label"])) for _, task in questions]
    what = [*(clips.column(n) for n in ("id", "audio_digest", "text")), *labels, list(parts)]
    kinds = [kind for kind, _ in questions]
    mark = digest([*kinds, sorted(zip(*what, strict=True), key=str)])[:6]
    return f"{', '.join(str(task['name']) for _, task in questions)}, {len(clips)} clips ({mark})"


def write_results(
    place: Path,
    settings: Settings,
    protocol_path: Path,
    *,
    question: Question,
    clips: Manifest,
    blocks: Blocks,
    outcome: Outcome,
    winner: Winner,
    seconds: float,
) -> dict[str, Any]:
    """Write the model folder, predictions and results of a fit, and return the results."""
    protocol = find_protocol(str(protocol_path))
    card = protocol.card(protocol_manifest(protocol))
    learned = [clips.column("id")[i] for i in blocks.learned(blocks.final)]
    save_json(place / FIT, {"options": _options(settings), "winner": outcome.winner.name, "values": outcome.values})
    provenance = {
        "run": "fit",
        "seed": settings.seed,
        "winner": outcome.winner.name,
        "learned_from": f"{len(learned)} clips",
        "learned_ids": digest(sorted(learned)),
        "learned_from_report": blocks.crossed,
        "fingerprint": digest(card),
    }
    save_model(place / "model", winner.model, winner.processor, provenance=provenance)
    write_answers(place, winner.model, question, clips, outcome)
    _write_vectors(place, winner, question, clips, outcome, find_device(settings.device))
    metrics = metrics_of(question, clips, outcome)
    floors = {name: m for name, m in metrics.items() if name != "fit" and outcome.candidates[name].floor}
    results = {
        "run": "fit",
        "row": settings.row,
        "system": system_name(winner.model.system),
        "seed": settings.seed,
        "modalities": list(winner.modalities),
        "trained_modalities": list(winner.modalities),
        "init_from": settings.start_from,
        "num_parameters": count_parameters(winner.model.system),
        "steps": 0,
        "selected_step": 0,
        "selection_value": outcome.values[outcome.winner.name],
        "train_s": round(seconds, 2),
        "load_s": None,
        "trained_clips": 0,
        "environment": environment(),
        "scores": {question.name: metrics["fit"]},
        "losses": {},
        "num_report_clips": len(outcome.rows),
        "protocol": protocol.name,
        "fold": "all" if blocks.crossed else "given",
        "fingerprint": digest(card),
        "card": card,
        "primary": protocol.primary,
        "floors": {question.name: floors},
        "published": {},
        "notes": protocol.notes,
        "winner": outcome.winner.name,
        "winners_by_fold": {blocks.names[b]: name for b, name in outcome.by_block.items()},
        "candidates": {question.name: {n: m for n, m in metrics.items() if n != "fit"}},
    }
    _write_card(place / "model", winner, provenance, question, clips, blocks, outcome, results)
    save_json(place / "results.json", results)
    return results


def _write_card(
    folder: Path,
    winner: Winner,
    provenance: dict[str, Any],
    question: Question,
    clips: Manifest,
    blocks: Blocks,
    outcome: Outcome,
    results: dict[str, Any],
) -> None:
    """Write the model's card: its training clips, and the score of the procedure on clips that had no part in it."""
    parts = {"train": clips.take(blocks.learned(blocks.final))}
    if not blocks.crossed:
        parts |= {"report": clips.take(np.sort(outcome.rows))}
    speakers = clips.column("speaker")
    labels, groups = ([of[i] for i in outcome.rows] for of in (question.labels, speakers))
    predicted = {question.name: (labels, outcome.answers["fit"], groups if any(groups) else None)}
    starts = [results["init_from"]] if results["init_from"] else []
    write_card(
        folder,
        winner.model,
        provenance,
        parts=parts,
        results=results,
        predicted=predicted,
        starts=starts,
        cross_validated=blocks.crossed,
    )


def add_verdict(place: Path, results: dict[str, Any], lines: Sequence[str]) -> dict[str, Any]:
    """Write the results with their verdict, which makes the fit finished, and return them."""
    results = results | {"verdict": list(lines)}
    save_json(place / "results.json", results)
    return configs.to_json(results)


def _write_vectors(
    place: Path, winner: Winner, question: Question, clips: Manifest, outcome: Outcome, device: torch.device
) -> None:
    """Write pooled vectors of some of the reported clips, for a plot of the model's vector space."""
    kept = np.random.default_rng(0).permutation(outcome.rows)[:VECTORS_KEPT]
    shown = clips.take(np.sort(kept))
    evaluation = evaluate(
        winner.model.to(device),
        winner.processor,
        shown,
        loading=Loading(modalities=winner.modalities),
        batch_s=BATCH_S,
        batch_clips=BATCH_CLIPS,
        device=device,
        with_losses=False,
    )
    write_embeddings(place / "predictions" / "embeddings.npz", shown, evaluation)


def _options(settings: Settings) -> dict[str, Any]:
    return configs.to_json({**settings.changed, "seed": settings.seed})
