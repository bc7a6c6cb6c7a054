# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import numpy as np

from koalagan.models.layers.subpixel import ICNR, DepthToSpace


def test_depth_to_space_moves_channels_to_offsets():
    x = np.random.default_rng(5).normal(size=(2, 3, 5, 12)).astype(np.float32)
    y = DepthToSpace()(x).numpy()
    assert y.shape == (2, 6, 10, 3)
    for i in range(2):
        for j in range(2):
            first = (2 * i + j) * 3
            np.testing.assert_array_equal(y[:, i::2, j::2], x[..., first : first + 3])


def test_depth_to_space_of_sizes_known_only_at_run_time():
    assert DepthToSpace()(keras.Input((None, 4, 8))).shape == (None, None, 8, 2)


def test_icnr_is_equal_for_the_four_channels_of_a_pixel():
    kernel = np.asarray(ICNR()((1, 1, 16, 12)))
    np.testing.assert_array_equal(kernel, np.tile(kernel[..., :3], 4))
    assert len(np.unique(kernel)) == 16 * 3
