# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A batch of pictures: as the pipeline delivers it, and as the networks take it.

The pipeline delivers what lies in the store, which is small and costs no computing:

    rgb           uint8    [B, H, W, 3]        sRGB, as stored
    mirrored      bool     [B]                 which of them are to be mirrored, left to right
    embedding     float32  [B, 1001]           where the store has it: of the mirror image, if so
    segmentation  float16  [B, H/4, W/4, 21]   the same
    box           float32  [B, 3]              where only a part is to be taken (see `crops`)

The networks take float32: `L` [B, H, W, 1] and `ab` [B, H, W, 2] in [-1, 1], and the features.
`for_networks` computes them as the first operations of a step, on the device that trains.
"""

from collections.abc import Mapping

import tensorflow as tf

from koalagan.color import lab
from koalagan.data import crops


def for_networks(batch: Mapping[str, tf.Tensor], side: int | None = None) -> dict[str, tf.Tensor]:
    """What the networks take of a batch.

    Args:
        batch: as the pipeline delivers it. One that has `L` and `ab` already is returned as it is.
        side: of what `box` names, once it is resized.
    """
    batch = dict(batch)
    if "rgb" not in batch:
        return batch
    rgb, mirrored = batch.pop("rgb"), batch.pop("mirrored")
    if "box" in batch:
        rgb = crops.take(rgb, batch.pop("box"), side)
    rgb = tf.where(mirrored[:, None, None, None], rgb[:, :, ::-1], rgb)
    L, ab = lab.rgb_to_lab(rgb)
    return {"L": L, "ab": ab, **{name: tf.cast(some, tf.float32) for name, some in batch.items()}}
