# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Films: every frame coloured, sound, size and frame rate kept (extra `[video]`: PyAV).

What a model predicts for one frame is a little different for the next, which flickers. `Smoother`
mixes each prediction with the one before where the picture stands still; `experiments/flicker.py`
measures what that does.

A film is written in parts, in a folder beside the result, which the same call continues; the sound
is copied when all parts are there.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from koalagan import files, progress
from koalagan.errors import UserError
from koalagan.inference import colorizer
from koalagan.photos import film_files
from koalagan.photos.film_files import BadFilm

if TYPE_CHECKING:
    import av
    import tqdm

PART = 250  # frames
# Of the difference in normalised L at which a pixel counts as moved: 4 units of L*, which is above
# the grain of film and below most edges.
_MOVED = 0.08


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
    settings = {
        "film": _identity(film),
        "model": [model.path, _identity(f"{model.path}/variables/variables.index"), model.facts],
        "smoothing": smoothing,
        "saturation": saturation,
        "render_size": render_size,
    }
    parts = Path(target).with_name(f".{Path(target).name}.parts")
    work = None
    try:
        with film_files.opened(film) as source:
            work = _Parts(parts, settings)
            film_files.check_sound(source, str(parts / f"sound{Path(target).suffix}"))
            smoother = Smoother(smoothing)
            smoother.state = work.smoothed
            stream = source.streams.video[0]
            length = int((stream.duration or 0) * film_files.rate(stream) * stream.time_base)
            total = stream.frames or length or None
            with progress.bar(Path(film).name, total, work.frames, unit="frame") as bar:
                frames = itertools.islice(film_files.frames(source, film), work.frames, None)
                while first := next(frames, None):
                    part = itertools.chain([first], itertools.islice(frames, PART - 1))
                    options = (saturation, render_size, batch_size)
                    work.add(_coloured(part, model, smoother, *options, bar), stream, smoother)
        if not work.frames:
            raise BadFilm(f"The film {film} has no picture that can be read.")
        files.publish(target, lambda path: film_files.assemble(path, work.paths, film))
    except BadFilm:
        if work and not work.frames:
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
    with film_files.opened(film) as source:
        yield from map(film_files.pixels, film_files.frames(source, film))


def _identity(path: str) -> list[Any]:
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise BadFilm(f"The film {path} cannot be read: {error.strerror}.") from error
    return [str(Path(path).absolute()), facts.st_size, facts.st_mtime_ns]


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
        pictures = [film_files.pixels(frame) for frame in batch]
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
        try:
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._settings:
            self._counts = state["frames"]
        else:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
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
        return self._folder / f"{number:06}.nut"

    def _read_smoothed(self) -> tuple[np.ndarray, np.ndarray]:
        with np.load(self._folder / f"{len(self._counts):06}.npz") as kept:
            return kept["L"], kept["ab"]

    def add(self, frames: Iterator[tuple[np.ndarray, int]], stream, smoother: Smoother) -> None:
        """Encodes the next part; the mark that says it is there comes last."""
        number = len(self._counts)
        count = film_files.encode(self._path(number), frames, stream)
        L, ab = smoother.state
        np.savez(self._folder / f"{number + 1:06}.npz", L=L, ab=ab)
        self._counts.append(count)
        state = json.dumps({"settings": self._settings, "frames": self._counts})
        files.publish(self._folder / "state.json", lambda path: path.write_text(state))
        (self._folder / f"{number:06}.npz").unlink(missing_ok=True)
