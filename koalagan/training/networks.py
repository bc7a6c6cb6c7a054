# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The networks that the settings of a run describe."""

from types import ModuleType

import keras

from koalagan import distribution
from koalagan.errors import UserError
from koalagan.models import GENERATORS, frozen, heads, patchgan
from koalagan.models.layers import batch_norm
from koalagan.training import averaging
from koalagan.training.gan import ColorizationGAN
from koalagan.training.resolving import check_generator_options, generator_options
from koalagan.training.settings import NetworkSettings, RunSettings


def build_gan(
    settings: RunSettings, devices: distribution.Devices | None = None
) -> ColorizationGAN:
    """The networks and optimizers of a run, untrained.

    Args:
        settings: the run's.
        devices: that train; None for one.

    Raises:
        UserError: the generator or the discriminator cannot be built so.
    """
    size = settings.data.image_size
    rates = settings.optimization
    devices = devices or distribution.Devices()
    average = None
    with devices.scope():
        generator = build_generator(settings.networks, size)
        if rates.ema_momentum:
            shown = build_generator(settings.networks, size)
            average = averaging.WeightAverage(generator, shown, rates.ema_momentum)
        conditional = settings.networks.conditional_discriminator
        discriminator = patchgan.build(size, conditional=conditional)
    if rates.sync_batch_norm:
        for network in (generator, discriminator):
            batch_norm.synchronize(network)
    entry = GENERATORS[settings.networks.generator]
    return ColorizationGAN(
        generator,
        discriminator,
        pretrain_learning_rate=rates.pretrain_learning_rate,
        generator_learning_rate=rates.generator_learning_rate,
        discriminator_learning_rate=rates.discriminator_learning_rate,
        backbone=entry.module.backbone_weights(generator) if entry.pretrained else (),
        backbone_factor=rates.backbone_learning_rate_factor,
        average=average,
        devices=devices,
    )


def build_generator(
    networks: NetworkSettings, image_size: int | tuple[int | None, int | None]
) -> keras.Model:
    """The generator, untrained, for an image size (see its `build`).

    Raises:
        UserError: the generator does not have an option, or cannot be built for this size.
    """
    check_generator_options(networks)
    entry = GENERATORS[networks.generator]
    used = frozen_weights(networks)
    branches = {name: name in used for name in entry.branches}
    generator = heads.build(
        networks.generator,
        image_size,
        networks.head,
        networks.temperature,
        **branches,
        **generator_options(networks),
    )
    has_dropout = any(isinstance(layer, keras.layers.Dropout) for layer in generator.layers)
    if networks.dropout_at_inference and not has_dropout:
        raise UserError(
            "--dropout_at_inference needs a generator with dropout: train one with --dropout, or "
            "leave the flag out."
        )
    return generator


def load_backbone(generator: keras.Model, networks: NetworkSettings) -> None:
    """Loads the published weights that the generator's encoder starts from, if it has such.

    Raises:
        UserError: the weights cannot be downloaded or read.
    """
    entry = GENERATORS[networks.generator]
    if entry.pretrained:
        entry.module.load_backbone(generator, networks.backbone_weights)


def frozen_weights(networks: NetworkSettings) -> dict[str, str]:
    """The weights of the frozen networks that the generator uses, by their names."""
    weights = {name: getattr(networks, f"{name}_weights") for name in frozen.CLASSES}
    return {name: given for name, given in weights.items() if given != "none"}


def frozen_module(networks: NetworkSettings, role: str) -> ModuleType:
    """The module of the frozen network that a run has for a role, "embedding" or "segmentation"."""
    return frozen.network(role, networks.embedding if role == "embedding" else None)


def frozen_fingerprints(networks: NetworkSettings) -> dict[str, str]:
    """Identifies the weights of the frozen networks, by the names of their flags."""
    used = frozen_weights(networks)
    return {
        f"{name}_weights": (
            frozen_module(networks, name).fingerprint(used[name]) if name in used else "none"
        )
        for name in frozen.CLASSES
    }


def load_frozen(networks: NetworkSettings) -> dict[str, keras.Model]:
    """The frozen networks that the generator uses, with their weights, by their names.

    Raises:
        UserError: their weights cannot be downloaded or read.
    """
    models = {}
    for name, weights in frozen_weights(networks).items():
        models[name] = frozen_module(networks, name).build()
        frozen_module(networks, name).load_weights(models[name], weights)
    return models


def fetch_weights(networks: NetworkSettings) -> None:
    """Downloads the published weights that are not there yet.

    Raises:
        UserError: they cannot be downloaded.
    """
    for name, weights in frozen_weights(networks).items():
        frozen_module(networks, name).fetch(weights)
    entry = GENERATORS[networks.generator]
    if entry.pretrained:
        entry.module.fetch(networks.backbone_weights)
