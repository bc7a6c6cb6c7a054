# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors photographs in an Apache Beam pipeline, on any runner and any file system that Beam knows.

    files -> open -> RunInference -> join, write
               |                       |
               +-- dead letters -------+

The steps are those of `koalagan.photos.bulk`, and so are the results, byte for byte. What goes from
step to step is small, a path and the network's input and output: a file is read once to be opened
and once to be written, wherever a runner does either.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
from apache_beam.io import fileio
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.ml.inference import base
from apache_beam.options.pipeline_options import PipelineOptions

from koalagan.data import picture_folder
from koalagan.errors import UserError, one_line
from koalagan.inference import colorizer
from koalagan.photos import bulk, film_kinds
from koalagan.photos.planning import Job
from koalagan.photos.settings import FORMATS, BeamSettings

_DEAD, _NOTES = "dead_letters", "notes"
# Seconds.
_TELL_EVERY = 30.0
_COUNTS = ("colored", "copied", "skipped", "failed")


class _Model(base.ModelHandler[np.ndarray, base.PredictionResult, colorizer.Colorizer]):
    """Colors the gray pages of a file: L, float32 [P,h,w,1] -> ab [P,h,w,2].

    Beam's handler for TensorFlow loads a model by Keras, which does not load SavedModels.
    """

    def __init__(self, path: str, batch_size: int):
        super().__init__(max_batch_size=batch_size)
        self._path = path

    def load_model(self) -> colorizer.Colorizer:
        return colorizer.load(self._path)

    def run_inference(
        self, batch: Sequence[np.ndarray], model: colorizer.Colorizer, inference_args=None
    ) -> Iterable[base.PredictionResult]:
        ends = np.cumsum([len(pages) for pages in batch])
        colors = np.split(model.predict_ab(np.concatenate(batch)), ends[:-1])
        return map(base.PredictionResult, batch, colors)


class _Step(beam.DoFn):
    """What the steps on a file share. Nothing of it but its path and L goes from step to step."""

    def __init__(self, settings: BeamSettings, root: str):
        self._settings, self._root = settings, root
        self._counts = {name: Metrics.counter("koalagan", name) for name in _COUNTS}

    @contextlib.contextmanager
    def _local(self, path: str) -> Iterator[tuple[Job, str]]:
        """A file on this machine, and the folder that its results are written to first.

        Raises:
            OSError: it cannot be read.
        """
        name = path.removeprefix(self._root)
        with tempfile.TemporaryDirectory(prefix="koalagan-") as folder:
            out = os.path.join(folder, "out")
            local = os.path.join(folder, "in", os.path.basename(name))
            for parent in (os.path.dirname(local), os.path.join(out, os.path.dirname(name))):
                os.makedirs(parent, exist_ok=True)
            with FileSystems.open(path) as source, open(local, "wb") as copy:
                shutil.copyfileobj(source, copy)
            format = self._settings.format
            target, copied = (
                os.path.join(out, made(name, format)) for made in (_result_name, _copy_name)
            )
            yield Job(local, name, (target,), copied), out

    def _pages(self, job: Job) -> Iterator[bulk.Photograph]:
        return bulk.open_file(job, self._settings.rendering(), self._settings.results())

    def _failed(self, path: str, reason: str) -> beam.pvalue.TaggedOutput:
        self._counts["failed"].inc()
        return beam.pvalue.TaggedOutput(_DEAD, _line(path, reason))


class _Open(_Step):
    """A matched file -> its path and L of its gray pages; "finished" where it has none."""

    def __init__(self, settings: BeamSettings, root: str, size: tuple[int, int]):
        super().__init__(settings, root)
        self._size = size

    def process(self, file: FileMetadata) -> Iterator:
        settings, path = self._settings, file.path
        name = path.removeprefix(self._root)
        results = [_result_name(name, settings.format)]
        if not settings.recolor:
            results.append(_copy_name(name, settings.format))
        existing = (FileSystems.exists(_join(settings.output, result)) for result in results)
        if not settings.overwrite and any(existing):
            self._counts["skipped"].inc()
            return
        if film_kinds.is_film(name):
            yield self._failed(path, "it is a film: `koalagan colorize` colors films")
            return
        try:
            with self._local(path) as (job, _):
                pages = [
                    colorizer.lightness(one.rgb, self._size)
                    for one in self._pages(job)
                    if _is_gray(one)
                ]
        except OSError as error:
            yield self._failed(path, f"it cannot be read ({one_line(error)})")
            return
        if pages:
            yield path, np.concatenate(pages)
        else:
            yield beam.pvalue.TaggedOutput("finished", (path, None))


