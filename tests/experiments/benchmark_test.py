# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The benchmark: its arithmetic against the networks' published counts, and one run of it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import benchmark
import benchmark_cases
import benchmark_commands
import benchmark_report
import benchmark_steps
import keras
import plain_forms
import pytest
import roofline
from helpers.pictures import encode, picture

from koalagan.errors import UserError
from koalagan.models import patchgan
from koalagan.models.frozen import embedding
from koalagan.models.generators import inception_fusion
from koalagan.training.gan import ColorizationGAN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run():
    """Runs the command with flags given to it; returns what ended."""

    def run(*flags):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(ROOT / "experiments/benchmark.py"), *flags]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)

    return run


@pytest.fixture
def peer(tmp_path):
    """A program that says its rate, after writing down what it was asked for."""
    path = tmp_path / "peer.py"
    path.write_text(
        "import sys\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "print('somebody else: 2.50 pictures/s median of 5 cycles')\n"
    )
    return path


def test_forward_passes_have_the_nominal_arithmetic():
    fusion = inception_fusion.build(segmentation=False)
    assert roofline.forward_gflop(fusion) == pytest.approx(19.7, abs=0.05)
    assert roofline.forward_gflop(patchgan.build()) == pytest.approx(6.3, abs=0.05)


def test_a_transposed_convolution_is_counted_at_its_input():
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")]
    )
    assert roofline.forward_gflop(network) == pytest.approx(2e-9 * 4 * 4 * 3 * 5 * 8 * 8)


def test_layers_of_networks_in_networks_are_counted():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Flatten()])
    outer.add(keras.layers.Dense(7))
    expected = 2e-9 * (3 * 3 * 3 * 5 * 6 * 6 + 6 * 6 * 5 * 7)
    assert roofline.forward_gflop(outer) == pytest.approx(expected)


@pytest.mark.parametrize(("every", "gflop"), [(1, 109.5), (5, 79.3)])
def test_a_step_has_the_nominal_arithmetic(every, gflop):
    gan = ColorizationGAN(inception_fusion.build(segmentation=False), patchgan.build())
    assert roofline.step_gflop(gan, every) == pytest.approx(gflop, abs=0.1)
    assert roofline.step_gflop(gan, None) == pytest.approx(59.1, abs=0.1)


@pytest.fixture
def photographs(tmp_path):
    """The flags for a folder of a few small ones."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(encode(picture(number, 40, 50)))
    return [
        "--dataset=folder",
        f"--data_dir={folder}",
        "--train_split=train",
        "--eval_split=train[:2]",
        f"--store_dir={tmp_path / 'store'}",
    ]


TINY = ["--image_size=32", "--batch_size=2", "--rounds=1", "--mixed_precision=float32"]


def test_what_a_killed_benchmark_measures_ends_with_it(tmp_path):
    written = tmp_path / "pid"
    measured = f"import os, time; open({str(written)!r}, 'w').write(f'{{os.getpid()}} '); "
    measured += "time.sleep(600)"
    work = f"subprocess.run, [sys.executable, '-c', {measured!r}]"
    command = f"import subprocess, sys, benchmark; benchmark._in_a_process({work})"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'experiments'}"}
    killed = subprocess.Popen([sys.executable, "-c", command], env=environment)
    wait_for(lambda: written.exists() and written.read_text().endswith(" "))
    killed.kill()
    killed.wait()
    measured = Path(f"/proc/{int(written.read_text())}/cmdline")
    # Empty where it has ended and nobody has asked how.
    wait_for(lambda: not measured.exists() or not measured.read_bytes())


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_every_combination_is_measured_and_not_again(run, peer, photographs, tmp_path):
    output = tmp_path / "benchmark.json"
    command = [
        "--cases=prepare,train_step",
        "--discriminator_every=2,3",
        *TINY,
        *photographs,
        "--alternations=1",
        f"--peer={peer}",
        f"--peer_python={sys.executable}",
        f"--output={output}",
    ]
    ended = run(*command)
    # What cannot be measured is said, and the rest is measured.
    assert ended.returncode == 1, ended.stderr
    assert "prepare : train has 6 pictures: name at least 16" in ended.stderr
    report = json.loads(output.read_text())
    assert not report["finished"] and report["versions"]["tensorflow"]
    assert report["settings"]["train_split"] == "train"
    results = report["results"]
    assert [result["case"] for result in results] == ["train_step"] * 2
    assert [result["discriminator_every"] for result in results] == [2, 3]
    for result in results:
        slowest, fastest = result["spread"]
        assert 0 < slowest <= result["pictures_per_second"] <= fastest
        assert 0.1 < result["peak_memory_gb"] < 10
        assert (result["batch_size"], result["image_size"]) == (2, 32)
        # The rate, the arithmetic and the share say the same.
        achieved = result["gflop_per_picture"] * result["pictures_per_second"]
        assert result["gflop_per_second"] == pytest.approx(achieved)
        share = result["gflop_per_second"] / result["matrix_peak_gflop_per_second"]
        assert result["share_of_peak"] == pytest.approx(share)
        assert result["peer_pictures_per_second"] == 2.5
        assert result["ratio_to_peer"] == pytest.approx(result["pictures_per_second"] / 2.5)
    cores = report["machine"]["cores"]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        f"--batch=2 --size=32 --dtype=float32 --discriminator_every={every} --threads={cores}"
        for every in (2, 3)
    ]
    assert "| inception_fusion | False | float32 | 2 |" in ended.stdout

    # Stopped before the last result, it measures that one alone.
    report["results"].pop()
    output.write_text(json.dumps(report))
    again = run(*command[1:], "--cases=train_step")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "asked").read_text().splitlines() == [*asked, asked[-1]]
    ended = json.loads(output.read_text())
    assert ended["finished"]
    assert ended["results"][0] == results[0]
    assert ended["results"][1]["discriminator_every"] == 3


def test_results_are_added_to_and_never_replaced(tmp_path):
    output = tmp_path / "benchmark.json"
    report = benchmark_report.begin(output, {"batch_size": 2})
    report |= {"results": [{"case": "pipeline"}], "finished": True}
    benchmark_report.write(report, output)
    assert benchmark_report.begin(output, {"batch_size": 2}) == report | {"finished": False}
    with pytest.raises(UserError, match="other settings: name another --output"):
        benchmark_report.begin(output, {"batch_size": 4})
    assert json.loads(output.read_text()) == report


@pytest.fixture
def settings(photographs, tmp_path):
    """The benchmark's settings for the photographs, as a case gets them."""
    given = dict(flag.removeprefix("--").split("=", 1) for flag in photographs)
    return {
        **given,
        "generator": "resnet18_unet",
        "segmentation": False,
        "mixed_precision": "float32",
        "discriminator_every": 1,
        "image_size": 32,
        "batch_size": 2,
        "rounds": 1,
        "folder": str(tmp_path),
    }


