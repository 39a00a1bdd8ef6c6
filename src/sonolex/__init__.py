"""sonolex: pre-train, fine-tune, evaluate, compare and use models that read audio together with its words.

>>> import sonolex
>>> "ctal" in sonolex.list_systems()
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sonolex.api import Pipeline

__all__ = ["embed", "list_systems", "load", "predict"]


def load(path_or_hub_id: str, *, device: str = "auto") -> Pipeline:
    """Return a trained model, ready to use: a run folder, a model folder or a Hugging Face hub id.

    Args:
        device: what computes: auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps.
    """
    from sonolex.api import Pipeline

    return Pipeline.load(path_or_hub_id, device=device)


def embed(path_or_hub_id: str, *, audio: Any = None, text: Any = None, device: str = "auto") -> Any:
    """Return ``load(path_or_hub_id).embed(...)``; load the model yourself to use it more than once."""
    return load(path_or_hub_id, device=device).embed(audio=audio, text=text)


def predict(path_or_hub_id: str, *, audio: Any = None, text: Any = None, device: str = "auto") -> Any:
    """Return ``load(path_or_hub_id).predict(...)``; load the model yourself to use it more than once."""
    return load(path_or_hub_id, device=device).predict(audio=audio, text=text)


def list_systems() -> list[str]:
    """Return the names of the systems."""
    from sonolex.configs import module_names

    return module_names("systems")
