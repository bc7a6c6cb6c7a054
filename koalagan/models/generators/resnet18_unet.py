# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A U-Net whose encoder is a ResNet18 that starts from ImageNet's weights.

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1], H and W multiples of 32.
Output: `ab` float32 [B,H,W,2] in [-1,1].

The encoder is keras-hub's ResNet18 (He et al. 2016) as its preset `resnet_18_imagenet` has it, less
pooling and classifier: 11,186,112 parameters. It is part of the generator and trained with it. It
sees L as it saw pictures: in [0, 1], stacked three times, less ImageNet's mean, over its deviation.

The decoder goes up from 1/32 in five steps of 256, 128, 64, 64 and 32 filters. In each:

    up      sub-pixel convolution (Shi et al. 2016): 1x1 conv to 4 times the filters, ReLU, shuffle
    append  the encoder at 1/16, 1/8, 1/4, 1/2 (after its first ReLU); at full size, L
    twice   3x3 conv, batch norm, ReLU

Last, a 1x1 conv to 2 channels and tanh. The sub-pixel kernels start from ICNR (Aitken et al. 2017):
the four places that one grows into start alike, so that there is no checkerboard to unlearn. The
last kernel starts from N(0, 0.02), near grey, the others from He.
14,357,154 parameters, 14,345,378 of them trainable (transposed: 16,493,634 and 16,481,858).

The variant of one report, by `upsampling="transposed"`, has 4x4 transposed convolutions of stride 2
and ReLU instead of the sub-pixel ones. Its output, by `output_activation="sigmoid"`, is a
sigmoid, with ab mapped to [0, 1]: here 2 * sigmoid - 1, the same colours on our scale.

Weights of the encoder, in `load_backbone`:
- `imagenet`: the preset `resnet_18_imagenet`, from Kaggle.
- a folder: a preset of this architecture, as `save_to_preset` of a ResNetBackbone writes it.
- a `.weights.h5` path: written by `save_weights` of such a ResNetBackbone.
- `random`: the untrained weights that the model was built with.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

import keras
import tensorflow as tf
from keras import layers

from koalagan import precision
from koalagan.errors import UserError, one_line
from koalagan.models import presets
from koalagan.models.generators.sizes import image_shape
from koalagan.models.layers.batch_norm import FusedBatchNormalization

STRIDE = 32
UPSAMPLINGS = ("subpixel", "transposed")
OUTPUT_ACTIVATIONS = ("tanh", "sigmoid")

_RESNET18 = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "use_pre_activation": False,
}

# From 1/32 up to the full size.
_DECODER_FILTERS = (256, 128, 64, 64, 32)

_PRESET = presets.Preset(
    handle="keras/resnetv1/keras/resnet_18_imagenet/3",
    files=("config.json", "model.weights.h5"),
    writer="ResNetBackbone",
    flag="--backbone_weights",
    accepted="imagenet, a preset's folder, a path ending in .weights.h5, or random",
)


@keras.saving.register_keras_serializable("koalagan")
class StackNormalized(layers.Layer):
    """`L [B,H,W,1] in [-1,1] -> [B,H,W,3]`: a grey picture normalised by ImageNet's statistics."""

    def call(self, lightness):
        # (L + 1) / 2 less the mean, over the deviation, in one multiplication and one addition.
        scale = [0.5 / std for std in presets.IMAGENET_STD]
        offset = [
            (0.5 - mean) / std
            for mean, std in zip(presets.IMAGENET_MEAN, presets.IMAGENET_STD, strict=True)
        ]
        return lightness * tf.constant(scale) + tf.constant(offset)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)