@pytest.mark.slow
def test_training_and_its_input_are_measured(settings):
    benchmark_cases.prepare_stores(settings)
    (pipeline,) = benchmark_cases.pipeline(settings)
    assert pipeline["pictures_per_second"] > 0
    (train,) = benchmark_commands.train(settings)
    assert train["steps_per_epoch"] == 3
    slowest, fastest = train["spread"]
    assert 0 < slowest <= train["pictures_per_second"] <= fastest
    assert 0.1 < train["peak_memory_gb"] < 10


@pytest.mark.slow
def test_starting_is_measured(settings):
    benchmark_cases.prepare_stores(settings)
    startup = {result["what"]: result for result in benchmark_commands.startup(settings)}
    took = {what: result["seconds"] for what, result in startup.items()}
    assert took["import koalagan"] < took["train, prepared, to the end of its first step"]
    assert took["train --help"] < took["train, prepared, to the end of its first step"]
    assert min(result["peak_memory_gb"] for result in startup.values()) > 0.005


@pytest.mark.slow
def test_colouring_a_folder_is_measured(settings):
    benchmark_cases.export_untrained(settings)
    (colorize,) = benchmark_commands.colorize(settings)
    # A hundred photographs, and all that they take, in the time that was measured.
    assert colorize["pictures_per_second"] > 1
    assert 0.1 < colorize["peak_memory_gb"] < 10


def test_the_recipe_is_the_sum_of_its_parts(settings, monkeypatch):
    def build():
        lightness = keras.Input((None, None, 1))
        mean = keras.layers.GlobalAveragePooling2D()(lightness)
        return keras.Model(lightness, keras.layers.Dense(1001)(mean))

    monkeypatch.setattr(embedding, "build", build)
    monkeypatch.setattr(embedding, "load_weights", lambda model, weights: None)
    monkeypatch.setattr(roofline, "matrix_peak", lambda dtype: 1.0)
    monkeypatch.setattr(benchmark_cases, "_ENOUGH_PICTURES", 6)
    results = benchmark_steps.recipe({**settings, "generator": "koalarization"})
    found = {result["what"]: result for result in results}
    rate = {what: result.get("pictures_per_second") for what, result in found.items()}
    prepared = 1 / rate["decode, resize"] + 1 / rate["embedding, mirror images too"]
    passes = 20 / rate["L1 step, prepared"] + 15 / rate["GAN step, prepared"]
    whole = found["20 + 15 passes, prepared"]
    assert whole["seconds_per_picture"] == pytest.approx(prepared + passes)
    other = found["20 + 15 passes, frozen networks in it"]
    assert other["times_faster"] == 1
    ratio = other["seconds_per_picture"] / whole["seconds_per_picture"]
    assert whole["times_faster"] == pytest.approx(ratio)


