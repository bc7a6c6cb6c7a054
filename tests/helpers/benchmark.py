# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Checks of the results of the benchmark."""

import pytest


def check_step(result):
    """The rate, the arithmetic and the share of a step agree."""
    slowest, fastest = result["spread"]
    assert 0 < slowest <= result["pictures_per_second"] <= fastest
    assert 0.1 < result["peak_memory_gb"] < 10
    assert (result["batch_size"], result["image_size"]) == (2, 32)
    achieved = result["gflop_per_picture"] * result["pictures_per_second"]
    assert result["gflop_per_second"] == pytest.approx(achieved)
    share = result["gflop_per_second"] / result["matrix_peak_gflop_per_second"]
    assert result["share_of_peak"] == pytest.approx(share)
