# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Composes the scenes of `koala_scenes`; `draw_scene` is the whole interface.

A scene is one of four compositions (lake, village, beach, portrait) under one of three skies (day,
sunset, overcast), painted from back to front. The same generator state gives the same pixels.
"""

import numpy as np

from koalagan.data.koala_scenes import figures, landscape, plants
from koalagan.data.koala_scenes.canvas import Canvas, pick

EUCALYPTUS = "#6d9673"
WATTLE = "#e3bd35"
# The fraction of gray mixed in, so that the scenes are about as colorful as photographs.
MUTED = 0.28


def draw_scene(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Draws a scene.

    Args:
        rng: determines everything in the scene.
        size: the side of the picture in pixels, at least 1; the scene is the same at every size.

    Returns:
        uint8 [size, size, 3], sRGB.

    Raises:
        ValueError: `size` is not positive.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}.")
    canvas = Canvas(size)
    weather = landscape.random_weather(rng)
    compose = pick(rng, (_lake, _lake, _village, _village, _beach, _portrait))
    compose(canvas, rng, weather)
    _finish(canvas, rng)
    return canvas.picture()


def _backdrop(
    canvas: Canvas, rng: np.random.Generator, weather: landscape.Weather, horizon: float
) -> None:
    landscape.sky(canvas, rng, weather, horizon)
    landscape.mountains(canvas, rng, weather, horizon - rng.uniform(0.05, 0.12))
    if rng.random() < 0.35:
        figures.birds(canvas, rng, horizon - 0.15)


def _lake(canvas: Canvas, rng: np.random.Generator, weather: landscape.Weather) -> None:
    shore = rng.uniform(0.46, 0.56)
    near = rng.uniform(0.78, 0.88)
    side = pick(rng, (-1, 1))
    _backdrop(canvas, rng, weather, shore - 0.06)
    landscape.woods(canvas, rng, weather, shore - rng.uniform(0.06, 0.12), 0.8)
    landscape.meadow(canvas, rng, weather, shore - 0.035, shore + 0.01)
    for x in rng.permutation(np.linspace(0.05, 0.95, 7))[:3].tolist():
        _any_tree(canvas, rng, weather, x, shore - 0.01, rng.uniform(0.12, 0.18))
    if rng.random() < 0.6:
        width = rng.uniform(0.13, 0.19)
        figures.house(canvas, rng, rng.uniform(0.2, 0.8), shore - 0.008, width, weather.brightness)
    landscape.water(canvas, rng, weather, shore, 1.0)
    landscape.bank(canvas, weather, shore)
    if rng.random() < 0.6:
        x, y = 0.5 - side * rng.uniform(0.05, 0.35), rng.uniform(shore + 0.06, near - 0.1)
        figures.boat(canvas, rng, x, y, 0.07 + 0.35 * (y - shore))
    landscape.meadow(canvas, rng, weather, near)
    _foreground(canvas, rng, weather, near, side)


def _village(canvas: Canvas, rng: np.random.Generator, weather: landscape.Weather) -> None:
    horizon = rng.uniform(0.4, 0.52)
    _backdrop(canvas, rng, weather, horizon)
    landscape.woods(canvas, rng, weather, horizon - 0.02, 0.85)
    ground = horizon + 0.05
    if rng.random() < 0.65:
        crop = pick(rng, ("lavender", "wheat"))
        landscape.field(canvas, rng, weather, crop, ground, ground + 0.22)
        ground += 0.12
    else:
        landscape.woods(canvas, rng, weather, ground, 0.4)
        ground += 0.08
    landscape.meadow(canvas, rng, weather, ground)
    places = rng.permutation(np.linspace(0.12, 0.88, 5))[:4].tolist()
    depths = sorted(rng.uniform(0.05, 0.16, 4).tolist())
    for i, (x, depth) in enumerate(zip(places, depths, strict=True)):
        y = ground + depth
        if i % 2:
            width = 0.16 + 1.0 * depth
            figures.house(canvas, rng, x, y, width, weather.brightness)
        else:
            _any_tree(canvas, rng, weather, x, y, 0.16 + 0.9 * depth)
    _foreground(canvas, rng, weather, rng.uniform(0.8, 0.86), pick(rng, (-1, 1)))


def _beach(canvas: Canvas, rng: np.random.Generator, weather: landscape.Weather) -> None:
    horizon = rng.uniform(0.36, 0.48)
    side = pick(rng, (-1, 1))
    landscape.sky(canvas, rng, weather, horizon)
    if rng.random() < 0.6:
        landscape.mountains(canvas, rng, weather, horizon - 0.02)
    landscape.water(canvas, rng, weather, horizon, 1.0)
    for _ in range(int(rng.integers(0, 3))):
        y = rng.uniform(horizon + 0.03, horizon + 0.12)
        x = 0.5 - side * rng.uniform(0.05, 0.4)
        figures.boat(canvas, rng, x, y, 0.06 + 0.6 * (y - horizon))
    shore = rng.uniform(0.64, 0.72)
    landscape.sand(canvas, rng, weather, shore)
    if rng.random() < 0.5:
        x = 0.5 - side * rng.uniform(0.3, 0.4)
        figures.house(canvas, rng, x, shore + 0.1, rng.uniform(0.2, 0.26), weather.brightness)
    x = 0.5 + side * rng.uniform(0.0, 0.25)
    figures.koala(canvas, rng, x, rng.uniform(0.88, 0.95), rng.uniform(0.26, 0.38))
    _overhang(canvas, rng)


def _portrait(canvas: Canvas, rng: np.random.Generator, weather: landscape.Weather) -> None:
    """A large koala on a branch, in front of distant land."""
    horizon = rng.uniform(0.5, 0.62)
    _backdrop(canvas, rng, weather, horizon)
    landscape.woods(canvas, rng, weather, horizon - 0.02, 0.7)
    landscape.woods(canvas, rng, weather, horizon + 0.12, 0.25)
    landscape.meadow(canvas, rng, weather, horizon + 0.26)
    _koala_on_bough(canvas, rng, rng.uniform(0.74, 0.84), rng.uniform(0.44, 0.56))


def _koala_on_bough(canvas: Canvas, rng: np.random.Generator, level: float, height: float) -> None:
    """A trunk at one side of the picture, a branch with one or two koalas on it, and leaves."""
    side = pick(rng, (-1, 1))
    trunk = 0.5 + 0.42 * side
    thick = 0.09 * height + 0.015
    tip = (0.5 - 0.62 * side, level - 0.05)
    plants.bough(canvas, rng, (trunk, level + 0.04), tip, (thick, 0.4 * thick))
    top = (trunk + 0.04 * side, -0.05)
    plants.bough(canvas, rng, (trunk, 1.05), top, (1.6 * thick, 1.3 * thick))
    plants.leaves(canvas, rng, (trunk + 0.05 * side, 0.08), 0.22, 40, 0.13)
    plants.leaves(canvas, rng, (0.5 - 0.5 * side, level - 0.08), 0.12, 22, 0.11)
    x = 0.5 + rng.uniform(-0.06, 0.1) * side
    figures.koala(canvas, rng, x, level, height)
    if rng.random() < 0.35:
        figures.koala(canvas, rng, x - 0.32 * height * 1.9 * side, level - 0.01, 0.55 * height)


def _foreground(
    canvas: Canvas,
    rng: np.random.Generator,
    weather: landscape.Weather,
    top: float,
    side: int,
) -> None:
    """Grass and flowers at the bottom, and a koala (left for `side` -1) or leaves above."""
    plants.grass_blades(canvas, rng, weather.brightness, top + 0.03)
    count = int(rng.integers(10, 30))
    plants.flowers(canvas, rng, top + 0.03, count, weather.brightness)
    place = rng.random()
    if place < 0.3:
        _koala_on_bough(canvas, rng, rng.uniform(0.62, 0.74), rng.uniform(0.3, 0.42))
    elif place < 0.85:
        x, y = 0.5 + side * rng.uniform(0.05, 0.28), rng.uniform(0.9, 0.94)
        figures.koala(canvas, rng, x, y, rng.uniform(0.24, 0.36))
        plants.flowers(canvas, rng, y + 0.02, count // 2, weather.brightness)
    if place > 0.6:
        _overhang(canvas, rng)


def _overhang(canvas: Canvas, rng: np.random.Generator) -> None:
    """Eucalyptus leaves that hang into an upper corner."""
    x = pick(rng, (0.0, 1.0))
    plants.leaves(canvas, rng, (x, 0.0), 0.28, 50, 0.12)


def _any_tree(
    canvas: Canvas,
    rng: np.random.Generator,
    weather: landscape.Weather,
    x: float,
    y: float,
    height: float,
) -> None:
    color = WATTLE if rng.random() < 0.2 else EUCALYPTUS
    plants.tree(canvas, rng, x, y, height, color, weather.brightness)


def _finish(canvas: Canvas, rng: np.random.Generator) -> None:
    """Mutes the colors, darkens the corners, and varies the exposure from picture to picture."""
    _, x, y = canvas.window()
    red, green, blue = canvas.pixels
    gray = 0.3 * red + 0.59 * green + 0.11 * blue
    corners = np.clip(np.hypot(x - 0.5, y - 0.5) - 0.35, 0, 1)
    exposure = rng.uniform(0.92, 1.08) * (1 - 0.28 * corners)
    canvas.pixels += (gray - canvas.pixels) * MUTED
    canvas.pixels *= exposure
    if rng.random() < 0.5:  # Light and houses from the other side.
        canvas.pixels = canvas.pixels[:, :, ::-1]
