# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` on pictures, the store and the SavedModel.

Each takes the settings of the benchmark (its flags by name, with one value each, and "folder", a
temporary folder) and returns results: dicts with what the case itself varies, "pictures_per_second"
and its "spread", the lowest and highest rate of the rounds.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

import koalagan.run
from koalagan import options
from koalagan.color import lab
from koalagan.data import features, store
from koalagan.data import pipeline as input_pipeline
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.exporting import trained
from koalagan.models import frozen
from koalagan.training import networks, resolving
from koalagan.training.settings import RunSettings

Settings = Mapping[str, Any]

# (height, width)
PICTURES = {"256x256": (256, 256), "640x480": (480, 640), "6000x4000": (4000, 6000)}
MINIMUM_PICTURES = 16
# The settings that are also flags of `koalagan.train`.
_TRAIN_FLAGS = (
    "dataset",
    "data_dir",
    "download",
    "train_split",
    "eval_split",
    "store_dir",
    "image_size",
    "resize",
    "on_bad_picture",
    "generator",
    "batch_size",
    "mixed_precision",
    "discriminator_every",
)


def memory_peak(pid: str = "self") -> int:
    """The peak memory of a running process, in bytes; 0 once it has ended."""
    # Not getrusage, which also counts the memory that its parent had when it started.
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0][1]) * 1024 if sizes else 0


def seconds(work: Callable[[], Any]) -> float:
    """The time that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def summary(pictures: int, times: list[float]) -> dict[str, Any]:
    """The median rate of rounds of so many pictures and `times` seconds each, and its spread."""
    return {
        "pictures_per_second": pictures / statistics.median(times),
        "spread": [pictures / max(times), pictures / min(times)],
    }


def training_run(settings: Settings) -> RunSettings:
    """The settings of a run with the benchmark's settings, resolved, with untrained weights."""
    given = {name: settings[name] for name in _TRAIN_FLAGS if settings.get(name) is not None}
    run = options.replace(
        RunSettings(),
        workdir=f"{settings['folder']}/run",
        jit_compile="true" if settings["jit_compile"] else "false",
        embedding_weights="random",
        segmentation_weights="random" if settings["segmentation"] else "none",
        backbone_weights="random",
        **given,
    )
    return resolving.resolve(run)


def open_store(settings: Settings, split: str) -> store.Store:
    """The prepared pictures of a split, with the generator's other inputs."""
    run = training_run(settings)
    return koalagan.run.prepare_split(run, koalagan.run.open_split(run.data, split))


def prepare_stores(settings: Settings) -> None:
    """Prepares both splits for the cases that only read them.

    Raises:
        UserError: they have too few pictures.
    """
    training = open_store(settings, settings["train_split"])
    open_store(settings, settings["eval_split"])
    koalagan.run.check_batch(training_run(settings), len(training))