class _Write(_Step):
    """A file, with the prediction for its gray pages -> its results in the output folder."""

    def setup(self):
        self._files, self._started, self._told = 0, time.monotonic(), time.monotonic()

    def process(self, element: tuple[str, base.PredictionResult | None]) -> Iterator:
        path, prediction = element
        predictions = iter(())
        if prediction is not None:
            predictions = zip(prediction.example, prediction.inference, strict=True)
        errors, notes, copied = [], [], False
        try:
            with self._local(path) as (job, out):
                for one in self._pages(job):
                    if _is_gray(one):
                        bulk.join(one, [next(predictions)], self._settings.rendering())
                    if not one.error:
                        bulk.write(one, self._settings.results(), threading.Event())
                    errors += [str(one.error).replace(job.photograph, path)] if one.error else []
                    notes += one.notes
                    copied = one.keeps_color  # The first page, which comes last.
                _publish(out, self._settings.output, last=[job.copy, *job.targets])
        except (UserError, OSError) as error:
            errors.append(one_line(error))
        for note in dict.fromkeys(notes):
            yield beam.pvalue.TaggedOutput(_NOTES, _line(path, note))
        if errors:
            yield self._failed(path, "; ".join(errors))
        else:
            self._counts["copied" if copied else "colored"].inc()
        self._tell()

    def _tell(self) -> None:
        """Says how fast this worker is, twice a minute."""
        self._files += 1
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            rate = self._files / (now - self._started)
            print(f"{self._files} files by this worker, {rate:.1f} a second", file=sys.stderr)
            self._told = now


def _is_gray(one: bulk.Photograph) -> bool:
    return one.rgb is not None and not one.error


def colorize(settings: BeamSettings, arguments: Sequence[str]) -> int:
    """Colors the photographs that a pattern matches.

    Writes the results, `dead_letters*.jsonl` with each file that could not be colored and why, and
    `notes*.jsonl` with what results lack.

    Args:
        settings: what to color, how, and where the results go.
        arguments: Beam's options, such as --runner.

    Returns:
        The exit status: 1 if a file could not be colored.

    Raises:
        UserError: there is no such model, no file, or an option is not Beam's.
    """
    # What cannot work is told at once, and not by a worker.
    pipeline = _pipeline(arguments)
    model = colorizer.load(settings.saved_model)
    side = settings.render_size
    size = (side, side) if side else model.image_size
    model.predict_ab(np.zeros((1, *size, 1), np.float32))
    if not any(found.metadata_list for found in _matched(settings.input)):
        raise UserError(f"No file matches --input={settings.input}.")
    root = _root(settings.input)
    if not _is_outside(root or os.curdir, settings.output):
        raise UserError(
            f"the photographs of --input={settings.input} lie in --output={settings.output}, where "
            "they would be taken for results: name another --output."
        )
    _prepare(settings.output)

    opened = (
        pipeline
        | "match" >> fileio.MatchFiles(settings.input)
        | "others" >> beam.Filter(lambda file: _is_outside(file.path, settings.output))
        | "share" >> beam.Reshuffle()
        | "open"
        >> beam.ParDo(_Open(settings, root, size)).with_outputs("finished", _DEAD, main="gray")
    )
    handler = base.KeyedModelHandler(_Model(settings.saved_model, settings.batch_size))
    # Not one step for both: runners begin it when all of both are there.
    written = [
        files | name >> beam.ParDo(_Write(settings, root)).with_outputs(_DEAD, _NOTES)
        for name, files in (
            ("write", opened.gray | "color" >> base.RunInference(handler)),
            ("copy", opened.finished),
        )
    ]
    for name, lines in (
        (_DEAD, [opened[_DEAD], *(one[_DEAD] for one in written)]),
        (_NOTES, [one[_NOTES] for one in written]),
    ):
        path = _join(settings.output, name)
        lines = lines | f"all {name}" >> beam.Flatten()
        lines | name >> beam.io.WriteToText(path, ".jsonl", skip_if_empty=True)
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except RuntimeError as error:
        if "Unable to fetch" not in str(error):  # Else it is a bug.
            raise
        raise UserError(f"the runner cannot be started: {one_line(error)}.") from error
    counts = dict.fromkeys(_COUNTS, 0)
    for counter in result.metrics().query(MetricsFilter().with_namespace("koalagan"))["counters"]:
        counts[counter.key.metric.name] += counter.result
    print(", ".join(f"{number} {name}" for name, number in counts.items()))
    if counts["failed"]:
        print(f"why is in {_join(settings.output, _DEAD)}*.jsonl")
    return 1 if counts["failed"] else 0


