# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Pictures in color, from Python: `koalagan.load().colorize(picture)`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from koalagan.color import lab
from koalagan.color.resizing import resize
from koalagan.data import decoding
from koalagan.errors import UserError
from koalagan.inference import joining, measuring, saved_model
from koalagan.options import PRETRAINED


def load(path: str | os.PathLike = PRETRAINED) -> Colorizer:
    """Loads a model.

    Args:
        path: a SavedModel that koalagan exported, or the folder of a finished run. By default, and
            for "koala", it is the model that comes with koalagan (CC BY-NC 4.0: not for commercial
            use).

    Raises:
        UserError: there is no model, it cannot be read, or koalagan did not export it.
    """
    return Colorizer(path)


class Colorizer:
    """A loaded model.

    Attributes:
        path: the SavedModel's folder, or "koala".
        facts: what is known of it: generator, weights, dataset, image_size and more.
    """

    def __init__(self, path: str | os.PathLike = PRETRAINED):
        self.path = saved_model.find(os.path.expanduser(os.fspath(path)))
        self._predict = saved_model.predictor(self.path)
        self.facts: dict[str, Any] = saved_model.facts(self.path)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) at which the network sees pictures."""
        return tuple(self.facts.get("image_size", (256, 256)))

    @property
    def varies(self) -> bool:
        """Whether it colors the same picture differently each time (`--dropout_at_inference`)."""
        return bool(self.facts.get("dropout_at_inference"))

    def colorize(
        self,
        picture: Any,
        *,
        saturation: float = 1.0,
        render_size: int | None = None,
    ) -> np.ndarray | list[np.ndarray]:
        """Colors one picture, or each of a list.

        Args:
            picture: uint8 [H,W], [H,W,1] or [H,W,3] of any size, a Pillow image, the path of a
                picture file (its first image, turned upright and converted to sRGB), or a list
                of these. Colors are ignored.
            saturation: factor on the predicted chroma.
            render_size: the side at which the network sees it, instead of `image_size`. Larger
                sizes give finer colors; other sizes than that of training also make them paler or
                more vivid.

        Returns:
            uint8 [H,W,3], sRGB, with the picture's own lightness; a list of them for a list.

        Raises:
            UserError: it is not such a picture, or the network does not take that size.
        """
        if isinstance(picture, (list, tuple)):
            return [
                self.colorize(one, saturation=saturation, render_size=render_size)
                for one in picture
            ]
        return self.colorize_batch(
            [_as_rgb(picture)], saturation=saturation, render_size=render_size
        )[0]

    def colorize_batch(
        self,
        rgb: Sequence[np.ndarray],
        *,
        saturation: float = 1.0,
        render_size: int | None = None,
    ) -> list[np.ndarray]:
        """Colors pictures, uint8 [H,W,3] of any sizes, with one call of the network.

        Args:
            rgb: the pictures.
            saturation, render_size: see `colorize`.
        """
        L, ab = self.predict(rgb, render_size)
        return [self.join(picture, L[row], ab[row], saturation) for row, picture in enumerate(rgb)]

    def predict(
        self, rgb: Sequence[np.ndarray], render_size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The network's input and output for pictures: L [B,h,w,1] and ab [B,h,w,2]."""
        size = (render_size, render_size) if render_size else self.image_size
        L = np.concatenate([lightness(picture, size) for picture in rgb])
        return L, self.predict_ab(L)

    def predict_ab(self, L: np.ndarray) -> np.ndarray:
        """The network's output [B,h,w,2] for L [B,h,w,1]."""
        # Kernels for one picture round otherwise than those for several: the result for a picture
        # must not depend on how many others are colored with it.
        if len(L) == 1:
            try:
                return self._predict(tf.constant(np.repeat(L, 2, axis=0))).numpy()[:1]
            except tf.errors.ResourceExhaustedError:
                pass  # One may fit where two do not.
        return self._predict(tf.constant(L)).numpy()

    @staticmethod
    def join(rgb: np.ndarray, L: np.ndarray, ab: np.ndarray, saturation: float = 1.0) -> np.ndarray:
        """One picture, uint8 [H,W,3], in the predicted colors; see `joining.join`."""
        return _join()(rgb[None], L[None], ab[None], saturation)[0].numpy()

    def evaluate(self, dataset: str, split: str, output_dir: str, **options: Any) -> dict[str, Any]:
        """Measures the model, gray first; `measuring.evaluate_saved_models` lists the options.

        Returns:
            The content of `metrics.json`, written to `output_dir` with a table and a grid.
        """
        return measuring.evaluate_saved_models(
            [self.path], dataset=dataset, split=split, output_dir=output_dir, **options
        )


def lightness(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The network's input for a picture, uint8 [H,W,3], at a size (h, w): L [1,h,w,1]."""
    return lab.lightness(resize(rgb[None], size)).numpy()


def _as_rgb(picture: Any) -> np.ndarray:
    """One picture of the kinds that `Colorizer.colorize` takes as uint8 [H,W,3]."""
    if isinstance(picture, (str, os.PathLike)):
        path = os.fspath(picture)
        return decoding.decode(path, path)
    if isinstance(picture, Image.Image):
        return decoding.to_rgb(picture)
    array = np.asarray(picture)
    if array.ndim == 2:
        array = array[..., None]
    if (
        array.dtype != np.uint8
        or array.ndim != 3
        or array.shape[-1] not in (1, 3)
        or not array.size
    ):
        raise UserError(
            f"a picture must be uint8 [H,W], [H,W,1] or [H,W,3], not {array.dtype} "
            f"{list(array.shape)}."
        )
    return np.repeat(array, 3 // array.shape[-1], axis=-1)


@functools.cache
def _join() -> Callable[..., tf.Tensor]:
    """`joining.join` as one graph for all sizes."""
    return tf.function(
        joining.join,
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, None, None, 1], tf.float32),
            tf.TensorSpec([None, None, None, 2], tf.float32),
            tf.TensorSpec([], tf.float32),
        ],
    )
