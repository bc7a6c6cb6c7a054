# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Random parts of pictures: which, how they are resized, and that a run can start at any step."""

import itertools

import numpy as np
import pytest
import skimage.color
import skimage.data
import tensorflow as tf
from PIL import Image

from koalagan.data import batches, crops, pipeline
from koalagan.data.store import Store

WHOLE, SMALLEST = 40, 24
COUNT = 8


def pictures():
    photograph = skimage.data.astronaut()
    return np.stack([photograph[20 * n :, 30 * n :][:WHOLE, :WHOLE] for n in range(COUNT)])


@pytest.fixture
def store(tmp_path):
    np.save(tmp_path / "pictures.npy", pictures())
    mapped = np.load(tmp_path / "pictures.npy", mmap_mode="r")
    return Store(tmp_path, {"pictures": COUNT}, mapped)


def batches_of(store, steps, **options):
    given = pipeline.training_batches(
        store, batch_size=4, seed=7, smallest_crop=SMALLEST, **options
    )
    return list(itertools.islice(given.as_numpy_iterator(), steps))


def pillow(picture, box, side):
    """A part of a picture as Pillow resizes it."""
    top, left, length = box
    part = (left, top, left + length, top + length)
    resized = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, box=part)
    return np.asarray(resized)


def test_parts_are_those_that_pillow_cuts_and_resizes():
    boxes = [(0, 0, 40), (3.5, 7.25, 30), (10, 12, 28), (15.9, 0.1, 24.01), (1, 2, 16)]
    given = pictures()[: len(boxes)]
    parts = crops.take(tf.constant(given), tf.constant(boxes, tf.float32), 24).numpy()
    for picture, box, part in zip(given, boxes, parts, strict=True):
        # Pillow rounds twice, after rows and after columns, in 8 bits.
        assert np.abs(part.astype(int) - pillow(picture, box, 24)).max() <= 2
        assert part.std() > 3


def test_a_part_of_the_wanted_size_is_copied():
    given = pictures()[:1]
    part = crops.take(tf.constant(given), tf.constant([[5.0, 9.0, 24.0]]), 24).numpy()
    np.testing.assert_array_equal(part[0], given[0, 5:29, 9:33])


def test_parts_lie_in_the_picture_and_take_all_sizes_and_places():
    boxes = crops.boxes(0, 3, np.arange(2000), WHOLE, SMALLEST)
    top, left, side = boxes.T
    assert boxes.min() >= 0 and (top + side).max() <= WHOLE and (left + side).max() <= WHOLE
    assert SMALLEST <= side.min() < SMALLEST + 0.1 and WHOLE - 0.1 < side.max() <= WHOLE
    assert abs(side.mean() - (WHOLE + SMALLEST) / 2) < 0.5
    room = WHOLE - side
    for start in (top, left):
        assert abs((start[room > 1] / room[room > 1]).mean() - 0.5) < 0.03
    assert abs(np.corrcoef(boxes.T)[0, 1]) < 0.5 and not np.array_equal(top, left)


def test_every_epoch_takes_other_parts_and_every_seed():
    rows = np.arange(5)
    boxes = crops.boxes(3, 5, rows, WHOLE, SMALLEST)
    np.testing.assert_array_equal(crops.boxes(3, 5, rows[::-1], WHOLE, SMALLEST), boxes[::-1])
    for other in (crops.boxes(3, 6, rows, WHOLE, SMALLEST), crops.boxes(4, 5, rows, WHOLE, 24)):
        assert (np.abs(other - boxes).max(axis=1) > 0.1).all()


def test_the_networks_take_the_mirrored_part_in_lab(store):
    (batch,) = batches_of(store, 1)
    rows = pipeline.epoch_order(7, 0, COUNT)[:4]
    np.testing.assert_array_equal(batch["box"], crops.boxes(7, 0, rows, WHOLE, SMALLEST))
    assert batch["mirrored"].any() and not batch["mirrored"].all()
    taken = batches.for_networks(batch, SMALLEST)
    assert taken.keys() == {"L", "ab"} and taken["ab"].shape == (4, SMALLEST, SMALLEST, 2)
    for number, row in enumerate(rows):
        part = pillow(pictures()[row], batch["box"][number], SMALLEST)
        if batch["mirrored"][number]:
            part = part[:, ::-1]
        expected = skimage.color.rgb2lab(part)[..., 0]
        assert np.abs((taken["L"][number, ..., 0] + 1) * 50 - expected).max() < 2


def test_a_run_continues_at_any_step_with_the_same_parts(store):
    uninterrupted = batches_of(store, 6)
    for batch, other in zip(batches_of(store, 3, first_step=3), uninterrupted[3:], strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_xla_takes_the_same_parts(store):
    (batch,) = batches_of(store, 1)
    compiled = tf.function(crops.take, jit_compile=True)
    parts = compiled(batch["rgb"], batch["box"], SMALLEST).numpy().astype(int)
    assert np.abs(parts - crops.take(batch["rgb"], batch["box"], SMALLEST)).max() <= 1
