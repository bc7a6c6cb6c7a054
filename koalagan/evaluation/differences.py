# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How much of the difference between two models is due to the choice of pictures.

Two models are measured on the same pictures, some of which are harder for both. So it is their
difference that is resampled: a percentile bootstrap over pictures (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, section 13.3). It says nothing of how much another training of
the same model would differ.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from koalagan.evaluation import metrics

RESAMPLINGS = 10_000
# What of a row of `metrics.json` is compared.
METRICS = ("psnr", "psnr_pooled", "ssim", "ssim_ab", "colorfulness_gap", "ciede2000", "ab_mae")
_CONFIDENCE = 95.0
_SEED = 0
# Resamplings are counted out together, as many as fit into 80 MB.
_NUMBERS_AT_A_TIME = 10**7


def compare(measured: Mapping[str, Mapping[str, np.ndarray]], first: str) -> dict[str, Any]:
    """What one model has more than each of the others, by metric.

    Args:
        measured: metrics of every picture, from `metrics.join`, by the names of models.
        first: the model that is compared with the others.

    Returns:
        The "differences" of `metrics.json`: what was done, and under "rows", for each of the
        others, `{"model": name, metric: [difference, low, high], ...}` with the limits of the
        interval; None for a PSNR without pictures that have color.
    """
    names = list(measured)
    points = {name: _rows(measured[name], np.ones((1, _count(measured)))) for name in names}
    resampled = {name: [] for name in names}
    for weights in _resamplings(_count(measured)):
        for name in names:
            resampled[name].append(_rows(measured[name], weights))
    rows = []
    for name in names:
        if name == first:
            continue
        row: dict[str, Any] = {"model": name}
        for metric in METRICS:
            mine, others = (
                np.concatenate([part[metric] for part in resampled[model]])
                for model in (first, name)
            )
            point = points[first][metric][0] - points[name][metric][0]
            # A resampling can leave out all pictures with color.
            known = (mine - others)[~np.isnan(mine)]
            tails = (50.0 - _CONFIDENCE / 2, 50.0 + _CONFIDENCE / 2)
            row[metric] = (
                None if np.isnan(point) else [float(point), *np.percentile(known, tails).tolist()]
            )
        rows.append(row)
    return {
        "first": first,
        "confidence": _CONFIDENCE,
        "resamplings": RESAMPLINGS,
        "rows": rows,
    }


def _count(measured: Mapping[str, Mapping[str, np.ndarray]]) -> int:
    return len(next(iter(measured.values()))["squared_error"])


def _resamplings(count: int) -> Iterator[np.ndarray]:
    """How often each picture is drawn, float64 [some, count], in parts; always the same."""
    rng = np.random.default_rng(_SEED)
    at_a_time = max(1, _NUMBERS_AT_A_TIME // count)
    for start in range(0, RESAMPLINGS, at_a_time):
        many = min(at_a_time, RESAMPLINGS - start)
        yield rng.multinomial(count, np.full(count, 1.0 / count), many).astype(np.float64)


def _rows(measured: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """What `metrics.aggregate` gives for weighted pictures: arrays [R] for weights [R, count]."""
    total = weights.sum(axis=1)
    mean = {name: weights @ values / total for name, values in measured.items()}
    colored = measured["chroma"] >= metrics.MIN_CHROMA
    with np.errstate(invalid="ignore"):  # 0/0 without a picture of color
        psnr = (weights[:, colored] @ _decibels(measured["squared_error"][colored])) / weights[
            :, colored
        ].sum(axis=1)
    return {
        **mean,
        "psnr": psnr,
        "psnr_pooled": _decibels(mean["squared_error"]),
        "colorfulness_gap": np.abs(mean["colorfulness"] - mean["truth_colorfulness"]),
    }


def _decibels(squared_error: np.ndarray) -> np.ndarray:
    return np.asarray(metrics.decibels(squared_error))