def test_plain_forms_are_measured_beside_the_fast_ones(settings, monkeypatch):
    monkeypatch.setattr(plain_forms, "FORMS", {"leaky_relu": plain_forms.FORMS["leaky_relu"]})
    former = patchgan.leaky_relu
    fast, plain = benchmark_steps.forms({**settings, "generator": "koalarization"})
    assert (fast["what"], plain["what"]) == ("all fast", "plain leaky_relu")
    ratio = fast["pictures_per_second"] / plain["pictures_per_second"]
    assert fast["times_as_long"] == 1 and plain["times_as_long"] == pytest.approx(ratio)
    assert patchgan.leaky_relu is former


def test_an_epochs_rate_counts_all_but_validation():
    events = [("command", 0.0)]
    # Three steps of a second, validation of ten, a checkpoint of half a second.
    for start in (5.0, 20.0, 33.5):
        events += [("epoch", start), *(("step", start + second) for second in (1.0, 2.0, 3.0))]
        events += [("test", start + 3.0), ("tested", start + 13.0)]
    steps, rates = benchmark_commands.epoch_rates(events, batch_size=7)
    assert steps == 3
    assert rates == [pytest.approx(3 * 7 / 3.5)]


def test_the_profile_counts_operations_once():
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for name, events in (
        ("/host:CPU", ["a/conv:Conv2D", "b:Conv2D", "c:AddV2", "d:StatefulPartitionedCall"]),
        ("/host:CPU", ["ExecutorState::Process", "EagerLocalExecute: __inference", "no colon"]),
        ("/device:GPU:0", ["kernel:Conv2D"]),
    ):
        plane = space.planes.add(name=name)
        line = plane.lines.add()
        for number, event in enumerate(events, 1):
            plane.event_metadata[number].name = event
            line.events.add(metadata_id=number, duration_ps=number)
    times = benchmark_steps.operation_times([space.SerializeToString()])
    assert times == {"Conv2D": 1 + 2, "AddV2": 3}


def test_signatures_are_measured_at_the_sizes_they_take(settings):
    benchmark_cases.export_untrained(settings)
    results = benchmark_cases.inference({**settings, "picture": "640x480"})
    assert [(result["signature"], result["batch_size"]) for result in results] == [
        (signature, batch)
        for batch in (1, 16)
        for signature in ("predict_ab", "serving_default", "colorize_bytes")
    ]
    assert all(result["pictures_per_second"] > 0 for result in results)
    assert all(0.1 < result["peak_memory_gb"] < 10 for result in results)


def test_the_peer_stands_beside_the_same_work_only():
    same = {
        "generator": "inception_fusion",
        "segmentation": False,
        "mixed_precision": "bfloat16",
    }
    assert benchmark.is_peers("train_step", same)
    assert not benchmark.is_peers("pretrain_step", same)
    assert not benchmark.is_peers("train_step", same | {"segmentation": True})
    assert not benchmark.is_peers("train_step", same | {"generator": "unet"})
    assert not benchmark.is_peers("train_step", same | {"mixed_precision": "float16"})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--cases=train_steps"], "name some of pretrain_step, train_step"),
        (["--discriminator_every=²"], "whole numbers from 1 on"),
        (["--peer=step.py"], "--peer and --peer_python go together"),
        (["--output=/no/such/folder/benchmark.json"], "cannot be written"),
        (["--output=setup.cfg"], "is there and no report"),
    ],
)
@pytest.mark.slow
def test_impossible_flags_end_in_a_sentence(run, tmp_path, flags, sentence):
    ended = run(f"--output={tmp_path / 'benchmark.json'}", *flags)
    assert ended.returncode == 1
    assert sentence in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_peer_that_fails_is_quoted(run, tmp_path):
    peer = tmp_path / "peer.py"
    peer.write_text("raise SystemExit('no such network')")
    ended = run(
        "--cases=train_step",
        "--discriminator_every=1",
        *TINY,
        f"--peer={peer}",
        f"--peer_python={sys.executable}",
        f"--output={tmp_path / 'benchmark.json'}",
    )
    assert ended.returncode == 1
    assert "no such network" in ended.stderr and "Traceback" not in ended.stderr
