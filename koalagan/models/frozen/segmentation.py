# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The frozen DeepLabV3+, which segments an image: 21 class scores per position.

Input: L, float32 [B, H, W, 1] in [-1, 1], any size. Output: scores, the logits of Pascal VOC's
background and 20 classes, float32 [B, h, w, 21] at a quarter of the input's size. Sides that are
not multiples of 32 are first resized (bilinear) to the next ones (`scores_shape`).

The network (Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation, ECCV 2018) is keras-hub's `DeepLabV3ImageSegmenter` as in its preset
`deeplab_v3_plus_resnet50_pascalvoc`: ResNet50 v1, pyramid pooling at 1/32, decoder at 1/4. The
paper's network, a DeepLabV3 with ResNet50, was trained on COCO pictures of the same classes; this
one on Pascal VOC's, with the additional masks of the Semantic Boundaries Dataset.

The published network ends with bilinear upsampling x4 and a 1x1 convolution without bias. Both are
linear and commute, so here the convolution is applied at a quarter of the size, and the user of the
scores upsamples them: resized bilinearly, they are the published network's logits.

The network's image is grayscale: its three channels are (L + 1) * 127.5, L mapped linearly to
0..255. Then follow the scale and the offset of the preset's image converter, from its task.json.
The converter's resizing to 512x512 is left out: images keep their size. The published converter (on
Hugging Face, keras/deeplab_v3_plus_resnet50_pascalvoc) has neither scale nor offset: that network
takes raw pixels.

Weights, for `load_weights`:
- `pascalvoc`: keras-hub's preset, from Kaggle.
- a folder: a preset of this architecture, written by `save_to_preset` of the segmenter.
- a `.weights.h5` path: written by `save_weights` of this model; includes scale and offset.
- `random`: an untrained network drawn from a fixed seed, for tests and for use offline. Its scale
  and offset normalize by ImageNet's mean and standard deviation, as for keras-hub's ResNet50.
