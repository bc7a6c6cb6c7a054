# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films: every frame coloured, sound, size and frame rate kept (extra `[video]`: PyAV).

What a model predicts for one frame is a little different for the next, which flickers. `Smoother`
mixes each prediction with the one before where the picture stands still; `experiments/flicker.py`
measures what that does.

A film is written in parts, in a folder beside the result, which the same call continues; the sound
is copied when all parts are there. Times are the source's own, so variable frame rates stay.
"""

from __future__ import annotations

import heapq
import itertools
import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koalagan import colorizer, files, lazy, progress
from koalagan.errors import UserError, one_line

if TYPE_CHECKING:
    import tqdm

av = lazy.module("av")

# What is written as it came; other containers become Matroska, which holds any sound.
_KEPT = (".mp4", ".m4v", ".mov", ".mkv")
ENDINGS = (*_KEPT, ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts")
PART = 250  # frames
# Of the difference in normalised L at which a pixel counts as moved: 4 units of L*, which is above
# the grain of film and below most edges.
_MOVED = 0.08


class BadFilm(UserError):
    """A file that cannot be read as a film; its text names it."""


def is_film(path: str) -> bool:
    """Whether a path ends like a film's."""
    return path.lower().endswith(ENDINGS)


def ending(path: str) -> str:
    """The ending of the result for a film."""
    own = Path(path).suffix
    return own if own.lower() in _KEPT else ".mkv"


class Smoother:
    """Lets the colours of a film change slowly where its picture does not change.

    Each pixel's chroma is `strength` of the one before and the rest of its own prediction; the
    more its lightness has changed since, the less of the one before it is (Gaussian), so that
    nothing trails behind what moves, and nothing survives a cut.

    Args:
        strength: 0 leaves predictions as they are; less than 1.
    """

    def __init__(self, strength: float):
        self.strength = strength
        self.state: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, L: np.ndarray, ab: np.ndarray) -> np.ndarray:
        """The next frame's L [h,w,1] and prediction [h,w,2] -> the smoothed prediction."""
        if self.state is not None and self.strength:
            before_L, before = self.state
            moved = (L - before_L) / _MOVED
            weight = self.strength * np.exp(-np.square(moved) / 2)
            ab = weight * before + (1 - weight) * ab
        self.state = L, ab
        return ab


