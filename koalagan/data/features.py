# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What the frozen networks say of a store's pictures, computed once and kept beside them.

    embedding-FINGERPRINT.npy     float32 [N,2,1001]
    segmentation-FINGERPRINT.npy  float16 [N,2,H/4,W/4,21] (H and W rounded up to multiples of 32)

Both are kept of each picture and of its mirror image. A mirrored map of scores would save half of
the disk and of the work, but it is not what the network says of the mirrored picture: strides
shift its grid against the picture, and with untrained weights the two are hardly related at all
(tests/segmentation_test.py measures it). Scores are kept before the network's last upsampling,
which is linear: resized where they are used, they are what the whole network gives.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from koalagan import progress
from koalagan.data import store_files

_BATCH = 8


class Feature:
    """One of these arrays, and, while it is not on disk, the network that makes it.

    Made before the pictures are prepared, so that weights that cannot be had end the run at once.

    Args:
        name: "embedding" or "segmentation".
        path: the store's folder, whether or not it exists yet.
        weights: see `koalagan.models.frozen.embedding` and `koalagan.models.frozen.segmentation`.
        image_size: (height, width) of the store's pictures.
    """

    def __init__(self, name: str, path: Path, weights: str, image_size: tuple[int, int]):
        # Imported here: `colorize` and `evaluate` prepare pictures alone, and need no network.
        from koalagan.models import FROZEN

        network = FROZEN[name]
        network.fetch(weights)
        fingerprint = store_files.fingerprint({"weights": network.fingerprint(weights)})
        self._target = path / f"{name}-{fingerprint}.npy"
        self._name = name
        if name == "embedding":
            self._dtype, self._row_shape = np.float32, (2, network.CLASSES)
        else:
            self._dtype, self._row_shape = np.float16, (2, *network.scores_shape(*image_size))
        self._model = None
        if not self._target.exists():
            self._model = network.build()
            network.load_weights(self._model, weights)

    def disk(self, count: int) -> int:
        """The bytes that the array of `count` pictures will still take."""
        if self._model is None or _unfinished(self._target).exists():
            return 0
        return np.dtype(self._dtype).itemsize * count * int(np.prod(self._row_shape))

    def open(self, pictures: np.ndarray) -> np.ndarray:
        """The array of all `pictures` (uint8 [N,H,W,3]), computed first where it is not there."""
        if self._model is not None:
            folder = self._target.parent
            with store_files.keeping_in(folder.parent), store_files.alone_in(folder):
                if not self._target.exists():  # still, after waiting
                    self._compute(pictures)
        return store_files.opened(store_files.open_map, self._target)

    def _compute(self, pictures: np.ndarray) -> None:
        """Writes the rows of all pictures, batch by batch."""
        count = len(pictures)
        unfinished, state_file = _unfinished(self._target), self._target.with_suffix(".state.json")
        if not unfinished.exists():
            state_file.unlink(missing_ok=True)  # it tells of rows that somebody deleted
        rows = store_files.open_array(unfinished, self._dtype, (count, *self._row_shape))
        done = (
            store_files.opened(store_files.read_json, state_file)["rows"]
            if state_file.exists()
            else 0
        )
        compute = self._network()
        with progress.bar(self._name, count, done) as bar:
            while done < count:
                batch = pictures[done : done + _BATCH]
                rows[done : done + len(batch)] = compute(batch)
                done += len(batch)
                rows.flush()
                store_files.write_json(state_file, {"rows": done})
                bar.update(len(batch))
        # In this order: a mark that outlived its rows would call those of a later run done.
        state_file.unlink(missing_ok=True)
        os.replace(unfinished, self._target)

    def _network(self) -> Callable:
        import tensorflow as tf

        from koalagan.color import lab

        @tf.function(reduce_retracing=True)
        def compute(batch: tf.Tensor) -> tf.Tensor:
            lightness, _ = lab.rgb_to_lab(batch)
            both = tf.concat([lightness, lightness[:, :, ::-1]], axis=0)
            return tf.stack(tf.split(self._model(both, training=False), 2), axis=1)

        return compute


def _unfinished(target: Path) -> Path:
    return target.with_suffix(".partial.npy")
