# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From a prepared store to tf.data batches.

A batch is a dict of what the store holds: `rgb`, `mirrored`, `embedding`, `segmentation`, and which
part of each picture to take, `box` (see `batches`).

There is no shuffle buffer: the order of epoch e is a permutation seeded by (seed, e), and each flip
and each crop is seeded by (seed, e, row + 1). Which pictures step s sees can be computed, so a run
continues at any step, and a split larger than memory is shuffled over its whole length.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from koalagan.data import crops
from koalagan.data.store import Store


def steps_per_epoch(pictures: int, batch_size: int) -> int:
    """The number of training steps in one epoch; the last partial batch is dropped."""
    return pictures // batch_size


def epoch_order(seed: int, epoch: int, pictures: int) -> np.ndarray:
    """The permutation of rows in which epoch `epoch` sees the pictures."""
    return np.random.default_rng([seed, epoch]).permutation(pictures)


# Permuting 100,000 rows takes 2 ms, as long as reading a batch. Batches are read ahead of the step,
# also those of the next epoch.
_kept_order = functools.lru_cache(maxsize=4)(epoch_order)


def flips(seed: int, epoch: int, rows: np.ndarray) -> np.ndarray:
    """Whether each of `rows` is flipped left-right in epoch `epoch`: bool, the shape of `rows`."""
    # Not `row`: to NumPy, (seed, epoch, 0) is the seed of the epoch's permutation.
    return np.array([np.random.default_rng([seed, epoch, row + 1]).random() < 0.5 for row in rows])


def training_rows(step: int, pictures: int, *, batch_size: int, seed: int) -> np.ndarray:
    """The rows that global step `step` trains on."""
    epoch, position = divmod(step, steps_per_epoch(pictures, batch_size))
    order = _kept_order(seed, epoch, pictures)
    return order[position * batch_size : (position + 1) * batch_size]


def training_batches(
    store: Store,
    *,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    smallest_crop: int = 0,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Infinite training batches in the order of (seed, epoch), from global step `first_step` on.

    Args:
        part: the number of a part of each batch, and how many equal parts there are: the one that
            is read.
        smallest_crop: the least side of the random parts that pictures are cut to; 0 for whole
            pictures.

    Raises:
        ValueError: the batch is larger than the store.
    """
    pictures, epoch_steps = len(store), steps_per_epoch(len(store), batch_size)
    if not epoch_steps:
        raise ValueError(f"A batch of {batch_size} is larger than the {pictures} pictures.")

    def read(step: np.ndarray) -> list[np.ndarray]:
        rows = training_rows(int(step), pictures, batch_size=batch_size, seed=seed)
        rows = np.split(rows, part[1])[part[0]]
        epoch = int(step) // epoch_steps
        arrays = _read_rows(store, rows, flips(seed, epoch, rows))
        if smallest_crop:
            whole = store.pictures.shape[1]
            arrays.append(crops.boxes(seed, epoch, rows, whole, smallest_crop))
        return arrays

    specs = _specs(store)
    if smallest_crop:
        specs["box"] = tf.TensorSpec([None, 3], tf.float32)
    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
    return _batches(specs, steps, read)


def evaluation_batches(store: Store, *, batch_size: int) -> tf.data.Dataset:
    """Every picture once, in the store's order, not flipped; the last batch may be smaller."""

    def read(start: np.ndarray) -> list[np.ndarray]:
        rows = np.arange(start, min(int(start) + batch_size, len(store)))
        return _read_rows(store, rows, np.zeros(len(rows), bool))

    return _batches(_specs(store), tf.data.Dataset.range(0, len(store), batch_size), read)


def first_batches(
    store: Store, *, batch_size: int, count: int, cropped: bool = False
) -> tf.data.Dataset:
    """The first full batches of a training store, not flipped, in the store's order.

    Args:
        count: at most how many.
        cropped: whether training takes random parts; these batches then take the whole picture.
    """
    count = min(count, steps_per_epoch(len(store), batch_size))
    batches = evaluation_batches(store, batch_size=batch_size).take(count)
    if not cropped:
        return batches
    whole = tf.constant([[0.0, 0.0, store.pictures.shape[1]]] * batch_size)
    return batches.map(lambda batch: {**batch, "box": whole})


def _read_rows(store: Store, rows: np.ndarray, mirrored: np.ndarray) -> list[np.ndarray]:
    """The arrays of `rows`, in the order of `_specs`."""
    features = [store.embedding, store.segmentation]
    return [
        store.pictures[rows],
        mirrored,
        *(array[rows, mirrored.astype(int)] for array in features if array is not None),
    ]


def _specs(store: Store) -> dict[str, tf.TensorSpec]:
    specs = {
        "rgb": tf.TensorSpec([None, *store.pictures.shape[1:]], tf.uint8),
        "mirrored": tf.TensorSpec([None], tf.bool),
    }
    if store.embedding is not None:
        specs["embedding"] = tf.TensorSpec([None, store.embedding.shape[-1]], tf.float32)
    if store.segmentation is not None:
        specs["segmentation"] = tf.TensorSpec([None, *store.segmentation.shape[2:]], tf.float16)
    return specs


def _batches(
    specs: dict[str, tf.TensorSpec],
    positions: tf.data.Dataset,
    read: Callable[[np.ndarray], list[np.ndarray]],
) -> tf.data.Dataset:
    """The order of the pipeline: positions -> rows (order, mirrored) -> prefetch."""

    def read_rows(position: tf.Tensor) -> dict[str, tf.Tensor]:
        arrays = tf.numpy_function(read, [position], [spec.dtype for spec in specs.values()])
        return {
            name: tf.ensure_shape(array, spec.shape)
            for (name, spec), array in zip(specs.items(), arrays, strict=True)
        }

    return positions.map(read_rows, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
