# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""How a generator says color: two numbers, or a distribution over classes of color.

Every generator is built with a regression head: its last layers give ab. `classification` replaces
them by the head of Zhang, Isola and Efros 2016 (see `koalagan.color.bins`):

    class_logits    the features before the last layers, at 1/4 by space to depth; 1x1 conv 261
    annealed_mean   softmax, mean of the classes' colors: ab at 1/4
    ab              upsample (bilinear) to the full size

The module of a generator names the place in `COLOR_FEATURES`: its layer that makes colors of
features, and how many times smaller than the picture these features are.
"""

from typing import Any

import keras
from keras import layers

from koalagan.color import bins
from koalagan.models.channels import channels_last
from koalagan.models.generators import GENERATORS
from koalagan.models.generators.sizes import ImageSize
from koalagan.models.layers.annealed_mean import AnnealedMean
from koalagan.models.layers.bilinear import BilinearUpsampling
from koalagan.models.layers.subpixel import SpaceToDepth

HEADS = ("regression", "classification")
# The layer, and the output, of the logits of each class.
LOGITS = "class_logits"


def build(
    generator: str,
    image_size: ImageSize,
    head: str = "regression",
    temperature: float = 1.0,
    **arguments: Any,
) -> keras.Model:
    """An untrained generator with a head.

    Args:
        generator: its name in `GENERATORS`.
        image_size: see the `build` of its module.
        head: one of `HEADS`.
        temperature: of the classification head's annealed mean.
        **arguments: further ones of its module's `build`.

    Raises:
        UserError: the generator cannot be built for this size.
    """
    entry = GENERATORS[generator]
    model = entry(image_size, **arguments)
    if head == "regression":
        return model
    return classification(model, entry.module.COLOR_FEATURES, temperature)


@channels_last()
def classification(
    generator: keras.Model, color_features: tuple[str, int], temperature: float = 1.0
) -> keras.Model:
    """A generator with the classification head, which shares all other layers with the given one.

    Args:
        generator: with a regression head.
        color_features: `COLOR_FEATURES` of its module.
        temperature: of the annealed mean.
    """
    name, smaller = color_features
    x = generator.get_layer(name).input
    while smaller < bins.STRIDE:
        x = SpaceToDepth(name=f"class_features_{2 * smaller}")(x)
        smaller *= 2
    logits = layers.Conv2D(len(bins.centers()), 1, name=LOGITS)(x)
    # Always float32: it is the model's output, and bfloat16 would quantize ab.
    ab = AnnealedMean(temperature, dtype="float32", name="annealed_mean")(logits)
    ab = BilinearUpsampling(bins.STRIDE, dtype="float32", name="class_ab")(ab)
    return keras.Model(generator.input, ab, name=generator.name)


def outputs(generator: keras.Model) -> keras.Model:
    """The generator with its outputs by name: `ab`, and `class_logits` if it classifies."""
    named = {"ab": generator.output}
    if any(layer.name == LOGITS for layer in generator.layers):
        named[LOGITS] = generator.get_layer(LOGITS).output
    return keras.Model(generator.input, named, name=generator.name)
