# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` on pictures, the store and the SavedModel, in its own processes.

Each takes the benchmark's settings (its flags by name, one value each, and "folder", a temporary
one) and returns results: dicts with what the case varies itself, "pictures_per_second" and its
"spread", the lowest and highest of the rounds.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from koalagan import export, models, train
from koalagan.color import lab
from koalagan.data import features, store
from koalagan.data import pipeline as input_pipeline
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.training import run_flags

Settings = Mapping[str, Any]

# (height, width)
PICTURES = {"256x256": (256, 256), "640x480": (480, 640), "6000x4000": (4000, 6000)}
_ENOUGH_PICTURES = 16
# The settings that are flags of `koalagan.train`.
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
    """The most memory that a running process has had at once, in bytes; 0 once it has ended."""
    # Not getrusage, which counts what the process that started it had then.
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0][1]) * 1024 if sizes else 0


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def summary(pictures: int, times: list[float]) -> dict[str, Any]:
    """The rate of rounds that took `times` seconds, and its spread."""
    return {
        "pictures_per_second": pictures / statistics.median(times),
        "spread": [pictures / max(times), pictures / min(times)],
    }


def training_run(settings: Settings) -> flags.FlagValues:
    """The flags of `koalagan.train` that the settings stand for, resolved; no weights trained."""
    given = {name: settings.get(name) for name in _TRAIN_FLAGS}
    run = run_flags.parse(
        [f"--{name}={value}" for name, value in given.items() if value is not None]
    )
    run.set_default("workdir", f"{settings['folder']}/run")
    # Defaults, which networks that the generator does not have may ignore.
    for name in (*models.FROZEN, "backbone"):
        run.set_default(f"{name}_weights", "random")
    if not settings["segmentation"]:
        run.set_default("segmentation_weights", "none")
    run_flags.resolve(run)
    return run


def open_store(settings: Settings, split: str) -> store.Store:
    """The prepared pictures that the settings name, with what the generator takes beside L."""
    run = training_run(settings)
    return train.prepare(run, train.open_split(run, split))


def prepare_stores(settings: Settings) -> None:
    """Prepares both splits for the cases that only read them.

    Raises:
        UserError: they are too small.
    """
    training = open_store(settings, settings["train_split"])
    open_store(settings, settings["eval_split"])
    train.check_batch(training_run(settings), len(training))


def pipeline(settings: Settings) -> list[dict[str, Any]]:
    """Training batches, as fast as they come."""
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
    """Filling a store: the pictures, and what each frozen network says of them.

    Raises:
        UserError: there are too few pictures.
    """
    prepared, rates = prepared_pictures(settings)
    shown = {"image_size": settings["image_size"], "pictures": len(prepared)}
    results = [{**shown, "what": "decode, resize", **rates}]
    for name in models.FROZEN:
        what, rate = f"{name}, mirror images too", frozen_rate(settings, prepared, name)
        results.append({**shown, "what": what, "pictures_per_second": rate})
    return results


def prepared_pictures(settings: Settings) -> tuple[store.Store, dict[str, Any]]:
    """The training pictures in a store without answers, made anew, and the rate of making it.

    Raises:
        UserError: there are too few pictures.
    """
    run = training_run(settings)
    source = train.open_split(run, run.train_split)
    if source.count < _ENOUGH_PICTURES:
        raise UserError(
            f"{run.train_split} has {source.count} pictures: name at least {_ENOUGH_PICTURES} to "
            "measure preparing them."
        )
    for name in models.FROZEN:
        run[f"{name}_weights"].value = "none"
    times = []
    for number in range(1 + settings["rounds"]):
        run.store_dir = f"{settings['folder']}/store-{number}"
        start = time.perf_counter()
        prepared = train.prepare(run, source)
        times.append(time.perf_counter() - start)
    return prepared, summary(len(prepared), times[1:])


def frozen_rate(settings: Settings, prepared: store.Store, name: str) -> float:
    """Pictures a second, mirror images too, of a frozen network that fills a store.

    What the network costs before its first answer (building, tracing) is left out, by taking the
    time of few pictures from that of all.
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
    """Writes an export into the settings' folder whose networks have never learned anything.

    Its colours are pale, as a trained model's are, nearly all of them within sRGB: vivid ones take
    longer to be brought there. Else the speed of a model does not depend on its weights.
    """
    run = training_run(settings)
    generator = run_flags.build_generator(run, (None, None))
    last = [layer for layer in generator.layers if hasattr(layer, "kernel")][-1]
    last.kernel.assign(0.1 * last.kernel)
    export.export_generator(generator, run, f"{settings['folder']}/export")


def inference(settings: Settings) -> list[dict[str, Any]]:
    """The signatures of an export on one size of picture, each with its own peak of memory.

    `predict_ab` at the size that the networks work at is the bare networks.
    """
    signatures = tf.saved_model.load(f"{settings['folder']}/export").signatures
    large = settings["picture"] == max(PICTURES, key=lambda name: PICTURES[name])
    picture = tf.constant(drawn(0, PICTURES[settings["picture"]]))
    results = []
    for batch in (1, 16):
        for signature, inputs in _INPUTS.items():
            result = {"signature": signature, "batch_size": batch}
            if large and (batch > 1 or signature == "predict_ab"):
                result["not_run"] = "takes more memory than most machines have"
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

    _forget_memory_peak()
    try:
        run()
    except tf.errors.InvalidArgumentError:
        return {"not_run": "the generator does not take this size"}
    rates = summary(batch, [seconds(run) for _ in range(rounds)])
    return {**rates, "peak_memory_gb": memory_peak() / 1e9}


def _forget_memory_peak() -> None:
    """From now on this process's peak counts from what it has now (see proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


_INPUTS = {
    "predict_ab": lambda picture, batch: {"L": lab.rgb_to_lab(tf.stack([picture] * batch))[0]},
    "serving_default": lambda picture, batch: {"image": tf.stack([picture] * batch)},
    "colorize_bytes": lambda picture, batch: {
        "image_bytes": tf.stack([tf.io.encode_jpeg(picture, quality=95)] * batch)
    },
}


def drawn(seed: int, size: tuple[int, int]) -> np.ndarray:
    """A scene of koala_scenes, uint8 [height, width, 3], enlarged to the size."""
    scene = Image.fromarray(drawing.draw_scene(np.random.default_rng(seed), 512))
    return np.asarray(scene.resize(size[::-1], Image.Resampling.BICUBIC))
