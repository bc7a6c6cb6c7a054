# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of the benchmark.

By default, networks are small or replaced by stand-ins; nightly runs measure as the command does.
"""

import json
import os
import time
from pathlib import Path

import benchmark
import benchmark_cases
import benchmark_commands
import benchmark_steps
import keras
import plain_forms
import pytest
import roofline
import timed_train
from helpers import tiny
from helpers.benchmark import check_step
from helpers.photos import export_painter

from koalagan.errors import UserError
from koalagan.models import patchgan
from koalagan.models.frozen import inception_resnet_v2
from koalagan.training import feeding


@pytest.fixture
def settings(benchmark_pictures, tmp_path):
    """The settings of a case."""
    return {
        **benchmark_pictures,
        "generator": "resnet18_unet",
        "segmentation": False,
        "discriminator_every": 1,
        "jit_compile": False,
        "batches": "resident",
        "folder": str(tmp_path),
        "cores": len(os.sched_getaffinity(0)),
    }


@pytest.fixture
def small_embedding(monkeypatch):
    """Inception-ResNet-v2 replaced by the mean of L and a dense layer."""

    def build(dtype="float32"):
        lightness = keras.Input((None, None, 1))
        mean = keras.layers.GlobalAveragePooling2D()(lightness)
        return keras.Model(lightness, keras.layers.Dense(1001)(mean))

    monkeypatch.setattr(inception_resnet_v2, "build", build)
    monkeypatch.setattr(inception_resnet_v2, "load_weights", lambda model, weights: None)


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


@pytest.mark.parametrize("batches", ["resident", "fed"])
def test_a_step_sees_one_batch_or_those_of_the_pipeline(settings, monkeypatch, batches):
    model, seen = tiny.gan(), []
    take = feeding.Feed.take

    def watched(feed, iterator):
        batch = take(feed, iterator)
        seen.append(batch["rgb"].numpy())
        return batch

    monkeypatch.setattr(feeding.Feed, "take", watched)
    monkeypatch.setattr(benchmark_steps.networks, "build_gan", lambda run: model)
    wanted = {**settings, "jit_compile": True, "batches": batches, "discriminator_every": 3}
    _, cycle = benchmark_steps.build_cycle(wanted, adversarial=True)
    cycle()
    assert model.jit_compile and len(seen) == 3 and seen[0].dtype == "uint8"
    assert (seen[0] == seen[1]).all() == (batches == "resident")


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
        model.steps_done = 3 * epoch
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
    whats = [result["what"] for result in results]
    assert whats == ["all fast", "no layout optimizer", "plain leaky_relu"]
    fast, *others = results
    assert fast["times_as_long"] == 1
    for other in others:
        ratio = fast["pictures_per_second"] / other["pictures_per_second"]
        assert other["times_as_long"] == pytest.approx(ratio)


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
    # As they are, without the optimizer of layouts, and in the plain form.
    assert built_with == [fast, fast, one_form]


@pytest.mark.nightly
def test_plain_forms_are_measured_beside_the_fast_ones(settings, one_form):
    check_forms(benchmark_steps.forms({**settings, "generator": "koalarization"}))


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
        line = plane.lines.add(name="Stream #1")
        for number, event in enumerate(events, 1):
            plane.event_metadata[number].name = event
            line.events.add(metadata_id=number, duration_ps=number)
    traces = [space.SerializeToString()]
    assert benchmark_steps.operation_times(traces) == {"Conv2D": 1 + 2, "AddV2": 3}
    assert benchmark_steps.kernel_times(traces) == {"kernel:Conv2D": 1}
