# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Coloring films: every frame; audio, size and timestamps are kept (extra `[video]`: PyAV).

A model's predictions differ a little from frame to frame, which flickers. `Smoother` mixes each
prediction with the previous one where the picture does not move; `experiments/studies/flicker.py`
measures the effect.

A film is written in parts, in a hidden folder beside the result. The same call continues an
interrupted film; when all parts exist, they are assembled and the audio is copied.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from koalagan import files, progress
from koalagan.color.detection import has_color
from koalagan.errors import UserError
from koalagan.inference.colorizer import Colorizer
from koalagan.photos import film_fields, film_files
from koalagan.photos.film_files import BadFilm
from koalagan.photos.settings import Rendering

if TYPE_CHECKING:
    import av

PART = 250  # frames
# Scale of the Gaussian over differences in normalized L: 4 units of L*, which is above film grain
# and below most edges.
_MOVED = 0.08
# A cut changes normalized L by more than this on average, 6 units of L*; movement by less.
_CUT = 0.12
_VOTES = 25  # frames, a second


class Shots:
    """Tells frames in color from those in black and white, by the shot that they are in.

    The last frames of a shot vote, so that a frame near the threshold does not flicker.

    Attributes:
        votes: of the last frames of this shot.
    """

    def __init__(self):
        self.votes: collections.deque[bool] = collections.deque(maxlen=_VOTES)

    def in_color(self, rgb: np.ndarray, L: np.ndarray, previous_L: np.ndarray | None) -> bool:
        """Whether a frame is part of a shot in color.

        Args:
            rgb: the frame, uint8 [H, W, 3].
            L: the same in the network's size, [h, w, 1].
            previous_L: that of the frame before; None for the first one.
        """
        if previous_L is not None and np.abs(L - previous_L).mean() > _CUT:
            self.votes.clear()
        self.votes.append(has_color(rgb))
        return 2 * sum(self.votes) > len(self.votes)


class Smoother:
    """Lets the colors of a film change slowly where its picture does not move.

    Each pixel's chroma is the previous one with weight `strength`, and its own prediction for the
    rest. The weight falls with the change in lightness (Gaussian), so that moving objects leave no
    trail and no color survives a cut.

    Args:
        strength: in [0, 1); 0 leaves predictions unchanged.

    Attributes:
        state: L [h, w, 1] and the smoothed ab [h, w, 2] of the last frame; None before the first.
    """

    def __init__(self, strength: float):
        self.strength = strength
        self.state: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, L: np.ndarray, ab: np.ndarray) -> np.ndarray:
        """Smooths the prediction for the next frame.

        Args:
            L: [h, w, 1], in [-1, 1].
            ab: the prediction, [h, w, 2], in [-1, 1].

        Returns:
            The smoothed prediction, [h, w, 2].
        """
        if self.state is not None and self.strength:
            previous_L, previous_ab = self.state
            weight = self.strength * np.exp(-np.square((L - previous_L) / _MOVED) / 2)
            ab = weight * previous_ab + (1 - weight) * ab
        self.state = L, ab
        return ab


def colorize(
    film: str, target: str, model: Colorizer, rendering: Rendering, *, keep_color: bool = False
) -> None:
    """Colors a film.

    Args:
        film: its path.
        target: the path of the result, which appears when it is complete. Until then its parts lie
            in a folder beside it.
        model: predicts the colors.
        rendering: how it does, and how its predictions are smoothed.
        keep_color: leave frames that have color already as they are.

    Raises:
        BadFilm: the film cannot be read, or has no video.
        UserError: PyAV is not installed, or the result cannot be written.
    """
    fingerprint = {
        "film": _identity(film),
        "model": [model.path, _identity(f"{model.path}/variables/variables.index"), model.facts],
        "smoothing": rendering.smoothing,
        "saturation": rendering.saturation,
        "render_size": rendering.render_size,
        "keep_color": keep_color,
        "votes": _VOTES,
    }
    folder = Path(target).with_name(f".{Path(target).name}.parts")
    parts = None
    try:
        with film_files.opened(film) as source:
            parts = _Parts(folder, fingerprint)
            film_files.check_audio(source, str(folder / f"audio{Path(target).suffix}"))
            _add_parts(parts, source, film, model, rendering, keep_color)
        if not parts.frames:
            raise BadFilm(f"The film {film} has no readable frames.")
        files.publish(target, lambda path: film_files.assemble(path, parts.paths, film))
    except BadFilm:
        if parts and not parts.frames:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}.") from error
    shutil.rmtree(folder)


