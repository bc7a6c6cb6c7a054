# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colours photographs: `python -m koalagan.colorize --saved_model=DIR --output_dir=OUT PHOTO...`.

Takes files, folders (with all that lies below them; the tree is kept), patterns and lists on stdin,
pictures of any size in any format of `koalagan.data.pictures`, turned upright by their EXIF
orientation and converted to sRGB by their colour profile. Results have the photograph's full size
and its own lightness, its EXIF and resolution; `koalagan.photographs` says what they are called.
A photograph that has colour already is copied as it is, unless --recolor is given.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from koalagan import contact_sheet as sheets
from koalagan import errors, lazy, progress
from koalagan import photographs as photos
from koalagan.data import pictures
from koalagan.errors import UserError

tf = lazy.module("tensorflow")
colorizer = lazy.module("koalagan.colorizer")

# What colouring at full size takes at most: measured, 24 megapixels took 0.6 GB, beside the
# program's and the model's own.
_BYTES_PER_PIXEL = 40
# Pixels of the photographs that are held for one call of the network; a larger one goes alone.
_BATCH_PIXELS = 2**24


def define_flags(fv: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags on `fv`."""

    def text(name: str, default: str | None, text: str, required: bool = False) -> None:
        flags.DEFINE_string(name, default, text, required=required, flag_values=fv)

    def switch(name: str, default: bool, text: str) -> None:
        flags.DEFINE_boolean(name, default, text, flag_values=fv)

    def count(name: str, default: int | None, least: int, most: int | None, text: str) -> None:
        flags.DEFINE_integer(name, default, text, least, most, flag_values=fv)

    text("saved_model", None, "The exported model, or the folder of its run.", required=True)
    text("output_dir", None, "Where the coloured pictures go; made if absent.", required=True)
    flags.DEFINE_enum(
        "format",
        "png",
        [*photos.FORMATS, "same"],
        "Of the results; same is each photograph's own.",
        flag_values=fv,
    )
    count("quality", 95, 1, 100, "Of JPEG and WebP.")
    text("suffix", "", "Put behind the names of the results, such as _colorized.")
    switch("overwrite", True, "Replace results that are there already; else say so and end.")
    switch("skip_existing", False, "Go on with the photographs whose results are not there yet.")
    switch("recolor", False, "Colour photographs that have colour too, instead of copying them.")
    flags.DEFINE_float(
        "saturation",
        1.0,
        "What the predicted chroma is multiplied by.",
        lower_bound=0.0,
        upper_bound=10.0,
        flag_values=fv,
    )
    count(
        "render_size",
        None,
        8,
        None,
        "Side at which the network sees a photograph; default: what it was exported for.",
    )
    count("variants", 1, 1, 99, "Results for each photograph, from a model that varies.")
    count("batch_size", 4, 1, None, "Photographs that the network gets at once.")
    text("contact_sheet", None, "An HTML page to write: before and after, with sliders.")


def main(argv: Sequence[str]) -> int:
    """Runs the command on the photographs and folders named in `argv[1:]`."""
    settings = flags.FLAGS
    left_out = colorize_files(
        saved_model=os.path.expanduser(settings.saved_model),
        photographs=argv[1:],
        output_dir=os.path.expanduser(settings.output_dir),
        format=settings.format,
        quality=settings.quality,
        suffix=settings.suffix,
        overwrite=settings.overwrite,
        skip_existing=settings.skip_existing,
        recolor=settings.recolor,
        saturation=settings.saturation,
        render_size=settings.render_size,
        variants=settings.variants,
        batch_size=settings.batch_size,
        contact_sheet=settings.contact_sheet and os.path.expanduser(settings.contact_sheet),
    )
    return 1 if left_out else 0


def colorize_files(
    *,
    saved_model: str,
    photographs: Sequence[str],
    output_dir: str,
    format: str = "png",
    quality: int = 95,
    suffix: str = "",
    overwrite: bool = True,
    skip_existing: bool = False,
    recolor: bool = False,
    saturation: float = 1.0,
    render_size: int | None = None,
    variants: int = 1,
    batch_size: int = 4,
    contact_sheet: str | None = None,
) -> dict[str, str]:
    """Colours photographs into files under `output_dir`.

    Progress, each picture left out, and a list of them at the end go to stderr. A photograph is
    never written to.

    Args:
        saved_model: a folder that `koalagan.export` wrote, or a run's.
        photographs: files, folders, patterns; "-" for a list on stdin.
        output_dir: made if absent. Pictures in it are not taken for photographs of a folder.
        format, suffix, variants: see `photographs.plan`.
        quality: of JPEG and WebP.
        overwrite: replace results of an earlier call; without it they are an error.
        skip_existing: leave out photographs whose results are there.
        recolor: colour photographs that have colour, instead of copying them.
        saturation, render_size: see `Colorizer.colorize`.
        batch_size: photographs that the network gets at once.
        contact_sheet: an HTML page to write.

    Returns:
        Why each picture that was left out was: path -> one sentence.

    Raises:
        UserError: nothing to colour, no such model, no place to write to, results that are there
            already, or variants asked of a model that has none.
    """
    jobs = photos.plan(photographs, output_dir, format=format, suffix=suffix, variants=variants)
    model = colorizer.load(saved_model)
    if variants > 1 and not model.varies:
        raise UserError(
            f"the model in {model.path} colours a photograph in one way only: export one with "
            "--dropout_at_inference for --variants."
        )
    there = [job for job in jobs if job.done]
    if skip_existing:
        jobs = [job for job in jobs if not job.done]
        if there:
            print(f"koalagan: {len(there)} results are there already.", file=sys.stderr)
    elif there and not overwrite:
        raise UserError(
            f"{len(there)} results are there already, {there[0].targets[0]} the first: pass "
            "--overwrite to replace them, or --skip_existing to go on without them."
        )
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output_dir} cannot be made: {error.strerror}.") from error

    def colour(rgb: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Of each picture its variants."""
        passes = [
            model.colorize_batch(rgb, saturation=saturation, render_size=render_size)
            for _ in range(variants)
        ]
        return [list(results) for results in zip(*passes, strict=True)]

    sheet = sheets.ContactSheet("Before and after")
    left_out, copied = {}, []
    opened = _opened_ahead(_groups(jobs, batch_size), recolor)
    try:
        with progress.bar("colorize", len(jobs)) as bar:
            for one in _written_behind((_colour(group, colour) for group in opened), quality):
                path = one.job.photograph
                if one.error:
                    left_out[path] = str(one.error)
                    bar.write(f"koalagan: {one.error}", file=sys.stderr)
                elif one.copied:
                    copied.append(path)
                    bar.write(f"koalagan: {path} has colour and is copied.", file=sys.stderr)
                elif contact_sheet:
                    for number, result in enumerate(one.results, 1):
                        name = one.job.name if variants == 1 else f"{one.job.name} ({number})"
                        sheet.add(name, one.rgb, result)
                bar.update()
    finally:
        if contact_sheet and len(sheet):
            sheet.save(contact_sheet)
    if copied:
        print(
            f"koalagan: {len(copied)} of {len(jobs)} pictures have colour already and were copied "
            "as they are: --recolor colours them anew.",
            file=sys.stderr,
        )
    if left_out:
        print(f"koalagan: {len(left_out)} of {len(jobs)} pictures were left out:", file=sys.stderr)
        for photograph in left_out:
            print(f"    {photograph}", file=sys.stderr)
    return left_out


@dataclasses.dataclass
class _Photograph:
    """One on its way through the command: opened, then coloured or to be copied, or bad."""

    job: photos.Job
    error: pictures.BadPicture | None = None
    rgb: np.ndarray | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    copied: bool = False
    results: list[np.ndarray] = dataclasses.field(default_factory=list)


def _groups(
    jobs: Sequence[photos.Job], batch_size: int
) -> Iterator[list[tuple[photos.Job, bytes | pictures.BadPicture]]]:
    """What is coloured by one call, as read from disk: few and not too large together."""
    group, pixels = [], 0
    for job in jobs:
        try:
            encoded = pictures.read(job.photograph)
            size = pictures.pixels(encoded)
        except pictures.BadPicture as error:
            encoded, size = error, 0
        if group and (len(group) == batch_size or pixels + size > _BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append((job, encoded))
        pixels += size
    if group:
        yield group


def _open(job: photos.Job, encoded: bytes | pictures.BadPicture, recolor: bool) -> _Photograph:
    try:
        if isinstance(encoded, pictures.BadPicture):
            raise encoded
        rgb = pictures.decode(encoded, job.photograph)
    except pictures.BadPicture as error:
        return _Photograph(job, error)
    if not recolor and colorizer.has_color(rgb):
        return _Photograph(job, copied=True)
    return _Photograph(job, rgb=rgb, metadata=photos.metadata(encoded))


def _opened_ahead(groups: Iterator, recolor: bool) -> Iterator[list[_Photograph]]:
    """Opens the groups, each while the one before is worked on."""

    def begin() -> list[concurrent.futures.Future]:
        return [pool.submit(_open, *one, recolor) for one in next(groups, [])]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        opening = begin()
        while opening:
            opened = [future.result() for future in opening]
            opening = begin()
            yield opened


def _colour(
    group: list[_Photograph], colour: Callable[[Sequence[np.ndarray]], list[list[np.ndarray]]]
) -> list[_Photograph]:
    """Gives those of a group that can be coloured their results, and the others their error."""
    grey = [one for one in group if one.rgb is not None]
    # Asked for more than there is, Linux kills the process.
    available = _memory_available()
    for one in grey:
        if one.rgb.shape[0] * one.rgb.shape[1] * _BYTES_PER_PIXEL > available:
            one.error = _too_large(one)
    grey = [one for one in grey if not one.error]
    try:
        for one, results in zip(
            grey, colour([one.rgb for one in grey]) if grey else [], strict=True
        ):
            one.results = results
    except tf.errors.ResourceExhaustedError:
        if len(grey) > 1:
            for one in grey:
                _colour([one], colour)
        else:
            grey[0].error = _too_large(grey[0])
    return group


def _too_large(one: _Photograph) -> pictures.BadPicture:
    height, width = one.rgb.shape[:2]
    return pictures.BadPicture(
        f"The picture {one.job.photograph} ({width}x{height} pixels) does not fit into memory: "
        "make it smaller."
    )


def _written_behind(groups: Iterator[list[_Photograph]], quality: int) -> Iterator[_Photograph]:
    """Writes the results of the groups, each while the next is worked on; each photograph then."""

    def write(one: _Photograph) -> _Photograph:
        try:
            if one.copied and one.job.copy:
                photos.copy(one.job.photograph, one.job.copy)
            for target, result in zip(one.job.targets, one.results, strict=False):
                photos.write(target, result, quality=quality, **one.metadata)
        except pictures.BadPicture as error:
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


if __name__ == "__main__":
    define_flags()
    errors.run(main, resumed_by="the same command with --skip_existing")
