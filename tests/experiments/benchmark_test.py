# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The benchmark: its arithmetic against published counts, its bookkeeping, and its cases.

By default, networks are small or replaced by stand-ins; nightly runs measure as the command does.
"""

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
import timed_train
from helpers import tiny
from helpers.photos import export_painter
from helpers.pictures import encode, picture

from koalagan import options
from koalagan.errors import UserError
from koalagan.models import patchgan
from koalagan.models.frozen import embedding
from koalagan.models.generators import inception_fusion
from koalagan.training.gan import ColorizationGAN

ROOT = Path(__file__).parents[2]


# Arithmetic.


def test_forward_passes_have_their_nominal_arithmetic():
    fusion = inception_fusion.build(segmentation=False)
    assert roofline.forward_gflop(fusion) == pytest.approx(19.7, abs=0.05)
    assert roofline.forward_gflop(patchgan.build()) == pytest.approx(6.3, abs=0.05)


def test_a_transposed_convolution_is_counted_at_its_input():
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")]
    )
    assert roofline.forward_gflop(network) == pytest.approx(2e-9 * 4 * 4 * 3 * 5 * 8 * 8)


def test_layers_of_nested_networks_are_counted():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Flatten()])
    outer.add(keras.layers.Dense(7))
    expected = 2e-9 * (3 * 3 * 3 * 5 * 6 * 6 + 6 * 6 * 5 * 7)
    assert roofline.forward_gflop(outer) == pytest.approx(expected)


@pytest.mark.parametrize(("every", "gflop"), [(1, 109.5), (5, 79.3)])
def test_a_step_has_its_nominal_arithmetic(every, gflop):
    gan = ColorizationGAN(inception_fusion.build(segmentation=False), patchgan.build())
    assert roofline.step_gflop(gan, every) == pytest.approx(gflop, abs=0.1)
    assert roofline.step_gflop(gan, None) == pytest.approx(59.1, abs=0.1)


def test_an_epochs_rate_excludes_validation():
    events = [("command", 0.0)]
    # Three steps of 1 s, validation of 10 s, a checkpoint of 0.5 s.
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


# Bookkeeping.


@pytest.fixture
def photographs(tmp_path):
    """The settings for a folder of a few small photographs."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(encode(picture(number, 40, 50)))
    return {
        "dataset": "folder",
        "data_dir": str(folder),
        "train_split": "train",
        "eval_split": "train[:2]",
        "store_dir": str(tmp_path / "store"),
        "image_size": 32,
        "batch_size": 2,
        "rounds": 1,
        "mixed_precision": "float32",
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
def given(photographs, peer, tmp_path):
    """The settings of a benchmark of two cases, beside the peer."""
    return options.replace(
        benchmark.BenchmarkSettings(),
        cases="prepare,train_step",
        discriminator_every="2,3",
        alternations=1,
        peer=str(peer),
        peer_python=sys.executable,
        output=str(tmp_path / "benchmark.json"),
        **photographs,
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


def check_step(result):
    """The rate, the arithmetic and the share of a step agree."""
    slowest, fastest = result["spread"]
    assert 0 < slowest <= result["pictures_per_second"] <= fastest
    assert 0.1 < result["peak_memory_gb"] < 10
    assert (result["batch_size"], result["image_size"]) == (2, 32)
    achieved = result["gflop_per_picture"] * result["pictures_per_second"]
    assert result["gflop_per_second"] == pytest.approx(achieved)
    share = result["gflop_per_second"] / result["matrix_peak_gflop_per_second"]
    assert result["share_of_peak"] == pytest.approx(share)


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
    }
    assert benchmark.is_comparable("train_step", same)
    assert not benchmark.is_comparable("pretrain_step", same)
    assert not benchmark.is_comparable("train_step", same | {"segmentation": True})
    assert not benchmark.is_comparable("train_step", same | {"generator": "unet"})
    assert not benchmark.is_comparable("train_step", same | {"mixed_precision": "float16"})


@pytest.mark.parametrize(
    ("flags", "pattern"),
    [
        ({"cases": "train_steps"}, "choose from pretrain_step, train_step"),
        ({"generator": ""}, "choose from inception_fusion"),
        ({"mixed_precision": "float8"}, "choose from auto, float32"),
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
    settings = {
        "batch_size": 2,
        "image_size": 32,
        "mixed_precision": "float32",
        "discriminator_every": 1,
        "cores": 1,
    }
    with pytest.raises(UserError, match="printed no rate: no such network"):
        benchmark.peer_rate([sys.executable, str(path)], settings)
    with pytest.raises(UserError, match="--peer_python=/no/such/python cannot be run"):
        benchmark.peer_rate(["/no/such/python", str(path)], settings)


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


# Cases.


@pytest.fixture
def settings(photographs, tmp_path):
    """The settings of a case."""
    return {
        **photographs,
        "generator": "resnet18_unet",
        "segmentation": False,
        "discriminator_every": 1,
        "folder": str(tmp_path),
        "cores": len(os.sched_getaffinity(0)),
    }


@pytest.fixture
def small_embedding(monkeypatch):
    """Inception-ResNet-v2 replaced by the mean of L and a dense layer."""

    def build():
        lightness = keras.Input((None, None, 1))
        mean = keras.layers.GlobalAveragePooling2D()(lightness)
        return keras.Model(lightness, keras.layers.Dense(1001)(mean))

    monkeypatch.setattr(embedding, "build", build)
    monkeypatch.setattr(embedding, "load_weights", lambda model, weights: None)


@pytest.mark.parametrize("run_frozen", [False, True])
def test_a_step_is_measured(settings, small_embedding, monkeypatch, run_frozen):
    monkeypatch.setattr(benchmark_steps.networks, "build_gan", lambda run: tiny.gan())
    monkeypatch.setattr(roofline, "forward_gflop", lambda model: 0.5)
    monkeypatch.setattr(roofline, "matrix_peak", lambda dtype: 2.0)
    if run_frozen:
        result = benchmark_steps.measure_step(settings, True, run_frozen=True)
        assert result["pictures_per_second"] > 0 and "share_of_peak" not in result
    else:
        (result,) = benchmark.measure("train_step", settings)
        assert result["case"] == "train_step" and result["generator"] == "resnet18_unet"
        check_step(result)


def test_the_matrix_peak_is_measured(monkeypatch):
    monkeypatch.setattr(roofline, "_PRODUCTS", 1)
    assert roofline.matrix_peak("float32") > 0


def test_the_input_pipeline_is_measured(settings):
    benchmark_cases.prepare_stores(settings)
    (pipeline,) = benchmark_cases.pipeline(settings)
    assert pipeline["pictures_per_second"] > 0


def test_the_events_of_a_training_are_recorded(tmp_path, capsys):
    class Line(timed_train.RecordingLine):
        notes = str(tmp_path / "notes")

    line = Line(epochs=4, batch_size=2, steps=3)
    model = tiny.gan()
    line.set_model(model)
    validation = dict.fromkeys(("loss_G_L1", "psnr", "psnr_pooled", "ssim", "colorfulness"), 1.0)
    for epoch in range(4):
        model.step.assign(3 * epoch)
        line.on_epoch_begin(epoch)
        for step in range(3):
            line.on_train_batch_end(step, {"loss_G": 1.0})
        line.on_test_begin()
        line.on_test_end()
        logs = {f"val_{name}": value for name, value in validation.items()}
        line.on_epoch_end(epoch, {"loss_G": 1.0, **logs})
    events = [tuple(json.loads(line)) for line in Path(Line.notes).read_text().splitlines()]
    assert [name for name, _ in events[:6]] == ["epoch", "step", "step", "step", "test", "tested"]
    steps, rates = benchmark_commands.epoch_rates(events, batch_size=2)
    assert steps == 3 and len(rates) == 2 and min(rates) > 0


def test_time_and_memory_of_a_command_are_measured():
    took, peak = benchmark_commands.run_python(
        "-c", "x = b'x' * 50_000_000; import time; time.sleep(0.3)"
    )
    assert took > 0.3 and peak > 50e6
    with pytest.raises(UserError, match="ended with status 1: no such file"):
        benchmark_commands.run_python("-c", "raise SystemExit('no such file')")


@pytest.mark.nightly
def test_training_is_measured(settings):
    benchmark_cases.prepare_stores(settings)
    (train,) = benchmark_commands.train(settings)
    assert train["steps_per_epoch"] == 3
    slowest, fastest = train["spread"]
    assert 0 < slowest <= train["pictures_per_second"] <= fastest
    assert 0.1 < train["peak_memory_gb"] < 10


@pytest.mark.nightly
def test_startup_is_measured(settings):
    benchmark_cases.prepare_stores(settings)
    startup = {result["what"]: result for result in benchmark_commands.startup(settings)}
    took = {what: result["seconds"] for what, result in startup.items()}
    assert took["import koalagan"] < took["train, prepared, to the end of its first step"]
    assert took["train --help"] < took["train, prepared, to the end of its first step"]
    assert min(result["peak_memory_gb"] for result in startup.values()) > 0.005


@pytest.mark.nightly
def test_coloring_a_folder_is_measured(settings):
    benchmark_cases.export_untrained(settings)
    (colorize,) = benchmark_commands.colorize(settings)
    # A hundred photographs, with everything they need, in the measured time.
    assert colorize["pictures_per_second"] > 1
    assert 0.1 < colorize["peak_memory_gb"] < 10


def signatures(settings, picture):
    """The signatures and batch sizes that are measured on a picture, and how many there are."""
    results = benchmark_cases.inference({**settings, "picture": picture})
    measured = [result for result in results if "not_run" not in result]
    assert all(result["pictures_per_second"] > 0 for result in measured)
    assert all(0.1 < result["peak_memory_gb"] < 10 for result in measured)
    return [(result["signature"], result["batch_size"]) for result in measured], len(results)


def test_the_signatures_for_large_pictures_are_measured_one_at_a_time(settings, monkeypatch):
    monkeypatch.setattr(benchmark_cases, "PICTURES", {"small": (32, 32), "large": (64, 96)})
    export_painter(f"{settings['folder']}/export", 32)
    assert signatures(settings, "large") == ([("serving_default", 1), ("colorize_bytes", 1)], 6)


@pytest.mark.nightly
def test_all_signatures_of_an_untrained_model_are_measured(settings):
    benchmark_cases.export_untrained(settings)
    names = ("predict_ab", "serving_default", "colorize_bytes")
    assert signatures(settings, "640x480") == ([(name, n) for n in (1, 16) for name in names], 6)


def check_recipe(results):
    """The whole is the sum of the parts."""
    found = {result["what"]: result for result in results}
    rate = {what: result.get("pictures_per_second") for what, result in found.items()}
    prepared = 1 / rate["decode, resize"] + 1 / rate["embedding, mirror images too"]
    epochs = 20 / rate["L1 step, prepared"] + 15 / rate["GAN step, prepared"]
    whole = found["20 + 15 passes, prepared"]
    assert whole["seconds_per_picture"] == pytest.approx(prepared + epochs)
    other = found["20 + 15 passes, frozen networks in it"]
    assert other["times_faster"] == 1
    ratio = other["seconds_per_picture"] / whole["seconds_per_picture"]
    assert whole["times_faster"] == pytest.approx(ratio)


def test_the_recipe_is_the_sum_of_its_parts(settings, small_embedding, monkeypatch):
    def step(settings, adversarial, run_frozen):
        return {"pictures_per_second": 7.0 - 2 * adversarial - 3 * run_frozen}

    monkeypatch.setattr(benchmark_steps, "measure_step", step)
    monkeypatch.setattr(benchmark_cases, "MINIMUM_PICTURES", 6)
    check_recipe(benchmark_steps.recipe({**settings, "generator": "koalarization"}))


@pytest.mark.nightly
def test_the_recipe_is_measured(settings, small_embedding, monkeypatch):
    monkeypatch.setattr(roofline, "matrix_peak", lambda dtype: 1.0)
    monkeypatch.setattr(benchmark_cases, "MINIMUM_PICTURES", 6)
    check_recipe(benchmark_steps.recipe({**settings, "generator": "koalarization"}))


def check_forms(results):
    fast, plain = results
    assert (fast["what"], plain["what"]) == ("all fast", "plain leaky_relu")
    ratio = fast["pictures_per_second"] / plain["pictures_per_second"]
    assert fast["times_as_long"] == 1 and plain["times_as_long"] == pytest.approx(ratio)


@pytest.fixture
def one_form(monkeypatch):
    """The plain form of LeakyReLU, the only one to be measured; its fast form must come back."""
    form = plain_forms.FORMS["leaky_relu"]
    monkeypatch.setattr(plain_forms, "FORMS", {"leaky_relu": form})
    fast = patchgan.leaky_relu
    yield form[-1]
    assert patchgan.leaky_relu is fast


def test_plain_forms_replace_the_fast_ones_while_networks_are_built(
    settings, one_form, monkeypatch
):
    built_with = []

    def build_cycle(settings, adversarial):
        built_with.append(patchgan.leaky_relu)
        return None, lambda: time.sleep(0.001)

    fast = patchgan.leaky_relu
    monkeypatch.setattr(benchmark_steps, "build_cycle", build_cycle)
    check_forms(benchmark_steps.forms(settings))
    assert built_with == [fast, one_form]


@pytest.mark.nightly
def test_plain_forms_are_measured_beside_the_fast_ones(settings, one_form):
    check_forms(benchmark_steps.forms({**settings, "generator": "koalarization"}))