"""

import os
import warnings
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from koalagan import precision
from koalagan.models import frozen, presets
from koalagan.models.channels import channels_last
from koalagan.models.weights import (
    LOADING_ERRORS,
    WeightsFlag,
    fingerprint_of,
    zero_sum_kernel,
)

CLASSES = frozen.CLASSES["segmentation"]
# The encoder halves the size five times; the scores have a quarter of the size.
STRIDE = 32
_SCORES_STRIDE = 4

_ENCODER = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [3, 4, 6, 3],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "bottleneck_block",
    "use_pre_activation": False,
}
_DECODER = {
    "spatial_pyramid_pooling_key": "P5",
    "upsampling_size": 8,
    "dilation_rates": [6, 12, 18],
    "low_level_feature_key": "P2",
    "projection_filters": 48,
}

PRESET = presets.Preset(
    name="pascalvoc",
    handle="keras/deeplabv3plus/keras/deeplab_v3_plus_resnet50_pascalvoc/4",
    files=("config.json", "task.json", "task.weights.h5", "model.weights.h5"),
    writer="DeepLabV3ImageSegmenter",
    flag=WeightsFlag(
        "--segmentation_weights",
        accepted="pascalvoc, an existing preset folder, a path ending in .weights.h5, or random",
        network="the segmentation network",
    ),
)

# The seed of `random`. If it or one of the gains changes, so must the version.
_RANDOM_SEED = 20180208
_RANDOM_VERSION = "random-v1"
# Variances of the kernels times their fan-in, by the suffix of the layer's name.
_RANDOM_GAIN = 3.0
_RANDOM_GAINS = {"_3_conv": 0.5, "segmentation_output": 4.0}


def scores_shape(height: int, width: int) -> tuple[int, int, int]:
    """The shape (height, width, classes) of the scores for an image of `height` x `width`."""
    return (
        -(-height // STRIDE) * STRIDE // _SCORES_STRIDE,
        -(-width // STRIDE) * STRIDE // _SCORES_STRIDE,
        CLASSES,
    )


class _Preprocessing(keras.layers.Layer):
    """From L to the network's image; scale and offset are weights, loaded with the others."""

    def build(self, input_shape):
        for name, start in (("scale", "ones"), ("offset", "zeros")):
            weight = self.add_weight(shape=(3,), initializer=start, trainable=False, name=name)
            setattr(self, name, weight)

    def call(self, lightness):
        size = tf.shape(lightness)[1:3]
        # Leaves images whose size fits bitwise unchanged.
        lightness = tf.image.resize(lightness, -(-size // STRIDE) * STRIDE)
        return (lightness + 1.0) * 127.5 * self.scale + self.offset


class _ResizeLike(keras.layers.Layer):
    """Bilinear resizing to the size of another tensor.

    keras-hub uses UpSampling2D, which needs sizes that are known when the graph is traced.
    """

    def call(self, small, large):
        return tf.image.resize(small, tf.shape(large)[1:3])


@channels_last()
def build(dtype: str = "float32") -> keras.Model:
    """Builds the frozen network, in `dtype` under any global dtype policy.

    Layers have keras-hub's names. Weights are Keras's initial ones until `load_weights`.

    Args:
        dtype: what it computes in, float32 or bfloat16; weights are float32.

    Raises:
        UserError: keras-hub is not installed.
    """
    models = _keras_hub_models()
    with precision.policy(dtype):
        encoder = models.ResNetBackbone(**_ENCODER)
        backbone = models.DeepLabV3Backbone(image_encoder=encoder, **_DECODER)
        segmenter = models.DeepLabV3ImageSegmenter(backbone, CLASSES, compile=False)

        lightness = keras.Input((None, None, 1), dtype="float32", name="L")
        pixels = _Preprocessing(dtype="float32", name="preprocessing")(lightness)
        levels = [encoder.pyramid_outputs[key] for key in ("P2", "P5")]
        shallow, deep = keras.Model(encoder.input, levels, name="encoder")(pixels)
        for name in ("decoder_conv", "decoder_norm", "decoder_relu"):
            shallow = backbone.get_layer(name)(shallow)
        # Not the whole pooling layer, which creates a layer of the current policy in each call.
        pooling = next(la for la in backbone.layers if hasattr(la, "aspp_parallel_channels"))
        for i, branch in enumerate((*pooling.aspp_parallel_channels, pooling.projection)):
            branch.name = f"pyramid_{i}"  # Keras's numbers continue from model to model
        *deeps, pooled = (branch(deep) for branch in pooling.aspp_parallel_channels)
        deeps.append(_ResizeLike(name="pooled_upsampling")(pooled, deep))
        deep = pooling.projection(keras.layers.Concatenate(name="pyramid_concat")(deeps))
        deep = _ResizeLike(name="encoder_output_upsampling")(deep, shallow)
        x = backbone.get_layer("encoder_decoder_concat")([deep, shallow])
        for kind in ("conv", "norm", "relu"):
            x = backbone.get_layer(f"segmentation_head_{kind}")(x)
        model = keras.Model(lightness, segmenter.output_conv(x), name="segmentation")
    model.trainable = False
    return model


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets all weights.

    Args:
        model: the network, from `build`.
        weights: `pascalvoc`, a preset's folder, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its files cannot be downloaded, read or used.
    """
    if weights == "random":
        _set_random(model)
    elif folder := PRESET.folder(weights):
        _load_preset(model, folder)
    elif weights.endswith(".weights.h5"):
        PRESET.flag.load_file(model, weights)
    else:
        raise PRESET.flag.not_accepted(weights)


def fetch(weights: str) -> None:
    """Downloads the files that `weights` needs, unless they are cached.

    Raises:
        UserError: they cannot be downloaded, or keras-hub is not installed.
    """
    if weights == PRESET.name:
        _keras_hub_models()
        PRESET.download()


def fingerprint(weights: str) -> str:
    """Identifies the weights that `load_weights(model, weights)` sets, without loading them.

    Returns:
        `random-v1`, `pascalvoc-<version>`, `preset-<hash>` or `file-<hash>`; see
        `weights.fingerprint_of` for the hash.

    Raises:
        UserError: `load_weights` does not accept `weights`, or its file does not exist.
    """
    if weights == "random":
        return _RANDOM_VERSION
    if weights == PRESET.name:
        return f"{PRESET.name}-{PRESET.handle.rpartition('/')[2]}"
    if folder := PRESET.folder(weights):
        return fingerprint_of("preset", [os.path.join(folder, name) for name in PRESET.files])
    if weights.endswith(".weights.h5"):
        PRESET.flag.check_file(weights)
        return fingerprint_of("file", [weights])
    raise PRESET.flag.not_accepted(weights)


def _keras_hub_models() -> ModuleType:
    alternative = ", or pass --segmentation_weights=none"
    return presets.keras_hub("the segmentation network", alternative).models


def _named(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights by the names of their layer and their own, which are unique in keras-hub.

    The order of a model's weights depends on how its layers are connected.
    """
    return {"/".join(weight.path.split("/")[-2:]): weight for weight in model.weights}


def _set_random(model: keras.Model) -> None:
    """Draws an untrained network whose scores are of order 1 and vary over the image.

    On 24 COCO pictures of 256x256 the standard deviation of all scores is 2.0 and that of one score
    between pictures 1.7; the largest score is 15.
    """
    source = np.random.RandomState(_RANDOM_SEED)
    constants = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
    constants["scale"] = 1.0 / (255.0 * np.array(presets.IMAGENET_STD))
    constants["offset"] = -np.divide(presets.IMAGENET_MEAN, presets.IMAGENET_STD)
    for name, weight in sorted(_named(model).items()):
        layer, _, kind = name.partition("/")
        if kind == "kernel":
            gains = (gain for suffix, gain in _RANDOM_GAINS.items() if layer.endswith(suffix))
            weight.assign(zero_sum_kernel(source, weight.shape, next(gains, _RANDOM_GAIN)))
        else:
            weight.assign(np.broadcast_to(constants[kind], weight.shape))


@channels_last()
def _load_preset(model: keras.Model, folder: str) -> None:
    segmenters = _keras_hub_models().DeepLabV3ImageSegmenter
    targets = _named(model)
    try:
        with precision.policy("float32"), warnings.catch_warnings():
            # Keras warns about missing weights, but also about weights that are not needed.
            # Remaining NaNs identify the missing ones reliably.
            warnings.simplefilter("ignore", UserWarning)
            segmenter = segmenters.from_preset(folder, load_weights=False, compile=False)
            # Weights' names and shapes do not distinguish all architectures.
            encoder = segmenter.backbone.image_encoder
            presets.check_config(segmenter.backbone.get_config(), _DECODER)
            presets.check_config(encoder.get_config(), _ENCODER)
            presets.check_config({"num_classes": segmenter.num_classes}, {"num_classes": CLASSES})
            for weight in segmenter.weights:
                weight.assign(np.full(weight.shape, np.nan))
            segmenter.load_task_weights(os.path.join(folder, "task.weights.h5"))
            segmenter.backbone.load_weights(os.path.join(folder, "model.weights.h5"))
        values = {name: weight.numpy() for name, weight in _named(segmenter).items()}
        values |= _preprocessing_weights(segmenter)
        for name, weight in targets.items():
            values[name] = np.broadcast_to(np.asarray(values[name], np.float32), weight.shape)
            if not np.isfinite(values[name]).all():
                raise ValueError(f"it holds no {name}")
    except LOADING_ERRORS as error:
        raise PRESET.damaged(folder, error) from error
    for name, weight in targets.items():
        weight.assign(values[name])


def _preprocessing_weights(segmenter: keras.Model) -> dict[str, Any]:
    """The weights of `_Preprocessing` that replace the image converter, named as in `_named`."""
    converter = segmenter.preprocessor and segmenter.preprocessor.image_converter
    scale = getattr(converter, "scale", None)
    offset = getattr(converter, "offset", None)
    return {
        "preprocessing/scale": 1.0 if scale is None else scale,
        "preprocessing/offset": 0.0 if offset is None else offset,
    }
