# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors photographs in an Apache Beam pipeline, on any runner and any file system that Beam knows.

    files -> open -> RunInference -> join, write
               |                       |
               +-- dead letters -------+

The steps are those of `koalagan.photos.bulk`, and so are the results, byte for byte. What does not
depend on a photograph's neighbors stays with it: a worker opens, colors and writes it without
exchanging it with others.
"""

import contextlib
import dataclasses
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

from koalagan.data.picture_file import BadPicture
from koalagan.errors import UserError, one_line
from koalagan.inference import colorizer
from koalagan.photos import bulk, film_kinds
from koalagan.photos.planning import Job
from koalagan.photos.settings import FORMATS, BeamSettings

_DEAD, _NOTES = "dead_letters", "notes"
# Seconds.
_TELL_EVERY = 30.0
_COUNTS = ("colored", "copied", "skipped", "failed")


@dataclasses.dataclass
class _Opened:
    """A photograph on its way through a worker.

    Attributes:
        photograph: opened; its files lie in `folder`.
        name: below the output folder.
        folder: temporary; deleted after its last page.
    """

    photograph: bulk.Photograph
    name: str
    folder: str


class _Model(base.ModelHandler[np.ndarray, base.PredictionResult, colorizer.Colorizer]):
    """Colors L, float32 [h,w,1], as ab [h,w,2].

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
        return map(base.PredictionResult, batch, model.predict_ab(np.stack(batch)))


class _Open(beam.DoFn):
    """A matched file -> its photographs, with the network's input."""

    def __init__(self, settings: BeamSettings, root: str, size: tuple[int, int]):
        self._settings, self._root, self._size = settings, root, size
        self._counts = {name: Metrics.counter("koalagan", name) for name in _COUNTS}

    def process(self, file: FileMetadata) -> Iterator:
        settings = self._settings
        name = file.path.removeprefix(self._root)
        targets = [_join(settings.output, one) for one in (_result(name, settings.format), name)]
        if not settings.overwrite and any(map(FileSystems.exists, dict.fromkeys(targets))):
            self._counts["skipped"].inc()
            return
        if film_kinds.is_film(name):
            reason = "it is a film: `koalagan colorize` colors films"
            yield from self._failed(file.path, reason)
            return
        folder = tempfile.mkdtemp(prefix="koalagan-")
        local = os.path.join(folder, "in", os.path.basename(name))
        job = Job(local, name, (os.path.join(folder, "out", _result(name, settings.format)),), None)
        job = dataclasses.replace(job, copy=os.path.join(folder, "out", name))
        try:
            for part in ("in", os.path.join("out", os.path.dirname(name))):
                os.makedirs(os.path.join(folder, part), exist_ok=True)
            with FileSystems.open(file.path) as source, open(local, "wb") as copy:
                shutil.copyfileobj(source, copy)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            yield from self._failed(file.path, f"it cannot be read ({one_line(error)})")
            return
        for one in bulk.open_file(job, settings.rendering(), settings.results()):
            opened = _Opened(one, file.path, folder)
            if one.rgb is None or one.error:
                yield beam.pvalue.TaggedOutput("finished", opened)
            else:
                yield opened, colorizer.lightness(one.rgb, self._size)[0]

    def _failed(self, path: str, reason: str) -> Iterator[beam.pvalue.TaggedOutput]:
        self._counts["failed"].inc()
        yield beam.pvalue.TaggedOutput(_DEAD, _line(path, reason))


class _Write(beam.DoFn):
    """A photograph, with its prediction if it has one -> its results in the output folder."""

    def __init__(self, settings: BeamSettings):
        self._settings = settings
        self._counts = {name: Metrics.counter("koalagan", name) for name in _COUNTS}

    def setup(self):
        self._files, self._started, self._told = 0, time.monotonic(), time.monotonic()

    def _tell(self) -> None:
        """Says how fast this worker is, twice a minute."""
        self._files += 1
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            rate = self._files / (now - self._started)
            print(f"{self._files} files by this worker, {rate:.1f} a second", file=sys.stderr)
            self._told = now

    def process(self, element: tuple[_Opened, base.PredictionResult | None]) -> Iterator:
        opened, prediction = element
        one, settings = opened.photograph, self._settings
        try:
            if prediction is not None:
                pair = (prediction.example, prediction.inference)
                bulk.join(one, [pair], settings.rendering())
            if not one.error:
                bulk.write(one, settings.results(), threading.Event())
            if one.error:
                raise one.error
            _publish(os.path.join(opened.folder, "out"), settings.output)
        except (BadPicture, UserError, OSError) as error:
            self._counts["failed"].inc()
            reason = str(error).replace(one.job.photograph, opened.name)
            yield beam.pvalue.TaggedOutput(_DEAD, _line(opened.name, reason))
        else:
            if one.page == 1:
                self._counts["copied" if one.keeps_color else "colored"].inc()
            for note in one.notes:
                yield beam.pvalue.TaggedOutput(_NOTES, _line(opened.name, note))
        if one.page == 1:  # The last one of a file.
            self._tell()
            shutil.rmtree(opened.folder, ignore_errors=True)


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
    # A model that cannot be read is told at once, and not by a worker.
    size, side = colorizer.load(settings.saved_model).image_size, settings.render_size
    size = (side, side) if side else size
    options = _beam_options(arguments)
    if not any(found.metadata_list for found in _matched(settings.input)):
        raise UserError(f"No file matches --input={settings.input}.")
    pipeline = beam.Pipeline(options=options)
    opened = (
        pipeline
        | "match" >> fileio.MatchFiles(settings.input)
        | "share" >> beam.Reshuffle()
        | "open"
        >> beam.ParDo(_Open(settings, _root(settings.input), size)).with_outputs(
            "finished", _DEAD, main="gray"
        )
    )
    model = _Model(settings.saved_model, settings.batch_size)
    colored = opened.gray | "color" >> base.RunInference(base.KeyedModelHandler(model))
    finished = opened.finished | "as they are" >> beam.Map(lambda one: (one, None))
    written = ((colored, finished) | "both" >> beam.Flatten()) | "write" >> beam.ParDo(
        _Write(settings)
    ).with_outputs(_DEAD, _NOTES)
    for name, lines in (
        (_DEAD, (opened[_DEAD], written[_DEAD]) | "dead" >> beam.Flatten()),
        (_NOTES, written[_NOTES]),
    ):
        path = _join(settings.output, name)
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


def _beam_options(arguments: Sequence[str]) -> PipelineOptions:
    options = PipelineOptions(list(arguments))
    known = options.get_all_options(retain_unknown_options=False)
    if unknown := set(options.get_all_options(retain_unknown_options=True)) - set(known):
        raise UserError(
            f"--{sorted(unknown)[0]} is an option of neither this command nor Beam: see --help."
        )
    return options


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


def _result(name: str, format: str) -> str:
    """The name of a result: that of its photograph, so that no two can be the same, and a format's.

    GIF has 256 colors, which would change the lightness.
    """
    extension = os.path.splitext(name)[1].lower()
    if format == "same" and extension != ".gif":
        return name
    return name + FORMATS.get(format, FORMATS["png"])


def _join(folder: str, name: str) -> str:
    return FileSystems.join(folder, *name.split("/"))


def _line(path: str, sentence: str) -> str:
    return json.dumps({"file": path, "reason": sentence})


def _publish(folder: str, output: str) -> None:
    """Moves all files of a folder to the output folder, each one whole or not at all."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
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
            os.unlink(path)
