# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The outputs of the frozen networks for a store's pictures, computed once and stored beside them.

    embedding-FINGERPRINT.npy     float32 [N, 2, 1001]
    segmentation-FINGERPRINT.npy  float16 [N, 2, H/4, W/4, 21] (H and W rounded up to multiples of
                                  32)

The fingerprint covers the weights and, unless it is float32, the precision of the computation.

Each holds the output for every picture and for its mirror image. Mirroring the stored scores
instead would save half of the disk space and of the work, but it is not the network's output for
the mirrored picture: strides shift its grid against the picture, and with untrained weights the two
are hardly related at all (measured in tests/models/frozen/segmentation_test.py). Scores are stored
as they are before the network's last upsampling. Upsampling is linear, so resizing the scores where
they are used gives the output of the whole network.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from koalagan import progress
from koalagan.color import lab
from koalagan.data import store_files
from koalagan.models import frozen

# Pictures per call of a network: on a CPU, and as many of 256x256 as fill a GPU.
BATCH = 8
GPU_BATCH = 64
# Between two saved states. An interruption loses what came after the last one, and two batches.
SAVE_EVERY_SECONDS = 2.0


class Feature:
    """One of these arrays and, as long as it is not on disk, the network that computes it.

    Create it before the pictures are prepared, so that unavailable weights end the run at once.

    Args:
        name: "embedding" or "segmentation".
        path: the store's folder, which need not exist yet.
        weights: see the network's module in `koalagan.models.frozen`.
        image_size: (height, width) of the store's pictures.
        precision: the dtype that the network computes in, "float32" or "bfloat16".
        network: one of `koalagan.models.frozen.NETWORKS`; None for the papers'.

    Raises:
        UserError: the weights are not available.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        weights: str,
        image_size: tuple[int, int],
        precision: str = "float32",
        network: str | None = None,
    ):
        network = frozen.network(name, network)
        network.fetch(weights)
        facts = {"weights": network.fingerprint(weights)}
        if precision != "float32":
            facts["precision"] = precision
        fingerprint = store_files.fingerprint(facts)
        self._target = path / f"{name}-{fingerprint}.npy"
        self._unfinished = self._target.with_suffix(".partial.npy")
        self._name = name
        if name == "embedding":
            self._dtype, self._row_shape = np.float32, (2, frozen.CLASSES[name])
            pixels = 256**2  # whatever their size, they are resized
        else:
            pixels = image_size[0] * image_size[1]
            self._dtype, self._row_shape = np.float16, (2, *network.scores_shape(*image_size))
        self._batch = batch_size(pixels)
        self._model = None
        if not self._target.exists():
            self._model = network.build(precision)
            network.load_weights(self._model, weights)

    def bytes_to_write(self, count: int) -> int:
        """The disk space, in bytes, that the array of `count` pictures will still take."""
        if self._model is None or self._unfinished.exists():
            return 0
        return np.dtype(self._dtype).itemsize * count * int(np.prod(self._row_shape))

    def open(self, pictures: np.ndarray) -> np.ndarray:
        """Opens the array for all `pictures`, after computing it if it is not on disk.

        Args:
            pictures: uint8 [N, H, W, 3], all pictures of the store.

        Returns:
            A read-only memory map of N rows.

        Raises:
            UserError: the array cannot be written or read.
        """
        if self._model is not None:
            folder = self._target.parent
            with store_files.writing_to(folder.parent), store_files.locked(folder):
                # Another run may have computed it while this one waited for the lock.
                if not self._target.exists():
                    self._compute(pictures)
        return store_files.load(store_files.open_read_only, self._target)

    def _compute(self, pictures: np.ndarray) -> None:
        """Writes the rows of all pictures, batch by batch."""
        count, done = len(pictures), 0
        state_file = self._target.with_suffix(".state.json")
        if not self._unfinished.exists():
            state_file.unlink(missing_ok=True)  # It describes rows that somebody deleted.
        rows = store_files.open_writable(self._unfinished, self._dtype, (count, *self._row_shape))
        if state_file.exists():
            done = store_files.load(store_files.read_json, state_file)["rows"]
        compute, saved = self._both_ways(), time.monotonic()
        with progress.bar(self._name, count, done) as bar:
            for start, outputs in self._outputs(compute, pictures, done):
                rows[start : start + len(outputs)] = outputs
                bar.update(len(outputs))
                if time.monotonic() - saved >= SAVE_EVERY_SECONDS:
                    rows.flush()
                    store_files.write_json(state_file, {"rows": start + len(outputs)})
                    saved = time.monotonic()
        rows.flush()
        # In this order: a state that outlived its rows would mark rows of a later run as done.
        state_file.unlink(missing_ok=True)
        os.replace(self._unfinished, self._target)

    def _outputs(
        self, compute: Callable[[np.ndarray], tf.Tensor], pictures: np.ndarray, first: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The outputs for the pictures from `first` on: the first row of a batch, and the rows."""
        begun = None
        for start in range(first, len(pictures), self._batch):
            # It returns at once on a GPU, which computes while the former batch is stored.
            outputs = compute(pictures[start : start + self._batch])
            if begun:
                yield begun[0], begun[1].numpy()
            begun = start, outputs
        if begun:
            yield begun[0], begun[1].numpy()

    def _both_ways(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Maps uint8 [B, H, W, 3] to the outputs [B, 2, ...] for pictures and mirror images."""

        @tf.function(reduce_retracing=True)
        def compute(batch: tf.Tensor) -> tf.Tensor:
            lightness, _ = lab.rgb_to_lab(batch)
            both = tf.concat([lightness, lightness[:, :, ::-1]], axis=0)
            outputs = tf.cast(self._model(both, training=False), tf.float32)
            return tf.stack(tf.split(outputs, 2), axis=1)

        return compute


def batch_size(pixels: int) -> int:
    """How many pictures of so many pixels a network is called with on this machine."""
    if not tf.config.list_physical_devices("GPU"):
        return BATCH
    return max(1, min(GPU_BATCH, GPU_BATCH * 256**2 // pixels))
