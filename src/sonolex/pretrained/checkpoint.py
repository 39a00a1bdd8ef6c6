"""Open a released checkpoint, in whatever form it was published, and tell what it is by the names of its tensors.

A folder in Hugging Face format, or one file: safetensors, or torch's of any age (``.bin``, ``.pth``, ``.pt``,
``.ckpt``, with or without ``?dl=1`` behind its name). The container is recognised by its bytes, not by its suffix, and
nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sonolex.files import load_object
from sonolex.pretrained.files import checkpoint_folder, read_weights
from sonolex.torch_file import read_torch_groups
from sonolex.weights import read_tensors

WEIGHT_FILES = re.compile(r"\.(safetensors|bin|pth|pt|ckpt)(\?dl=\d)?$")
PATCHES, NO_COLOURS = "embeddings.patch_embeddings.projection.weight", torch.empty(0)
MODEL_GROUPS = ("model", "state_dict")  # where a training's file keeps the model alone


@dataclass(frozen=True)
class Kind:
    """A kind of released checkpoint.

    Attributes:
        name: what is printed.
        marks: patterns of names, each of which some tensor has.
        lacks: patterns that none has.
        parts: what it fills, as ``Run.pretrained`` names it, by system.
    """

    name: str
    marks: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


_ENCODERS = ("ast", "ssast", "vcr_ast")
KINDS: Mapping[str, Kind] = {
    "ctal": Kind(
        "CTAL (text and audio encoder)",
        (r"^semantic_model\.roberta\.", r"^acoustic_model\.acoustic\."),
        parts={"ctal": "ctal"},
    ),
    "speecht5": Kind("SpeechT5 in Hugging Face format", (r"^speecht5\.encoder\.",), parts={"speecht5": "speech"}),
    "speecht5_fairseq": Kind("SpeechT5 of fairseq", (r"^speech_encoder_prenet\.",), parts={"speecht5": "speech"}),
    "speechlm": Kind(
        "SpeechLM",
        (r"^unit_encoder\.layers\.", r"^(unit_encoder\.embed_tokens|unit_embed_tokens)\."),
        parts={"speechlm": "speechlm"},
    ),
    "speechlm_clean": Kind(
        "SpeechLM, cleaned: its speech side alone",
        (r"^unit_encoder\.layers\.",),
        (r"^unit_embed_tokens\.", r"^unit_encoder\.embed_tokens\."),
        {"speechlm": "speechlm"},
    ),
    "ssast": Kind("SSAST", (r"^v\.pos_embed$", r"^p_input_fdim$"), parts=dict.fromkeys(_ENCODERS, "ssast")),
    "ast_timm": Kind(
        "AST, the authors' own file", (r"^v\.pos_embed$", r"^mlp_head\."), parts=dict.fromkeys(_ENCODERS, "ast")
    ),
    "deit_timm": Kind(
        "DeiT, the authors' own file", (r"^pos_embed$", r"^dist_token$"), parts=dict.fromkeys(_ENCODERS, "deit")
    ),
    "ast": Kind(
        "AST in Hugging Face format",
        (r"embeddings\.distillation_token$", r"patch_embeddings\.projection"),
        (r"^deit\.",),
        dict.fromkeys(_ENCODERS, "ast"),
    ),
    "deit": Kind(
        "DeiT in Hugging Face format",
        (r"^deit\.embeddings\.distillation_token$",),
        parts=dict.fromkeys(_ENCODERS, "deit"),
    ),
    "roberta": Kind("RoBERTa", (r"^roberta\.embeddings\.word_embeddings\.",), parts={"ctal": "roberta"}),
    "bert": Kind("BERT", (r"(^|^bert\.)embeddings\.word_embeddings\.",), parts={"spectrobert": "bert", "calm": "bert"}),
    "wavlm": Kind("WavLM", (r"gru_rel_pos_linear", r"feature_extractor\.conv_layers\.")),
    "wav2vec2": Kind(
        "wav2vec2 or HuBERT",
        (r"feature_extractor\.conv_layers\.\d+\.conv\.", r"encoder\.pos_conv_embed\."),
        parts={"spectrobert": "wav2vec2"},
    ),
    "whisper": Kind("Whisper", (r"^model\.encoder\.conv1\.", r"^model\.decoder\.")),
}


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: the folder or file.
        kind: one of `KINDS`; "" for none that is known.
        weights: tensors by name, without the ``module.`` of DataParallel; of a file with two models, by model.
        config: config.json of a folder; empty for a file.
    """

    path: Path
    kind: str
    weights: dict[str, Tensor]
    config: dict[str, Any]

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.kind:
            return KINDS[self.kind].name
        if {"system", "config"} <= self.config.keys():
            return "a model that sonolex saved (start from it with init_from)"
        names = ", ".join(map(repr, list(self.weights)[:3]))
        return f"of no kind that sonolex knows (it has tensors such as {names})"


@contextmanager
def expecting(checkpoint: Checkpoint) -> Iterator[None]:
    """Context: reading sizes from tensors; one that is missing or of another shape is a ValueError with the path."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as e:
        if str(checkpoint.path) in str(e):
            raise
        raise ValueError(
            f"{checkpoint.path} must have the tensors of {checkpoint.title}, but does not ({type(e).__name__}: {e})."
        ) from e


def open_checkpoint(place: str | Path) -> Checkpoint:
    """Return the checkpoint of a folder, a file or ``hub:ORG/NAME``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: several files of which none is the main one, or a file that is no checkpoint.
    """
    path = Path(place)
    if path.is_file():
        weights, config = _file_weights(path), {}
    elif path.is_dir() and not (path / "config.json").is_file():
        path = _only_file(path)
        weights, config = _file_weights(path), {}
    else:
        path = checkpoint_folder(place)
        weights, config = read_weights(path), load_object(path / "config.json")
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): x for name, x in weights.items()}
    if config.get("model_type") == "roberta" and "embeddings.word_embeddings.weight" in weights:  # saved without a head
        weights = {f"roberta.{name}": x for name, x in weights.items()}
    return Checkpoint(path, kind_of(weights), weights, config)


def kind_of(weights: Mapping[str, Tensor]) -> str:
    """Return which of `KINDS` has tensors of these names; "" for none."""

    def some(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in weights)

    for key, kind in KINDS.items():
        if all(map(some, kind.marks)) and not any(map(some, kind.lacks)):
            # Saved without a head, DeiT has AST's names, but patches of three colours.
            return "deit" if key == "ast" and weights.get(PATCHES, NO_COLOURS).shape[1:2] == (3,) else key
    return ""


def _only_file(folder: Path) -> Path:
    files = sorted(f for f in folder.iterdir() if f.is_file() and WEIGHT_FILES.search(f.name))
    if len(files) != 1:
        names = ", ".join(f.name for f in files) or "none"
        raise (ValueError if files else FileNotFoundError)(
            f"{folder} must hold config.json, or one file of weights, but holds {names}. Name the file itself."
        )
    return files[0]


def _file_weights(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as f:
        start = f.read(512)
    if start[8:9] == b"{":  # safetensors: the length of a header, then the header
        return read_tensors(path)
    if start.lstrip().startswith(b"<"):
        raise ValueError(f"{path} must be a checkpoint, but is a web page. Download the file itself.")
    groups = read_torch_groups(path)
    for name in ("", *MODEL_GROUPS):
        if name in groups:
            return groups[name]
    return {f"{group}.{name}": x for group, tensors in groups.items() for name, x in tensors.items()}
