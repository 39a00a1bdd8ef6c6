"""Show what this machine has, what is missing, and what to install."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from sonolex import devices
from sonolex.cli._parsing import Verb
from sonolex.configs import cache_folder, module_names
from sonolex.terminal import say

if TYPE_CHECKING:
    import torch

VERB = Verb("this machine")
OPTIONAL = {
    "espeakng_loader": ("demo", "ToneWords and espeak digits"),
    "matplotlib": ("report", "report.html"),
    "tensorboard": ("tensorboard", "TensorBoard logs"),
    "optuna": ("search", "hyper-parameter search"),
    "lhotse": ("bridges", "lhotse cuts"),
    "datasets": ("bridges", "Hugging Face datasets"),
    "pytorch_optimizer": ("lars", "the LARS optimiser"),
    "pocketsphinx": ("asr", "transcripts by PocketSphinx"),
    "transformers": ("whisper", "transcripts by Whisper-type models"),
    "sentencepiece": ("speecht5", "SpeechT5, together with transformers"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it has no arguments


def run(arguments: argparse.Namespace) -> None:
    del arguments
    say(diagnosis())


def diagnosis() -> str:
    """Return a page of facts: versions, cores, accelerator, audio formats, optional packages, folder of corpora."""
    import soundfile
    import torch

    lines = [
        f"sonolex {metadata.version('sonolex')}, Python {platform.python_version()}, torch {torch.__version__}",
        f"cores: {os.cpu_count()}, of which this process may use {devices.usable_cores()}",
        f"threads: {devices.default_threads()} in training; otherwise as many of them as are idle",
        f"accelerator: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}",
        "devices, the first one is auto: "
        + ", ".join(f"{name} ({_bf16(torch.device(name))})" for name in devices.device_names()),
        f"libsndfile {soundfile.__libsndfile_version__}: {', '.join(_audio_formats(soundfile))}",
        f"cache: {cache_folder()}",
        f"systems: {', '.join(module_names('systems'))}",
    ]
    for package, (extra, purpose) in OPTIONAL.items():
        installed = importlib.util.find_spec(package) is not None
        cure = "" if installed else f"  →  pip install 'sonolex[{extra}]'"
        lines.append(f"{'found  ' if installed else 'missing'} {package} ({purpose}){cure}")
    data = os.environ.get("SONOLEX_DATA")
    lines.append(f"SONOLEX_DATA: {data or 'not set (the folder that holds your corpora)'}")
    return "\n".join(lines)


def _bf16(device: torch.device) -> str:
    """Return what `precision="auto"` means on a device."""
    precision = devices.auto_precision(device)
    if precision == "bf16-mixed":
        return "bf16 in hardware"
    return f"no bf16 in hardware, so auto precision is {'fp16' if precision == '16-mixed' else 'fp32'}"


def _audio_formats(soundfile) -> list[str]:
    subtypes = soundfile.available_subtypes("OGG")
    formats = [f for f in ("WAV", "FLAC", "OGG", "MP3") if f in soundfile.available_formats()]
    return formats + (["Opus"] if "OPUS" in subtypes else [])