def colorize(
    film: str,
    target: str,
    model: colorizer.Colorizer,
    *,
    smoothing: float = 0.8,
    saturation: float = 1.0,
    render_size: int | None = None,
    batch_size: int = 4,
) -> None:
    """Colours a film into `target`, which appears when it is whole.

    Args:
        film: its path.
        target: the result's; its parts lie in a folder beside it until then.
        model: what colours.
        smoothing: see `Smoother`.
        saturation, render_size: see `Colorizer.colorize`.
        batch_size: frames that the network gets at once.

    Raises:
        BadFilm: it cannot be read, or has no picture.
        UserError: PyAV is not installed, or the result cannot be written.
    """
    _require_av()
    settings = {
        "film": _identity(film),
        "model": [model.path, model.facts],
        "smoothing": smoothing,
        "saturation": saturation,
        "render_size": render_size,
    }
    parts = Path(target).with_name(f".{Path(target).name}.parts")
    try:
        work = _Parts(parts, settings)
        smoother = Smoother(smoothing)
        smoother.state = work.smoothed
        with _opened(film) as source:
            stream = source.streams.video[0]
            length = int((stream.duration or 0) * _rate(stream) * stream.time_base)
            total = stream.frames or length or None
            with progress.bar(Path(film).name, total, work.frames, unit="frame") as bar:
                frames = itertools.islice(_frames(source, film), work.frames, None)
                while first := next(frames, None):
                    part = itertools.chain([first], itertools.islice(frames, PART - 1))
                    options = (saturation, render_size, batch_size)
                    work.add(_coloured(part, model, smoother, *options, bar), stream, smoother)
        if not work.frames:
            raise BadFilm(f"The film {film} has no picture that can be read.")
        files.publish(target, lambda path: _assemble(path, work, film))
    except BadFilm:
        shutil.rmtree(parts, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    shutil.rmtree(parts)


def read(film: str) -> Iterator[np.ndarray]:
    """The frames of a film, uint8 [H,W,3].

    Raises:
        BadFilm: it cannot be read, or has no picture.
        UserError: PyAV is not installed.
    """
    _require_av()
    with _opened(film) as source:
        for frame in _frames(source, film):
            yield frame.to_ndarray(format="rgb24")


def _require_av() -> None:
    try:
        av.__version__  # noqa: B018 - imports it
    except ImportError as error:
        raise UserError("films need PyAV: pip install 'koalagan[video]'.") from error


def _identity(film: str) -> list[Any]:
    try:
        facts = Path(film).stat()
    except OSError as error:
        raise BadFilm(f"The film {film} cannot be read: {error.strerror}.") from error
    return [str(Path(film).absolute()), facts.st_size, facts.st_mtime_ns]


def _opened(film: str):
    try:
        source = av.open(film)
    except (av.FFmpegError, OSError) as error:
        raise BadFilm(f"The film {film} cannot be read: {one_line(error)}.") from error
    if not source.streams.video:
        source.close()
        raise BadFilm(f"The film {film} has no picture.")
    source.streams.video[0].thread_type = "AUTO"
    return source


def _rate(stream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _frames(source: av.container.InputContainer, film: str) -> Iterator[av.VideoFrame]:
    """The frames, each with its time, as far as the film can be read."""
    stream = source.streams.video[0]
    apart = max(1, round(1 / (_rate(stream) * stream.time_base)))
    last = -apart
    # AVI has no times, only a rate; what is made up for it is in the order of coding.
    told = source.format.name != "avi"
    try:
        for frame in source.decode(video=0):
            if not told or frame.pts is None or frame.pts <= last:
                frame.pts = last + apart
            last = frame.pts
            yield frame
    except av.FFmpegError as error:
        raise BadFilm(f"The film {film} is damaged: {one_line(error)}.") from error


def _coloured(
    frames: Iterator[av.VideoFrame],
    model: colorizer.Colorizer,
    smoother: Smoother,
    saturation: float,
    render_size: int | None,
    batch_size: int,
    bar: tqdm.tqdm,
) -> Iterator[tuple[np.ndarray, int]]:
    """(coloured, its time) of each frame, one batch held at a time."""
    while batch := list(itertools.islice(frames, batch_size)):
        pictures = [frame.to_ndarray(format="rgb24") for frame in batch]
        L, ab = model.predict(pictures, render_size)
        for frame, rgb, *prediction in zip(batch, pictures, L, ab, strict=True):
            smoothed = smoother(*prediction)
            yield model.join(rgb, prediction[0], smoothed, saturation), frame.pts
            bar.update()


class _Parts:
    """The finished parts of a film, and what the next one needs of them.

    Args:
        folder: made if absent; what other settings left there is deleted.
        settings: JSON-able.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self._folder = folder
        self._settings = json.loads(json.dumps(settings))
        self._counts: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)
        try:
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._settings:
            self._counts = state["frames"]
        self.smoothed = self._read_smoothed() if self._counts else None

    @property
    def frames(self) -> int:
        """How many are finished."""
        return sum(self._counts)

    @property
    def paths(self) -> list[Path]:
        """The parts in their order."""
        return [self._path(number) for number in range(len(self._counts))]

    def _path(self, number: int) -> Path:
        # NUT keeps times as they are; others round them.
        return self._folder / f"{number:06}.nut"

    def _read_smoothed(self) -> tuple[np.ndarray, np.ndarray]:
        with np.load(self._folder / f"{len(self._counts):06}.npz") as kept:
            return kept["L"], kept["ab"]

    def add(self, frames: Iterator[tuple[np.ndarray, int]], stream, smoother: Smoother) -> None:
        """Encodes the next part; the mark that says it is there comes last."""
        number = len(self._counts)
        count = _encode(self._path(number), frames, stream)
        L, ab = smoother.state
        np.savez(self._folder / f"{number + 1:06}.npz", L=L, ab=ab)
        self._counts.append(count)
        state = json.dumps({"settings": self._settings, "frames": self._counts})
        files.publish(self._folder / "state.json", lambda path: path.write_text(state))
        (self._folder / f"{number:06}.npz").unlink(missing_ok=True)


def _encode(path: Path, frames: Iterator[tuple[np.ndarray, int]], stream) -> int:
    """Writes a part; returns how many frames it has."""
    count, output = 0, None
    with av.open(str(path), "w", format="nut") as container:
        for rgb, time in frames:
            if output is None:
                output = _video_stream(container, stream, *rgb.shape[:2])
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame = frame.reformat(
                format=output.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = time, stream.time_base
            container.mux(output.encode(frame))
            count += 1
        if output is not None:
            container.mux(output.encode())
    return count


def _video_stream(container, stream, height: int, width: int):
    # Without frames that refer forwards, so that parts can follow one another.
    options = {"crf": "18", "preset": "medium", "bf": "0"}
    output = container.add_stream("libx264", rate=_rate(stream), options=options)
    output.width, output.height = width, height
    # Shared chroma needs even sides.
    output.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    context = output.codec_context
    context.time_base = stream.time_base
    context.sample_aspect_ratio = stream.sample_aspect_ratio or Fraction(1)
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited
    context.flags |= av.codec.context.Flags.global_header
    return output


def _assemble(path: Path, work: _Parts, film: str) -> None:
    """Puts the parts behind one another and the film's sound beside them."""
    with av.open(str(path), "w") as result, _opened(film) as source:
        with av.open(str(work.paths[0])) as first:
            video = result.add_stream_from_template(first.streams.video[0])
        sounds = {
            stream.index: result.add_stream_from_template(stream) for stream in source.streams.audio
        }

        def pictures() -> Iterator[tuple[av.Packet, av.stream.Stream]]:
            for part in work.paths:
                with av.open(str(part)) as container:
                    for packet in container.demux(video=0):
                        yield packet, video

        def sound() -> Iterator[tuple[av.Packet, av.stream.Stream]]:
            for packet in source.demux(*source.streams.audio) if sounds else ():
                yield packet, sounds[packet.stream.index]

        # A packet without a time only says that its stream has ended.
        both = ((one for one in many() if one[0].dts is not None) for many in (pictures, sound))
        # As players read them: what is heard beside what is seen.
        for packet, stream in heapq.merge(*both, key=lambda one: one[0].dts * one[0].time_base):
            packet.stream = stream
            result.mux(packet)
