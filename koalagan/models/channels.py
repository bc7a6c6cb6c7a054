# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The order of the axes of images: always [B,H,W,C]."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def channels_last() -> Iterator[None]:
    """Makes layers that are built inside expect [B,H,W,C], whatever the user's keras.json says.

    As a decorator, it covers all that a function builds, also by keras.applications and keras-hub.
    """
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)
