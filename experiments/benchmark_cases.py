# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The cases of `benchmark.py` that run in its own processes: steps, pictures, the SavedModel.

Each takes the benchmark's settings (its flags by name, one value each, and "folder", a temporary
one) and returns results: dicts with what the case varies itself, "pictures_per_second" and its
"spread", the lowest and highest of the rounds.
"""

import collections
import functools
import inspect
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import roofline
import tensorflow as tf
from PIL import Image

from koalagan import export, lab, models, precision
from koalagan.data import features, sources, store
from koalagan.data import pipeline as input_pipeline
from koalagan.data.koala_scenes import drawing
from koalagan.errors import UserError
from koalagan.gan import ColorizationGAN
from koalagan.models import patchgan

Settings = Mapping[str, Any]

# (height, width)
PICTURES = {"256x256": (256, 256), "640x480": (480, 640), "6000x4000": (4000, 6000)}
_WARM_UP = 3
_ENOUGH_PICTURES = 16


def seconds(work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _summary(pictures: int, times: list[float]) -> dict[str, Any]:
    return {
        "pictures_per_second": pictures / statistics.median(times),
        "spread": [pictures / max(times), pictures / min(times)],
    }


def frozen_inputs(settings: Settings) -> list[str]:
    """Which frozen networks' answers the generator takes."""
    takes = inspect.signature(models.GENERATORS[settings["generator"]]).parameters
    left_out = () if settings["segmentation"] else ("segmentation",)
    return [name for name in models.FROZEN if name in takes and name not in left_out]


def build_generator(settings: Settings, image_size) -> keras.Model:
    """The generator, untrained; the fusion generator with segmentation only where it is asked."""
    builder = models.GENERATORS[settings["generator"]]
    options = {}
    if "segmentation" in inspect.signature(builder).parameters:
        options["segmentation"] = settings["segmentation"]
    return builder(image_size=image_size, **options)


def _source(settings: Settings, split: str) -> sources.Source:
    return sources.open_source(
        settings["dataset"], split, data_dir=settings["data_dir"], download=settings["download"]
    )


def open_store(settings: Settings, split: str) -> store.Store:
    """The prepared pictures that the settings name, with what the generator takes beside L."""
    return store.prepare(
        _source(settings, split),
        store_dir=settings["store_dir"],
        image_size=(settings["image_size"],) * 2,
        resize=settings["resize"],
        on_bad_picture=settings["on_bad_picture"],
        **{f"{name}_weights": "random" for name in frozen_inputs(settings)},
    )


def prepare_stores(settings: Settings) -> None:
    """Prepares both splits for the cases that only read them.

    Raises:
        UserError: they are too small.
    """
    training = open_store(settings, settings["train_split"])
    open_store(settings, settings["eval_split"])
    if len(training) < settings["batch_size"]:
        raise UserError(
            f"--batch_size={settings['batch_size']} is larger than the {len(training)} pictures of "
            f"{settings['train_split']}: lower it, or name more pictures."
        )


def pretrain_step(settings: Settings) -> list[dict[str, Any]]:
    """One step of L1 pretraining."""
    return _step(settings, adversarial=False)


def train_step(settings: Settings) -> list[dict[str, Any]]:
    """One adversarial step: whole cycles of one step with and the others without D's turn."""
    return _step(settings, adversarial=True)


def _step(settings: Settings, adversarial: bool) -> list[dict[str, Any]]:
    gan, cycle = _cycle(settings, adversarial)
    batch_size, dtype = settings["batch_size"], settings["mixed_precision"]
    every = settings["discriminator_every"] if adversarial else 1
    for _ in range(_WARM_UP):
        cycle()
    times, peaks = [], []
    for _ in range(settings["rounds"]):
        peaks.append(roofline.matrix_peak(dtype))
        times.append(seconds(cycle) / every)
    gflop = roofline.step_gflop(gan, every if adversarial else None)
    rates = _summary(batch_size, times)
    achieved, peak = gflop * rates["pictures_per_second"], statistics.median(peaks)
    return [
        {
            "batch_size": batch_size,
            "image_size": settings["image_size"],
            **rates,
            "gflop_per_picture": gflop,
            "gflop_per_second": achieved,
            "matrix_peak_gflop_per_second": peak,
            "share_of_peak": achieved / peak,
        }
    ]


def _cycle(settings: Settings, adversarial: bool) -> tuple[ColorizationGAN, Callable[[], Any]]:
    """The model, and a function that trains it from one turn of the discriminator to the next."""
    keras.utils.set_random_seed(0)
    size, every = settings["image_size"], settings["discriminator_every"]
    with precision.policy(settings["mixed_precision"]):
        gan = ColorizationGAN(build_generator(settings, size), patchgan.build(size))
    gan.compile(adversarial=adversarial, discriminator_every=every)
    gan.make_train_function()
    # Batches of unknown size, as the input pipeline has them: the same graph as in training.
    batches = iter(
        tf.data.Dataset.from_tensor_slices(_random_batch(settings))
        .batch(settings["batch_size"])
        .cache()
        .repeat()
        .prefetch(2)
    )

    def cycle():
        for _ in range(every if adversarial else 1):
            losses = gan.train_function(batches)
        float(losses["loss_G"])  # waits for a device that works by itself

    return gan, cycle


