from __future__ import annotations

import os
import signal
import stat
import subprocess
import time

from sonolex.cli import main


def test_the_file_runs_the_command_and_requeues_before_the_time_ends(tmp_path):
    file = tmp_path / "job.sbatch"
    words = ["train", "vcr_ast_thesis", "--table", "size", "--out", "runs/a b", "--slurm", str(file), "--gpus", "2"]
    assert main(words) == 0
    text = file.read_text()
    for line in ("--gpus-per-node=2", "--requeue", "--job-name=job", "--time=24:00:00", "--cpus-per-task=16"):
        assert f"#SBATCH {line}\n" in text
    assert "--slurm" not in text.split("srun")[1] and not (tmp_path / "runs").exists()
    calls = tmp_path / "calls"
    for name, body in (
        ("srun", f'echo "srun $*" >> {calls}; sleep 30'),
        ("scontrol", f'echo "scontrol $*" >> {calls}'),
    ):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/bash\n{body}\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", str(file)], env=environment)
    while not calls.exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=10) == 0
    ran, requeued = calls.read_text().splitlines()
    assert requeued == "scontrol requeue 7"
    assert ran.startswith("srun torchrun --standalone --nproc-per-node=2 -m sonolex train vcr_ast_thesis")
    assert "--table size" in ran and "--out runs/a b" in ran and ran.endswith("--quiet")


def test_a_recipe_that_cannot_be_built_is_refused_before_a_file_is_written(tmp_path, capsys):
    file = tmp_path / "job.sbatch"
    assert main(["train", "vcr_ast_thesis", "--table", "nothing", "--slurm", str(file)]) == 2
    assert "table" in capsys.readouterr().err and not file.exists()
