# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import keras
import pytest
from helpers import tiny

from koalagan.errors import UserError
from koalagan.training import networks
from koalagan.training.resolving import resolve
from koalagan.training.settings import parse


def settings(*arguments):
    return parse(arguments).networks


@pytest.mark.parametrize(
    "arguments, parameters",
    [
        ([], 6_592_506),
        (["--segmentation_weights=none"], 6_574_050),
        (["--segmentation_weights=none", "--embedding_weights=none"], 6_317_794),
    ],
)
def test_weights_none_leaves_a_branch_out(arguments, parameters):
    assert networks.build_generator(settings(*arguments), 32).count_params() == parameters


def test_a_generator_gets_its_options():
    unet = networks.build_generator(settings("--generator=unet", "--noskips"), 256)
    assert unet.count_params() < 54_409_858
    noisy = networks.build_generator(settings("--dropout=0.2", "--dropout_at_inference"), 32)
    assert noisy.count_params() == 6_592_506
    rates = {layer.rate for layer in noisy.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.2}
    variant = networks.build_generator(
        settings(
            "--generator=resnet18_unet", "--upsampling=transposed", "--output_activation=sigmoid"
        ),
        32,
    )
    assert variant.count_params() == 16_493_634
    assert any(layer.name == "sigmoid" for layer in variant.layers)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--noskips"], "is not an option of --generator="),
        (["--generator=koalarization", "--dropout=0.2"], "is not an option of --generator="),
        (["--dropout_at_inference"], "needs a generator with dropout"),
    ],
)
def test_options_that_a_generator_does_not_have(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        networks.build_generator(settings(*arguments), 32)


@pytest.mark.parametrize(
    "arguments, channels",
    [([], 3), (["--noconditional_discriminator"], 2)],
)
def test_a_gan_has_the_rates_and_the_discriminator_of_its_settings(arguments, channels):
    model = networks.build_gan(
        parse(
            [
                "--image_size=32",
                "--embedding_weights=none",
                "--segmentation_weights=none",
                "--pretrain_learning_rate=0.5",
                "--generator_learning_rate=0.25",
                "--discriminator_learning_rate=0.125",
                *arguments,
            ]
        )
    )
    assert model.discriminator.input_shape[-1] == channels
    rates = (
        model.pretraining_optimizer.learning_rate,
        model.generator_optimizer.learning_rate,
        model.discriminator_optimizer.learning_rate,
    )
    assert [float(rate) for rate in rates] == [0.5, 0.25, 0.125]


def test_frozen_networks_in_use():
    chosen = settings("--segmentation_weights=none", "--embedding_weights=random")
    assert networks.frozen_weights(chosen) == {"embedding": "random"}
    fingerprints = networks.frozen_fingerprints(chosen)
    assert fingerprints["segmentation_weights"] == "none" != fingerprints["embedding_weights"]
    smaller = settings(
        "--segmentation_weights=none",
        "--embedding=efficientnet_lite2",
        "--embedding_weights=random",
    )
    other = networks.frozen_fingerprints(smaller)["embedding_weights"]
    assert other == "efficientnet_lite2-random-v1" != fingerprints["embedding_weights"]
    (model,) = networks.load_frozen(smaller).values()
    assert model.count_params() == 6_149_592
    unet = resolve(parse(["--workdir=run", "--generator=unet"])).networks
    assert networks.frozen_weights(unet) == networks.load_frozen(unet) == {}
    assert set(networks.frozen_fingerprints(unet).values()) == {"none"}
    networks.fetch_weights(unet)  # nothing


def test_the_backbone_learns_at_its_own_rate():
    """Adam's first step is the learning rate itself, whatever the gradient."""
    keras.utils.set_random_seed(0)
    model = networks.build_gan(
        parse(
            [
                "--generator=koala",
                "--image_size=32",
                "--pretrain_learning_rate=0.001",
                "--backbone_learning_rate_factor=0.25",
            ]
        )
    )
    batch = tiny.batch(size=32)
    model.compile(adversarial=False)
    moved = {}
    for name in ("block_15_project", "decoder_1_2_conv", "stem"):
        kernel = model.generator.get_layer(name).kernel
        moved[name] = kernel, kernel.numpy()
    model.train_step(batch)
    steps = {name: abs(k.numpy() - before).max() for name, (k, before) in moved.items()}
    assert steps == {
        "block_15_project": pytest.approx(0.00025, rel=1e-2),
        "decoder_1_2_conv": pytest.approx(0.001, rel=1e-2),
        "stem": 0.0,
    }
