# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Tools for painting scenes: a canvas, soft shapes on it, and noise for textures.

Positions and lengths are fractions of the picture: (0, 0) is its top left corner and (1, 1) its
bottom right corner, so a scene is the same at every size. A color is float32 sRGB in [0, 1], shaped
[3, 1, 1], and a map of colors is [3, h, w]: NumPy is several times faster with channels first.
Layers are painted over one another at twice the picture's size, and `Canvas.picture` averages them
down, which smooths every edge.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageColor, ImageDraw

OVERSAMPLING = 2

_WARMTH = np.array([0.025, 0.01, -0.03], np.float32).reshape(3, 1, 1)

T = TypeVar("T")
Points = Iterable[tuple[float, float]]  # or an array [n, 2]
Where = tuple[slice, slice, slice]


def ink(code: str) -> np.ndarray:
    """The color "#rrggbb"."""
    return np.array(ImageColor.getrgb(code), np.float32).reshape(3, 1, 1) / 255


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of `choices`, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def mix(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """`first` where `share` is 0, `second` where it is 1; a [h, w] share makes a map."""
    return first + (second - first) * share


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth rise in between (a fall if low > high)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def shade(color: np.ndarray, light: np.ndarray | float) -> np.ndarray:
    """`color` in more or less light: bluish shadows and yellowish highlights, as outdoors.

    Args:
        color: a color or a map of colors.
        light: about -1 (deep shadow) to 1 (sunlit); a number or [h, w].
    """
    return color + light * (0.55 * color + _WARMTH)


def around(x: float, y: float, reach: float) -> tuple[float, float, float, float]:
    """The box from (x, y) by `reach` in each direction: left, top, right, bottom."""
    return x - reach, y - reach, x + reach, y + reach


class Canvas:
    """A square picture that is being painted, `pixels` float32 [3, side, side]."""

    def __init__(self, size: int):
        self.size = size
        self.side = size * OVERSAMPLING
        self.pixels = np.zeros((3, self.side, self.side), np.float32)

    def picture(self) -> np.ndarray:
        """The finished picture, uint8 [size, size, 3]."""
        return np.asarray(_image(self.pixels).reduce(OVERSAMPLING))

    def window(
        self, left: float = 0, top: float = 0, right: float = 1, bottom: float = 1
    ) -> tuple[Where, np.ndarray, np.ndarray]:
        """The part of the canvas inside a box: its slices, its x [1, w] and its y [h, 1].

        Both may be empty if the box lies outside the picture.
        """
        start = [int(np.clip(np.floor(v * self.side), 0, self.side)) for v in (top, left)]
        stop = [int(np.clip(np.ceil(v * self.side), 0, self.side)) for v in (bottom, right)]
        y, x = (
            (np.arange(a, max(a, b), dtype=np.float32) + 0.5) / self.side
            for a, b in zip(start, stop, strict=True)
        )
        rows = slice(start[0], start[0] + len(y))
        columns = slice(start[1], start[1] + len(x))
        return (slice(None), rows, columns), x[None], y[:, None]

    def paint(self, where: Where, color: np.ndarray, alpha: np.ndarray | float) -> None:
        """Blends a color or a map of colors over a window with the opacity `alpha` ([h, w])."""
        area = self.pixels[where]
        change = color - area
        change *= alpha
        area += change

    def below(self, y: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """The alpha, at heights `y`, of all below a line `edge` [1, w] that is one pixel soft."""
        return np.clip((y - edge) * self.side + 0.5, 0, 1)

    def blob(
        self,
        rng: np.random.Generator,
        center: tuple[float, float],
        radii: tuple[float, float],
        color: np.ndarray,
        *,
        turn: float = 0.0,
        fuzz: float = 0.0,
        softness: float = 0.04,
        fur: float = 0.0,
        light: float = 0.5,
        opacity: float = 1.0,
    ) -> None:
        """Paints an ellipse lit from the upper left.

        Args:
            turn: clockwise rotation in radians.
            fuzz: how far tufts stick out from the edge, as a fraction of the radius.
            softness: the width of the edge, as a fraction of the radius.
            fur: the strength of the fur texture.
            light: the strength of the light and shadow that make it look round.
            opacity: the alpha inside the edge.
        """
        reach = max(radii) * (1 + fuzz + softness)
        (cx, cy), (rx, ry) = center, radii
        where, x, y = self.window(cx - reach, cy - reach, cx + reach, cy + reach)
        seed = int(rng.integers(2**32))
        if not x.size or not y.size:
            return
        cos, sin = math.cos(turn), math.sin(turn)
        u = ((x - cx) * cos + (y - cy) * sin) / rx
        v = ((y - cy) * cos - (x - cx) * sin) / ry
        distance = np.hypot(u, v)
        own = np.random.default_rng(seed)
        if fuzz:
            tufts = own.random(64, np.float32)
            angle = (np.arctan2(v, u) / (2 * np.pi) % 1) * 64
            low = angle.astype(np.int32) % 64
            height = tufts[low] + (tufts[(low + 1) % 64] - tufts[low]) * (angle % 1)
            distance = distance - fuzz * (height - 0.3)
        alpha = smoothstep(1 + softness / 2, 1 - softness / 2, distance)
        glow = -0.55 * (x - cx) / rx - 0.8 * (y - cy) / ry - 0.35 * distance**2 + 0.1
        lit = light * glow
        if fur:
            lit = lit + fur * noise(own, lit.shape, (self.side * 0.006, self.side * 0.01))
        self.paint(where, shade(color, lit), alpha * opacity)

    def shadow(
        self, center: tuple[float, float], radii: tuple[float, float], color: np.ndarray
    ) -> None:
        """Paints the soft shadow of an object that stands at `center`."""
        (cx, cy), (rx, ry) = center, radii
        where, x, y = self.window(cx - 1.6 * rx, cy - 1.6 * ry, cx + 1.6 * rx, cy + 1.6 * ry)
        self.paint(where, color, 0.5 * smoothstep(1.6, 0.4, np.hypot((x - cx) / rx, (y - cy) / ry)))

    @contextlib.contextmanager
    def pen(
        self, left: float = 0, top: float = 0, right: float = 1, bottom: float = 1
    ) -> Iterator["Pen"]:
        """Draws lines and polygons on the part of the canvas inside a box."""
        where, x, y = self.window(left, top, right, bottom)
        if x.size and y.size:
            area = self.pixels[where]
            image = _image(area)
            yield Pen(ImageDraw.Draw(image), self.side, (where[2].start, where[1].start))
            area[:] = np.asarray(image).transpose(2, 0, 1)
            area /= 255
        else:  # Nothing that it draws is visible.
            yield Pen(ImageDraw.Draw(Image.new("RGB", (1, 1))), self.side, (0, 0))


class Pen:
    """Draws flat shapes. Positions are fractions of the picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, side: int, origin: tuple[int, int]):
        self._draw = draw
        self._side = side
        self._origin = origin

    def _points(self, points: Points) -> list[tuple[float, float]]:
        left, top = self._origin
        return [(x * self._side - left, y * self._side - top) for x, y in points]

    def polygon(self, points: Points, color: np.ndarray) -> None:
        self._draw.polygon(self._points(points), fill=_bytes(color))

    def line(self, points: Points, color: np.ndarray, width: float) -> None:
        pixels = max(1, round(width * self._side))
        self._draw.line(self._points(points), fill=_bytes(color), width=pixels, joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, color: np.ndarray) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, color: np.ndarray) -> None:
        box = self._points([(cx - rx, cy - ry), (cx + rx, cy + ry)])
        self._draw.ellipse(box, fill=_bytes(color))


def _bytes(color: np.ndarray) -> tuple[int, ...]:
    return tuple(min(255, max(0, int(v * 255 + 0.5))) for v in color.ravel().tolist())


def _image(area: np.ndarray) -> Image.Image:
    levels = (np.clip(area, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))


def noise(
    rng: np.random.Generator, shape: tuple[int, ...], cell: tuple[float, float]
) -> np.ndarray:
    """Smooth random values, mostly in [-1, 1], that vary over `cell` = (height, width) pixels.

    Draws one number from `rng` whatever the shape, so a scene keeps its layout at any size.
    """
    height, width = shape
    own = np.random.default_rng(int(rng.integers(2**32)))
    if not height or not width:
        return np.zeros(shape, np.float32)
    rows = max(2, round(height / cell[0]) + 1)
    columns = max(2, round(width / cell[1]) + 1)
    grid = 2 * own.random((rows, columns), np.float32) - 1
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def clumps(rng: np.random.Generator, shape: tuple[int, ...], cell: float) -> np.ndarray:
    """Leafy clumps lit from above: noise minus its own shadow, about [-1, 1]."""
    height, width = shape
    coarse = noise(rng, shape, (cell * 1.6, cell * 2))
    fine = noise(rng, shape, (cell * 0.6, cell * 0.7))
    both = 0.65 * coarse + 0.5 * fine
    drop = max(1, round(cell * 0.45))
    below = np.vstack([both[drop:], np.repeat(both[-1:], min(drop, height), axis=0)])[:height]
    return np.clip(0.9 * (below - both) + 0.35 * both, -1, 1)


def ridge(
    rng: np.random.Generator, count: int, height: float, waves: float, roughness: float = 0.45
) -> np.ndarray:
    """A skyline with about `waves` hills: float32 [count] around 0, about `height` at most."""
    line = np.zeros(count, np.float32)
    for octave in range(5):
        cells = waves * 2**octave
        line += roughness**octave * noise(rng, (2, count), (2, count / cells))[0]
    return height * line
