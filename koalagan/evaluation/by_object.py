# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""What is colored well: errors within the boxes of objects, by class and by size.

A box holds some of what is behind its object too. Boxes around crowds are not measured. Sizes are
shares of the picture: small up to 1 %, medium up to 10 %, large above.
"""

from collections.abc import Mapping, Sequence
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
        "ciede2000_interval": [low, high], "ciede2000_more": [difference, low, high]}`. The second
        is what the model has more than the first one, on the same objects; it is None for the
        first. Intervals are over pictures (see `intervals.of_a_ratio`). The most frequent classes
        come first.
    """
    rows = []
    name, first = next(iter(measured.items()))
    for model, objects in measured.items():
        for by in ("class", "size"):
            groups: dict[str, list[tuple]] = {}
            # The objects are the same for each model.
            for pair in zip(objects, first, strict=True):
                groups.setdefault(pair[0][by], []).append(pair)
            ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
            rows += [{"model": model, "by": by, "name": what, **_row(g)} for what, g in ordered]
    return [{**row, "ciede2000_more": None} if row["model"] == name else row for row in rows]


def _row(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    """The means of the first of each pair, and what it has more than the second."""
    objects = [mine for mine, _ in pairs]
    pictures = [one["picture"] for one in objects]
    _, *limits = _ratio(pictures, [one["ciede2000"] for one in objects])
    return {
        "objects": len(objects),
        "pictures": len(set(pictures)),
        **{name: float(np.mean([one[name] for one in objects])) for name in MEASURES},
        "ciede2000_interval": limits,
        "ciede2000_more": _ratio(
            pictures, [mine["ciede2000"] - other["ciede2000"] for mine, other in pairs]
        ),
    }


def _ratio(pictures: Sequence[int], values: Sequence[float]) -> list[float | None]:
    """The mean of values, each of a thing in one of the pictures, and its interval over these."""
    _, places = np.unique(pictures, return_inverse=True)
    return intervals.of_a_ratio(np.bincount(places, weights=values), np.bincount(places))
