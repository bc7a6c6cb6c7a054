# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How far colours bleed over edges when they come from a model's size to a photograph's.

    python experiments/upsampling.py --dataset=coco/2017 --split=validation [--sizes=256,64,32]

Takes the true colours of each photograph at a model's size, brings them back to the photograph's
own and measures how far they then are from the truth: over all, and where colours change (within 2
pixels of a change of more than 8 Lab units from pixel to pixel, where bleeding shows). The smaller
sizes stand for larger photographs. No model is asked: this is what the best one would lose.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from absl import flags

from koalagan import errors, lazy, progress
from koalagan.data import decoding, sources
from koalagan.data import flags as data_flags
from koalagan.errors import UserError

tf = lazy.module("tensorflow")
joining = lazy.module("koalagan.inference.joining")
lab = lazy.module("koalagan.color.lab")
metrics = lazy.module("koalagan.evaluation.metrics")

_EDGE = 8.0  # Lab units from pixel to pixel
_REACH = 2  # pixels


def colour_edges(ab: np.ndarray) -> np.ndarray:
    """Where [H,W,2] in Lab units changes, and what lies near it: boolean [H,W]."""
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
    """|ab error| in Lab units, [H,W], by method, of a photograph: uint8 [H,W,3], its L and ab."""
    small_L, small_ab = lab.rgb_to_lab(decoding.resize(rgb[None], (size, size)))
    full = tf.constant(rgb.shape[:2])
    joint = tf.concat([small_L, small_ab], axis=-1)[0]
    upsampled = {
        "bilinear": tf.image.resize(small_ab, full, "bilinear")[0],
        "bicubic": tf.image.resize(small_ab, full, "bicubic")[0],
        "joint bilateral": joining.upsample(joint, L, tf.range(full[0]), full),
    }
    truth = lab.lab_units(L, ab)
    return {
        name: tf.norm(lab.lab_units(L, colours) - truth, axis=-1).numpy()
        for name, colours in upsampled.items()
    }


def measure(source: sources.Source, sizes: Sequence[int]) -> tuple[dict, int]:
    """Mean errors, everywhere and at colour edges, by (size, method); how many photographs."""
    measured, count = defaultdict(list), 0
    with progress.bar("measure", source.count) as bar:
        for name, encoded in source.records():
            bar.update()
            rgb = decoding.decode(encoded, name)
            L, ab = lab.rgb_to_lab(rgb)
            if metrics.chroma(ab[None])[0] < metrics.MIN_CHROMA or min(rgb.shape[:2]) < max(sizes):
                continue
            count += 1
            edges = colour_edges(lab.lab_units(L, ab)[..., 1:].numpy())
            for size in sizes:
                for method, error in errors_at_full_size(L, ab, rgb, size).items():
                    at_edges = error[edges].mean() if edges.any() else np.nan
                    measured[size, method].append((error.mean(), at_edges))
    return {key: np.nanmean(values, axis=0) for key, values in measured.items()}, count


def main(argv: Sequence[str]) -> None:
    """Prints a Markdown table."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"upsampling takes only flags, and {argv[1]!r} is none: see --help.")
    if not settings.sizes or not all(re.fullmatch("[1-9][0-9]*", size) for size in settings.sizes):
        raise UserError(f"--sizes={','.join(settings.sizes)} are no numbers of pixels.")
    sizes = [int(size) for size in settings.sizes]
    source = sources.open_source(
        settings.dataset, settings.split, data_dir=settings.data_dir, download=settings.download
    )
    means, count = measure(source, sizes)
    print("| from | method | ab error | at colour edges |\n| ---: | :--- | ---: | ---: |")
    for (size, method), (everywhere, at_edges) in means.items():
        print(f"| {size}x{size} | {method} | {everywhere:.3f} | {at_edges:.3f} |")
    print(
        f"\n{count} photographs of {source.name} {source.split} with colour, none smaller than "
        f"{max(sizes)} pixels; errors are Lab units, means over photographs."
    )


if __name__ == "__main__":
    data_flags.define_source_flags()
    flags.DEFINE_string("split", "validation", "The photographs to measure on.")
    flags.DEFINE_list("sizes", ["256", "64", "32"], "Sides of the model's size, in pixels.")
    flags.adopt_module_key_flags(data_flags)
    errors.run(main)
