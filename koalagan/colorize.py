# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colours photographs: `python -m koalagan.colorize --saved_model=DIR --output_dir=OUT PHOTO...`.

Takes files, folders (with all that lies below them; the tree is kept), patterns and lists on stdin,
pictures of any size in any format of `koalagan.data.decoding`, turned upright by their EXIF
orientation and converted to sRGB by their colour profile. Results have the photograph's full size
and its own lightness, and its metadata (`koalagan.photos.metadata`); `koalagan.photos.photographs` says what they
are called.
A photograph that has colour already is copied as it is, unless --recolor is given. A film that is
named itself, not by its folder, is coloured too (`koalagan.photos.films`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from koalagan import errors, lazy, progress
from koalagan.errors import UserError
from koalagan.photos import bulk, film_files
from koalagan.photos import contact_sheet as sheets
from koalagan.photos import photographs as photos

colorizer = lazy.module("koalagan.inference.colorizer")


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
    flags.DEFINE_float(
        "smoothing",
        0.8,
        "Films: how much of a frame's colour is the one before's where nothing moves.",
        lower_bound=0.0,
        upper_bound=0.99,
        flag_values=fv,
    )
    text(
        "contact_sheet",
        None,
        "An HTML page to write: before and after of this call's results, with sliders.",
    )


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
        smoothing=settings.smoothing,
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
    smoothing: float = 0.8,
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
        smoothing: of films, see `films.Smoother`.
        contact_sheet: an HTML page to write.

    Returns:
        Why each picture that was left out was: path -> one sentence.

    Raises:
        UserError: nothing to colour, no such model, no place to write to, results that are there
            already, or variants asked of a model that has none.
    """
    if contact_sheet and not contact_sheet.lower().endswith((".html", ".htm")):
        raise UserError(
            f"--contact_sheet={contact_sheet} is no name of a page: let it end in .html."
        )
    jobs = photos.plan(photographs, output_dir, format=format, suffix=suffix, variants=variants)
    model = colorizer.load(saved_model)
    if variants > 1 and not model.varies:
        raise UserError(
            f"the model in {model.path} colours a photograph in one way only: export one with "
            "--dropout_at_inference for --variants."
        )
    if skip_existing:
        left = [job for job in jobs if not job.done(recolor)]
        if done := len(jobs) - len(left):
            print(f"koalagan: {done} photographs have their results already.", file=sys.stderr)
        jobs = left
    elif not overwrite:
        there = [path for job in jobs for path in job.existing(recolor)]
        if there:
            raise UserError(
                f"{len(there)} results are there already, {there[0]} the first: pass --overwrite "
                "to replace them, or --skip_existing to go on without them."
            )
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output_dir} cannot be made: {error.strerror}.") from error

    films = [job for job in jobs if film_files.is_film(job.name)]
    jobs = [job for job in jobs if not film_files.is_film(job.name)]

    def colour(rgb: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Of each picture its variants."""
        passes = [
            model.colorize_batch(rgb, saturation=saturation, render_size=render_size)
            for _ in range(variants)
        ]
        return [list(results) for results in zip(*passes, strict=True)]

    left_out, copied = {}, []
    with sheets.ContactSheet("Before and after", contact_sheet) as sheet:
        with progress.bar("colorize", len(jobs)) as bar:
            for one in bulk.colour(
                jobs,
                colour,
                recolor=recolor,
                batch_size=batch_size,
                quality=quality,
                variants=variants,
            ):
                path = one.job.photograph
                if one.error:
                    left_out[path] = str(one.error)
                    bar.write(f"koalagan: {one.error}", file=sys.stderr)
                elif one.copied:
                    copied.append(path)
                    bar.write(f"koalagan: {path} has colour and stays as it is.", file=sys.stderr)
                elif contact_sheet:
                    for number, result in enumerate(one.results, 1):
                        name = one.job.name if variants == 1 else f"{one.job.name} ({number})"
                        sheet.add(name, one.rgb, result)
                bar.update()
    for job in films:
        try:
            films.colorize(
                job.photograph,
                job.targets[0],
                model,
                smoothing=smoothing,
                saturation=saturation,
                render_size=render_size,
                batch_size=batch_size,
            )
        except film_files.BadFilm as error:
            left_out[job.photograph] = str(error)
            print(f"koalagan: {error}", file=sys.stderr)
    if copied:
        print(
            f"koalagan: {len(copied)} of {len(jobs)} pictures have colour already and were copied "
            "as they are; --recolor colours them anew.",
            file=sys.stderr,
        )
    if left_out:
        total = len(jobs) + len(films)
        print(f"koalagan: {len(left_out)} of {total} pictures were left out:", file=sys.stderr)
        for path in left_out:
            print(f"    {path}", file=sys.stderr)
    return left_out


if __name__ == "__main__":
    define_flags()
    errors.run(main, resumed_by="the same command with --skip_existing")