def _pipeline(arguments: Sequence[str]) -> beam.Pipeline:
    """A pipeline with Beam's options."""
    is_value = False
    for argument in arguments:
        if not argument.startswith("-") and not is_value:
            raise UserError(f"colorize_beam takes only flags, not {argument!r}: see --help.")
        is_value = argument.startswith("-") and "=" not in argument
    try:
        options = PipelineOptions(list(arguments))
        known = options.get_all_options(retain_unknown_options=False)
        every = options.get_all_options(retain_unknown_options=True)
        pipeline = beam.Pipeline(options=options)
    # Each runner checks its options in its own way.
    except (Exception, SystemExit) as error:
        raise UserError(f"Beam does not take these options: {one_line(error)}.") from error
    if unknown := set(every) - set(known):
        raise UserError(
            f"--{sorted(unknown)[0]} is an option of neither this command nor Beam: see --help."
        )
    return pipeline


def _prepare(output: str) -> None:
    """Makes the output folder, and deletes what an earlier call said of its files.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with contextlib.suppress(OSError):  # It is there, or has no folders.
            FileSystems.mkdirs(output)
        probe = _join(output, f"writable-{uuid.uuid4().hex}")
        FileSystems.create(probe).close()
        said = [_join(output, f"{name}*.jsonl") for name in (_DEAD, _NOTES)]
        former = [one.path for found in FileSystems.match(said) for one in found.metadata_list]
        FileSystems.delete([probe, *former])
    except Exception as error:  # Each file system has errors of its own.
        raise UserError(f"--output={output} cannot be written ({one_line(error)}).") from error


def _is_outside(path: str, output: str) -> bool:
    """Whether a path neither is the output folder nor lies in it, as earlier results do."""
    path, folder = (
        (one if "://" in one else os.path.abspath(one)).rstrip("/") + "/" for one in (path, output)
    )
    return not path.startswith(folder)


def _matched(pattern: str) -> list:
    try:
        return FileSystems.match([pattern], limits=[1])
    except Exception as error:  # Each file system has errors of its own.
        raise UserError(f"--input={pattern} cannot be read ({one_line(error)}).") from error


def _root(pattern: str) -> str:
    """The folder of a pattern before its first part with *, ? or [; results keep what follows."""
    fixed = pattern
    for magic in "*?[":
        fixed = fixed.split(magic)[0]
    return fixed[: fixed.rfind("/") + 1]


def _result_name(name: str, format: str) -> str:
    """The name of a result: that of its photograph, and the extension of another format.

    GIF has 256 colors, which would change the lightness.
    """
    if format == "same" and not name.lower().endswith(".gif"):
        return name
    return name + FORMATS.get(format, FORMATS["png"])


def _copy_name(name: str, _: str) -> str:
    """The name of a copy: that of its photograph, unless it could be the result of another."""
    stem, extension = os.path.splitext(name)
    is_result = stem.lower().endswith(picture_folder.PICTURE_EXTENSIONS)
    return name + extension if is_result else name


def _join(folder: str, name: str) -> str:
    return FileSystems.join(folder, *name.split("/"))


def _line(path: str, sentence: str) -> str:
    return json.dumps({"file": path, "reason": sentence})


def _publish(folder: str, output: str, *, last: Sequence[str]) -> None:
    """Copies all files of a folder to the output folder, each one whole or not at all.

    Args:
        last: the files that say that the others are there.
    """
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    for path in sorted(paths, key=lambda path: path in last):
        target = _join(output, os.path.relpath(path, folder))
        with contextlib.suppress(OSError):  # It is there, or has no folders.
            FileSystems.mkdirs(os.path.dirname(target))
        unfinished = f"{target}.writing-{uuid.uuid4().hex}"
        with (
            open(path, "rb") as source,
            FileSystems.create(unfinished, "application/octet-stream") as copy,
        ):
            shutil.copyfileobj(source, copy)
        if FileSystems.exists(target):
            FileSystems.delete([target])
        FileSystems.rename([unfinished], [target])
