# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The landscape of a scene: sky, mountains, woods, fields, meadows, water and beaches.

Each function paints one layer over the whole width of a `Canvas`. Each kind of ground has its own
texture and, except for the sky, one color, so that a network can learn the color from the
lightness.
"""

import dataclasses

import numpy as np

from koalagan.data.koala_scenes.canvas import (
    Canvas,
    clumps,
    ink,
    mix,
    noise,
    pick,
    ridge,
    shade,
    smoothstep,
)


@dataclasses.dataclass(frozen=True)
class Weather:
    """The colors of a sky from its top to the horizon, and their effect on the land."""

    gradient: tuple[str, ...]
    cloud: str
    cloud_shadow: str
    haze: str
    sun: str | None
    brightness: float


DAY = (
    Weather(("#2f7fd6", "#6db3ee", "#b9e0f7"), "#fffdf8", "#b9c7de", "#b4d3ea", None, 1.0),
    Weather(("#2a8be0", "#63bdf0", "#c8ecf5"), "#ffffff", "#bccfe2", "#bcdcea", None, 1.03),
    Weather(("#3f8fdc", "#86c3ef", "#d3ebf4"), "#fffdf6", "#c0cbdf", "#bdd8ea", "#fffbe0", 1.0),
)
SUNSET = (
    Weather(
        ("#5a5aa8", "#d9819b", "#ffb86b", "#ffe3a0"),
        "#ffb59a",
        "#a5658f",
        "#e5b49f",
        "#fff1b8",
        0.9,
    ),
    Weather(
        ("#3e5c9e", "#a487b8", "#f6a28c", "#ffd28f"),
        "#ffc0a0",
        "#8d6a9c",
        "#dcae9f",
        "#fff0c0",
        0.88,
    ),
    Weather(
        ("#e07a5a", "#f79f5f", "#ffc978", "#fff0b5"),
        "#ffdca0",
        "#c86f5e",
        "#eebd90",
        "#fffbe0",
        0.93,
    ),
)
OVERCAST = (
    Weather(("#8fa3b8", "#b4c3d1", "#d8e0e5"), "#e9edf0", "#8c9bab", "#bccad4", None, 0.92),
    Weather(("#9aa8b4", "#bfc8d0", "#e2e3e0"), "#eff0ef", "#94a0ac", "#c3cbd0", None, 0.94),
)


def sky(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float) -> None:
    """A smooth gradient down to `horizon`, the sun, and clouds with bright tops."""
    where, x, y = canvas.window(bottom=horizon + 0.12)
    colors = np.stack([ink(code) for code in weather.gradient])
    stops = np.linspace(0, horizon, len(colors))
    bend = y + 0.01 * noise(rng, (y.shape[0], x.shape[1]), (canvas.side / 4, canvas.side / 2))
    for channel in range(3):
        canvas.pixels[where][channel] = np.interp(bend, stops, colors[:, channel, 0, 0])
    if weather.sun:
        sun_x, sun_y = rng.uniform(0.15, 0.85), horizon * rng.uniform(0.45, 0.85)
        distance = np.hypot(x - sun_x, y - sun_y)
        canvas.paint(where, ink(weather.sun), 0.75 * np.exp(-((distance / 0.16) ** 2)))
        canvas.paint(where, ink("#fffdf0"), smoothstep(0.047, 0.041, distance))
    if weather in OVERCAST:
        _cloud_cover(canvas, rng, weather, horizon)
    else:
        _streaks(canvas, rng, weather, horizon)
        for _ in range(int(rng.integers(1, 5))):
            size = rng.uniform(0.08, 0.2)
            _cumulus(canvas, rng, weather, rng.random(), rng.uniform(0.05, horizon * 0.8), size)


def _cloud_cover(
    canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float
) -> None:
    where, x, y = canvas.window(bottom=horizon + 0.12)
    shape, side = (y.shape[0], x.shape[1]), canvas.side
    billows = noise(rng, shape, (side / 8, side / 3)) + 0.5 * noise(
        rng, shape, (side / 18, side / 8)
    )
    fade = smoothstep(horizon + 0.1, horizon * 0.4, y)
    canvas.paint(where, ink(weather.cloud_shadow), 0.75 * fade * smoothstep(-0.1, 1.1, billows))
    canvas.paint(where, ink(weather.cloud), 0.8 * fade * smoothstep(0, -1.1, billows))


def _streaks(canvas: Canvas, rng: np.random.Generator, weather: Weather, horizon: float) -> None:
    where, x, y = canvas.window(bottom=horizon)
    shape, side = (y.shape[0], x.shape[1]), canvas.side
    wisps = noise(rng, shape, (side / 22, side / 2.5)) + 0.5 * noise(
        rng, shape, (side / 50, side / 8)
    )
    canvas.paint(where, ink(weather.cloud), 0.55 * smoothstep(0.35, 1.2, wisps))


def _cumulus(
    canvas: Canvas, rng: np.random.Generator, weather: Weather, cx: float, base: float, size: float
) -> None:
    """A heap of puffs on a flat base; `size` is half of its width."""
    puffs = int(rng.integers(7, 12))
    along = np.linspace(-0.85, 0.85, puffs) + rng.uniform(-0.06, 0.06, puffs)
    radius = size * (0.42 - 0.26 * along**2) * rng.uniform(0.8, 1.2, puffs)
    where, x, y = canvas.window(
        cx - 1.3 * size, base - 0.9 * size, cx + 1.3 * size, base + 0.1 * size
    )
    shape = (y.shape[0], x.shape[1])
    torn = noise(rng, shape, (canvas.side * size / 7,) * 2)
    dome = np.full(shape, -1, np.float32)
    lit = np.zeros(shape, np.float32)
    for dx, r in zip((along * size + cx).tolist(), radius.tolist(), strict=True):
        distance = np.hypot(x - dx, (y - base + r * 0.55)) / r
        dome = np.maximum(dome, 1 - distance)
        lit = np.maximum(
            lit, np.clip(1 - np.hypot(x - dx + 0.3 * r, y - base + 0.95 * r) / r, 0, 1)
        )
    alpha = smoothstep(0.0, 0.22, dome + 0.1 * torn) * smoothstep(base + 0.03, base - 0.04, y)
    brightness = smoothstep(-0.05, 0.65, lit + 0.12 * torn)
    color = mix(ink(weather.cloud_shadow), ink(weather.cloud), 0.35 + 0.65 * brightness)
    canvas.paint(where, color, 0.95 * alpha)


def mountains(canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float) -> None:
    """A distant blue range with slanting ridges, paler toward its base, 0.3 high."""
    line = top + ridge(rng, canvas.side, 0.07, 4, 0.55)[None]
    where, x, y = canvas.window(top=line.min() - 0.01, bottom=top + 0.3)
    depth = y - line
    shape, side = depth.shape, canvas.side
    slant = noise(rng, shape, (side / 5, side / 22)) + 0.6 * noise(
        rng, shape, (side / 12, side / 50)
    )
    rock = shade(ink("#5e7fb0") * weather.brightness, 0.35 * slant)
    color = mix(rock, ink(weather.haze), smoothstep(-0.1, 0.2, depth) * 0.75)
    canvas.paint(where, color, canvas.below(y, line))


def woods(
    canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float, distance: float
) -> None:
    """Hills covered in round treetops, 0.3 high; `distance` is 1 far away (small, hazy), 0 near."""
    tree = canvas.side * (0.012 + 0.02 * (1 - distance))
    line = top + ridge(rng, canvas.side, 0.05, 3, 0.3)
    line = line - 0.35 * tree / canvas.side * np.abs(ridge(rng, canvas.side, 2, canvas.side / tree))
    where, x, y = canvas.window(top=line.min() - 0.01, bottom=top + 0.3)
    depth = y - line[None]
    crowns = clumps(rng, depth.shape, tree)
    slopes = noise(rng, depth.shape, (canvas.side / 6, canvas.side / 5))
    green = shade(ink("#4f8f4a") * weather.brightness, 0.62 * crowns + 0.2 * slopes)
    haze = 0.12 + 0.42 * distance + 0.25 * smoothstep(0, 0.15, depth)
    canvas.paint(where, mix(green, ink(weather.haze), haze), canvas.below(y, line[None]))


def meadow(
    canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float, bottom: float = 1.0
) -> None:
    """Grass below a rolling edge: fine and pale far away, with blades near the viewer."""
    line = top + ridge(rng, canvas.side, 0.025, 2.5, 0.2)[None]
    where, x, y = canvas.window(top=line.min() - 0.01, bottom=bottom)
    depth = y - line
    shape, side = depth.shape, canvas.side
    near = smoothstep(0, 0.45, depth)
    fine = noise(rng, shape, (side / 110, side / 200))
    blades = noise(rng, shape, (side / 32, side / 220))
    rolls = noise(rng, shape, (side / 14, side / 3))
    light = 0.3 * mix(fine, blades, near) + 0.22 * rolls
    color = mix(ink("#9dc95a"), ink("#5ba53f"), near) * weather.brightness
    color = mix(shade(color, light), ink(weather.haze), 0.2 * smoothstep(0.12, 0, depth))
    canvas.paint(where, color, canvas.below(y, line))


def field(
    canvas: Canvas,
    rng: np.random.Generator,
    weather: Weather,
    crop: str,
    top: float,
    bottom: float,
) -> None:
    """A band of "lavender" in dotted rows or of "wheat" in fine upright stalks."""
    line = top + ridge(rng, canvas.side, 0.02, 2, 0.2)[None]
    where, x, y = canvas.window(top=line.min() - 0.01, bottom=bottom)
    depth = np.clip((y - line) / (bottom - top), 0, 1)
    shape, side = depth.shape, canvas.side
    if crop == "lavender":
        vanishing = rng.uniform(0.2, 0.8)
        rows = np.sin((x - vanishing) / (0.25 + depth) * 85)
        tufts = clumps(rng, shape, side / 90)
        plant = smoothstep(-0.5, 0.1, rows + 0.4 * tufts)
        purple = shade(ink("#8d6cc4") * weather.brightness, 0.55 * tufts + 0.25 * rows)
        soil = shade(ink("#7f9a55") * weather.brightness, 0.3 * tufts - 0.25)
        color = mix(soil, purple, plant)
    else:
        stalks = noise(rng, shape, (side / 24, side / 230))
        ears = noise(rng, shape, (side / 130, side / 160))
        swell = noise(rng, shape, (side / 18, side / 3))
        light = 0.3 * stalks + 0.18 * ears + 0.2 * swell
        color = shade(ink("#e0b34c") * weather.brightness, light)
    color = mix(color, ink(weather.haze), 0.25 * (1 - depth))
    canvas.paint(where, color, canvas.below(y, line))


def water(
    canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float, bottom: float
) -> None:
    """A lake or sea between two heights: it reflects what is painted above it, with ripples."""
    where, x, y = canvas.window(top=top, bottom=bottom)
    shape, side = (y.shape[0], x.shape[1]), canvas.side
    near = ((y - top) / (bottom - top)) * np.ones_like(x)
    small = noise(rng, shape, (side / 150, side / 14))
    large = noise(rng, shape, (side / 45, side / 6))
    ripple = small * (1 - 0.5 * near) + large * (0.4 + near)
    first = where[1].start
    rows = first - 1 - (np.arange(shape[0])[:, None] + ripple * side * (0.006 + 0.02 * near))
    rows = np.clip(rows, 0, first - 1).astype(np.int32)
    mirrored = canvas.pixels[:, rows, np.arange(side)[None]]
    blue = mix(ink("#4fb3bf"), ink("#1f7fa8"), smoothstep(0, 0.9, near)) * weather.brightness
    brightness = mirrored.mean(axis=0)
    surface = shade(blue, 0.9 * (brightness - 0.55) + 0.28 * ripple)
    canvas.pixels[where] = mix(surface, mirrored, 0.32 - 0.2 * near)
    glint = smoothstep(0.75, 1.25, ripple + 0.35 * noise(rng, shape, (side / 160, side / 50)))
    canvas.paint(where, mix(ink(weather.gradient[-1]), ink("#ffffff"), 0.5), 0.65 * glint)


def bank(canvas: Canvas, weather: Weather, top: float) -> None:
    """The thin dark shadow and the pale line at the far shore of a lake, at height `top`."""
    where, x, y = canvas.window(top=top - 0.012, bottom=top + 0.02)
    canvas.paint(
        where,
        ink("#8a7a4e") * weather.brightness,
        0.8 * smoothstep(0.008, 0.003, np.abs(y - top)) * np.ones_like(x),
    )
    canvas.paint(where, ink("#12414d"), 0.5 * smoothstep(0.012, 0, np.abs(y - top - 0.008)) + 0 * x)


def sand(canvas: Canvas, rng: np.random.Generator, weather: Weather, top: float) -> None:
    """A beach below a slanting edge: foam, wet sand, then grains and wind ripples."""
    tilt = rng.uniform(-0.12, 0.12)
    across = np.linspace(-0.5, 0.5, canvas.side, dtype=np.float32)
    line = (top + tilt * across + ridge(rng, canvas.side, 0.02, 3, 0.3))[None]
    where, x, y = canvas.window(top=line.min() - 0.05)
    depth = y - line
    shape, side = depth.shape, canvas.side
    grains = noise(rng, shape, (1.6 * side / 512, 1.6 * side / 512))
    ripples = np.sin((depth + 0.012 * noise(rng, shape, (side / 12, side / 7))) * 260)
    light = 0.13 * grains + 0.1 * ripples * smoothstep(0.05, 0.2, depth)
    dry = smoothstep(0.02, 0.07, depth)
    color = mix(ink("#bb9a68"), ink("#f0d79c"), dry) * weather.brightness
    canvas.paint(where, shade(color, light), canvas.below(y, line))
    lace = noise(rng, shape, (side / 80, side / 40))
    for offset, width in ((-0.004, 0.012), (-0.035, 0.006)):
        foam = smoothstep(width, width * 0.3, np.abs(depth - offset + 0.006 * lace))
        canvas.paint(where, ink("#ffffff"), 0.9 * foam)


def random_weather(rng: np.random.Generator) -> Weather:
    """A weather: day more often than sunset, sunset more often than an overcast sky."""
    return pick(rng, pick(rng, (DAY, DAY, DAY, DAY, SUNSET, SUNSET, OVERCAST)))
