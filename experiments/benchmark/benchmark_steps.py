# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` that train on a batch in memory; see `benchmark_cases`."""

import collections
import contextlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import gpu_watch
import keras
import numpy as np
import plain_forms
import roofline
import tensorflow as tf
from benchmark_cases import Settings, frozen_rate, prepared_pictures, seconds, summary, training_run

from koalagan import precision
from koalagan.data import pipeline
from koalagan.data.batches import for_networks
from koalagan.data.store import Store
from koalagan.models import frozen
from koalagan.training import feeding, networks
from koalagan.training.gan import ColorizationGAN

_WARM_UP_STEPS = 3
_PICTURES = 64  # of the input pipeline
# The Inception-GAN paper's passes: L1, GAN.
_PASSES = (20, 15)
_WATCHED_SECONDS = 3.0
_NO_LAYOUTS = "no layout optimizer"


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
    shown = {"batch_size": batch_size, "image_size": settings["image_size"], **_gpu(cycle)}
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


def _gpu(cycle: Callable[[], Any]) -> dict[str, float]:
    """How busy the GPU is in a few seconds of steps, and how much memory they take; {} without."""
    if not tf.config.list_physical_devices("GPU"):
        return {}
    begun = time.time()
    with gpu_watch.watched() as watch:
        while time.time() < begun + _WATCHED_SECONDS:
            cycle()
    # TensorFlow takes all memory for itself: nvidia-smi does not know what is used of it.
    memory = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    return {**watch.summary(begun + 0.5), "gpu_memory_gb": memory}


def forms(settings: Settings) -> list[dict[str, Any]]:
    """The adversarial step with each fast form in turn replaced by its plain form."""
    every, cycles = settings["discriminator_every"], {}
    ways = {"all fast": contextlib.nullcontext(), _NO_LAYOUTS: _without_layout_optimizer()}
    ways |= {f"plain {name}": mock.patch.object(*form) for name, form in plain_forms.FORMS.items()}
    for name, way in ways.items():
        with way:  # while networks are built, traced and optimized
            _, cycles[name] = build_cycle(settings, adversarial=True)
            _warm_up(cycles[name], every)
    times = {name: [] for name in cycles}
    for _ in range(settings["rounds"]):
        for name, cycle in cycles.items():
            times[name].append(seconds(cycle) / every)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    return [
        {
            "what": name,
            **summary(settings["batch_size"], times[name]),
            "times_as_long": medians[name] / medians["all fast"],
        }
        for name in cycles
    ]


@contextlib.contextmanager
def _without_layout_optimizer() -> Iterator[None]:
    """On GPUs, it may turn the networks' channels-last convolutions into channels-first ones."""
    tf.config.optimizer.set_experimental_options({"layout_optimizer": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"layout_optimizer": True})


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
    gan.compile(
        adversarial=adversarial,
        discriminator_every=every,
        jit_compile=settings["jit_compile"],
    )
    gan.make_train_function()
    pictures = _random_pictures(given, max(optimization.batch_size, _PICTURES), size)
    batches = iter(pipeline.training_batches(pictures, batch_size=optimization.batch_size, seed=0))
    if settings["batches"] != "fed":
        batches = _resident(next(batches))

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
        batch = for_networks(batch)
        outputs = {name: model(batch["L"], training=False) for name, model in models.items()}
        return step({**batch, **outputs})

    return train_step


def _frozen_inputs(gan: ColorizationGAN) -> list[str]:
    return [name for name in frozen.CLASSES if name in gan.generator.input]


def _random_pictures(given: list[str], count: int, size: int) -> Store:
    """A store in memory, with the outputs of the frozen networks that are `given`."""
    rng = np.random.default_rng(0)
    features = {
        "embedding": (rng.normal(size=(count, 2, 1001)), np.float32),
        "segmentation": (rng.normal(size=(count, 2, size // 4, size // 4, 21)), np.float16),
    }
    return Store(
        Path(),
        {"pictures": count},
        rng.integers(0, 256, (count, size, size, 3), np.uint8),
        **{name: features[name][0].astype(features[name][1]) for name in given},
    )


def _resident(batch: dict[str, tf.Tensor]) -> Iterator[dict[str, tf.Tensor]]:
    """The same batch again and again, on the device that trains."""
    with tf.device(feeding.training_device()):
        batch = {name: tf.identity(value) for name, value in batch.items()}
    while True:
        yield batch


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
    """What takes most of an adversarial step: on a CPU the operations, by their share of all
    threads' time, and on a GPU the kernels, by their share of the time in which it computes."""
    _, cycle = build_cycle(settings, adversarial=True)
    _warm_up(cycle, settings["discriminator_every"])
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(settings["rounds"]):
                cycle()
        traces = [path.read_bytes() for path in Path(folder).glob("**/*.xplane.pb")]
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    spent = kernel_times(traces) if on_gpu else operation_times(traces)
    whole = sum(spent.values())
    return [{"what": kind, "share_of_time": time / whole} for kind, time in spent.most_common(10)]


# Their time is that of the operations that they call.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case")


def operation_times(traces: list[bytes]) -> collections.Counter[str]:
    """Time by kind of operation on the CPU, in picoseconds, from TensorFlow's traces."""
    spent = collections.Counter()
    for _, name, duration in _events(traces, "/host:CPU"):
        # The events of operations are named "NAME:KIND"; C++ functions contain "::", runs of whole
        # graphs ": ".
        parts = name.split(":")
        if len(parts) == 2 and parts[1] not in _CALLS and parts[1][:1] != " ":
            spent[parts[1]] += duration
    return spent


def kernel_times(traces: list[bytes]) -> collections.Counter[str]:
    """Time by kernel, copies included, on GPUs, in picoseconds, from TensorFlow's traces."""
    spent = collections.Counter()
    for line, name, duration in _events(traces, "/device:GPU"):
        if line.startswith("Stream"):  # The other lines sum these up.
            spent[name] += duration
    return spent


def _events(traces: list[bytes], device: str) -> Iterator[tuple[str, str, int]]:
    """The line, the name and the duration in picoseconds of each event on a kind of device."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for trace in traces:
        for plane in xplane_pb2.XSpace.FromString(trace).planes:
            if plane.name.startswith(device):
                for line in plane.lines:
                    for event in line.events:
                        name = plane.event_metadata[event.metadata_id].name
                        yield line.name, name, event.duration_ps
