# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors many photographs: while the model works, the next ones are decoded and the last written.

Only a few photographs are in memory at a time.
"""

import concurrent.futures
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from koalagan.color.detection import has_color
from koalagan.data import decoding
from koalagan.data.decoding import BadPicture
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import memory, metadata, writing
from koalagan.photos.metadata import Metadata
from koalagan.photos.planning import Job
from koalagan.photos.settings import Rendering, ResultSettings

# The most pixels of photographs in one call of the network; a larger photograph goes alone.
BATCH_PIXELS = 2**24


@dataclasses.dataclass
class Photograph:
    """A photograph on its way through the command.

    Attributes:
        job: the files that its results go to.
        error: why it cannot be colored, if so.
        rgb: uint8 [H, W, 3]; None if it is not to be colored.
        metadata: of its file.
        keeps_color: whether it has color already, and is copied instead of colored.
        results: uint8 [H, W, 3], one for each variant.
    """

    job: Job
    error: BadPicture | None = None
    rgb: np.ndarray | None = None
    metadata: Metadata | None = None
    keeps_color: bool = False
    results: list[np.ndarray] = dataclasses.field(default_factory=list)


def colorize(
    jobs: Sequence[Job], model: Colorizer, rendering: Rendering, results: ResultSettings
) -> Iterator[Photograph]:
    """Colors photographs, and yields each of them once its results are written.

    Raises:
        UserError: a result cannot be written.
    """
    groups = _opened_ahead(_groups(jobs, rendering.batch_size), results.recolor)
    colored = (_color(group, model, rendering) for group in groups)
    return _written_behind(colored, results.quality)


def _groups(jobs: Sequence[Job], batch_size: int) -> Iterator[list[tuple[Job, bytes | BadPicture]]]:
    """Reads files and groups them by call of the network: few, and not too large together."""
    group, pixels = [], 0
    for job in jobs:
        try:
            encoded = decoding.read(job.photograph)
            size = decoding.pixels(encoded)
        except BadPicture as error:
            encoded, size = error, 0
        if group and (len(group) == batch_size or pixels + size > BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append((job, encoded))
        pixels += size
    if group:
        yield group


def _opened_ahead(
    groups: Iterator[list[tuple[Job, bytes | BadPicture]]], recolor: bool
) -> Iterator[list[Photograph]]:
    """Decodes each group while the previous one is being colored."""

    def begin() -> list[concurrent.futures.Future]:
        return [pool.submit(_open, *one, recolor) for one in next(groups, [])]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opening = begin()
        while opening:
            opened = [future.result() for future in opening]
            opening = begin()
            yield opened


def _open(job: Job, encoded: bytes | BadPicture, recolor: bool) -> Photograph:
    if isinstance(encoded, BadPicture):
        return Photograph(job, encoded)
    try:
        rgb = decoding.decode(encoded, job.photograph)
    except BadPicture as error:
        return Photograph(job, error)
    if not recolor and has_color(rgb):
        return Photograph(job, keeps_color=True)
    return Photograph(job, rgb=rgb, metadata=metadata.read(encoded))


def _color(group: list[Photograph], model: Colorizer, rendering: Rendering) -> list[Photograph]:
    """Sets the results of those photographs of a group that can be colored, or their error."""
    gray = []
    for one in group:
        if one.rgb is None:
            continue
        try:
            memory.check(one.rgb, one.job.photograph, rendering.variants)
            gray.append(one)
        except BadPicture as error:
            one.error = error
    if not gray:
        return group
    try:
        passes = [
            model.colorize_batch(
                [one.rgb for one in gray],
                saturation=rendering.saturation,
                render_size=rendering.render_size,
            )
            for _ in range(rendering.variants)
        ]
    except tf.errors.ResourceExhaustedError:
        if len(gray) == 1:
            gray[0].error = memory.too_large(gray[0].rgb, gray[0].job.photograph)
        else:
            for one in gray:
                _color([one], model, rendering)
        return group
    for one, *results in zip(gray, *passes, strict=True):
        one.results = results
    return group


def _written_behind(groups: Iterable[list[Photograph]], quality: int) -> Iterator[Photograph]:
    """Writes the results of each group while the next one is being colored."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        begun = []
        for group in groups:
            previous, begun = begun, [pool.submit(_write, one, quality) for one in group]
            yield from (future.result() for future in previous)
        yield from (future.result() for future in begun)


def _write(one: Photograph, quality: int) -> Photograph:
    try:
        if one.keeps_color and one.job.copy:
            writing.copy(one.job.photograph, one.job.copy)
        for target, result in zip(one.job.targets, one.results, strict=False):
            writing.write(target, result, quality=quality, metadata=one.metadata)
    except BadPicture as error:
        one.error = error
    return one
