"""An sbatch file that trains a recipe under Slurm: torchrun on one node, requeued on preemption and at the time limit.

Nothing else is needed to go on: the same command continues from the last checkpoint, bit by bit
(`sonolex.train.run.Budget.checkpoint_steps` sets how often one is written within an epoch).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from sonolex.files import write_text

WARNING_S = 120  # before the time limit: enough to requeue


def sbatch_text(
    words: Sequence[str], *, name: str, processes: int = 1, gpus: int = 0, cpus: int = 8, hours: int = 24
) -> str:
    """Return the file for ``sonolex`` with these words, e.g. ``("train", "quickstart", "--out", "runs/q")``.

    Args:
        processes: number that torchrun starts on the node; with GPUs, one for each.
        gpus: on the node; 0 trains on CPUs.
        cpus: for each process.
        hours: until Slurm ends the job, which then requeues itself.
    """
    processes = gpus or processes
    wanted = [f"--gpus-per-node={gpus}"] if gpus else []
    options = [
        f"--job-name={name}",
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={cpus * processes}",
        *wanted,
        f"--time={hours}:00:00",
        "--requeue",
        "--open-mode=append",
        f"--output={name}-%j.log",
        f"--signal=B:USR1@{WARNING_S}",
    ]
    command = shlex.join(["-m", "sonolex", *words])
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {o}" for o in options),
            "",
            "# Preempted jobs are requeued by Slurm; before the time limit this one requeues itself.",
            'requeue() { scontrol requeue "$SLURM_JOB_ID"; kill "$child"; wait "$child"; exit 0; }',
            "trap requeue USR1",
            f"export OMP_NUM_THREADS={cpus}",
            f"srun torchrun --standalone --nproc-per-node={processes} {command} --quiet &",
            "child=$!",
            'wait "$child"',
            "",
        ]
    )


def write_sbatch(path: Path, words: Sequence[str], **options: int) -> Path:
    """Write the file and return its path."""
    write_text(path, sbatch_text(words, name=path.stem, **options))
    return path
