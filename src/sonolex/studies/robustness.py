"""How a model's score falls as recordings or transcripts get worse: one evaluation for each degradation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonolex.audio.degrade import Degradation
from sonolex.devices import AUTO
from sonolex.files import save_json
from sonolex.studies.evaluate import evaluate_model

SWEEPS: dict[str, tuple[tuple[float, Degradation], ...]] = {
    "noise": tuple((snr, Degradation(noise_snr_db=snr)) for snr in (20.0, 15.0, 10.0, 5.0, 0.0, -5.0)),
    "reverberation": tuple((s, Degradation(reverberation_s=s)) for s in (0.3, 0.6, 1.0, 2.0)),
    "speed": tuple((s, Degradation(speed=s)) for s in (0.8, 0.9, 1.1, 1.25)),
    "words": tuple((s, Degradation(word_errors=s)) for s in (0.1, 0.2, 0.3, 0.5)),
}
UNITS = {"noise": "signal-to-noise ratio, dB", "reverberation": "reverberation time, s", "speed": "times as fast"}
UNITS |= {"words": "share of wrong words"}
AUDIO_SWEEPS = ("noise", "reverberation", "speed")
FILE = "robustness.json"


def robustness(
    model: str | Path,
    protocol: str,
    *,
    fold: str | None = None,
    root: str | None = None,
    out: str | Path | None = None,
    sweeps: Sequence[str] = AUDIO_SWEEPS,
    device: str = AUTO,
    trust_code: bool = False,
) -> dict[str, Any]:
    """Return scores by sweep and amount, beside those of the recordings as they are; write them to ``out`` if given.

    ``trust_code`` as in `evaluate_model`.

    Raises:
        ValueError: an unknown sweep, or what `evaluate_model` refuses.
    """
    unknown = sorted(set(sweeps) - set(SWEEPS))
    if unknown:
        raise ValueError(f"`sweeps` must be some of {', '.join(SWEEPS)}, but has {', '.join(unknown)}.")

    def scores(degradation: Degradation | None) -> dict[str, Any]:
        options: dict[str, Any] = {"degradation": degradation, "device": device, "trust_code": trust_code}
        results = evaluate_model(model, protocol, fold=fold, root=root, **options)
        return {k: results[k] for k in ("protocol", "fold", "fingerprint", "primary", "scores")}

    clean = scores(None)
    by_sweep = {
        name: [{"amount": amount, "scores": scores(degradation)["scores"]} for amount, degradation in SWEEPS[name]]
        for name in sweeps
    }
    results = {"model": str(model), **clean, "sweeps": by_sweep, "units": {n: UNITS[n] for n in sweeps}}
    if out is not None:
        save_json(Path(out) / FILE, results)
    return results


def robustness_lines(results: dict[str, Any]) -> list[str]:
    """Return the primary metric of every task, degradation by degradation, as lines of text."""
    lines = []
    for task, clean in results["scores"].items():
        metric = results["primary"] if results["primary"] in clean else next(iter(clean), None)
        if metric is None:
            continue
        lines += ["", f"{results['protocol']} · {task} · {metric}: {clean[metric]:.3f} as recorded"]
        for name, points in results["sweeps"].items():
            shown = "  ".join(f"{p['amount']:g}: {p['scores'][task][metric]:.3f}" for p in points)
            lines.append(f"  {name} ({results['units'][name]})  {shown}")
    return lines
