# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` that train on a batch in memory; see `benchmark_cases`."""

import collections
import contextlib
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import plain_forms
import roofline
import tensorflow as tf
from benchmark_cases import Settings, frozen_rate, prepared_pictures, seconds, summary, training_run

from koalagan import precision
from koalagan.models import frozen
from koalagan.training import networks
from koalagan.training.gan import ColorizationGAN

_WARM_UP_STEPS = 3
# The Inception-GAN paper's passes: L1, GAN.
_PASSES = (20, 15)


def pretrain_step(settings: Settings) -> list[dict[str, Any]]:
    """One step of L1 pretraining."""
    return [measure_step(settings, adversarial=False)]


def train_step(settings: Settings) -> list[dict[str, Any]]:
    """One adversarial step, averaged over cycles of one step with the discriminator's turn and the
    others without."""
    return [measure_step(settings, adversarial=True)]


def measure_step(settings: Settings, adversarial: bool, run_frozen: bool = False) -> dict[str, Any]:
    """The rate of a training step.

    Args:
        settings: see `benchmark_cases`.
        adversarial: False for a step of L1 pretraining.
        run_frozen: run the frozen networks in the step; its nominal arithmetic is then left out.
    """
    gan, cycle = build_cycle(settings, adversarial, run_frozen)
    batch_size, dtype = settings["batch_size"], settings["mixed_precision"]
    every = settings["discriminator_every"] if adversarial else 1
    _warm_up(cycle, every)
    times, peaks = [], []
    for _ in range(settings["rounds"]):
        peaks.append(roofline.matrix_peak(dtype))
        times.append(seconds(cycle) / every)
    shown = {"batch_size": batch_size, "image_size": settings["image_size"]}
    rates = summary(batch_size, times)
    if run_frozen:
        return {**shown, **rates}
    gflop = roofline.step_gflop(gan, every if adversarial else None)
    achieved = gflop * rates["pictures_per_second"]
    peak = float(np.median(peaks))
    return {
        **shown,
        **rates,
        "gflop_per_picture": gflop,
        "gflop_per_second": achieved,
        "matrix_peak_gflop_per_second": peak,
        "share_of_peak": achieved / peak,
    }


def forms(settings: Settings) -> list[dict[str, Any]]:
    """The adversarial step with each fast form in turn replaced by its plain form."""
    every, cycles = settings["discriminator_every"], {}
    for name, form in {"all fast": None, **plain_forms.FORMS}.items():
        # Patched while networks are built and traced.
        with mock.patch.object(*form) if form else contextlib.nullcontext():
            _, cycles[name] = build_cycle(settings, adversarial=True)
            _warm_up(cycles[name], every)
    times = {name: [] for name in cycles}
    for _ in range(settings["rounds"]):
        for name, cycle in cycles.items():
            times[name].append(seconds(cycle) / every)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        {
            "what": name if name == "all fast" else f"plain {name}",
            **summary(settings["batch_size"], times[name]),
            "times_as_long": medians[name] / medians["all fast"],
        }
        for name in cycles
    ]


def _warm_up(cycle: Callable[[], Any], steps: int) -> None:
    for _ in range(math.ceil(_WARM_UP_STEPS / steps)):
        cycle()


def build_cycle(
    settings: Settings, adversarial: bool, run_frozen: bool = False
) -> tuple[ColorizationGAN, Callable[[], Any]]:
    """The model, and a function that trains it from one turn of the discriminator to the next."""
    keras.utils.set_random_seed(0)
    run = training_run(settings)
    optimization, size = run.optimization, run.data.image_size
    with precision.policy(optimization.mixed_precision):
        gan = networks.build_gan(run)
    given = _frozen_inputs(gan)
    if run_frozen:
        gan.train_step = _with_frozen_networks(gan)
        given = []
    every = optimization.discriminator_every
    gan.compile(adversarial=adversarial, discriminator_every=every)
    gan.make_train_function()
    # Batches of unknown size, like those of the input pipeline: the same graph as in training.
    batches = iter(
        tf.data.Dataset.from_tensor_slices(_random_batch(given, optimization.batch_size, size))
        .batch(optimization.batch_size)
        .cache()
        .repeat()
        .prefetch(2)
    )

    def cycle():
        for _ in range(every if adversarial else 1):
            losses = gan.train_function(batches)
        float(losses["loss_G"])  # waits for asynchronous devices

    return gan, cycle