def _random_batch(settings: Settings) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    count, size = settings["batch_size"], settings["image_size"]
    batch = {
        "L": rng.uniform(-1, 1, (count, size, size, 1)),
        "ab": rng.uniform(-0.5, 0.5, (count, size, size, 2)),
        "embedding": rng.normal(size=(count, 1001)),
        "segmentation": rng.normal(size=(count, size // 4, size // 4, 21)),
    }
    used = ["L", "ab", *frozen_inputs(settings)]
    return {name: batch[name].astype(np.float32) for name in used}


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
    return [{**shown, **_summary(count * batch_size, times)}]


def prepare(settings: Settings) -> list[dict[str, Any]]:
    """Filling a store: the pictures, and what each frozen network says of them.

    Raises:
        UserError: there are too few pictures.
    """
    source = _source(settings, settings["train_split"])
    if source.count < _ENOUGH_PICTURES:
        raise UserError(
            f"{settings['train_split']} has {source.count} pictures: name at least "
            f"{_ENOUGH_PICTURES} to measure preparing them."
        )
    size = (settings["image_size"],) * 2
    times = []
    for number in range(1 + settings["rounds"]):
        start = time.perf_counter()
        prepared = store.prepare(
            source,
            store_dir=f"{settings['folder']}/store-{number}",
            image_size=size,
            resize=settings["resize"],
            on_bad_picture=settings["on_bad_picture"],
        )
        times.append(time.perf_counter() - start)
    shown = {"image_size": settings["image_size"], "pictures": len(prepared)}
    results = [{**shown, "what": "decode, resize", **_summary(len(prepared), times[1:])}]
    for name in models.FROZEN:
        # What a network costs before its first answer (building, tracing) is left out, by taking
        # the time of few pictures from that of all.
        few = len(prepared) // 4
        took = {}
        for count in (few, len(prepared)):
            feature = features.Feature(name, prepared.path, "random", size)
            took[count] = seconds(functools.partial(feature.open, prepared.pictures[:count]))
            for path in prepared.path.glob(f"{name}-*"):
                path.unlink()
        rate = (len(prepared) - few) / (took[len(prepared)] - took[few])
        what = f"{name}, mirror images too"
        results.append({**shown, "what": what, "pictures_per_second": rate})
    return results


def export_untrained(settings: Settings) -> None:
    """Writes an export into the settings' folder whose networks have never learned anything.

    The speed of a model does not depend on its weights.
    """
    generator = build_generator(settings, (None, None))
    frozen = {name: models.FROZEN[name].build() for name in frozen_inputs(settings)}
    for name, network in frozen.items():
        models.FROZEN[name].load_weights(network, "random")
    export.export_savedmodel(
        generator,
        frozen.get("embedding"),
        f"{settings['folder']}/export",
        (settings["image_size"],) * 2,
        segmentation=frozen.get("segmentation"),
    )


def inference(settings: Settings) -> list[dict[str, Any]]:
    """The signatures of an export on one size of picture.

    `predict_ab` at the size that the networks work at is the bare networks.
    """
    signatures = tf.saved_model.load(f"{settings['folder']}/export").signatures
    large = settings["picture"] == max(PICTURES, key=lambda name: PICTURES[name])
    picture = tf.constant(drawn(0, PICTURES[settings["picture"]]))
    results = []
    for signature, inputs in _INPUTS.items():
        for batch in (1, 16):
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

    try:
        run()
    except tf.errors.InvalidArgumentError:
        return {"not_run": "the generator does not take this size"}
    return _summary(batch, [seconds(run) for _ in range(rounds)])


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


def profile(settings: Settings) -> list[dict[str, Any]]:
    """The operations that take most of an adversarial step: their share of all threads' time."""
    _, cycle = _cycle(settings, adversarial=True)
    for _ in range(_WARM_UP):
        cycle()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(settings["rounds"]):
                cycle()
        traces = [path.read_bytes() for path in Path(folder).glob("**/*.xplane.pb")]
    spent = operation_times(traces)
    whole = sum(spent.values())
    return [{"what": kind, "share_of_time": time / whole} for kind, time in spent.most_common(10)]


# They last as long as what they call.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "Case")


def operation_times(traces: list[bytes]) -> collections.Counter[str]:
    """Time by kind of operation, in picoseconds, on the processor, from TensorFlow's traces."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    spent = collections.Counter()
    for trace in traces:
        for plane in xplane_pb2.XSpace.FromString(trace).planes:
            if not plane.name.startswith("/host:CPU"):
                continue
            for line in plane.lines:
                for event in line.events:
                    # An operation's event is called "its name:its kind"; C++ names have "::".
                    parts = plane.event_metadata[event.metadata_id].name.split(":")
                    if len(parts) == 2 and parts[1] not in _CALLS:
                        spent[parts[1]] += event.duration_ps
    return spent
