# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The command of the benchmark: what it measures, and how it keeps results."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import benchmark
import benchmark_peer
import benchmark_report
import benchmark_steps
import gpu_watch
import pytest
from helpers.benchmark import check_step

from koalagan import options
from koalagan.errors import UserError

ROOT = Path(__file__).parents[2]
PEER_SETTINGS = {
    "batch_size": 2,
    "image_size": 32,
    "mixed_precision": "float32",
    "discriminator_every": 1,
    "cores": 1,
}


@pytest.fixture
def peer(tmp_path):
    """A program that prints its rate, after writing down its arguments."""
    path = tmp_path / "peer.py"
    path.write_text(
        "import sys\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print('somebody else: 2.50 pictures/s median of 5 cycles')\n"
    )
    return path


@pytest.fixture
def given(benchmark_pictures, peer, tmp_path):
    """The settings of a benchmark of two cases, beside the peer."""
    return options.replace(
        benchmark.BenchmarkSettings(),
        cases="prepare,train_step",
        discriminator_every="2,3",
        alternations=1,
        peer=str(peer),
        peer_python=sys.executable,
        output=str(tmp_path / "benchmark.json"),
        **benchmark_pictures,
    )


def asked(tmp_path):
    return (tmp_path / "asked").read_text().splitlines()


@pytest.fixture
def machine(monkeypatch):
    """A description that is made without asking TensorFlow in a process of its own."""
    facts = {"processor": "any", "cores": len(os.sched_getaffinity(0))}
    monkeypatch.setattr(benchmark_report, "machine", lambda: facts)


def check_first_run(given, tmp_path, said, errors):
    """What the first run of `given` leaves: one case that fails, two results of the other."""
    # The case that cannot be measured is reported, and the rest is measured.
    assert "prepare : train has 6 pictures" in errors
    report = json.loads(Path(given.measurements.output).read_text())
    assert not report["finished"] and report["versions"]["tensorflow"]
    assert report["settings"]["train_split"] == "train"
    results = report["results"]
    assert [result["case"] for result in results] == ["train_step"] * 2
    assert [result["discriminator_every"] for result in results] == [2, 3]
    for result in results:
        assert result["peer_pictures_per_second"] == 2.5
        assert result["ratio_to_peer"] == pytest.approx(result["pictures_per_second"] / 2.5)
    cores = report["machine"]["cores"]
    assert asked(tmp_path) == [
        f"--batch=2 --size=32 --dtype=float32 --discriminator_every={every} --threads={cores}"
        for every in (2, 3)
    ]
    assert "| inception_fusion | False | float32 | 2 |" in said
    return report


def remove_last_result(given, report):
    results = report["results"][:-1]
    Path(given.measurements.output).write_text(json.dumps(report | {"results": results}))


def check_second_run(given, report, before, tmp_path):
    """Without the last result, that one alone is measured."""
    assert asked(tmp_path) == [*before, before[-1]]
    ended = json.loads(Path(given.measurements.output).read_text())
    assert ended["finished"]
    assert ended["results"][0] == report["results"][0]
    assert ended["results"][1]["discriminator_every"] == 3


