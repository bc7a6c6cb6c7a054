# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Metrics agree with scikit-image, with published values and with their definitions."""

import json

import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.metrics
import tensorflow as tf

from koalagan.color import lab
from koalagan.evaluation import metrics, stray_color

# Sharma, Wu and Dalal 2005, table 1: L* a* b* of each color and their difference.
SHARMA = """
50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""


@pytest.fixture(scope="module")
def pairs():
    """Two photographs, not square, and the predictions of a mediocre network."""
    photographs = [skimage.data.astronaut(), skimage.data.coffee()]
    truth = np.stack([photograph[:96:2, :120:2] for photograph in photographs])
    L, ab = lab.rgb_to_lab(truth)
    noise = np.random.default_rng(0).normal(0, 0.05, ab.shape).astype(np.float32)
    predicted_ab = 0.6 * ab + noise
    return truth, L, ab, predicted_ab, lab.lab_to_rgb(L, predicted_ab).numpy()


def test_psnr_agrees_with_scikit_image(pairs):
    truth, *_, predicted = pairs
    expected = [
        skimage.metrics.peak_signal_noise_ratio(a, b) for a, b in zip(truth, predicted, strict=True)
    ]
    np.testing.assert_allclose(metrics.psnr(truth, predicted), expected, rtol=1e-5)


def test_ssim_agrees_with_scikit_image(pairs):
    truth, _, ab, predicted_ab, predicted = pairs

    def oracle(a, b, data_range):
        return skimage.metrics.structural_similarity(
            a,
            b,
            data_range=data_range,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )

    expected = [oracle(a, b, 255) for a, b in zip(truth, predicted, strict=True)]
    np.testing.assert_allclose(metrics.ssim(truth, predicted), expected, atol=1e-4)
    expected = [oracle(a, b, 2.0) for a, b in zip(ab.numpy(), predicted_ab.numpy(), strict=True)]
    np.testing.assert_allclose(metrics.ssim_ab(ab, predicted_ab), expected, atol=1e-4)


@pytest.mark.parametrize("dtype, atol", [(np.float64, 5.1e-5), (np.float32, 1e-4)])
def test_color_difference_agrees_with_the_published_pairs(dtype, atol):
    table = np.array(SHARMA.split(), dtype).reshape(34, 7)
    one, two, expected = table[:, :3], table[:, 3:6], table[:, 6]
    np.testing.assert_allclose(metrics.color_difference(one, two), expected, atol=atol)
    np.testing.assert_allclose(metrics.color_difference(two, one), expected, atol=atol)


def test_ciede2000_agrees_with_scikit_image(pairs):
    truth, *_, predicted = pairs
    expected = skimage.color.deltaE_ciede2000(
        skimage.color.rgb2lab(truth), skimage.color.rgb2lab(predicted)
    )
    np.testing.assert_allclose(
        metrics.ciede2000(truth, predicted), expected.mean(axis=(1, 2)), rtol=1e-3
    )
    # Far apart and saturated, where the hue wraps around.
    rng = np.random.default_rng(1)
    one, two = rng.integers(0, 256, (2, 1, 100, 100, 3)).astype(np.uint8)
    expected = skimage.color.deltaE_ciede2000(*skimage.color.rgb2lab([one, two]))
    np.testing.assert_allclose(metrics.ciede2000(one, two), [expected.mean()], rtol=1e-3)


def test_colorfulness_agrees_with_its_definition(pairs):
    def oracle(picture):
        red, green, blue = np.moveaxis(picture.astype(np.float64), -1, 0)
        rg, yb = red - green, 0.5 * (red + green) - blue
        return np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())

    truth = pairs[0]
    np.testing.assert_allclose(metrics.colorfulness(truth), [oracle(p) for p in truth], rtol=1e-4)
    # By hand, half red and half green: rg = +-255, yb = 127.5 throughout.
    halves = np.zeros((1, 4, 4, 3), np.uint8)
    halves[:, :2, :, 0] = halves[:, 2:, :, 1] = 255
    np.testing.assert_allclose(metrics.colorfulness(halves), [255 + 0.3 * 127.5], rtol=1e-6)


def test_ab_error_and_chroma_are_in_lab_units(pairs):
    truth, _, ab, predicted_ab, _ = pairs
    true_lab = skimage.color.rgb2lab(truth)[..., 1:]
    np.testing.assert_allclose(
        metrics.chroma(ab), np.linalg.norm(true_lab, axis=-1).mean(axis=(1, 2)), rtol=1e-4
    )
    expected = np.abs(true_lab - 110.0 * predicted_ab.numpy()).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics.ab_mae(ab, predicted_ab), expected, rtol=1e-4)


def test_measure_compares_what_is_displayed(pairs):
    truth, L, ab, predicted_ab, predicted = pairs
    got = tf.function(metrics.measure)(truth, L, ab, predicted_ab)
    for name, expected in {
        "squared_error": np.square(truth.astype(float) - predicted).mean(axis=(1, 2, 3)),
        "ssim": metrics.ssim(truth, predicted),
        "ssim_ab": metrics.ssim_ab(ab, predicted_ab),
        "colorfulness": metrics.colorfulness(predicted),
        "truth_colorfulness": metrics.colorfulness(truth),
        "ciede2000": metrics.ciede2000(truth, predicted),
        "ab_mae": metrics.ab_mae(ab, predicted_ab),
        "chroma": metrics.chroma(ab),
        "stray_color": stray_color.stray_color(L, predicted_ab),
        "truth_stray_color": stray_color.stray_color(L, ab),
    }.items():
        assert got[name].shape == (2,) and got[name].dtype == tf.float32
        # A level of difference here and there between a graph and eager is rounding.
        np.testing.assert_allclose(got[name], expected, rtol=1e-3, err_msg=name)


def test_color_accuracy_is_of_pixels(pairs):
    truth, L, ab, predicted_ab, predicted = pairs
    got = metrics.measure(truth, L, ab, predicted_ab)
    differences = skimage.color.deltaE_ciede2000(*map(skimage.color.rgb2lab, (truth, predicted)))
    for limit in (10, 20):
        share = (differences <= limit).mean(axis=(1, 2))
        np.testing.assert_allclose(got[f"within_{limit}"], share, atol=2 / differences[0].size)
    limits = np.linspace(0, 50, 2001)
    curve = (differences[..., None] <= limits).mean(axis=(1, 2))
    area = np.trapezoid(curve, limits) / 50
    np.testing.assert_allclose(got["accuracy_area"], area, atol=1e-3)


def measured(**changes):
    batch = dict(
        chroma=[20.0, 0.5],
        squared_error=[100.0, 4.0],
        ssim=[0.9, 1.0],
        ssim_ab=[0.5, 0.9],
        colorfulness=[10.0, 0.0],
        truth_colorfulness=[40.0, 2.0],
        ciede2000=[8.0, 1.0],
        ab_mae=[6.0, 1.0],
        within_10=[0.5, 0.7],
        within_20=[0.8, 1.0],
        accuracy_area=[0.6, 0.9],
        stray_color=[0.3, 0.1],
        truth_stray_color=[0.2, 0.0],
    )
    return {name: tf.constant(values) for name, values in (batch | changes).items()}


def test_aggregate_by_hand():
    row = metrics.aggregate([measured(), measured()])
    assert list(row) == [
        "pictures",
        "psnr",
        "psnr_pooled",
        "ssim",
        "ssim_ab",
        "colorfulness",
        "colorfulness_gap",
        "ciede2000",
        "ab_mae",
        "within_10",
        "within_20",
        "accuracy_area",
        "stray_color",
    ]
    assert row["pictures"] == 4
    # The second picture, without color, is left out of the mean but not of the pool.
    assert row["psnr"] == pytest.approx(10 * np.log10(255**2 / 100))
    assert row["psnr_pooled"] == pytest.approx(10 * np.log10(255**2 / 52))
    assert row["ssim"] == pytest.approx(0.95) and row["ssim_ab"] == pytest.approx(0.7)
    assert row["colorfulness"] == pytest.approx(5) and row["colorfulness_gap"] == pytest.approx(16)
    assert row["ciede2000"] == pytest.approx(4.5) and row["ab_mae"] == pytest.approx(3.5)
    assert row["within_10"] == pytest.approx(0.6) and row["within_20"] == pytest.approx(0.9)
    assert row["accuracy_area"] == pytest.approx(0.75) and row["stray_color"] == pytest.approx(0.2)
    assert metrics.aggregate_truth([measured(), measured()]) == {
        "colorfulness": pytest.approx(21),
        "pictures_with_color": 2,
        "stray_color": pytest.approx(0.1),
    }


def test_the_gap_has_no_sign_and_batches_may_differ_in_size():
    one = {name: values[:1] for name, values in measured(colorfulness=[70.0, 0.0]).items()}
    row = metrics.aggregate([one, measured(colorfulness=[70.0, 40.0])])
    assert row["pictures"] == 3
    assert row["colorfulness"] == pytest.approx(60)
    assert row["colorfulness_gap"] == pytest.approx(60 - 82 / 3)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_pictures_without_color_stay_finite(level):
    truth = np.full((2, 16, 12, 3), level, np.uint8)
    L, ab = lab.rgb_to_lab(truth)
    row = metrics.aggregate([metrics.measure(truth, L, ab, tf.zeros_like(ab))])
    assert row["psnr"] is None
    assert row["psnr_pooled"] == pytest.approx(metrics.MAX_PSNR)
    assert row["ssim"] == pytest.approx(1) and row["ssim_ab"] == pytest.approx(1, abs=1e-4)
    assert row["colorfulness"] == row["ciede2000"] == 0
    assert row["ab_mae"] == pytest.approx(0, abs=0.01)
    json.dumps(row, allow_nan=False)


def test_a_perfect_prediction_stays_finite(pairs):
    truth, L, ab, *_ = pairs
    row = metrics.aggregate([metrics.measure(truth, L, ab, ab)])
    assert row["psnr"] == pytest.approx(metrics.MAX_PSNR)
    assert row["psnr_pooled"] == pytest.approx(metrics.MAX_PSNR)
    assert row["ssim"] == pytest.approx(1)
    assert row["colorfulness_gap"] == row["ciede2000"] == row["ab_mae"] == 0
    json.dumps(row, allow_nan=False)
