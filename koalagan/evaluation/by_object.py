# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What is colored well: errors within the boxes of objects, by class and by size.

A box holds some of what is behind its object too. Boxes around crowds are not measured. Sizes are
shares of the picture: small up to 1 %, medium up to 10 %, large above.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from koalagan.color import lab
from koalagan.data.objects import Objects
from koalagan.evaluation import intervals, metrics

_SIZES = (("small", 0.01), ("medium", 0.1), ("large", 1.0))
MEASURES = ("ciede2000", "ab_mae", "chroma", "truth_chroma")


def measure(
    first: int,
    truth: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    predicted_ab: tf.Tensor,
    objects: Sequence[Objects | None],
) -> list[dict[str, Any]]:
    """Measures the objects of a batch.

    Args:
        first: the number of the batch's first picture, counted from 0.
        truth: the true pictures uint8 [B, H, W, 3], their L and their ab.
        predicted_ab: float [B, H, W, 2].
        objects: those of each of the B pictures; None where none are known.

    Returns:
        For each object its picture's number, class, size, and `MEASURES`: CIEDE2000, the error of
        a* and b*, and the chroma of the prediction and of the truth, means over its box in Lab
        units.
    """
    rgb, L, ab = truth
    maps = np.stack(
        [
            metrics.ciede2000_of_pixels(rgb, lab.lab_to_rgb(L, predicted_ab)),
            tf.reduce_mean(tf.abs(lab.ab_units(ab) - lab.ab_units(predicted_ab)), axis=-1),
            tf.norm(lab.ab_units(predicted_ab), axis=-1),
            tf.norm(lab.ab_units(ab), axis=-1),
        ],
        axis=-1,
    )
    height, width = maps.shape[1:3]
    measured = []
    for number, (pixels, known) in enumerate(zip(maps, objects, strict=True), first):
        for box, name in zip(known.boxes, known.classes, strict=True) if known else ():
            top, bottom = _pixels(box[0], box[2], height)
            left, right = _pixels(box[1], box[3], width)
            means = pixels[top:bottom, left:right].mean(axis=(0, 1))
            share = float((box[2] - box[0]) * (box[3] - box[1]))
            measured.append(
                {
                    "picture": number,
                    "class": name,
                    "size": next((size for size, most in _SIZES if share <= most), "large"),
                    **dict(zip(MEASURES, map(float, means), strict=True)),
                }
            )
    return measured


def _pixels(start: float, end: float, side: int) -> tuple[int, int]:
    """The pixels of a side that a box covers, one at least."""
    first = min(int(start * side), side - 1)
    return first, max(first + 1, min(round(end * side), side))


def aggregate(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Means over objects, by class and by size.

    Args:
        measured: what `measure` gave of all pictures, by the names of models.

    Returns:
        For each model and class, and each model and size, `{"model": name, "by": "class" or "size",
        "name": ..., "objects": how many, "pictures": in how many, measure: mean, ...,
        "ciede2000_interval": [low, high]}`; the interval is over pictures. The most frequent
        classes come first.
    """
    rows = []
    for model, objects in measured.items():
        for by in ("class", "size"):
            groups: dict[str, list] = {}
            for one in objects:
                groups.setdefault(one[by], []).append(one)
            ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
            rows += [{"model": model, "by": by, "name": name, **_row(g)} for name, g in ordered]
    return rows


def _row(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pictures = sorted({one["picture"] for one in objects})
    return {
        "objects": len(objects),
        "pictures": len(pictures),
        **{name: float(np.mean([one[name] for one in objects])) for name in MEASURES},
        "ciede2000_interval": intervals.of_a_ratio(
            *_by_picture(((one["picture"], one["ciede2000"]) for one in objects), pictures)
        ),
    }


def _by_picture(
    values: Iterable[tuple[int, float]], pictures: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the values in each picture, and how many they are."""
    place = {picture: row for row, picture in enumerate(pictures)}
    sums, counts = np.zeros(len(pictures)), np.zeros(len(pictures))
    for picture, value in values:
        sums[place[picture]] += value
        counts[place[picture]] += 1
    return sums, counts
