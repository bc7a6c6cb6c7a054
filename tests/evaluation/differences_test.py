# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Differences of two models and their intervals, against SciPy's bootstrap."""

import numpy as np
import pytest
import scipy.stats

from koalagan.evaluation import differences


@pytest.fixture
def measured():
    """Two models on the same 60 pictures, which differ more than the models do."""
    rng = np.random.default_rng(0)
    hard = rng.lognormal(6.0, 1.0, 60)
    truth = {"chroma": rng.uniform(2, 20, 60), "truth_colorfulness": rng.uniform(20, 60, 60)}
    truth["chroma"][:5] = 0.0  # without color

    def model(factor):
        return {
            **truth,
            "squared_error": factor * hard * rng.lognormal(0, 0.1, 60),
            "ssim": 1 - factor * hard / 10000,
            "ssim_ab": rng.uniform(0.2, 0.4, 60),
            "colorfulness": factor * truth["truth_colorfulness"] + rng.normal(0, 1, 60),
            "ciede2000": factor * np.sqrt(hard),
            "ab_mae": factor * np.sqrt(hard) / 2,
        }

    return {"gray": model(1.0), "koala": model(0.8)}


def decibels(squared_error, axis=-1):
    return 10 * np.log10(255**2 / np.mean(squared_error, axis=axis))


def scipy_interval(statistic, *samples):
    result = scipy.stats.bootstrap(
        samples, statistic, paired=True, vectorized=True, method="percentile", rng=1
    )
    return [result.confidence_interval.low, result.confidence_interval.high]


def test_intervals_are_those_of_scipys_paired_bootstrap(measured):
    (row,) = differences.compare(measured, "koala")["rows"]
    gray, koala = measured["gray"], measured["koala"]

    def pooled(mine, others, axis=-1):
        return decibels(mine, axis) - decibels(others, axis)

    def gap(mine, others, truth, axis=-1):
        mine, others, truth = (np.mean(some, axis=axis) for some in (mine, others, truth))
        return np.abs(mine - truth) - np.abs(others - truth)

    def mean(mine, others, axis=-1):
        return np.mean(mine, axis=axis) - np.mean(others, axis=axis)

    expected = {
        "psnr_pooled": (pooled, koala["squared_error"], gray["squared_error"]),
        "ciede2000": (mean, koala["ciede2000"], gray["ciede2000"]),
        "colorfulness_gap": (
            gap,
            *(koala["colorfulness"], gray["colorfulness"], gray["truth_colorfulness"]),
        ),
    }
    assert row["model"] == "gray"
    for metric, (statistic, *samples) in expected.items():
        difference, low, high = row[metric]
        assert difference == pytest.approx(float(statistic(*samples)), abs=1e-4)
        interval = scipy_interval(statistic, *samples)
        np.testing.assert_allclose([low, high], interval, atol=0.05 * (interval[1] - interval[0]))


def test_psnr_is_compared_on_pictures_with_color(measured):
    (row,) = differences.compare(measured, "koala")["rows"]
    mine, others = (
        10 * np.log10(255**2 / measured[name]["squared_error"][5:]) for name in ("koala", "gray")
    )
    assert row["psnr"][0] == pytest.approx(np.mean(mine - others), abs=1e-4)


def test_hard_pictures_do_not_widen_the_interval_of_a_difference(measured):
    """Each model alone is uncertain by decibels; their difference is not."""
    (row,) = differences.compare(measured, "koala")["rows"]
    difference, low, high = row["psnr_pooled"]
    assert 0 < low < difference < high and high - low < 0.5
    alone = scipy_interval(decibels, measured["koala"]["squared_error"])
    assert alone[1] - alone[0] > 4 * (high - low)


def test_few_pictures_with_color_and_none(measured):
    one = {
        model: {metric: column[4:6] for metric, column in values.items()}
        for model, values in measured.items()
    }
    (row,) = differences.compare(one, "koala")["rows"]
    assert np.ptp(row["psnr"]) < 1e-9  # resamplings without the only one are left out
    none = {
        model: {metric: column[:3] for metric, column in values.items()}
        for model, values in measured.items()
    }
    (row,) = differences.compare(none, "koala")["rows"]
    assert row["psnr"] is None and len(row["psnr_pooled"]) == 3


def test_many_pictures_are_resampled_in_parts(measured, monkeypatch):
    (row,) = differences.compare(measured, "koala")["rows"]
    monkeypatch.setattr(differences, "_NUMBERS_AT_A_TIME", 60 * 7)
    (parts,) = differences.compare(measured, "koala")["rows"]
    assert parts.pop("model") == row.pop("model")
    for metric, values in row.items():
        assert parts[metric] == pytest.approx(values)