def read(film: str) -> Iterator[np.ndarray]:
    """Yields the frames of a film, uint8 [H, W, 3].

    Raises:
        BadFilm: it cannot be read, or has no video.
        UserError: PyAV is not installed.
    """
    with film_files.opened(film) as source:
        yield from map(film_files.pixels, film_files.frames(source, film))


def _identity(path: str) -> list[Any]:
    """What changes when a file does: its path, size and time of modification."""
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise BadFilm(f"The film {path} cannot be read: {error.strerror}.") from error
    return [str(Path(path).absolute()), facts.st_size, facts.st_mtime_ns]


def _add_parts(
    parts: _Parts,
    source: av.container.InputContainer,
    film: str,
    model: Colorizer,
    rendering: Rendering,
    keep_color: bool,
) -> None:
    """Colors those frames of a film that are not in a part yet."""
    stream = source.streams.video[0]
    duration = int((stream.duration or 0) * film_files.rate(stream) * stream.time_base)
    total = stream.frames or duration or None
    smoother, shots = Smoother(rendering.smoothing), Shots()
    smoother.state = parts.smoothed
    shots.votes.extend(parts.votes)
    fields = film_fields.order(film)
    mark = functools.partial(film_fields.marked, order=fields) if fields else None
    frames = itertools.islice(film_files.frames(source, film), parts.frames, None)
    with progress.bar(Path(film).name, total, parts.frames, unit="frame") as bar:
        while first := next(frames, None):
            part = itertools.chain([first], itertools.islice(frames, PART - 1))
            colored = _color(part, model, smoother, rendering, shots if keep_color else None, bar)
            parts.add(colored, stream, smoother, shots, mark)


def _color(
    frames: Iterator[av.VideoFrame],
    model: Colorizer,
    smoother: Smoother,
    rendering: Rendering,
    kept: Shots | None,
    bar: tqdm,
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (colored frame, its timestamp), with one batch in memory at a time."""
    while batch := list(itertools.islice(frames, rendering.batch_size)):
        pictures = [film_files.pixels(frame) for frame in batch]
        predictions = model.predict(pictures, rendering.render_size)
        for frame, rgb, L, ab in zip(batch, pictures, *predictions, strict=True):
            previous_L = smoother.state and smoother.state[0]
            smoothed = smoother(L, ab)
            if kept and kept.in_color(rgb, L, previous_L):
                yield rgb, frame.pts
            else:
                yield model.join(rgb, L, smoothed, rendering.saturation), frame.pts
            bar.update()


class _Parts:
    """The finished parts of a film, and the state that the next one starts from.

    `state.json` names the finished parts (`000000.nut`, ...), `000003.npz` is the state of the
    smoother and of the shot after three of them.

    Args:
        folder: created if it does not exist. Parts with another fingerprint are deleted.
        fingerprint: JSON-serializable; all that the frames depend on.
    """

    def __init__(self, folder: Path, fingerprint: dict[str, Any]):
        self._folder = folder
        self._fingerprint = json.loads(json.dumps(fingerprint))
        self._counts: list[int] = []
        try:
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            state = {}
        if state.get("settings") == self._fingerprint:
            self._counts = state["frames"]
        else:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.smoothed: tuple[np.ndarray, np.ndarray] | None = None
        self.votes: list[bool] = []
        if self._counts:
            with np.load(folder / f"{len(self._counts):06}.npz") as kept:
                self.smoothed = kept["L"], kept["ab"]
                self.votes = kept["votes"].tolist()

    @property
    def frames(self) -> int:
        """The number of frames in finished parts."""
        return sum(self._counts)

    @property
    def paths(self) -> list[Path]:
        """The finished parts in order."""
        return [self._path(number) for number in range(len(self._counts))]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.nut"

    def add(
        self,
        frames: Iterator[tuple[np.ndarray, int]],
        stream: av.VideoStream,
        smoother: Smoother,
        shots: Shots,
        mark: Callable[[av.VideoFrame], av.VideoFrame] | None,
    ) -> None:
        """Encodes the next part. It counts as finished once `state.json` names it."""
        number = len(self._counts)
        count = film_files.encode(self._path(number), frames, stream, mark)
        L, ab = smoother.state
        np.savez(self._folder / f"{number + 1:06}.npz", L=L, ab=ab, votes=list(shots.votes))
        self._counts.append(count)
        state = json.dumps({"settings": self._fingerprint, "frames": self._counts})
        files.publish_text(self._folder / "state.json", state)
        (self._folder / f"{number:06}.npz").unlink(missing_ok=True)