@keras.saving.register_keras_serializable("koalagan")
class DepthToSpace(layers.Layer):
    """`[B,h,w,4C] -> [B,2h,2w,C]`: channel (2i + j)C + c becomes channel c at offset (i, j)."""

    def call(self, features):
        return tf.nn.depth_to_space(features, 2)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        double = (side and 2 * side for side in (height, width))
        return (batch, *double, channels // 4)


@keras.saving.register_keras_serializable("koalagan")
class ICNR(keras.initializers.Initializer):
    """He's normal, the same for the four places that `DepthToSpace` makes of one (ICNR)."""

    def __call__(self, shape, dtype=None):
        *kernel, filters = shape
        one = keras.initializers.HeNormal()((*kernel, filters // 4), dtype)
        return tf.concat([one] * 4, axis=-1)


def _with_fused_norm(layer: layers.Layer) -> layers.Layer:
    """A copy of the layer, a batch norm by the fused kernel."""
    fused = type(layer) is layers.BatchNormalization
    kind = FusedBatchNormalization if fused else type(layer)
    return kind.from_config(layer.get_config())


def _up(x, filters: int, upsampling: str, name: str):
    """Twice the size, `filters` channels."""
    if upsampling == "transposed":
        return layers.Conv2DTranspose(
            filters,
            4,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"{name}_transposed",
        )(x)
    x = layers.Conv2D(
        4 * filters, 1, activation="relu", kernel_initializer=ICNR(), name=f"{name}_subpixel"
    )(x)
    return DepthToSpace(name=f"{name}_shuffle")(x)


def _conv(x, filters: int, name: str):
    x = layers.Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def build(
    image_size=256, upsampling: str = "subpixel", output_activation: str = "tanh"
) -> keras.Model:
    """Builds the generator; see the module's docstring for its input and output.

    Nothing is downloaded: the encoder's weights are random until `load_backbone`.

    Args:
        image_size: an int or (height, width), multiples of 32; None for a side of any size.
        upsampling: `subpixel` or `transposed`.
        output_activation: `tanh` or `sigmoid`.

    Raises:
        UserError: the image size does not divide by 32, or keras-hub is not installed.
        ValueError: `upsampling` or `output_activation` is none of those.
    """
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f"upsampling is {upsampling!r}, not one of {UPSAMPLINGS}.")
    if output_activation not in OUTPUT_ACTIVATIONS:
        raise ValueError(f"output_activation is {output_activation!r}, not {OUTPUT_ACTIVATIONS}.")
    height, width = image_shape(image_size, STRIDE)
    lightness = keras.Input((height, width, 1), name="L", dtype="float32")
    resnet = _keras_hub_models().ResNetBackbone(**_RESNET18, image_shape=(height, width, 3))
    encoder = keras.Model(
        resnet.input,
        [
            resnet.pyramid_outputs["P5"],
            resnet.pyramid_outputs["P4"],
            resnet.pyramid_outputs["P3"],
            resnet.pyramid_outputs["P2"],
            resnet.get_layer("conv1_relu").output,
        ],
        name="encoder",
    )
    encoder = keras.models.clone_model(encoder, clone_function=_with_fused_norm)
    x, *skips = encoder(StackNormalized(dtype="float32", name="normalized")(lightness))
    for step, (filters, skip) in enumerate(
        zip(_DECODER_FILTERS, [*skips, lightness], strict=True), 1
    ):
        x = _up(x, filters, upsampling, f"decoder_{step}")
        x = layers.Concatenate(name=f"decoder_{step}_skip")([x, skip])
        x = _conv(x, filters, f"decoder_{step}_1")
        x = _conv(x, filters, f"decoder_{step}_2")
    x = layers.Conv2D(
        2, 1, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02), name="colour"
    )(x)
    # In float32 whatever the policy: it is the model's output, and bfloat16 would quantise ab.
    if output_activation == "tanh":
        ab = layers.Activation("tanh", dtype="float32", name="ab")(x)
    else:
        x = layers.Activation("sigmoid", dtype="float32", name="sigmoid")(x)
        ab = layers.Rescaling(2.0, -1.0, dtype="float32", name="ab")(x)
    return keras.Model({"L": lightness}, ab, name="resnet18_unet")


def load_backbone(model: keras.Model, weights: str) -> None:
    """Sets the weights of the encoder of `model`, which comes from `build`, and no others.

    Args:
        model: the generator.
        weights: `imagenet`, a preset's folder, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its files cannot be had, read or used.
    """
    if weights == "random":
        return
    if weights == "imagenet":
        resnet = _read_preset(_PRESET.download())
    elif os.path.isdir(weights):
        resnet = _read_preset(weights)
    elif weights.endswith(".weights.h5"):
        resnet = _read_keras_file(weights)
    else:
        raise _PRESET.not_accepted(weights)
    theirs = {weight.path: weight for weight in resnet.weights}
    for weight in model.get_layer("encoder").weights:
        weight.assign(theirs[weight.path])


def fetch(weights: str) -> None:
    """Downloads what `weights` needs and is not there yet.

    Raises:
        UserError: it cannot be downloaded, or keras-hub is not installed.
    """
    if weights == "imagenet":
        _keras_hub_models()
        _PRESET.download()


def _keras_hub_models() -> ModuleType:
    return presets.keras_hub("--generator=resnet18_unet").models


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """In float32; what Keras only warns of, such as weights that the file lacks, is an error."""
    with precision.policy("float32"), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def _read_preset(folder: str) -> keras.Model:
    _PRESET.check_folder(folder)
    models = _keras_hub_models()
    try:
        with _loading():
            resnet = models.ResNetBackbone.from_preset(folder)
    except presets.LOADING_ERRORS as error:
        raise UserError(
            f"{folder} is damaged or is not a preset that save_to_preset of keras-hub's "
            f"ResNetBackbone wrote ({one_line(error)}): delete it to have imagenet downloaded "
            f"again, or pass another --backbone_weights={_PRESET.accepted}"
        ) from error
    config = resnet.get_config()
    if differing := [key for key, value in _RESNET18.items() if config[key] != value]:
        raise UserError(
            f"{folder} holds another network than ResNet18, with another {', '.join(differing)}: "
            f"pass another --backbone_weights={_PRESET.accepted}"
        )
    return resnet


def _read_keras_file(path: str) -> keras.Model:
    _PRESET.check_file(path)
    models = _keras_hub_models()
    try:
        with _loading():
            resnet = models.ResNetBackbone(**_RESNET18)
            resnet.load_weights(path)
    except presets.LOADING_ERRORS as error:
        raise UserError(
            f"{path} is damaged or holds another network's weights ({one_line(error)}): "
            "--backbone_weights needs a file written by save_weights of keras-hub's ResNet18"
        ) from error
    return resnet
