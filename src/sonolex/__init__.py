"""sonolex: pre-train, fine-tune, evaluate, compare and use models that read audio together with its words.

>>> import sonolex
>>> "ctal" in sonolex.list_systems()
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from sonolex.doors.api import Pipeline

__all__ = ["embed", "list_systems", "load", "predict"]


def load(place: str | Path, *, device: str = "auto", trust_code: bool = False) -> Pipeline:
    """Return a trained model, ready to use: a run folder, a model folder, or ``hub:ORG/NAME`` on the Hugging Face hub.

    Nothing in a folder is run. The same folder gives the same object again while its files are as they were; the last
    two models are kept (`sonolex.doors.api.Pipeline.load` reads anew).

    Args:
        device: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps.
        trust_code: the folder may name a system of your own, outside the package; its code then runs.
    """
    from sonolex.doors.api import kept_pipeline

    return kept_pipeline(place, device=device, trust_code=trust_code)


def embed(place: str | Path, *, audio: Any = None, text: Any = None, device: str = "auto") -> Any:
    """Return ``load(place).embed(...)``."""
    return load(place, device=device).embed(audio=audio, text=text)


def predict(place: str | Path, *, audio: Any = None, text: Any = None, device: str = "auto") -> Any:
    """Return ``load(place).predict(...)``."""
    return load(place, device=device).predict(audio=audio, text=text)


def list_systems() -> list[str]:
    """Return the names of the systems."""
    from sonolex.configs import module_names

    return module_names("systems")
