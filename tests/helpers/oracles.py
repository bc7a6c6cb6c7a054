# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Other ways to the same numbers, pixel by pixel where the code works on arrays."""

import math

import numpy as np


def joint_bilateral_upsampling(small_L, small_ab, L):
    """Kopf et al. 2007 with a bilinear spatial kernel and 0.1 of normalised L as sigma.

    Args:
        small_L: [h,w].
        small_ab: [h,w,2].
        L: [H,W], no side shorter than those.

    Returns:
        ab [H,W,2].
    """
    (height, width), (h, w) = L.shape, small_L.shape
    ab = np.zeros((height, width, 2))
    for y in range(height):
        for x in range(width):
            at_y, at_x = (y + 0.5) * h / height - 0.5, (x + 0.5) * w / width - 0.5
            total, weights = np.zeros(2), 0.0
            for j in (math.floor(at_y), math.floor(at_y) + 1):
                for i in (math.floor(at_x), math.floor(at_x) + 1):
                    row, column = min(max(j, 0), h - 1), min(max(i, 0), w - 1)
                    near = (1 - abs(at_y - j)) * (1 - abs(at_x - i))
                    difference = (L[y, x] - small_L[row, column]) / 0.1
                    weight = near * (math.exp(-(difference**2) / 2) + 1e-4)
                    total += weight * small_ab[row, column]
                    weights += weight
            ab[y, x] = total / weights
    return ab
