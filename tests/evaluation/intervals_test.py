# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Intervals of models and of their differences, against a bootstrap written out."""

import numpy as np
import pytest
import scipy.stats

from koalagan.evaluation import intervals

SHARES = ("within_10", "within_20", "accuracy_area", "stray_color")
PAIR = ("koala", "gray")
COUNT = 60
GRAY = 5  # pictures without color


@pytest.fixture
def measured():
    """Two models on the same pictures, which differ more than the models do."""
    rng = np.random.default_rng(0)
    hard = rng.lognormal(6.0, 1.0, COUNT)
    chroma = np.where(np.arange(COUNT) < GRAY, 0.0, 5.0)
    truth = {"chroma": chroma, "truth_colorfulness": rng.uniform(20, 60, COUNT)}

    def model(factor):
        return {
            **truth,
            "squared_error": factor * hard * rng.lognormal(0, 0.1, COUNT),
            "ssim": 1 - factor * hard / 10000,
            "ssim_ab": rng.uniform(0.2, 0.4, COUNT),
            "colorfulness": factor * truth["truth_colorfulness"] + rng.normal(0, 1, COUNT),
            "ciede2000": factor * np.sqrt(hard),
            "ab_mae": factor * np.sqrt(hard) / 2,
            **{name: rng.uniform(0, 1, COUNT) for name in SHARES},
        }

    return {"gray": model(1.0), "koala": model(0.8)}


def decibels(squared_error):
    return 10 * np.log10(255**2 / squared_error)


def resampled(statistic):
    """The central 95 % of a statistic of pictures drawn with replacement, and 0.6 % more.

    That is what Student's t with 59 degrees of freedom adds, times sqrt(60 / 59).
    """
    rng = np.random.default_rng(1)
    values = [statistic(rng.integers(0, COUNT, COUNT)) for _ in range(4000)]
    return np.percentile(values, [2.187, 97.813])


def test_differences_and_their_intervals(measured):
    (row,) = intervals.compare(measured, [PAIR])
    gray, koala = measured["gray"], measured["koala"]

    def pooled(rows):
        mine, other = (model["squared_error"][rows].mean() for model in (koala, gray))
        return decibels(mine) - decibels(other)

    def psnr(rows):
        rows = rows[rows >= GRAY]
        mine, other = (decibels(model["squared_error"][rows]) for model in (koala, gray))
        return (mine - other).mean()

    def gap(rows):
        truth = gray["truth_colorfulness"][rows].mean()
        mine, other = (model["colorfulness"][rows].mean() for model in (koala, gray))
        return abs(mine - truth) - abs(other - truth)

    def mean(metric):
        return lambda rows: (koala[metric] - gray[metric])[rows].mean()

    assert (row["first"], row["model"]) == PAIR
    statistics = {"psnr_pooled": pooled, "psnr": psnr, "colorfulness_gap": gap}
    statistics |= {name: mean(name) for name in ("ssim", "ssim_ab", "ciede2000", "ab_mae", *SHARES)}
    assert set(row) == {"first", "model", *statistics}
    for metric, statistic in statistics.items():
        difference, *interval = row[metric]
        assert difference == pytest.approx(statistic(np.arange(COUNT)), rel=1e-5)
        expected = resampled(statistic)
        np.testing.assert_allclose(interval, expected, atol=0.06 * np.ptp(expected))


def test_the_intervals_of_a_model(measured):
    gray, koala = intervals.of_models(measured)
    assert (gray["model"], koala["model"]) == ("gray", "koala")
    values = measured["koala"]

    def psnr(rows):
        return decibels(values["squared_error"][rows[rows >= GRAY]]).mean()

    def gap(rows):
        return abs((values["colorfulness"] - values["truth_colorfulness"])[rows].mean())

    def mean(metric):
        return lambda rows: values[metric][rows].mean()

    statistics = {
        "psnr": psnr,
        "psnr_pooled": lambda rows: decibels(values["squared_error"][rows].mean()),
        "colorfulness_gap": gap,
    }
    names = ("ssim", "ssim_ab", "colorfulness", "ciede2000", "ab_mae", *SHARES)
    statistics |= {name: mean(name) for name in names}
    assert set(koala) == {"model", *statistics}
    for metric, statistic in statistics.items():
        expected = resampled(statistic)
        np.testing.assert_allclose(koala[metric], expected, atol=0.06 * np.ptp(expected))


