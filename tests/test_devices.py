from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sonolex
from sonolex import devices
from sonolex.cli import main
from sonolex.cli._parsing import find_verb, parser_of, verb_names
from sonolex.train.loop import train
from sonolex.train.processes import _precision, launched
from sonolex.train.run import Budget
from tests.train.helpers import MOOD, PITCH, final_weights, small_run

ABSENT = r"`device` must be one that this machine has \(cpu\), but is '{}'\."


@pytest.fixture
def two_gpus(monkeypatch):
    """What torch says on a machine with two GPUs of the Ampere generation."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture(scope="module")
def run_folder(corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(small_run(corpus.root, tasks=(PITCH, MOOD), budget=Budget(epochs=1, batch_s=8)), folder, device="cpu")
    return folder


@pytest.mark.parametrize("name", ["cuda:1", "mps", "gpu", "cpu:0", "CPU", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(cpu_only, name):
    with pytest.raises(ValueError, match=ABSENT.format(name)):
        devices.find_device(name)


def test_auto_is_cuda_then_mps_then_cpu(cpu_only, monkeypatch):
    assert devices.find_device() == devices.find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.find_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.find_device("auto") == devices.find_device("cuda") == torch.device("cuda:0")
    assert devices.find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"\(cuda:0, cuda:1, mps, cpu\), but is 'cuda:2'"):
        devices.find_device("cuda:2")


def test_emulated_bf16_is_not_taken_for_real(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    cpu, gpu = torch.device("cpu"), torch.device("cuda:1")
    run = small_run("nowhere", precision="auto")
    assert torch.ops.mkldnn._is_mkldnn_bf16_supported() in (True, False)  # says yes on every AVX-512: it emulates
    assert not devices.has_real_bf16(cpu) and _precision(run, cpu) == "32-true"
    assert devices.has_real_bf16(gpu) and _precision(run, gpu) == "bf16-mixed"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    assert not devices.has_real_bf16(gpu) and _precision(run, gpu) == "16-mixed"
    for query in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cpu, query, lambda: True)
            assert devices.has_real_bf16(cpu) and _precision(run, cpu) == "bf16-mixed"
    assert not devices.has_real_bf16(torch.device("mps"))


def test_doctor_says_whether_bf16_is_real(cpu_only, monkeypatch, capsys):
    for real, words in (
        (True, "cpu (bf16 in hardware)"),
        (False, "cpu (no bf16 in hardware, so auto precision is fp32)"),
    ):
        monkeypatch.setattr(devices, "has_real_bf16", lambda device, real=real: real)
        assert main(["doctor"]) == 0
        assert f"devices, the first one is auto: {words}" in capsys.readouterr().out


COMPUTING = [name for name in verb_names() if find_verb(name).VERB.computes]


@pytest.mark.parametrize("verb", COMPUTING)
def test_every_verb_that_computes_takes_a_device_and_threads(verb):
    options = {o for a in parser_of(verb)._actions for o in a.option_strings}
    assert {"--device", "--threads"} <= options


def test_every_verb_refuses_a_device_that_is_not_there(cpu_only, corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest, model = str(corpus.root / "manifest.arrow"), "no-model"
    words = {
        "train": ["quickstart", "--tiny", "--quiet"],
        "table": ["quickstart", "--tiny", "--quiet"],
        "sweep": ["quickstart", "--space", "optim.lr=1e-4:1e-2", "--tiny"],
        "fit": [manifest, "--label", "mood"],
        "units": [manifest, "--num-units", "4", "--out", "out.arrow"],
        "transcribe": [manifest, "--asr", "pocketsphinx", "--out", "out.arrow"],
        "evaluate": [model, "--protocol", "tonewords_all"],
        "robustness": [model, "--protocol", "tonewords_all"],
        "similarity": [model, "--protocol", "tonewords_all"],
        "embed": [model, "clip.wav"],
        "predict": [model, "clip.wav"],
        "index": [str(corpus.root / "audio"), "--model", model, "--out", "index"],
    }
    assert {*words, "search"} == set(COMPUTING)  # an index is needed to search: test_search
    for verb, given in words.items():
        assert main([verb, *given, "--device", "cuda:1"]) == 2, verb
        said = capsys.readouterr().err
        assert f"sonolex {verb}: `device` must be one that this machine has (cpu), but is 'cuda:1'." in said
        assert "Traceback" not in said


def test_units_of_log_mel_and_pocketsphinx_say_that_they_are_the_cpus(two_gpus, corpus, tmp_path, capsys):
    words = ["units", str(corpus.root / "manifest.arrow"), "--num-units", "4", "--out", str(tmp_path / "out.arrow")]
    assert main([*words, "--device", "cuda"]) == 2
    assert "`device` must be cpu for log-mel units, but is 'cuda'." in capsys.readouterr().err


def test_a_run_may_be_trained_on_one_device_and_go_on_with_another(corpus, tmp_path, run_folder):
    assert "device" not in (run_folder / "recipe.json").read_text(encoding="utf-8")
    run = small_run(corpus.root, tasks=(PITCH, MOOD), budget=Budget(epochs=1, batch_s=8))
    again = train(run, run_folder, device="auto")
    assert again == json.loads((run_folder / "results.json").read_text(encoding="utf-8"))
    train(run, tmp_path / "auto", device="auto")
    ours, theirs = final_weights(tmp_path / "auto"), final_weights(run_folder)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_python_and_the_command_line_give_the_same_numbers_on_a_named_device(run_folder, corpus, capsys):
    clip = corpus[0]
    expected = sonolex.load(str(run_folder)).predict(audio=clip.audio, text=clip.text)
    assert sonolex.predict(str(run_folder), audio=clip.audio, text=clip.text, device="cpu") == expected
    assert np.array_equal(
        sonolex.embed(str(run_folder), audio=clip.audio, device="cpu"), sonolex.embed(str(run_folder), audio=clip.audio)
    )
    assert main(["predict", str(run_folder), str(clip.audio), "--text", str(clip.text), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out) == {"input": str(clip.audio), **expected}
    with pytest.raises(ValueError, match="`device` must be one that this machine has"):
        sonolex.load(str(run_folder), device="cuda:7")


def test_several_processes_need_a_device_each(two_gpus, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for name in ("cuda", "auto", "cuda:1"):
        with pytest.raises(ValueError, match=rf"a device for each of 3 processes, but is '{name}' on a machine with 2"):
            launched(small_run("nowhere"), device=name)


CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A function that sets the threads as a command does that has not loaded torch yet; ``idle`` cores are idle."""
    for name in (*devices.THREADS_SET_BY, *devices.WAITING_SET_BY):
        monkeypatch.delenv(name, raising=False)
    stand_in = f"n = {CORES}\ndef get_num_threads(): return n\ndef set_num_threads(new): global n; n = new\n"
    (tmp_path / "torch.py").write_text(stand_in, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def use(*, idle: float = 99.0, **options) -> int:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "torch")
            patch.setattr(devices, "_idle_cores", lambda before, after: idle)
            number = devices.use_threads(**options)
            assert sys.modules["torch"].n == number
            return number

    return use


