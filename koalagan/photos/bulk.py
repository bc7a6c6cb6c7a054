# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Many photographs, one after the other: while a model works on some, the next are decoded and
those before are encoded and written. Few are held at a time.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from koalagan import lazy
from koalagan.data import decoding
from koalagan.photos import metadata
from koalagan.photos import photographs as photos

tf = lazy.module("tensorflow")
colorizer = lazy.module("koalagan.inference.colorizer")

# What colouring at full size takes at most: measured, 24 megapixels took 0.6 GB, beside the
# program's and the model's own. Each further variant is held, and again while it is written.
_BYTES_PER_PIXEL = 40
_BYTES_PER_PIXEL_OF_A_VARIANT = 2 * 3
# Pixels of the photographs that are held for one call of the network; a larger one goes alone.
_BATCH_PIXELS = 2**24

# From pictures, uint8 [H,W,3], to the variants of each.
Colour = Callable[[Sequence[np.ndarray]], list[list[np.ndarray]]]


@dataclasses.dataclass
class Photograph:
    """One on its way through the command: opened, then coloured or to be copied, or bad."""

    job: photos.Job
    error: decoding.BadPicture | None = None
    rgb: np.ndarray | None = None
    metadata: metadata.Metadata | None = None
    copied: bool = False
    results: list[np.ndarray] = dataclasses.field(default_factory=list)


def colour(
    jobs: Sequence[photos.Job],
    colour: Colour,
    *,
    recolor: bool,
    batch_size: int,
    quality: int,
    variants: int = 1,
) -> Iterator[Photograph]:
    """Colours photographs and writes their results; each photograph as that is done.

    Args:
        jobs: what is to be done.
        colour: the model.
        recolor: colour photographs that have colour, instead of copying them.
        batch_size: photographs that the model gets at once.
        quality: of JPEG and WebP.
        variants: how many `colour` gives of each.

    Raises:
        UserError: a result cannot be written.
    """
    opened = _opened_ahead(_groups(jobs, batch_size), recolor)
    return _written_behind((_colour(group, colour, variants) for group in opened), quality)


def _groups(
    jobs: Sequence[photos.Job], batch_size: int
) -> Iterator[list[tuple[photos.Job, bytes | decoding.BadPicture]]]:
    """What is coloured by one call, as read from disk: few and not too large together."""
    group, pixels = [], 0
    for job in jobs:
        try:
            encoded = decoding.read(job.photograph)
            size = decoding.pixels(encoded)
        except decoding.BadPicture as error:
            encoded, size = error, 0
        if group and (len(group) == batch_size or pixels + size > _BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append((job, encoded))
        pixels += size
    if group:
        yield group


def _open(job: photos.Job, encoded: bytes | decoding.BadPicture, recolor: bool) -> Photograph:
    try:
        if isinstance(encoded, decoding.BadPicture):
            raise encoded
        rgb = decoding.decode(encoded, job.photograph)
    except decoding.BadPicture as error:
        return Photograph(job, error)
    if not recolor and colorizer.has_color(rgb):
        return Photograph(job, copied=True)
    return Photograph(job, rgb=rgb, metadata=metadata.read(encoded))


def _opened_ahead(groups: Iterator, recolor: bool) -> Iterator[list[Photograph]]:
    """Opens the groups, each while the one before is worked on."""

    def begin() -> list[concurrent.futures.Future]:
        return [pool.submit(_open, *one, recolor) for one in next(groups, [])]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opening = begin()
        while opening:
            opened = [future.result() for future in opening]
            opening = begin()
            yield opened


def _colour(group: list[Photograph], colour: Colour, variants: int) -> list[Photograph]:
    """Gives those of a group that can be coloured their results, and the others their error."""
    grey = [one for one in group if one.rgb is not None]
    for one in grey:
        try:
            check_memory(one.rgb, one.job.photograph, variants)
        except decoding.BadPicture as error:
            one.error = error
    grey = [one for one in grey if not one.error]
    try:
        for one, results in zip(
            grey, colour([one.rgb for one in grey]) if grey else [], strict=True
        ):
            one.results = results
    except tf.errors.ResourceExhaustedError:
        if len(grey) > 1:
            for one in grey:
                _colour([one], colour, variants)
        else:
            grey[0].error = _too_large(grey[0].rgb, grey[0].job.photograph)
    return group


def check_memory(rgb: np.ndarray, name: str, variants: int = 1) -> None:
    """Checks that there is memory to colour a picture; asked for more, Linux kills the process.

    Args:
        rgb: the picture, uint8 [H,W,3].
        name: what it is called.
        variants: how many results are held.

    Raises:
        BadPicture: there is not.
    """
    per_pixel = _BYTES_PER_PIXEL + (variants - 1) * _BYTES_PER_PIXEL_OF_A_VARIANT
    if rgb.shape[0] * rgb.shape[1] * per_pixel > _memory_available():
        raise _too_large(rgb, name)


def _too_large(rgb: np.ndarray, name: str) -> decoding.BadPicture:
    height, width = rgb.shape[:2]
    return decoding.BadPicture(
        f"The picture {name} ({width}x{height} pixels) does not fit into memory: make it smaller."
    )


def _written_behind(groups: Iterator[list[Photograph]], quality: int) -> Iterator[Photograph]:
    """Writes the results of the groups, each while the next is worked on; each photograph then."""

    def write(one: Photograph) -> Photograph:
        try:
            if one.copied and one.job.copy:
                photos.copy(one.job.photograph, one.job.copy)
            for target, result in zip(one.job.targets, one.results, strict=False):
                photos.write(target, result, quality=quality, kept=one.metadata)
        except decoding.BadPicture as error:
            one.error = error
        return one

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        writing = []
        for group in groups:
            former, writing = writing, [pool.submit(write, one) for one in group]
            yield from (future.result() for future in former)
        yield from (future.result() for future in writing)


def _memory_available() -> float:
    """Bytes; without end where the system does not tell."""
    try:
        with open("/proc/meminfo") as file:
            facts = dict(line.split(":") for line in file)
        return 1024 * int(facts["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return float("inf")
