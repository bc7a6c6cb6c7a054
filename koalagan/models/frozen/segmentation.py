# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The frozen DeepLabV3+ that says what is where: 21 class scores for each place of a picture.

Input: L, float32 [B, H, W, 1] in [-1, 1], any size. Output: scores, the logits of Pascal VOC's
background and 20 classes, float32 [B, h, w, 21]: a quarter of the input, whose sides are resized
(bilinear) to the next multiples of 32 first where they are not (`scores_shape`).

The network (Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation, ECCV 2018) is keras-hub's `DeepLabV3ImageSegmenter` as its preset
`deeplab_v3_plus_resnet50_pascalvoc` has it: ResNet50 v1, pyramid pooling at 1/32, decoder at 1/4.
The paper's own, a DeepLabV3 with ResNet50, was trained on COCO pictures of the same classes; this
one on Pascal VOC's, with the further masks of the Semantic Boundaries Dataset.

The published one ends with bilinear upsampling x4 and a 1x1 convolution without bias. Both are
linear and commute, so here the convolution comes at a quarter of the size and the upsampling is
left to whoever uses the scores: resized bilinearly, they are the published network's logits.

The picture is the grey one whose three channels are (L + 1) * 127.5: L as it is, spread over 0 to
255, as `embedding` takes L as it is. Then come the scale and the offset of the preset's image
converter, as its task.json has it; the converter's resizing to 512x512 is left out, the picture is
seen at its own size. The published converter (on Hugging Face,
keras/deeplab_v3_plus_resnet50_pascalvoc) has neither: that network takes raw pixels.

Weights, in `load_weights`:
- `pascalvoc`: keras-hub's preset, from Kaggle.
- a folder: a preset of this architecture, as `save_to_preset` of the segmenter writes it.
- a `.weights.h5` path: written by `save_weights` of this model; scale and offset are in it.
- `random`: an untrained network drawn from a fixed seed, for tests and runs without a network. Its
  scale and offset are ImageNet's mean and deviation, those of keras-hub's ResNet50.
"""

import os
import warnings
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from koalagan import files, precision
from koalagan.errors import UserError, one_line
from koalagan.models import presets

CLASSES = 21
# The encoder halves five times; scores come at a quarter.
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

_PRESET = presets.Preset(
    handle="keras/deeplabv3plus/keras/deeplab_v3_plus_resnet50_pascalvoc/4",
    files=("config.json", "task.json", "task.weights.h5", "model.weights.h5"),
    writer="DeepLabV3ImageSegmenter",
    flag="--segmentation_weights",
    accepted="pascalvoc, a preset's folder, a path ending in .weights.h5, or random",
)

# `random` draws from this seed; a change of it or of the gains is a new "random-v..".
_RANDOM_SEED = 20180208
_RANDOM_VERSION = "random-v1"
# Variances of the kernels times their fan-in, by the end of the layer's name.
_RANDOM_GAIN = 3.0
_RANDOM_GAINS = {"_3_conv": 0.5, "segmentation_output": 4.0}


def scores_shape(height: int, width: int) -> tuple[int, int, int]:
    """The shape of the scores of a picture of `height` x `width`."""
    return (
        -(-height // STRIDE) * STRIDE // _SCORES_STRIDE,
        -(-width // STRIDE) * STRIDE // _SCORES_STRIDE,
        CLASSES,
    )


class _Preprocessing(keras.layers.Layer):
    """L -> what the network takes; its scale and offset are weights, loaded with the others."""

    def build(self, input_shape):
        for name, start in (("scale", "ones"), ("offset", "zeros")):
            weight = self.add_weight(shape=(3,), initializer=start, trainable=False, name=name)
            setattr(self, name, weight)

    def call(self, lightness):
        size = tf.shape(lightness)[1:3]
        # Sizes that fit already come out bit by bit as they are.
        lightness = tf.image.resize(lightness, -(-size // STRIDE) * STRIDE)
        return (lightness + 1.0) * 127.5 * self.scale + self.offset


class _ResizeLike(keras.layers.Layer):
    """keras-hub's bilinear UpSampling2D, which needs sizes that are known when it is traced."""

    def call(self, small, large):
        return tf.image.resize(small, tf.shape(large)[1:3])


