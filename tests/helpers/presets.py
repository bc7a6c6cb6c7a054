# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""keras-hub's networks, built from the numbers in the published presets' config.json."""

import keras
import keras_hub
import numpy as np

# Of the segmenter's image converter.
SCALE = [0.016, 0.018, 0.02]
OFFSET = [-2.0, -1.9, -1.8]

RESNET18 = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "use_pre_activation": False,
}


def enliven(model, seed):
    """Gives the biases and norms random values like those of a trained network."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.7, 1.4, weight.shape))
        elif weight.name != "kernel":
            weight.assign(rng.normal(0.0, 0.2, weight.shape))
    return model


def resnet18(**changes) -> keras.Model:
    return enliven(keras_hub.models.ResNetBackbone(**(RESNET18 | changes)), 2)


def resnet18_features(resnet, images) -> list:
    """The feature maps from 1/32 to 1/2."""
    levels = [resnet.pyramid_outputs[f"P{i}"] for i in (5, 4, 3, 2)]
    levels.append(resnet.get_layer("conv1_relu").output)
    return keras.Model(resnet.input, levels)(images, training=False)


def segmenter() -> keras.Model:
    """keras-hub's DeepLabV3+."""
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        use_pre_activation=False,
    )
    backbone = keras_hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
    )
    converter = keras_hub.layers.DeepLabV3ImageConverter(
        image_size=(512, 512), scale=SCALE, offset=OFFSET, interpolation="nearest"
    )
    preprocessor = keras_hub.models.DeepLabV3ImageSegmenterPreprocessor(converter)
    network = keras_hub.models.DeepLabV3ImageSegmenter(
        backbone, num_classes=21, preprocessor=preprocessor
    )
    # As after training: save_to_preset writes the optimizer's state, too.
    network.compile(optimizer=keras.optimizers.Adam())
    network.optimizer.build(network.output_conv.trainable_variables)
    random = np.random.default_rng(7)
    for weight in network.weights:
        if weight.name == "kernel":
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(random.normal(0, (2 / fan_in) ** 0.5, weight.shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:
            weight.assign(random.normal(0, 0.2, weight.shape))
    return network
