# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How far other pictures of the same kind would have changed what was measured.

Pictures are resampled: SciPy's percentile bootstrap (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, section 13.3). Plain percentiles of few pictures are too near to each other (of the
mean of 8 numbers they hold the truth in 88 % of all cases, and not in 95 %), so that they are moved
outwards as far as Student's t has its limits (Hesterberg, What Teachers Should Know About the
Bootstrap, 2015). Fewer than 6 pictures have no interval: not even all that lies between the
smallest and the largest of 5 numbers holds the truth in 95 % of all cases.

Two models are measured on the same pictures, some of which are harder for both, so that it is their
difference on each picture that is resampled. Intervals say nothing of how much another training of
the same model would differ.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from koalagan.evaluation import metrics

RESAMPLINGS = 10_000
CONFIDENCE = 0.95
COMPARISONS = ("first", "pairs", "none")
LEAST_PICTURES = 6
_MEANS = ("ssim", "ssim_ab", "ciede2000", "ab_mae", *metrics.ACCURACIES, "stray_color")
# Resampled numbers in memory at a time, 80 MB.
_NUMBERS_AT_A_TIME = 10**7


def of_models(measured: Mapping[str, Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """The intervals of every model's row of `metrics.json`.

    Args:
        measured: metrics of every picture, from `metrics.join`, by the names of models.

    Returns:
        For each model `{"model": name, metric: [low, high], ...}`; None where pictures are fewer
        than `LEAST_PICTURES`, for PSNR those that have color.
    """
    rows = []
    for name, values in measured.items():
        samples = {
            "psnr": (_mean_of_one, _colored_decibels(values)),
            "psnr_pooled": (_pooled_of_one, values["squared_error"]),
            "colorfulness": (_mean_of_one, values["colorfulness"]),
            "colorfulness_gap": (
                _mean_of_one,
                values["colorfulness"] - values["truth_colorfulness"],
            ),
            **{metric: (_mean_of_one, values[metric]) for metric in _MEANS},
        }
        found = {metric: _interval(*sample) for metric, sample in samples.items()}
        limits = {
            metric: None if value is None or value[1] is None else value[1:]
            for metric, value in found.items()
        }
        limits["colorfulness_gap"] = _of_size(limits["colorfulness_gap"])
        rows.append({"model": name, **limits})
    return rows


def compare(
    measured: Mapping[str, Mapping[str, np.ndarray]], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """What one model has more than another, by metric.

    Args:
        measured: metrics of every picture, from `metrics.join`, by the names of models.
        pairs: the names of the two, for each row.

    Returns:
        For each pair `{"first": name, "model": name, metric: [difference, low, high], ...}` with
        the limits of the interval, which are None where pictures are too few. The whole is None for
        a PSNR without pictures that have color.
    """
    return [
        {"first": first, "model": other, **_row(measured[first], measured[other])}
        for first, other in pairs
    ]


def pairs(names: Sequence[str], comparison: str) -> list[tuple[str, str]]:
    """Which models are compared.

    Args:
        names: of all models, gray first.
        comparison: "first" compares the first model after gray with all others, "pairs" each model
            with those before it, "none" none.
    """
    if comparison == "none" or len(names) < 2:
        return []
    if comparison == "pairs":
        return [(later, earlier) for earlier, later in itertools.combinations(names, 2)]
    gray, first, *others = names
    return [(first, other) for other in (gray, *others)]


def of_a_ratio(sums: np.ndarray, counts: np.ndarray) -> list[float | None]:
    """A mean over things of which pictures hold different numbers, and the limits of its interval.

    Args:
        sums, counts: of each picture, the sum over its things and how many they are.

    Returns:
        [mean, low, high]; the limits are None for fewer than `LEAST_PICTURES`.
    """
    return _interval(_ratio, sums, counts)


def _row(mine: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, Any]:
    row = {
        "psnr": _interval(_mean, _colored_decibels(mine), _colored_decibels(other)),
        "psnr_pooled": _interval(_pooled, mine["squared_error"], other["squared_error"]),
        "colorfulness_gap": _interval(
            _gap, mine["colorfulness"], other["colorfulness"], mine["truth_colorfulness"]
        ),
    }
    for name in _MEANS:
        row[name] = _interval(_mean, mine[name], other[name])
    return row


def _colored_decibels(values: Mapping[str, np.ndarray]) -> np.ndarray:
    return _decibels(values["squared_error"][metrics.has_color(values)])


def _of_size(limits: list[float] | None) -> list[float] | None:
    """The limits of the size of what has these limits."""
    if limits is None:
        return None
    sizes = sorted(map(abs, limits))
    return [0.0, sizes[1]] if limits[0] <= 0.0 <= limits[1] else sizes


def _interval(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray
) -> list[float | None] | None:
    """A statistic of paired samples and the limits of its interval, the same in every run."""
    import scipy.stats  # Importing it takes a second, and `koalagan.load` imports this module.

    count = len(samples[0])
    if not count:
        return None
    value = float(statistic(*samples, axis=-1))
    if count < LEAST_PICTURES:
        return [value, None, None]
    t = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    beyond = scipy.stats.norm.sf(t * np.sqrt(count / (count - 1)))  # at either end
    interval = scipy.stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLINGS,
        batch=max(1, _NUMBERS_AT_A_TIME // count),
        confidence_level=min(1 - 2 * beyond, 1 - 1e-9),  # SciPy takes no 1
        method="percentile",
        rng=0,
    ).confidence_interval
    return [value, float(interval.low), float(interval.high)]


def _ratio(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
    return np.sum(sums, axis=axis) / np.sum(counts, axis=axis)


def _mean_of_one(values: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(values, axis=axis)


def _pooled_of_one(squared_error: np.ndarray, axis: int) -> np.ndarray:
    return _decibels(np.mean(squared_error, axis=axis))


def _mean(mine: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return _mean_of_one(mine - other, axis)


def _pooled(mine: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return _pooled_of_one(mine, axis) - _pooled_of_one(other, axis)


def _gap(mine: np.ndarray, other: np.ndarray, truth: np.ndarray, axis: int) -> np.ndarray:
    mine, other = (np.abs(np.mean(values - truth, axis=axis)) for values in (mine, other))
    return mine - other


def _decibels(squared_error: np.ndarray) -> np.ndarray:
    return np.asarray(metrics.decibels(squared_error))