def pipeline(settings: Settings) -> list[dict[str, Any]]:
    """The input pipeline alone, as fast as it delivers training batches."""
    prepared = open_store(settings, settings["train_split"])
    batch_size = settings["batch_size"]
    batches = iter(input_pipeline.training_batches(prepared, batch_size=batch_size, seed=0))
    count = max(4, 256 // batch_size)

    def draw():
        for _ in range(count):
            next(batches)

    draw()
    times = [seconds(draw) for _ in range(settings["rounds"])]
    shown = {"batch_size": batch_size, "image_size": settings["image_size"]}
    return [{**shown, **summary(count * batch_size, times)}]


def prepare(settings: Settings) -> list[dict[str, Any]]:
    """Filling a store with the pictures, and with the outputs of each frozen network.

    Raises:
        UserError: there are too few pictures.
    """
    prepared, rates = prepared_pictures(settings)
    shown = {"image_size": settings["image_size"], "pictures": len(prepared)}
    results = [{**shown, "what": "decode, resize", **rates}]
    for name in frozen.CLASSES:
        what, rate = f"{name}, mirror images too", frozen_rate(settings, prepared, name)
        results.append({**shown, "what": what, "pictures_per_second": rate})
    return results


def prepared_pictures(settings: Settings) -> tuple[store.Store, dict[str, Any]]:
    """A new store of the training pictures without frozen networks, and the rate of making it.

    Raises:
        UserError: there are too few pictures.
    """
    run = training_run(settings)
    source = koalagan.run.open_split(run.data, run.data.train_split)
    if source.count < MINIMUM_PICTURES:
        raise UserError(
            f"{run.data.train_split} has {source.count} pictures, which is too few to measure "
            f"preparing them: choose at least {MINIMUM_PICTURES}."
        )
    run = options.replace(run, **{f"{name}_weights": "none" for name in frozen.CLASSES})
    times = []
    for number in range(1 + settings["rounds"]):
        run = options.replace(run, store_dir=f"{settings['folder']}/store-{number}")
        start = time.perf_counter()
        prepared = koalagan.run.prepare_split(run, source)
        times.append(time.perf_counter() - start)
    return prepared, summary(len(prepared), times[1:])


def frozen_rate(settings: Settings, prepared: store.Store, name: str) -> float:
    """Pictures per second, each with its mirror image, of a frozen network that fills a store.

    The cost of building and tracing the network is excluded by subtracting the time of a quarter of
    the pictures from that of all.
    """
    few = len(prepared) // 4
    size = (settings["image_size"],) * 2
    took = {}
    for count in (few, len(prepared)):
        feature = features.Feature(name, prepared.path, "random", size)
        took[count] = seconds(functools.partial(feature.open, prepared.pictures[:count]))
        for path in prepared.path.glob(f"{name}-*"):
            path.unlink()
    return (len(prepared) - few) / (took[len(prepared)] - took[few])


def export_untrained(settings: Settings) -> None:
    """Writes an export with untrained networks into the settings' folder.

    Its colors are pale, like those of a trained model, nearly all of them within sRGB: vivid ones
    take longer to be mapped into sRGB. Otherwise, the speed of a model does not depend on its
    weights.
    """
    run = training_run(settings)
    generator = networks.build_generator(run.networks, (None, None))
    last = [layer for layer in generator.layers if hasattr(layer, "kernel")][-1]
    last.kernel.assign(0.1 * last.kernel)
    trained.export_generator(generator, run, f"{settings['folder']}/export")


def inference(settings: Settings) -> list[dict[str, Any]]:
    """The signatures of an export on pictures of one size, each with its own peak memory.

    `predict_ab` at the size that the model was exported for is the networks alone.
    """
    signatures = tf.saved_model.load(f"{settings['folder']}/export").signatures
    large = settings["picture"] == max(PICTURES, key=lambda name: PICTURES[name])
    picture = tf.constant(drawn(0, PICTURES[settings["picture"]]))
    results = []
    for batch in (1, 16):
        for signature, inputs in _INPUTS.items():
            result = {"signature": signature, "batch_size": batch}
            if large and (batch > 1 or signature == "predict_ab"):
                result["not_run"] = "needs more memory than most machines have"
            else:
                result |= _signature_rates(
                    signatures[signature], inputs(picture, batch), batch, settings["rounds"]
                )
            results.append(result)
    return results


def _signature_rates(signature, inputs, batch: int, rounds: int) -> dict[str, Any]:
    def run():
        for output in signature(**inputs).values():
            output.numpy()  # waits for a device that works by itself

    _reset_memory_peak()
    try:
        run()
    except tf.errors.InvalidArgumentError:
        return {"not_run": "the generator does not take this size"}
    rates = summary(batch, [seconds(run) for _ in range(rounds)])
    return {**rates, "peak_memory_gb": memory_peak() / 1e9}


def _reset_memory_peak() -> None:
    """Makes the peak memory of this process its current memory (see proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


_INPUTS = {
    "predict_ab": lambda picture, batch: {"L": lab.rgb_to_lab(tf.stack([picture] * batch))[0]},
    "serving_default": lambda picture, batch: {"image": tf.stack([picture] * batch)},
    "colorize_bytes": lambda picture, batch: {
        "image_bytes": tf.stack([tf.io.encode_jpeg(picture, quality=95)] * batch)
    },
}


def drawn(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A scene of koala_scenes, uint8 [height, width, 3], enlarged to `size`."""
    scene = Image.fromarray(drawing.draw_scene(np.random.default_rng(seed), 512))
    return np.asarray(scene.resize(size[::-1], Image.Resampling.BICUBIC))