def build() -> keras.Model:
    """Builds the frozen network, in float32 whatever Keras's global dtype policy.

    Layers bear keras-hub's names. Weights are Keras's initial ones until `load_weights`.

    Raises:
        UserError: keras-hub is not installed.
    """
    models = _keras_hub_models()
    with precision.policy("float32"):
        encoder = models.ResNetBackbone(**_ENCODER)
        backbone = models.DeepLabV3Backbone(image_encoder=encoder, **_DECODER)
        segmenter = models.DeepLabV3ImageSegmenter(backbone, CLASSES, compile=False)

        lightness = keras.Input((None, None, 1), dtype="float32", name="L")
        pixels = _Preprocessing(name="preprocessing")(lightness)
        levels = [encoder.pyramid_outputs[key] for key in ("P2", "P5")]
        shallow, deep = keras.Model(encoder.input, levels, name="encoder")(pixels)
        for name in ("decoder_conv", "decoder_norm", "decoder_relu"):
            shallow = backbone.get_layer(name)(shallow)
        # Not the pooling layer as a whole: on each call it makes a layer of that call's policy.
        pooling = next(la for la in backbone.layers if hasattr(la, "aspp_parallel_channels"))
        for i, branch in enumerate((*pooling.aspp_parallel_channels, pooling.projection)):
            branch.name = f"pyramid_{i}"  # Keras numbers them on from one model to the next
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
    """Sets all weights of `model`, which comes from `build`.

    Args:
        model: the network to fill.
        weights: `pascalvoc`, a preset's folder, a path that ends in `.weights.h5`, or `random`.

    Raises:
        UserError: `weights` is none of these, or its files cannot be had, read or used.
    """
    if weights == "random":
        _set_random(model)
    elif weights == "pascalvoc":
        _load_preset(model, _PRESET.download())
    elif os.path.isdir(weights):
        _load_preset(model, weights)
    elif weights.endswith(".weights.h5"):
        _load_keras_file(model, weights)
    else:
        raise _PRESET.not_accepted(weights)


def fetch(weights: str) -> None:
    """Downloads what `weights` needs and is not there yet, so that a later export cannot lack it.

    Raises:
        UserError: it cannot be downloaded, or keras-hub is not installed.
    """
    if weights == "pascalvoc":
        _keras_hub_models()
        _PRESET.download()


def fingerprint(weights: str) -> str:
    """Identifies what `load_weights(model, weights)` sets, without loading it.

    `random-v1`, `pascalvoc-<version>`, `preset-<hash>` or `file-<hash>`; the hash is the first 16
    hexadecimal digits of the SHA-256 of the files' contents.

    Raises:
        UserError: `weights` is none of what `load_weights` takes, or its file does not exist.
    """
    if weights == "random":
        return _RANDOM_VERSION
    if weights == "pascalvoc":
        return f"pascalvoc-{_PRESET.handle.rpartition('/')[2]}"
    if os.path.isdir(weights):
        _PRESET.check_folder(weights)
        paths = [os.path.join(weights, name) for name in _PRESET.files]
        return f"preset-{files.digest(paths)[:16]}"
    if weights.endswith(".weights.h5"):
        _PRESET.check_file(weights)
        return f"file-{files.digest([weights])[:16]}"
    raise _PRESET.not_accepted(weights)


def _keras_hub_models() -> ModuleType:
    alternative = ", or pass --segmentation_weights=none"
    return presets.keras_hub("the segmentation network", alternative).models


