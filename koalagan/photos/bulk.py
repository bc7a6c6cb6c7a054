# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors many photographs: while the model works, the next ones are decoded and the last written.

Only a few photographs are in memory at a time.
"""

import concurrent.futures
import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from koalagan import progress
from koalagan.color import detection
from koalagan.data import decoding, picture_file
from koalagan.data.picture_file import BadPicture, Page
from koalagan.inference import joining
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import memory, metadata, scan_writing, scans, writing
from koalagan.photos.metadata import Metadata
from koalagan.photos.planning import Job
from koalagan.photos.scans import Scan
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
        rgb: uint8 [H, W, 3], as shown on white, or a smaller copy of it; None if it is not to be
            colored.
        color: uint8 [H, W, 3], the same without transparency.
        alpha: uint8 [H, W]; None if nothing is transparent.
        scan: reads it strip by strip, where its results are written so.
        bits: of each sample of its results.
        metadata: of its file.
        keeps_color: whether it has color already, and is copied instead of colored.
        results: uint8 [H, W, 3], one for each variant; of a scan, previews, as small as `rgb`.
        strips: of a scan, one iterator over strips for each variant.
        format: Pillow's name of the format of its results.
        notes: what a result lacks, a sentence each.
    """

    job: Job
    page: int = 1
    pages: int = 1
    error: BadPicture | None = None
    rgb: np.ndarray | None = None
    color: np.ndarray | None = None
    alpha: np.ndarray | None = None
    scan: Scan | None = None
    bits: int = 8
    metadata: Metadata | None = None
    keeps_color: bool = False
    results: list[np.ndarray] = dataclasses.field(default_factory=list)
    strips: list[Iterator[np.ndarray]] = dataclasses.field(default_factory=list)
    format: str = "PNG"
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
    groups = _opened_ahead(_groups(jobs, rendering.batch_size, results), rendering, results)
    colored = (_color(group, model, rendering) for group in groups)
    return _written_behind(colored, results)


def _read(jobs: Sequence[Job], results: ResultSettings) -> Iterator[tuple[Photograph, Page | None]]:
    """Opens files, one photograph for each page.

    The first page comes last, under the name that says whether a file is done.
    """
    for job in jobs:
        try:
            pages = picture_file.pages(job.photograph, results.max_megapixels * 10**6)
        except BadPicture as error:
            yield Photograph(job, error=error), None
            continue
        for number in range(len(pages), 0, -1):
            yield Photograph(job, number, len(pages)), pages[number - 1]


