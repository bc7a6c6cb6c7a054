# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The flags that make a run: which they are, whether they go together, what they build.

They are absl `FlagValues`; `workdir` keeps them in the run's folder.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from koalagan import lazy, precision
from koalagan.data.flags import define_data_flags
from koalagan.errors import UserError, one_line
from koalagan.models import BACKBONES, FROZEN, GENERATORS

keras = lazy.module("keras")

# Weights that are no path, even where a folder bears the name.
_WEIGHTS_BY_NAME = ("imagenet", "pascalvoc", "random", "none")
# Flags that a generator's builder takes by the same name, if it is one that has them.
_GENERATOR_OPTIONS = ("skips", "dropout", "dropout_at_inference", "upsampling", "output_activation")


def define_run_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of `train`, with the Inception-GAN paper's values as defaults."""
    define_data_flags(flag_values)

    def positive(name: str, default: float, text: str) -> None:
        flags.DEFINE_float(name, default, text, lower_bound=0.0, flag_values=flag_values)

    def count(name: str, default: int, minimum: int, text: str) -> None:
        flags.DEFINE_integer(name, default, text, lower_bound=minimum, flag_values=flag_values)

    def choice(name: str, choices: Sequence[str], text: str) -> None:
        flags.DEFINE_enum(name, choices[0], choices, text, flag_values=flag_values)

    def text(name: str, default: str | None, text: str) -> None:
        flags.DEFINE_string(name, default, text, flag_values=flag_values)

    def switch(name: str, default: bool, text: str) -> None:
        flags.DEFINE_boolean(name, default, text, flag_values=flag_values)

    text("workdir", None, "The run's folder; the same command with the same one continues it.")
    text("train_split", "train[:8000]", "What to train on, in TFDS's slice syntax.")
    text("eval_split", "train[8000:10000]", "What to validate and evaluate on.")
    choice("generator", list(GENERATORS), "The network that colours.")
    text(
        "embedding_weights",
        "imagenet",
        "Weights of the frozen Inception-ResNet-v2: imagenet, slim:PATH (the original checkpoint), "
        "PATH.weights.h5, random (untrained), or none (leave the branch out of the network).",
    )
    text(
        "segmentation_weights",
        "pascalvoc",
        "Weights of the frozen DeepLabV3+: pascalvoc (keras-hub's preset), the path of a preset or "
        "of a .weights.h5, random (untrained), or none (leave the branch out of the network).",
    )
    text(
        "backbone_weights",
        "imagenet",
        "What the encoder of resnet18_unet starts from: imagenet (keras-hub's preset), the path of "
        "a preset or of a .weights.h5, or random (untrained).",
    )
    switch("skips", True, "unet: skip connections; without them it is an encoder-decoder.")
    flags.DEFINE_float(
        "dropout",
        None,
        "unet, inception_fusion: the rate in the decoder (default: the paper's, 0.5 and 0).",
        lower_bound=0.0,
        upper_bound=0.95,
        flag_values=flag_values,
    )
    switch(
        "dropout_at_inference",
        False,
        "unet, inception_fusion: drop out when colouring too, so that each time differs.",
    )
    choice("upsampling", ["subpixel", "transposed"], "resnet18_unet: how its decoder goes up.")
    choice("output_activation", ["tanh", "sigmoid"], "resnet18_unet: its last function.")
    switch("conditional_discriminator", True, "The discriminator sees L beside the colours.")
    count("pretrain_epochs", 20, 0, "Passes of L1 pretraining of the generator alone.")
    positive("pretrain_learning_rate", 1e-4, "Adam's learning rate in pretraining.")
    count("epochs", 15, 0, "Passes of adversarial training.")
    positive("generator_learning_rate", 2e-4, "Adam's learning rate for the generator.")
    positive("discriminator_learning_rate", 2e-4, "Adam's learning rate for the discriminator.")
    count("discriminator_every", 5, 1, "Generator steps to each discriminator step.")
    choice("pixel_loss", ["l1", "l2"], "The distance between predicted and true colours.")
    positive("l1_weight", 100.0, "What the pixel loss is multiplied by.")
    choice("gan_loss", ["vanilla", "lsgan"], "Cross-entropy, or least squares.")
    count("batch_size", 64, 1, "Pictures in a step.")
    choice("mixed_precision", precision.CHOICES, "Compute dtype; auto takes the fastest safe one.")
    count("checkpoint_every_steps", 0, 0, "Save after so many steps too; 0 does not.")
    positive("checkpoint_every_minutes", 10.0, "Save when so many minutes have passed; 0 does not.")
    count("keep_checkpoints", 2, 1, "How many of the newest checkpoints are kept.")
    choice(
        "best_metric",
        ["psnr", "psnr_pooled", "ssim", "loss_G_L1"],
        "The validation metric that chooses the best epoch.",
    )
    count(
        "early_stopping",
        0,
        0,
        "End the last phase after so many epochs without a better one; 0 does not.",
    )
    count("check_every", 10, 1, "Steps between two looks for losses that are no numbers.")
    text(
        "init_from",
        None,
        "Start from the generator of another run's folder; it must have the same layers, dropout's "
        "included.",
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Of weights, order and flips.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=flag_values,
    )
    switch("deterministic", False, "Only kernels that repeat bit by bit.")


