# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How often each class of color occurs in prepared pictures.

Colors are taken as the classes of a training are, at a quarter of the pictures' size, and at most
2,000 pictures are counted, spread evenly over all: their distribution is that of the dataset.
"""

import numpy as np
import tensorflow as tf

from koalagan import progress
from koalagan.color import bins, lab
from koalagan.data.store import Store

_PICTURES = 2000
_BATCH = 16


def counts(store: Store) -> np.ndarray:
    """The number of colors whose nearest class is this, int64 [261]."""

    @tf.function(autograph=False, reduce_retracing=True)
    def classes(rgb: tf.Tensor) -> tf.Tensor:
        _, ab = lab.rgb_to_lab(rgb)
        nearest, _ = bins.encode(bins.at_quarter_size(ab))
        return nearest[..., 0]

    rows = np.unique(np.linspace(0, len(store) - 1, min(_PICTURES, len(store))).astype(int))
    total = np.zeros(len(bins.centers()), np.int64)
    with progress.bar("colors", len(rows)) as bar:
        for batch in np.array_split(rows, -(-len(rows) // _BATCH)):
            found = classes(tf.constant(store.pictures[batch])).numpy()
            # Not by TensorFlow, which has no deterministic kernel for it on GPUs.
            total += np.bincount(found.ravel(), minlength=len(total))
            bar.update(len(batch))
    return total
