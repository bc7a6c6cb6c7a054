# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A U-Net whose encoder is a ResNet18 pretrained on ImageNet.

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1], H and W multiples of 32.
Output: `ab` float32 [B,H,W,2] in [-1,1].

The encoder is keras-hub's ResNet18 (He et al. 2016) as in its preset `resnet_18_imagenet`, without
pooling and classifier: 11,186,112 parameters. It is part of the generator and trained with it. Its
input is L mapped to [0, 1], stacked three times and normalized by ImageNet's mean and standard
deviation, like the images that it was trained on.

The decoder goes up from 1/32 in five steps of 256, 128, 64, 64 and 32 filters. In each:

    up      sub-pixel convolution (Shi et al. 2016): 1x1 conv to 4 times the filters, ReLU, shuffle
    append  the encoder at 1/16, 1/8, 1/4, 1/2 (after its first ReLU); at full size, L
    twice   3x3 conv, batch norm, ReLU

At the end, a 1x1 conv to 2 channels and tanh. The sub-pixel kernels start from ICNR (Aitken et al.
2017): the four pixels that each pixel becomes start equal, so that there is no checkerboard pattern
to unlearn. The last kernel starts from N(0, 0.02), near gray, the others from He.
14,357,154 parameters, 14,345,378 of them trainable (transposed: 16,493,634 and 16,481,858).

One report has 4x4 transposed convolutions of stride 2 and ReLU instead of the sub-pixel ones:
`upsampling="transposed"`. Its output is a sigmoid, with ab mapped to [0, 1]:
`output_activation="sigmoid"`, here 2 * sigmoid - 1, the same colors in [-1, 1].

Weights of the encoder, for `load_backbone`:
- `imagenet`: the preset `resnet_18_imagenet`, from Kaggle.
- a folder: a preset of this architecture, written by `save_to_preset` of a ResNetBackbone.
- a `.weights.h5` path: written by `save_weights` of such a ResNetBackbone.
- `random`: the untrained weights that the model was built with.
"""

import warnings
from types import ModuleType

import keras
from keras import layers

from koalagan import precision
from koalagan.models import presets
from koalagan.models.channels import channels_last
from koalagan.models.generators.sizes import ImageSize, image_shape
from koalagan.models.layers.batch_norm import FusedBatchNormalization
from koalagan.models.layers.conv_block import conv_block
from koalagan.models.layers.stacking import StackNormalized
from koalagan.models.layers.subpixel import ICNR, DepthToSpace
from koalagan.models.weights import LOADING_ERRORS, WeightsFlag

STRIDE = 32
# See `koalagan.models.heads`.
COLOR_FEATURES = ("colour", 1)
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

PRESET = presets.Preset(
    name="imagenet",
    handle="keras/resnetv1/keras/resnet_18_imagenet/3",
    files=("config.json", "model.weights.h5"),
    writer="ResNetBackbone",
    flag=WeightsFlag(
        "--backbone_weights",
        accepted="imagenet, an existing preset folder, a path ending in .weights.h5, or random",
        network="keras-hub's ResNet18",
    ),
)


def _with_fused_norm(layer: layers.Layer) -> layers.Layer:
    """Copies a layer, replacing Keras's batch normalization by ours."""
    is_norm = type(layer) is layers.BatchNormalization
    kind = FusedBatchNormalization if is_norm else type(layer)
    return kind.from_config(layer.get_config())


def _up(x, filters: int, upsampling: str, name: str):
    """Doubles height and width; returns `filters` channels."""
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


@channels_last()
def build(
    image_size: ImageSize = 256, upsampling: str = "subpixel", output_activation: str = "tanh"
) -> keras.Model:
    """Builds the generator; see the module's docstring for its input and output.

    Downloads nothing: the encoder's weights are random until `load_backbone`.

    Args:
        image_size: an int or (height, width), multiples of 32; None for a side of any length.
        upsampling: `subpixel` or `transposed`.
        output_activation: `tanh` or `sigmoid`.

    Raises:
        UserError: the image size is not a multiple of 32, or keras-hub is not installed.
        ValueError: `upsampling` or `output_activation` has another value.
    """
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f"upsampling must be one of {UPSAMPLINGS}, not {upsampling!r}.")
    if output_activation not in OUTPUT_ACTIVATIONS:
        raise ValueError(
            f"output_activation must be one of {OUTPUT_ACTIVATIONS}, not {output_activation!r}."
        )
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
        x = conv_block(x, filters, f"decoder_{step}_1")
        x = conv_block(x, filters, f"decoder_{step}_2")
    # "colour" is the name in models that were saved by earlier versions.
    x = layers.Conv2D(
        2, 1, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02), name="colour"
    )(x)
    # Always float32: it is the model's output, and bfloat16 would quantize ab.
    if output_activation == "tanh":
        ab = layers.Activation("tanh", dtype="float32", name="ab")(x)
    else:
        x = layers.Activation("sigmoid", dtype="float32", name="sigmoid")(x)
        ab = layers.Rescaling(2.0, -1.0, dtype="float32", name="ab")(x)
    return keras.Model({"L": lightness}, ab, name="resnet18_unet")


def load_backbone(model: keras.Model, weights: str) -> None:
    """Sets the weights of the encoder and leaves the others.

    Args:
        model: the generator, from `build`.
        weights: `imagenet`, a preset's folder, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its files cannot be downloaded, read or used.
    """
    if weights == "random":
        return
    if folder := PRESET.folder(weights):
        resnet = _read_preset(folder)
    elif weights.endswith(".weights.h5"):
        resnet = _read_keras_file(weights)
    else:
        raise PRESET.flag.not_accepted(weights)
    published = {weight.path: weight for weight in resnet.weights}
    for weight in model.get_layer("encoder").weights:
        weight.assign(published[weight.path])


def backbone_weights(model: keras.Model) -> list[keras.Variable]:
    """The weights of the encoder, which can learn at a rate of their own."""
    return model.get_layer("encoder").weights


def fetch(weights: str) -> None:
    """Downloads the files that `weights` needs, unless they are cached.

    Raises:
        UserError: they cannot be downloaded, or keras-hub is not installed.
    """
    if weights == PRESET.name:
        _keras_hub_models()
        PRESET.download()


def _keras_hub_models() -> ModuleType:
    return presets.keras_hub("--generator=resnet18_unet").models


@channels_last()
def _read_preset(folder: str) -> keras.Model:
    models = _keras_hub_models()
    try:
        with precision.policy("float32"), warnings.catch_warnings():
            # Keras only warns about weights that the files do not hold.
            warnings.simplefilter("error", UserWarning)
            resnet = models.ResNetBackbone.from_preset(folder)
        presets.check_config(resnet.get_config(), _RESNET18)
    except LOADING_ERRORS as error:
        raise PRESET.damaged(folder, error) from error
    return resnet


@channels_last()
def _read_keras_file(path: str) -> keras.Model:
    models = _keras_hub_models()
    with precision.policy("float32"):
        resnet = models.ResNetBackbone(**_RESNET18)
    PRESET.flag.load_file(resnet, path)
    return resnet