def test_threads_follow_the_user_then_the_cores_then_the_load(fresh, monkeypatch):
    assert fresh(by_load=True) == fresh(by_load=False) == CORES
    assert fresh(by_load=True, idle=0.2) == fresh(by_load=True, idle=-3.0) == 1
    assert fresh(by_load=True, idle=CORES - 0.3) == CORES
    assert fresh(by_load=False, idle=0.2) == CORES  # another number would change a training's last bits
    assert fresh(threads=1, by_load=False) == fresh(by_load=False, processes=64) == 1
    for name in devices.THREADS_SET_BY:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")  # which the stand-in does not read: it is left alone
            assert fresh(by_load=True, idle=0.2) == CORES and fresh(threads=1, by_load=True) == 1


def test_threads_keep_to_the_cores_that_the_process_may_use(fresh, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # joblib's own limit; a quota and taskset take the same way
    assert fresh(by_load=False) == fresh(by_load=True) == 1


def test_waiting_threads_do_not_spin_unless_the_user_says_how_they_wait(fresh, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("GOMP_SPINCOUNT", "10")
        fresh(by_load=True)
        assert "OMP_WAIT_POLICY" not in os.environ
        patch.setenv("OMP_WAIT_POLICY", "ACTIVE")
        fresh(by_load=True)
        assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    devices.use_threads(by_load=True)  # torch is loaded: too late
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    fresh(by_load=True)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_taskset_and_openmp_are_heard_by_torch_itself():
    only = next(iter(os.sched_getaffinity(0)))
    code = (
        f"import os; os.sched_setaffinity(0, {{{only}}})\nfrom sonolex.devices import use_threads\n"
        "print(use_threads(by_load=False), os.environ['OMP_WAIT_POLICY'])\n"
        "import torch; print(torch.get_num_threads())"
    )
    unset = (*devices.THREADS_SET_BY, *devices.WAITING_SET_BY)
    environment = {n: v for n, v in os.environ.items() if n not in unset}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["1", "PASSIVE", "1"], done.stderr


def test_busy_cores_are_seen_and_own_work_is_not_counted():
    code = "import time; end = time.perf_counter() + 0.6\nwhile time.perf_counter() < end: pass"
    before = devices._times()
    exec(code)
    alone = devices._idle_cores(before, devices._times())
    cores = len(os.sched_getaffinity(0))
    others = [subprocess.Popen([sys.executable, "-c", code.replace("0.6", "3")]) for _ in range(cores)]
    before = devices._times()
    exec(code)
    crowded = devices._idle_cores(before, devices._times())
    for process in others:
        process.kill()
        process.wait()
    assert crowded < alone + 0.3  # the machine may have been busy before
    assert 0 < crowded < cores - 0.3


@pytest.mark.parametrize("words", [["--threads", "0"], ["--threads", "1000000"], ["--processes", "0"]])
def test_numbers_of_threads_and_processes_are_checked(words, tmp_path, capsys):
    assert main(["train", "quickstart", "--tiny", "--out", str(tmp_path / "run"), *words]) == 2
    assert f"`{words[0][2:]}` must be" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_command_leaves_the_threads_of_a_running_python_alone(run_folder, corpus, capsys):
    before = torch.get_num_threads()
    assert main(["predict", str(run_folder), str(corpus[0].audio)]) == 0
    assert torch.get_num_threads() == before