def _named(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights by their layer's name and their own, which keras-hub makes unique.

    The order of a model's weights depends on how its layers are put together.
    """
    return {"/".join(weight.path.split("/")[-2:]): weight for weight in model.weights}


def _set_random(model: keras.Model) -> None:
    """An untrained network whose scores are of order 1 and vary over the picture.

    Kernels are uniform, each output's kernel sums to zero and biases are zero. Plain random kernels
    mostly pass on the mean of the (positive) activations, which is nearly the same for every
    picture. On 24 COCO pictures of 256x256 the standard deviation of all scores is 2.0 and that of
    one score between pictures 1.7; the largest of them is 15.
    """
    # RandomState's stream is frozen by NumPy's policy; Generator's may change between versions.
    source = np.random.RandomState(_RANDOM_SEED)
    constants = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
    constants["scale"] = 1.0 / (255.0 * np.array(presets.IMAGENET_STD))
    constants["offset"] = -np.divide(presets.IMAGENET_MEAN, presets.IMAGENET_STD)
    for name, weight in sorted(_named(model).items()):
        layer, _, kind = name.partition("/")
        if kind == "kernel":
            values = source.random_sample(tuple(weight.shape)) * 2.0 - 1.0
            values -= values.mean(axis=(0, 1, 2))
            gains = (gain for end, gain in _RANDOM_GAINS.items() if layer.endswith(end))
            gain = next(gains, _RANDOM_GAIN)
            weight.assign(values * np.sqrt(3.0 * gain / np.prod(values.shape[:-1])))
        else:
            weight.assign(np.broadcast_to(constants[kind], weight.shape))


def _load_preset(model: keras.Model, folder: str) -> None:
    _PRESET.check_folder(folder)
    segmenters = _keras_hub_models().DeepLabV3ImageSegmenter
    targets = _named(model)
    try:
        with precision.policy("float32"), warnings.catch_warnings():
            # Keras warns of what the files lack, and also of what is not needed of them; the NaNs
            # that are left tell it more surely.
            warnings.simplefilter("ignore", UserWarning)
            segmenter = segmenters.from_preset(folder, load_weights=False, compile=False)
            _check_architecture(segmenter)
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
    except presets.LOADING_ERRORS as error:
        raise UserError(
            f"{folder} is damaged or is not what save_to_preset of a DeepLabV3ImageSegmenter like "
            f"{_PRESET.handle} writes ({one_line(error)}): pass another "
            f"{_PRESET.flag}={_PRESET.accepted}, or, where kagglehub put it there, delete it to "
            "have it downloaded again"
        ) from error
    for name, weight in targets.items():
        weight.assign(values[name])


def _check_architecture(segmenter: keras.Model) -> None:
    """What the weights' names and shapes do not tell, or tell less clearly."""
    decoder = segmenter.backbone.get_config()
    encoder = segmenter.backbone.image_encoder.get_config()
    for config, expected in ((decoder, _DECODER), (encoder, _ENCODER)):
        for key, value in expected.items():
            if config[key] != value:
                raise ValueError(f"its {key} is {config[key]}, not {value}")
    if segmenter.num_classes != CLASSES:
        raise ValueError(f"its num_classes is {segmenter.num_classes}, not {CLASSES}")


def _preprocessing_weights(segmenter: keras.Model) -> dict[str, Any]:
    """What stands for the preset's image converter, by the names that `_named` gives."""
    converter = segmenter.preprocessor and segmenter.preprocessor.image_converter
    scale = getattr(converter, "scale", None)
    offset = getattr(converter, "offset", None)
    return {
        "preprocessing/scale": 1.0 if scale is None else scale,
        "preprocessing/offset": 0.0 if offset is None else offset,
    }


def _load_keras_file(model: keras.Model, path: str) -> None:
    _PRESET.check_file(path)
    try:
        with warnings.catch_warnings():
            # Keras only warns where a part of the network is not in the file.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except presets.LOADING_ERRORS as error:
        raise UserError(
            f"{path} is damaged or holds another network's weights: --segmentation_weights needs a "
            "file written by save_weights of the segmentation network"
        ) from error
