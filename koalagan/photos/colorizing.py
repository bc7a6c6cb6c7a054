# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors photographs and films into files, and reports what could not be colored."""

import os
import sys
from collections.abc import Sequence

from koalagan import progress
from koalagan.errors import UserError
from koalagan.inference import colorizer, saved_model
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import bulk, film_files, films, planning, scan_writing, scans, writing
from koalagan.photos.contact_sheet import ContactSheet
from koalagan.photos.planning import Job
from koalagan.photos.settings import FORMATS, ColorizeSettings, Rendering, ResultSettings


def colorize_files(photographs: Sequence[str], settings: ColorizeSettings) -> dict[str, str]:
    """Colors photographs and films into files.

    Progress, each picture that cannot be colored, and a list of these at the end are printed to
    stderr. A photograph is never written to.

    Args:
        photographs: files, folders, patterns; "-" for a list on stdin.
        settings: which model colors them, how, and where the results go. Pictures in the output
            folder are not taken for photographs of a folder.

    Returns:
        Maps the path of each picture that could not be colored to one sentence that says why.

    Raises:
        UserError: there is nothing to color, no such model, no place to write to, existing results
            must not be replaced, or variants are wanted of a model that has none.
    """
    results, rendering = settings.results, settings.rendering
    output_dir = settings.folders.output_dir
    _check_contact_sheet(results.contact_sheet)
    _check_depth(results)
    if results.recolor and results.keep_color:
        raise UserError("--recolor and --keep_color exclude each other: pass one of them.")
    jobs = planning.plan(
        photographs,
        output_dir,
        format=results.format,
        suffix=results.suffix,
        variants=rendering.variants,
    )
    model = colorizer.load(settings.folders.saved_model)
    _check_variants(model, rendering)
    jobs = _remaining(jobs, results)
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {output_dir} cannot be created: {error.strerror}.") from error

    pictures = [job for job in jobs if not job.is_film]
    failed = _color_pictures(pictures, model, rendering, results)
    failed |= _color_films([job for job in jobs if job.is_film], model, rendering, results)
    if failed:
        _say(f"{len(failed)} of {len(jobs)} files could not be colored:")
        print(*(f"    {path}" for path in failed), sep="\n", file=sys.stderr)
    return failed


def _say(text: str) -> None:
    print(f"koalagan: {text}", file=sys.stderr)


def _check_contact_sheet(path: str | None) -> None:
    if path and not path.lower().endswith((".html", ".htm")):
        raise UserError(f"--contact_sheet={path} must name an HTML page: use the extension .html.")


def _check_depth(results: ResultSettings) -> None:
    if results.depth != "16":
        return
    if not scans.supported():
        raise UserError("--depth=16 needs pyvips: pip install 'koalagan[scans]'.")
    format = writing.format_of(f"x{FORMATS.get(results.format, '.png')}")
    if format not in scan_writing.DEEP:
        raise UserError(
            f"--depth=16 does not go with --format={results.format}, which holds 8 bits a sample: "
            "pass --format=png or --format=tiff."
        )


def _check_variants(model: Colorizer, rendering: Rendering) -> None:
    if rendering.variants > 1 and not model.varies:
        what = saved_model.in_words(model.path)
        raise UserError(
            f"{what[0].upper()}{what[1:]} always gives a photograph the same colors: train a "
            "generator with --dropout, and export it with --dropout_at_inference for --variants."
        )


def _remaining(jobs: list[Job], results: ResultSettings) -> list[Job]:
    """The jobs to do, given the results that exist.

    Raises:
        UserError: results exist and must not be replaced.
    """
    if results.skip_existing:
        remaining = [job for job in jobs if not job.done(results.recolor)]
        if done := len(jobs) - len(remaining):
            _say(f"skipping {done} photographs whose results exist.")
        return remaining
    if results.overwrite:
        return jobs
    if existing := [path for job in jobs for path in job.existing(results.recolor)]:
        raise UserError(
            f"{len(existing)} results exist already, the first of them {existing[0]}: pass "
            "--overwrite to replace them, or --skip_existing to color the other photographs."
        )
    return jobs


def _color_pictures(
    jobs: list[Job], model: Colorizer, rendering: Rendering, results: ResultSettings
) -> dict[str, str]:
    """Colors photographs, and writes the contact sheet; returns those that failed, and why."""
    failed, copied = {}, 0
    with (
        ContactSheet("Before and after", results.contact_sheet) as sheet,
        progress.bar("colorize", len(jobs)) as bar,
    ):
        for one in bulk.colorize(jobs, model, rendering, results):
            path = one.job.photograph
            if one.error:
                failed[path] = str(one.error)
                bar.write(f"koalagan: {one.error}", file=sys.stderr)
            elif one.keeps_color:
                copied += 1
                bar.write(f"koalagan: {path} has color and stays unchanged.", file=sys.stderr)
            else:
                for number, result in enumerate(one.results, 1):
                    name = one.name if len(one.results) == 1 else f"{one.name} ({number})"
                    sheet.add(name, one.rgb, result)
            for note in one.notes:
                bar.write(f"koalagan: {path}: {note}", file=sys.stderr)
            if one.page == 1:  # the last one of a file
                bar.update()
    if copied:
        _say(
            f"{copied} of {len(jobs)} pictures have color already and were copied unchanged; "
            "--recolor colors them anew."
        )
    return failed


def _color_films(
    jobs: list[Job], model: Colorizer, rendering: Rendering, results: ResultSettings
) -> dict[str, str]:
    """Colors films; returns those that failed, and why."""
    failed = {}
    for job in jobs:
        try:
            films.colorize(
                job.photograph,
                job.targets[0],
                model,
                rendering,
                keep_color=results.keep_color,
            )
        except film_files.BadFilm as error:
            failed[job.photograph] = str(error)
            _say(str(error))
    return failed
