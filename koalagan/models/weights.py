# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Selecting, loading, identifying and drawing the weights of networks."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

from koalagan import files
from koalagan.errors import UserError, one_line

# What keras, keras-hub and h5py raise for files that are damaged or hold something else.
LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    UserWarning,
)


@dataclass(frozen=True)
class WeightsFlag:
    """The flag that selects a network's weights.

    Attributes:
        name: the flag, `--..._weights`.
        accepted: the values that it accepts, for error messages.
        network: the network whose `save_weights` writes the files that it accepts.
    """

    name: str
    accepted: str
    network: str

    @property
    def advice(self) -> str:
        """The part of an error message that lists the accepted values."""
        return f"set {self.name} to {self.accepted}"

    def not_accepted(self, weights: str) -> UserError:
        """The error for a value that the flag does not accept."""
        return UserError(f"{self.name}={weights} is not supported: {self.advice}.")

    def check_file(self, path: str) -> None:
        """Checks that a weights file exists.

        Raises:
            UserError: it does not.
        """
        if not os.path.isfile(path):
            raise UserError(f"there is no weights file {path}: {self.advice}.")

    def load_file(self, model: keras.Model, path: str) -> None:
        """Sets all weights of `model` from a `.weights.h5` file.

        Raises:
            UserError: the file does not exist, is damaged, or does not hold all of the weights.
        """
        self.check_file(path)
        try:
            with warnings.catch_warnings():
                # Keras only warns about weights that the file does not hold.
                warnings.simplefilter("error", UserWarning)
                model.load_weights(path)
        except LOADING_ERRORS as error:
            raise UserError(
                f"{path} is damaged or holds the weights of another network ({one_line(error)}): "
                f"{self.name} needs a file written by save_weights of {self.network}."
            ) from error


def fingerprint_of(kind: str, paths: Iterable[str]) -> str:
    """Identifies weights by the contents of their files.

    Returns:
        `<kind>-<hash>`; the hash is the first 16 hexadecimal digits of the files' SHA-256.

    Raises:
        UserError: a file cannot be read.
    """
    return f"{kind}-{files.digest(paths)[:16]}"


def zero_sum_kernel(source: np.random.RandomState, shape: Iterable[int], gain: float) -> np.ndarray:
    """Draws a kernel of an untrained network whose outputs differ between images.

    Weights are uniform and sum to zero for each output channel. Without the zero sum, random
    kernels mostly pass on the mean of the (positive) activations, which is nearly the same for
    every image.

    Args:
        source: a RandomState, whose stream NumPy's policy freezes; Generator's may change between
            versions.
        shape: the kernel's shape, output channels last.
        gain: the variance of the weights times their fan-in.
    """
    values = source.random_sample(tuple(shape)) * 2.0 - 1.0
    values -= values.mean(axis=tuple(range(values.ndim - 1)))
    fan_in = np.prod(values.shape[:-1])
    return (values * np.sqrt(3.0 * gain / fan_in)).astype(np.float32)