def parse(arguments: Sequence[str]) -> flags.FlagValues:
    """The flags of a run from command-line arguments, without the program's name.

    Raises:
        UserError: they are no flags of a run.
    """
    settings = flags.FlagValues()
    define_run_flags(settings)
    try:
        settings(["koalagan", *arguments])
    except (flags.Error, OSError, ValueError) as error:
        raise UserError(
            f"{' '.join(arguments)} cannot be read as flags ({one_line(error)})."
        ) from error
    return settings


def resolve(settings: flags.FlagValues) -> None:
    """Makes `settings` independent of where and on what they were given, so that they can be kept.

    Branches that the generator does not have get the weights "none".

    Raises:
        UserError: the workdir is missing, a number is not one, the generator does not have what is
            asked of it, or there is nothing to train.
    """
    if not settings.workdir:
        raise UserError("--workdir is missing: name the folder that the run is kept in.")
    if settings.pretrain_epochs + settings.epochs == 0:
        raise UserError("--pretrain_epochs and --epochs are both 0: nothing would be trained.")
    for name, value in settings.flag_values_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}={value} is not a number to train with.")
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                # Reports and flags.txt are UTF-8.
                raise UserError(f"--{name}={value!r} is not text in UTF-8: rename it.") from None
    settings.mixed_precision = precision.resolve(settings.mixed_precision)
    settings.workdir = os.path.expanduser(settings.workdir)
    for name in ("data_dir", "init_from"):
        if settings[name].value:
            settings[name].value = _absolute(settings[name].value)
    _resolve_generator(settings)
    if settings.init_from and settings.generator in BACKBONES:
        # The encoder comes from there, and with it what its weights once started from.
        former = Path(settings.init_from) / "flags.txt"
        if former.is_file():
            settings.backbone_weights = parse([f"--flagfile={former}"]).backbone_weights
    for name in _weights_flags():
        value = settings[name].value
        kind = "slim:" if value.startswith("slim:") else ""
        path = value.removeprefix(kind)
        is_path = kind or path.endswith(".h5") or os.path.isdir(os.path.expanduser(path))
        if is_path and path not in _WEIGHTS_BY_NAME:
            settings[name].value = f"{kind}{_absolute(path)}"


def _weights_flags() -> list[str]:
    return [f"{name}_weights" for name in (*FROZEN, "backbone")]


def _resolve_generator(settings: flags.FlagValues) -> None:
    takes = set(_builder_arguments(settings.generator))
    _given_options(settings)
    if settings.generator in BACKBONES:
        takes.add("backbone")
    for name in _weights_flags():
        flag = settings[name]
        if name.removesuffix("_weights") in takes:
            continue
        if flag.present and flag.value != "none":
            raise UserError(
                f"--generator={settings.generator} has nothing that --{name}={flag.value} could be "
                f"for: pass --{name}=none."
            )
        flag.value = "none"


def _given_options(settings: flags.FlagValues) -> dict[str, Any]:
    """The generator's options that are not at their defaults, which are the builder's."""
    takes = _builder_arguments(settings.generator)
    given = {
        name: settings[name].value
        for name in _GENERATOR_OPTIONS
        if settings[name].value != settings[name].default
    }
    for name in given:
        if name not in takes:
            raise UserError(
                f"--{name} is for other generators than --generator={settings.generator}: leave it "
                "out."
            )
    return given


def _builder_arguments(generator: str) -> list[str]:
    return list(inspect.signature(GENERATORS[generator]).parameters)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def frozen_fingerprints(settings: flags.FlagValues) -> dict[str, str]:
    """Identifies the weights of the frozen networks that a run's flags name, by flag."""
    given = {name: settings[f"{name}_weights"].value for name in FROZEN}
    return {
        f"{name}_weights": weights if weights == "none" else FROZEN[name].fingerprint(weights)
        for name, weights in given.items()
    }


def fetch_weights(settings: flags.FlagValues) -> None:
    """Downloads the published weights that the flags name and that are not there yet.

    Raises:
        UserError: they cannot be downloaded.
    """
    for name, network in FROZEN.items():
        network.fetch(settings[f"{name}_weights"].value)
    if settings.generator in BACKBONES:
        BACKBONES[settings.generator].fetch(settings.backbone_weights)


def build_generator(settings: flags.FlagValues, image_size) -> keras.Model:
    """The generator that resolved flags describe, untrained, for `image_size` (see its `build`).

    Raises:
        UserError: the generator has not what a flag asks of it, or cannot be of this size.
    """
    takes = _builder_arguments(settings.generator)
    options = {
        name: settings[f"{name}_weights"].value != "none" for name in FROZEN if name in takes
    }
    generator = GENERATORS[settings.generator](
        image_size=image_size, **options, **_given_options(settings)
    )
    drops_out = any(isinstance(layer, keras.layers.Dropout) for layer in generator.layers)
    if settings.dropout_at_inference and not drops_out:
        raise UserError(
            "--dropout_at_inference asks for noise that the generator does not have: train it with "
            "--dropout, or leave this out."
        )
    return generator