def test_every_combination_is_measured_once(given, machine, tmp_path, monkeypatch, capsys):
    def step(settings):
        assert settings["folder"] and settings["cores"] == len(os.sched_getaffinity(0))
        return [{"pictures_per_second": 5.0 * settings["discriminator_every"]}]

    monkeypatch.setattr(benchmark, "in_a_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(benchmark_steps, "train_step", step)
    assert benchmark.main(given, []) == 1
    captured = capsys.readouterr()
    report = check_first_run(given, tmp_path, captured.out, captured.err)
    assert [result["pictures_per_second"] for result in report["results"]] == [10.0, 15.0]
    remove_last_result(given, report)
    before = asked(tmp_path)
    assert benchmark.main(options.replace(given, cases="train_step"), []) == 0
    check_second_run(given, report, before, tmp_path)


@pytest.mark.nightly
def test_the_command(given, tmp_path):
    def run(settings):
        flags = (f"--{name}={value}" for name, value in options.values(settings).items())
        command = [sys.executable, "experiments/benchmark/benchmark.py"]
        return subprocess.run(
            [*command, *(flag for flag in flags if not flag.endswith("=None"))],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )

    ended = run(given)
    assert ended.returncode == 1, ended.stderr
    report = check_first_run(given, tmp_path, ended.stdout, ended.stderr)
    for result in report["results"]:
        check_step(result)
    remove_last_result(given, report)
    before = asked(tmp_path)
    again = run(options.replace(given, cases="train_step"))
    assert again.returncode == 0, again.stderr
    check_second_run(given, report, before, tmp_path)


def test_results_are_added_to_and_never_replaced(machine, tmp_path):
    output = tmp_path / "benchmark.json"
    report = benchmark_report.begin(output, {"batch_size": 2})
    report |= {"results": [{"case": "pipeline"}], "finished": True}
    benchmark_report.write(report, output)
    assert benchmark_report.begin(output, {"batch_size": 2}) == report | {"finished": False}
    with pytest.raises(UserError, match="other settings: choose another --output"):
        benchmark_report.begin(output, {"batch_size": 4})
    assert json.loads(output.read_text()) == report


@pytest.mark.nightly
def test_this_machine_is_described():
    facts = benchmark_report.machine()
    assert facts["cores"] == len(os.sched_getaffinity(0)) and facts["memory_gb"] > 0
    assert isinstance(facts["gpus"], list)


def test_the_peer_is_compared_with_the_same_work_only():
    same = {
        "generator": "inception_fusion",
        "segmentation": False,
        "mixed_precision": "bfloat16",
        "batches": "resident",
    }
    assert benchmark_peer.is_comparable("train_step", same)
    assert not benchmark_peer.is_comparable("pretrain_step", same)
    assert not benchmark_peer.is_comparable("train_step", same | {"segmentation": True})
    assert not benchmark_peer.is_comparable("train_step", same | {"generator": "unet"})
    assert not benchmark_peer.is_comparable("train_step", same | {"batches": "fed"})


def test_each_mode_of_the_peer_is_measured_in_alternation(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(
        "import sys\n"
        "mode = sys.argv[-1].removeprefix('--mode=')\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').write(f'{{mode}}\\n')\n"
        "print({'eager': 2.0, 'compile': 4.0}[mode], 'pictures/s')\n"
    )
    ours = iter([6.0, 2.0, 4.0])

    def measure():
        with open(tmp_path / "asked", "a") as asked_file:
            asked_file.write("ours\n")
        return [{"pictures_per_second": next(ours)}]

    results = benchmark_peer.compare(
        [sys.executable, str(path)], ["eager", "compile"], PEER_SETTINGS, 3, measure
    )
    assert asked(tmp_path) == ["eager", "compile", "ours"] * 3
    assert [result["peer_mode"] for result in results] == ["eager", "compile"]
    assert [result["pictures_per_second"] for result in results] == [4.0, 4.0]
    assert [result["ratio_to_peer"] for result in results] == [2.0, 1.0]
    assert [result["ratio_spread"] for result in results] == [[1.0, 3.0], [0.5, 1.5]]


def test_the_gpu_is_watched(tmp_path, monkeypatch):
    """By a program with the output of `nvidia-smi`."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0, 1000\necho '[N/A], 0'\necho 50, 3000\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with gpu_watch.watched() as watch:
        wait_for(lambda: len(watch.samples) == 2)
    assert watch.summary() == {"gpu_busy": 0.25, "gpu_memory_gb": 3000 * 2**20 / 1e9}
    assert watch.summary(time.time() + 1) == {}


def test_without_a_gpu_nothing_is_seen(monkeypatch):
    monkeypatch.setattr(gpu_watch.shutil, "which", lambda name: None)
    with gpu_watch.watched() as watch:
        pass
    assert watch.summary() == {}


@pytest.mark.parametrize(
    ("flags", "pattern"),
    [
        ({"cases": "train_steps"}, "choose from pretrain_step, train_step"),
        ({"generator": ""}, "choose from inception_fusion"),
        ({"mixed_precision": "float8"}, "choose from auto, float32"),
        ({"jit_compile": "yes"}, "choose from auto, true, false"),
        ({"batches": "far"}, "choose from resident, fed"),
        ({"discriminator_every": "²"}, "positive whole numbers"),
        ({"peer_python": None}, "--peer and --peer_python must be given together"),
        ({"output": "/no/such/folder/benchmark.json"}, "cannot be written"),
        ({"output": str(ROOT / "setup.cfg")}, "exists and is not a report"),
    ],
)
def test_impossible_flags_are_refused(given, machine, flags, pattern):
    with pytest.raises(UserError, match=pattern):
        benchmark.main(options.replace(given, **flags), [])


def test_mistakes_end_the_command_with_one_sentence(tmp_path):
    ended = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments/benchmark/benchmark.py"),
            f"--output={tmp_path / 'benchmark.json'}",
            "--cases=train_steps",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("koalagan: --cases=train_steps: choose from")
    assert ended.stderr.count("\n") == 1


def test_a_failing_peer_is_quoted(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text("raise SystemExit('no such network')")
    with pytest.raises(UserError, match="printed no rate: no such network"):
        benchmark_peer.rate([sys.executable, str(path)], None, PEER_SETTINGS)
    with pytest.raises(UserError, match="--peer_python=/no/such/python cannot be run"):
        benchmark_peer.rate(["/no/such/python", str(path)], None, PEER_SETTINGS)


def test_a_killed_benchmark_leaves_no_process(tmp_path):
    written = tmp_path / "pid"
    measured = f"import os, time; open({str(written)!r}, 'w').write(f'{{os.getpid()}} '); "
    measured += "time.sleep(600)"
    work = f"subprocess.run, [sys.executable, '-c', {measured!r}]"
    command = f"import subprocess, sys, benchmark; benchmark.in_a_process({work})"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'experiments/benchmark'}"}
    killed = subprocess.Popen([sys.executable, "-c", command], env=environment)
    wait_for(lambda: written.exists() and written.read_text().endswith(" "))
    killed.kill()
    killed.wait()
    measured = Path(f"/proc/{int(written.read_text())}/cmdline")
    # Empty once the process has ended and nobody has read its status.
    wait_for(lambda: not measured.exists() or not measured.read_bytes())


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
