# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors many photographs: while the model works, the next ones are decoded and the last written.

Only a few photographs are in memory at a time.
"""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from koalagan.color import detection
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
        page: its number in its file, from 1.
        pages: how many there are.
        error: why it cannot be colored, if so.
        rgb: uint8 [H, W, 3], as shown on white; None if it is not to be colored.
        color: uint8 [H, W, 3], the same without transparency.
        alpha: uint8 [H, W]; None if nothing is transparent.
        metadata: of its file.
        keeps_color: whether it has color already, and is copied instead of colored.
        results: uint8 [H, W, 3], one for each variant.
        format: Pillow's name of its file's format.
        notes: what a result lacks, a sentence each.
    """

    job: Job
    page: int = 1
    pages: int = 1
    error: BadPicture | None = None
    rgb: np.ndarray | None = None
    color: np.ndarray | None = None
    alpha: np.ndarray | None = None
    metadata: Metadata | None = None
    keeps_color: bool = False
    results: list[np.ndarray] = dataclasses.field(default_factory=list)
    format: str | None = None
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called: its file's name, with its number if there are several pages."""
        return self.job.name if self.pages == 1 else f"{self.job.name}, page {self.page}"


def colorize(
    jobs: Sequence[Job], model: Colorizer, rendering: Rendering, results: ResultSettings
) -> Iterator[Photograph]:
    """Colors photographs, and yields each of them once its results are written.

    Raises:
        UserError: a result cannot be written.
    """
    groups = _opened_ahead(_groups(jobs, rendering.batch_size), results)
    colored = (_color(group, model, rendering) for group in groups)
    return _written_behind(colored, results)


def _read(jobs: Sequence[Job]) -> Iterator[tuple[Photograph, decoding.Page | None]]:
    """Reads files, one photograph for each page.

    The first page comes last, under the name that says whether a file is done.
    """
    for job in jobs:
        try:
            pages = decoding.pages(decoding.read(job.photograph))
        except BadPicture as error:
            yield Photograph(job, error=error), None
            continue
        for number in range(len(pages), 0, -1):
            yield Photograph(job, number, len(pages)), pages[number - 1]


def _groups(
    jobs: Sequence[Job], batch_size: int
) -> Iterator[list[tuple[Photograph, decoding.Page | None]]]:
    """Groups photographs by call of the network: few, and not too large together."""
    group, pixels = [], 0
    for photograph, page in _read(jobs):
        size = page.pixels if page else 0
        if group and (len(group) == batch_size or pixels + size > BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append((photograph, page))
        pixels += size
    if group:
        yield group


def _opened_ahead(
    groups: Iterator[list[tuple[Photograph, decoding.Page | None]]], results: ResultSettings
) -> Iterator[list[Photograph]]:
    """Decodes each group while the previous one is being colored."""

    def begin() -> list[concurrent.futures.Future]:
        return [pool.submit(_open, *one, results) for one in next(groups, [])]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opening = begin()
        while opening:
            opened = [future.result() for future in opening]
            opening = begin()
            yield opened


def _open(one: Photograph, page: decoding.Page | None, results: ResultSettings) -> Photograph:
    if page is None:
        return one
    try:
        layers = decoding.decode_layers(page, one.job.photograph)
    except BadPicture as error:
        one.error = error
        return one
    one.format = page.format()
    is_colored = detection.has_any_color if results.keep_color else detection.has_color
    if not results.recolor and is_colored(layers.rgb):
        one.keeps_color = True
        if one.pages == 1:  # The file itself is copied.
            return one
        one.results = [layers.color] * len(one.job.targets)
    else:
        one.rgb, one.color = layers.rgb, layers.color
    one.alpha = layers.alpha
    one.metadata = metadata.read(page.encoded)
    return one


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
                joined_with=[one.color for one in gray],
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


def _written_behind(
    groups: Iterable[list[Photograph]], results: ResultSettings
) -> Iterator[Photograph]:
    """Writes the results of each group while the next one is being colored."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        begun = []
        for group in groups:
            previous, begun = begun, [pool.submit(_write, one, results) for one in group]
            yield from (future.result() for future in previous)
        yield from (future.result() for future in begun)


def _write(one: Photograph, results: ResultSettings) -> Photograph:
    try:
        if one.keeps_color and one.job.copy and one.pages == 1:
            writing.copy(one.job.photograph, one.job.copy)
        for target, result in zip(one.job.page_targets(one.page), one.results, strict=False):
            if one.page > 1 and not results.overwrite and os.path.exists(target):
                raise BadPicture(f"{target} exists already: pass --overwrite to replace it.")
            one.notes = writing.write(
                target,
                result,
                alpha=one.alpha,
                format=one.format if results.format == "same" else None,
                quality=results.quality,
                metadata=one.metadata,
            )
    except BadPicture as error:
        one.error = error
    return one