def test_pairs_that_are_compared():
    names = ["gray", "a", "b"]
    assert intervals.pairs(names, "first") == [("a", "gray"), ("a", "b")]
    assert intervals.pairs(names, "pairs") == [("a", "gray"), ("b", "gray"), ("b", "a")]
    assert intervals.pairs(names, "none") == intervals.pairs(["gray"], "pairs") == []
    assert intervals.pairs(["gray"], "first") == []


def test_hard_pictures_do_not_widen_the_interval_of_a_difference(measured):
    """Each model alone is uncertain by decibels; their difference is not."""
    (row,) = intervals.compare(measured, [PAIR])
    _, low, high = row["psnr_pooled"]
    errors = measured["koala"]["squared_error"]
    alone = resampled(lambda rows: decibels(errors[rows].mean()))
    assert np.ptp(alone) > 4 * (high - low)


@pytest.mark.parametrize("few, psnr", [(slice(4, 6), 1), (slice(5, 6), 1), (slice(0, 3), None)])
def test_few_pictures_with_color_and_none(measured, few, psnr):
    some = {
        model: {metric: column[few] for metric, column in values.items()}
        for model, values in measured.items()
    }
    (row,) = intervals.compare(some, [PAIR])
    limits = intervals.of_models(some)[0]
    if psnr is None:
        assert row["psnr"] is None and limits["psnr"] is None
    else:
        assert np.isfinite(row["psnr"][0]) and row["psnr"][1:] == [None, None]
        assert limits["psnr"] is None
    assert np.isfinite(row["psnr_pooled"][0])


def test_intervals_of_few_pictures_are_as_wide_as_students(measured):
    """Of 8 numbers; plain percentiles are narrower by a quarter."""
    rng = np.random.default_rng(0)
    some = {metric: column[:8] for metric, column in measured["koala"].items()}
    ratios = []
    for _ in range(10):
        # Seven samples at a time: one for each of these metrics.
        names = ("ssim", "ssim_ab", "ciede2000", *SHARES)
        some |= {name: rng.normal(0.5, 0.1, 8) for name in names}
        (row,) = intervals.of_models({"koala": some})
        for name in names:
            student = scipy.stats.t.interval(0.95, 7, scale=scipy.stats.sem(some[name]))
            ratios.append(np.ptp(row[name]) / np.ptp(student))
    assert 0.93 < np.mean(ratios) < 1.03


@pytest.mark.parametrize("count, has_limits", [(5, False), (6, True)])
def test_too_few_pictures_have_no_interval(measured, count, has_limits):
    some = {
        model: {metric: column[-count:] for metric, column in values.items()}
        for model, values in measured.items()
    }
    (row,) = intervals.compare(some, [PAIR])
    assert [value is not None for value in row["ssim"]] == [True, has_limits, has_limits]
    assert (intervals.of_models(some)[0]["ssim"] is not None) == has_limits


def test_a_gap_may_be_none_at_all(measured):
    """Where too vivid and too pale are as likely, 0 is one of the limits."""
    values = dict(measured["koala"])
    error = np.where(np.arange(COUNT) % 2, 3.0, -3.1)
    values["colorfulness"] = values["truth_colorfulness"] + error
    low, high = intervals.of_models({"koala": values})[0]["colorfulness_gap"]
    assert low == 0.0 and 0.5 < high < 1.2


def test_many_pictures_are_resampled_in_parts(measured, monkeypatch):
    (row,) = intervals.compare(measured, [PAIR])
    monkeypatch.setattr(intervals, "_NUMBERS_AT_A_TIME", 60 * 7)
    (parts,) = intervals.compare(measured, [PAIR])
    assert (parts.pop("model"), parts.pop("first")) == (row.pop("model"), row.pop("first"))
    for metric, values in row.items():
        assert parts[metric] == pytest.approx(values)