def _with_frozen_networks(gan: ColorizationGAN) -> Callable:
    """The model's step with its frozen networks in it, as in the papers' code."""
    models = {name: frozen.network(name).build() for name in _frozen_inputs(gan)}
    step = gan.train_step

    def train_step(batch):
        outputs = {name: model(batch["L"], training=False) for name, model in models.items()}
        return step({**batch, **outputs})

    return train_step


def _frozen_inputs(gan: ColorizationGAN) -> list[str]:
    return [name for name in frozen.CLASSES if name in gan.generator.input]


def _random_batch(given: list[str], count: int, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    batch = {
        "L": rng.uniform(-1, 1, (count, size, size, 1)),
        "ab": rng.uniform(-0.5, 0.5, (count, size, size, 2)),
        "embedding": rng.normal(size=(count, 1001)),
        "segmentation": rng.normal(size=(count, size // 4, size // 4, 21)),
    }
    return {name: batch[name].astype(np.float32) for name in ("L", "ab", *given)}


def recipe(settings: Settings) -> list[dict[str, Any]]:
    """The paper's 20 + 15 epochs with the outputs of the frozen networks prepared once (for mirror
    images too), and with the networks in every step; computed from the rates of the parts.

    The frozen networks compute in float32 in both cases, as in an exported model.

    Raises:
        UserError: there are too few pictures to measure preparing them.
    """
    steps = {
        (phase, run_frozen): measure_step(settings, phase == "GAN", run_frozen)
        for phase in ("L1", "GAN")
        for run_frozen in (False, True)
    }
    prepared, rates = prepared_pictures(settings)
    parts = [("decode, resize", rates["pictures_per_second"])]
    for name in networks.frozen_weights(training_run(settings).networks):
        parts.append((f"{name}, mirror images too", frozen_rate(settings, prepared, name)))
    results = [{"what": what, "pictures_per_second": rate} for what, rate in parts]
    preparing = sum(1 / rate for _, rate in parts)
    wholes = {}
    for run_frozen, how in ((False, "prepared"), (True, "frozen networks in it")):
        passes = 0.0
        for phase, count in zip(("L1", "GAN"), _PASSES, strict=True):
            step = steps[phase, run_frozen]
            results.append({"what": f"{phase} step, {how}", **step})
            passes += count / step["pictures_per_second"]
        wholes[how] = passes + (1 / parts[0][1] if run_frozen else preparing)
    shown = " + ".join(map(str, _PASSES))
    for how, took in wholes.items():
        results.append(
            {
                "what": f"{shown} passes, {how}",
                "seconds_per_picture": took,
                "times_faster": wholes["frozen networks in it"] / took,
            }
        )
    return results


def profile(settings: Settings) -> list[dict[str, Any]]:
    """The operations that take most of an adversarial step: their share of all threads' time."""
    _, cycle = build_cycle(settings, adversarial=True)
    _warm_up(cycle, settings["discriminator_every"])
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(settings["rounds"]):
                cycle()
        traces = [path.read_bytes() for path in Path(folder).glob("**/*.xplane.pb")]
    spent = operation_times(traces)
    whole = sum(spent.values())
    return [{"what": kind, "share_of_time": time / whole} for kind, time in spent.most_common(10)]


# Their time is that of the operations that they call.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case")


def operation_times(traces: list[bytes]) -> collections.Counter[str]:
    """Time by kind of operation on the CPU, in picoseconds, from TensorFlow's traces."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    spent = collections.Counter()
    for trace in traces:
        for plane in xplane_pb2.XSpace.FromString(trace).planes:
            if not plane.name.startswith("/host:CPU"):
                continue
            for line in plane.lines:
                for event in line.events:
                    # The events of operations are named "NAME:KIND"; C++ functions contain "::",
                    # runs of whole graphs ": ".
                    parts = plane.event_metadata[event.metadata_id].name.split(":")
                    if len(parts) == 2 and parts[1] not in _CALLS and parts[1][:1] != " ":
                        spent[parts[1]] += event.duration_ps
    return spent
