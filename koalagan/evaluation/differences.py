# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How much of the difference between two models is due to the choice of pictures.

Two models are measured on the same pictures, some of which are harder for both. So it is their
difference that is resampled: SciPy's percentile bootstrap over pairs (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, section 13.3). It says nothing of how much another training of
the same model would differ.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from koalagan.evaluation import metrics

RESAMPLINGS = 10_000
_CONFIDENCE = 0.95
# Resampled numbers in memory at a time, 80 MB.
_NUMBERS_AT_A_TIME = 10**7


def compare(measured: Mapping[str, Mapping[str, np.ndarray]], first: str) -> dict[str, Any]:
    """What one model has more than each of the others, by metric.

    Args:
        measured: metrics of every picture, from `metrics.join`, by the names of models.
        first: the model that is compared with the others.

    Returns:
        The "differences" of `metrics.json`: what was done, and under "rows", for each of the
        others, `{"model": name, metric: [difference, low, high], ...}` with the limits of the
        interval. They are the difference itself where a single picture was measured; None for a
        PSNR without pictures that have color.
    """
    others = [name for name in measured if name != first]
    return {
        "first": first,
        "confidence": _CONFIDENCE,
        "resamplings": RESAMPLINGS,
        "rows": [{"model": name, **_row(measured[first], measured[name])} for name in others],
    }


def _row(mine: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, Any]:
    colored = mine["chroma"] >= metrics.MIN_CHROMA
    row = {
        "psnr": _interval(
            _mean, *(_decibels(model["squared_error"][colored]) for model in (mine, other))
        ),
        "psnr_pooled": _interval(_pooled, mine["squared_error"], other["squared_error"]),
        "colorfulness_gap": _interval(
            _gap, mine["colorfulness"], other["colorfulness"], mine["truth_colorfulness"]
        ),
    }
    for name in ("ssim", "ssim_ab", "ciede2000", "ab_mae"):
        row[name] = _interval(_mean, mine[name], other[name])
    return row


def _interval(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> list[float] | None:
    """A statistic of paired samples and the limits of its interval, always the same ones."""
    import scipy.stats  # Importing it takes a second, and `koalagan.load` imports this module.

    count = len(samples[0])
    if not count:
        return None
    value = float(statistic(*samples, axis=-1))
    if count == 1:  # SciPy refuses it.
        return [value] * 3
    interval = scipy.stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLINGS,
        batch=max(1, _NUMBERS_AT_A_TIME // count),
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=0,
    ).confidence_interval
    return [value, float(interval.low), float(interval.high)]


def _mean(mine: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(mine - other, axis=axis)


def _pooled(mine: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
    return _decibels(np.mean(mine, axis=axis)) - _decibels(np.mean(other, axis=axis))


def _gap(mine: np.ndarray, other: np.ndarray, truth: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(np.mean(mine - truth, axis=axis)) - np.abs(np.mean(other - truth, axis=axis))


def _decibels(squared_error: np.ndarray) -> np.ndarray:
    return np.asarray(metrics.decibels(squared_error))
