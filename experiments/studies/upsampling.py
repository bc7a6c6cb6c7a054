# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Measures how much colors bleed over edges when upsampled from a model's size to a photograph's.

    python experiments/studies/upsampling.py --dataset=coco/2017 --split=validation \\
        [--sizes=256,64,32]

Downsamples the true colors of each photograph to a model's size, upsamples them again and measures
their distance to the truth: everywhere, and near color edges (within 2 pixels of a change of more
than 8 Lab units between neighboring pixels), where bleeding is visible. The smaller sizes represent
larger photographs. No model is used: this is the error of a perfect one.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from source_options import SourceOptions

from koalagan import cli, progress
from koalagan.color import lab
from koalagan.color.resizing import resize
from koalagan.data import decoding, sources
from koalagan.errors import UserError
from koalagan.evaluation import metrics
from koalagan.inference import joining
from koalagan.options import option

_EDGE = 8.0  # Lab units from pixel to pixel
_REACH = 2  # pixels


@dataclasses.dataclass(frozen=True)
class UpsamplingSettings(SourceOptions):
    """Upsampling."""

    sizes: str = option("256,64,32", "Model sizes in pixels, separated by commas.")


def color_edges(ab: np.ndarray) -> np.ndarray:
    """Where ab [H,W,2], in Lab units, changes, and the pixels near it: boolean [H,W]."""
    edges = np.zeros(ab.shape[:2], np.float32)
    for axis in (0, 1):
        changes = np.abs(np.diff(ab, axis=axis)).sum(axis=-1) > _EDGE
        for side in ((1, 0), (0, 1)):
            padding = [(0, 0), (0, 0)]
            padding[axis] = side
            edges = np.maximum(edges, np.pad(changes, padding))
    near = tf.nn.max_pool2d(edges[None, ..., None], 2 * _REACH + 1, 1, "SAME")
    return near.numpy()[0, ..., 0] > 0


def errors_at_full_size(L: np.ndarray, ab: np.ndarray, rgb: np.ndarray, size: int) -> dict:
    """The |ab error| of each method in Lab units, [H,W].

    Args:
        L: [H,W,1].
        ab: [H,W,2].
        rgb: the photograph, uint8 [H,W,3].
        size: side of the square that its colors are downsampled to.
    """
    small_L, small_ab = lab.rgb_to_lab(resize(rgb[None], (size, size)))
    full = tf.constant(rgb.shape[:2])
    joint = tf.concat([small_L, small_ab], axis=-1)[0]
    upsampled = {
        "bilinear": tf.image.resize(small_ab, full, "bilinear")[0],
        "bicubic": tf.image.resize(small_ab, full, "bicubic")[0],
        "joint bilateral": joining.upsample(joint, L, tf.range(full[0]), full),
    }
    truth = lab.lab_units(L, ab)
    return {
        name: tf.norm(lab.lab_units(L, colors) - truth, axis=-1).numpy()
        for name, colors in upsampled.items()
    }


def measure(source: sources.Source, sizes: Sequence[int]) -> tuple[dict, int]:
    """Mean errors (everywhere, near color edges) by (size, method), and how many photographs."""
    measured, count = defaultdict(list), 0
    with progress.bar("measure", source.count) as bar:
        for name, encoded in source.records():
            bar.update()
            rgb = decoding.decode(encoded, name)
            L, ab = lab.rgb_to_lab(rgb)
            if metrics.chroma(ab[None])[0] < metrics.MIN_CHROMA or min(rgb.shape[:2]) < max(sizes):
                continue
            count += 1
            edges = color_edges(lab.lab_units(L, ab)[..., 1:].numpy())
            for size in sizes:
                for method, error in errors_at_full_size(L, ab, rgb, size).items():
                    at_edges = error[edges].mean() if edges.any() else np.nan
                    measured[size, method].append((error.mean(), at_edges))
    return {key: np.nanmean(values, axis=0) for key, values in measured.items()}, count


def main(settings: UpsamplingSettings, _: list[str]) -> None:
    """Prints a Markdown table."""
    given = settings.sizes.split(",")
    if not all(re.fullmatch("[1-9][0-9]*", size) for size in given):
        raise UserError(f"--sizes={settings.sizes} is not a list of numbers of pixels.")
    sizes = [int(size) for size in given]
    source = sources.open_source(
        settings.dataset, settings.split, data_dir=settings.data_dir, download=settings.download
    )
    means, count = measure(source, sizes)
    print("| from | method | ab error | near color edges |\n| ---: | :--- | ---: | ---: |")
    for (size, method), (everywhere, at_edges) in means.items():
        print(f"| {size}x{size} | {method} | {everywhere:.3f} | {at_edges:.3f} |")
    print(
        f"\n{count} photographs of {source.name} {source.split} with color, none smaller than "
        f"{max(sizes)} pixels; errors are in Lab units, means over photographs."
    )


COMMAND = cli.Command(__doc__, UpsamplingSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