def _groups(
    jobs: Sequence[Job], batch_size: int, results: ResultSettings
) -> Iterator[list[tuple[Photograph, Page | None]]]:
    """Groups photographs by call of the network: few, and not too large together."""
    group, pixels = [], 0
    for photograph, page in _read(jobs, results):
        size = page.pixels if page else 0
        if group and (len(group) == batch_size or pixels + size > BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append((photograph, page))
        pixels += size
    if group:
        yield group


def _opened_ahead(
    groups: Iterator[list[tuple[Photograph, Page | None]]],
    rendering: Rendering,
    results: ResultSettings,
) -> Iterator[list[Photograph]]:
    """Decodes each group while the previous one is being colored."""

    def begin() -> list[concurrent.futures.Future]:
        return [pool.submit(_open, *one, rendering, results) for one in next(groups, [])]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opening = begin()
        while opening:
            opened = [future.result() for future in opening]
            opening = begin()
            yield opened


def open_file(job: Job, rendering: Rendering, results: ResultSettings) -> Iterator[Photograph]:
    """Opens a file, one photograph for each of its pages; the first page comes last."""
    for one, page in _read([job], results):
        yield _open(one, page, rendering, results)


def _open(
    one: Photograph, page: Page | None, rendering: Rendering, results: ResultSettings
) -> Photograph:
    if page is None:
        return one
    try:
        _decode(one, page, rendering, results)
    except BadPicture as error:
        one.error = error
        return one
    is_colored = detection.has_any_color if results.keep_color else detection.has_color
    if not results.recolor and is_colored(one.rgb):
        one.keeps_color = True
        if one.pages == 1:  # The file itself is copied.
            one.rgb, one.notes = None, []
            return one
        count = len(one.job.targets)
        one.results = [one.color] * count
        if one.scan:
            one.strips = [_with_bits(one.scan.strips(), one.bits) for _ in range(count)]
        one.rgb = None
    one.metadata = metadata.read(page.source, page.max_pixels)
    return one


def _decode(one: Photograph, page: Page, rendering: Rendering, results: ResultSettings) -> None:
    """Sets a photograph's pixels, and how its results are written.

    Raises:
        BadPicture: it cannot be decoded, or does not fit into memory.
    """
    name = one.job.photograph
    header = page.header
    one.format = writing.format_of(
        one.job.targets[0], header.format if results.format == "same" else None
    )
    one.bits, note = _depth(header.bits, one.format, results.depth)
    if note:
        one.notes.append(note)
    large = page.pixels > scans.LARGE
    if one.bits == 16 or (large and one.format in scan_writing.FORMATS and scans.supported()):
        one.scan = Scan(page, name)
    if one.scan and large:
        one.rgb = one.color = one.scan.reduced()
        return
    memory.check((header.height, header.width), name, rendering.variants)
    layers = decoding.decode_layers(page, name)
    one.rgb, one.color, one.alpha = layers.rgb, layers.color, layers.alpha


def _depth(bits: int, format: str, depth: str) -> tuple[int, str | None]:
    """The bits of each sample of a result, and what is to be said of them.

    Args:
        bits: those of the photograph.
        format: of the result.
        depth: as `ResultSettings.depth`.
    """
    if depth == "8" or (depth == "auto" and bits <= 8):
        return 8, None
    if format not in scan_writing.DEEP:
        return 8, f"its result has 8 bits a sample, which is all that {format} has a place for."
    if not scans.supported():
        return 8, "its result has 8 bits a sample: pip install 'koalagan[scans]' for 16."
    return 16, None


def _color(group: list[Photograph], model: Colorizer, rendering: Rendering) -> list[Photograph]:
    """Sets the results of those photographs of a group that can be colored, or their error."""
    gray = [one for one in group if one.rgb is not None and not one.error]
    if not gray:
        return group
    try:
        passes = [_color_once(gray, model, rendering) for _ in range(rendering.variants)]
        for one, *predictions in zip(gray, *passes, strict=True):
            join(one, predictions, rendering)
    except tf.errors.ResourceExhaustedError:
        if len(gray) == 1:
            gray[0].error = memory.too_large(gray[0].rgb.shape[:2], gray[0].job.photograph)
        else:
            for one in gray:
                _color([one], model, rendering)
    return group


def _color_once(
    gray: list[Photograph], model: Colorizer, rendering: Rendering
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The network's input and output for each photograph."""
    predictions = model.predict([one.rgb for one in gray], rendering.render_size)
    return list(zip(*predictions, strict=True))


def join(
    one: Photograph, predictions: Sequence[tuple[np.ndarray, np.ndarray]], rendering: Rendering
) -> None:
    """Sets the results of a photograph, and of a scan their strips.

    Args:
        one: opened, and not copied.
        predictions: for each variant the network's input L [h,w,1] and output ab [h,w,2].
        rendering: how it is colored.
    """
    one.results, one.strips = [], []
    for L, ab in predictions:
        color = one.color
        if one.scan:
            one.strips.append(
                joining.join_strips(
                    one.scan.strips(), one.scan.size, L, ab, rendering.saturation, one.bits
                )
            )
            color = _preview(color)
        one.results.append(Colorizer.join(color, L, ab, rendering.saturation))
    if one.scan:
        one.rgb = _preview(one.rgb)


def _preview(rgb: np.ndarray) -> np.ndarray:
    """Every n-th pixel of a picture, about a million: all that is shown of a scan's result."""
    step = max(1, round((rgb.shape[0] * rgb.shape[1] / 2**20) ** 0.5))
    return rgb[::step, ::step]


def _watched(
    strips: Iterator[np.ndarray], scan: Scan, stopped: threading.Event
) -> Iterator[np.ndarray]:
    """Shows the progress of large scans; raises `InterruptedError` once `stopped` is set."""
    height, width = scan.size
    total = height if height * width > scans.LARGE else 0
    with progress.bar(os.path.basename(scan.name), total, unit="row") as bar:
        for strip in strips:
            if stopped.is_set():
                raise InterruptedError
            yield strip
            bar.update(len(strip))


def _with_bits(strips: Iterator[np.ndarray], bits: int) -> Iterator[np.ndarray]:
    """Strips, uint8 or uint16, with `bits` in each sample."""
    for strip in strips:
        if strip.dtype == np.uint8 and bits == 16:
            strip = strip.astype(np.uint16) * 257
        elif strip.dtype == np.uint16 and bits == 8:
            strip = np.round(strip / np.float32(257)).astype(np.uint8)
        yield strip


def _written_behind(
    groups: Iterable[list[Photograph]], results: ResultSettings
) -> Iterator[Photograph]:
    """Writes the results of each group while the next one is being colored."""
    stopped = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        try:
            begun = []
            for group in groups:
                previous = begun
                begun = [pool.submit(write, one, results, stopped) for one in group]
                yield from (future.result() for future in previous)
            yield from (future.result() for future in begun)
        except BaseException:
            stopped.set()  # The end of the pool waits for what it writes.
            raise


def write(one: Photograph, results: ResultSettings, stopped: threading.Event) -> Photograph:
    """Writes the results of a photograph, or notes its error.

    Args:
        one: with its results.
        results: how they are written.
        stopped: once it is set, writing ends with `InterruptedError`.

    Raises:
        UserError: a result cannot be written.
    """
    try:
        if one.keeps_color and one.job.copy and one.pages == 1:
            writing.copy(one.job.photograph, one.job.copy)
        targets = one.job.page_targets(one.page)
        for number, (target, result) in enumerate(zip(targets, one.results, strict=False)):
            if one.page > 1 and not results.overwrite and os.path.exists(target):
                raise BadPicture(f"{target} exists already: pass --overwrite to replace it.")
            options = {"quality": results.quality, "metadata": one.metadata, "format": one.format}
            if one.scan:
                strips = _watched(one.strips[number], one.scan, stopped)
                notes = scan_writing.write(target, strips, one.scan, bits=one.bits, **options)
            else:
                notes = writing.write(target, result, alpha=one.alpha, **options)
            one.notes = list(dict.fromkeys([*one.notes, *notes]))
    except BadPicture as error:
        one.error = error
    return one
