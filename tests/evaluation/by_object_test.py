# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Errors within boxes, against scikit-image."""

import numpy as np
import pytest
import skimage.color
import skimage.data as DATA

from koalagan.color import lab
from koalagan.data.objects import Objects
from koalagan.evaluation import by_object

PICTURES = np.stack([load()[100:132, 100:148] for load in (DATA.astronaut, DATA.coffee)])
# Half of the first picture, a pixel of it, and all of the second but its lower left quarter.
OBJECTS = [
    Objects(np.array([[0, 0, 1, 0.5], [0.5, 0.5, 0.501, 0.501]], np.float32), ["cup", "eye"]),
    None,
    Objects(np.array([[0.5, 0.5, 1, 1]], np.float32), ["cup"]),
]


@pytest.fixture(scope="module")
def measured():
    rgb = PICTURES[[0, 1, 1]]
    L, ab = lab.rgb_to_lab(rgb)
    return by_object.measure(7, (rgb, L, ab), 0.5 * ab, OBJECTS)


def test_means_over_boxes(measured):
    rgb = PICTURES[[0, 1, 1]]
    true = skimage.color.rgb2lab(rgb)
    L, ab = lab.rgb_to_lab(rgb)
    shown = skimage.color.rgb2lab(lab.lab_to_rgb(L, 0.5 * ab).numpy())
    difference = skimage.color.deltaE_ciede2000(true, shown)
    chroma = np.linalg.norm(true[..., 1:], axis=-1)
    regions = [
        (0, slice(0, 32), slice(0, 24)),
        (0, slice(16, 17), slice(24, 25)),
        (2, slice(16, 32), slice(24, 48)),
    ]
    assert [one["picture"] for one in measured] == [7, 7, 9]
    assert [one["class"] for one in measured] == ["cup", "eye", "cup"]
    assert [one["size"] for one in measured] == ["large", "small", "large"]
    for one, region in zip(measured, regions, strict=True):
        assert one["ciede2000"] == pytest.approx(difference[region].mean(), rel=1e-3)
        assert one["truth_chroma"] == pytest.approx(chroma[region].mean(), rel=1e-3)
        assert one["chroma"] == pytest.approx(chroma[region].mean() / 2, rel=1e-3)
        expected = np.abs(true[region][..., 1:]).mean() / 2
        assert one["ab_mae"] == pytest.approx(expected, rel=1e-3)


def test_sizes_are_shares_of_the_picture():
    shares = np.array([0.0099, 0.0101, 0.099, 0.101], np.float32)
    boxes = np.stack([0 * shares, 0 * shares, 0 * shares + 1, shares], axis=1)
    rgb = PICTURES[:1]
    L, ab = lab.rgb_to_lab(rgb)
    found = by_object.measure(0, (rgb, L, ab), ab, [Objects(boxes, ["a"] * 4)])
    assert [one["size"] for one in found] == ["small", "medium", "medium", "large"]


def test_aggregate_by_class_and_by_size(measured):
    others = [{**one, "ciede2000": 3.0} for one in measured]
    rows = by_object.aggregate({"gray": measured, "koala": others})
    assert [(row["model"], row["by"], row["name"], row["objects"]) for row in rows] == [
        (model, by, name, count)
        for model in ("gray", "koala")
        for by, name, count in (
            ("class", "cup", 2),
            ("class", "eye", 1),
            ("size", "large", 2),
            ("size", "small", 1),
        )
    ]
    cup, eye, *_ = rows
    assert cup["pictures"] == 2 and eye["pictures"] == 1
    values = [one["ciede2000"] for one in measured if one["class"] == "cup"]
    assert cup["ciede2000"] == pytest.approx(np.mean(values))
    # Two pictures are too few for intervals.
    assert cup["ciede2000_interval"] == [None, None]
    # What the second model has more, object by object; nothing where there is none to compare.
    assert cup["ciede2000_more"] is None
    assert rows[4]["ciede2000_more"] == [pytest.approx(3.0 - np.mean(values)), None, None]


def test_objects_that_are_hard_for_both_do_not_widen_the_interval_of_their_difference():
    """Each picture has two objects of one class, and the second model is better by about 1."""
    rng = np.random.default_rng(0)
    same = {"class": "cup", "size": "large", **dict.fromkeys(by_object.MEASURES, 0.0)}
    gray = [
        {**same, "picture": number // 2, "ciede2000": error}
        for number, error in enumerate(rng.uniform(0, 40, 80))
    ]
    mine = [{**one, "ciede2000": one["ciede2000"] - rng.uniform(0.5, 1.5)} for one in gray]
    before, *_, after, _ = by_object.aggregate({"gray": gray, "koala": mine})
    difference, low, high = after["ciede2000_more"]
    assert difference == pytest.approx(after["ciede2000"] - before["ciede2000"])
    assert -1.2 < low < -1.0 < high < -0.8
    assert np.ptp(after["ciede2000_interval"]) > 5
