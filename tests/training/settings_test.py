# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import keras
import pytest

from koalagan.errors import UserError
from koalagan.models.generators import resnet18_unet
from koalagan.training import run_flags, saving

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def settings(*given):
    return run_flags.parse(given)


def test_defaults_are_the_papers():
    values = settings()
    assert (values.pretrain_epochs, values.epochs, values.batch_size) == (20, 15, 64)
    assert (values.pretrain_learning_rate, values.l1_weight) == (1e-4, 100.0)
    assert values.generator_learning_rate == values.discriminator_learning_rate == 2e-4
    assert (values.discriminator_every, values.image_size) == (5, 256)
    assert (values.train_split, values.eval_split) == ("train[:8000]", "train[8000:10000]")


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.stem)
def test_every_experiment_is_a_run(path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)  # one experiment includes another by its path
    given = settings(f"--flagfile=experiments/{path.name}")
    run_flags.resolve(given)
    assert given.workdir == f"runs/{path.stem}"
    header = path.read_text().split("\n--")[0]
    for said in ("# Reproduces: ", "# Command: ", "# Cost: ", "# Expect: "):
        assert said in header
    assert f"--flagfile=experiments/{path.name}" in header and "@" not in header


def test_choices_are_those_of_the_code_that_gets_them():
    flag_values = settings()
    for name, choices in (
        ("best_metric", saving.BEST_METRICS),
        ("upsampling", resnet18_unet.UPSAMPLINGS),
        ("output_activation", resnet18_unet.OUTPUT_ACTIVATIONS),
    ):
        assert flag_values[name].parser.enum_values == list(choices)


def test_resolve_makes_paths_absolute_and_names_the_dtype(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = settings("--workdir=run", "--data_dir=pictures", "--embedding_weights=slim:w/x.ckpt")
    run_flags.resolve(given)
    assert given.data_dir == str(tmp_path / "pictures")
    assert given.embedding_weights == f"slim:{tmp_path}/w/x.ckpt"
    given = settings("--workdir=run", "--embedding_weights=slim:/data/2016:08/x.ckpt")
    run_flags.resolve(given)
    assert given.embedding_weights == "slim:/data/2016:08/x.ckpt"
    (tmp_path / "random").mkdir()  # a folder that bears the name is not meant
    for kept in ("random", "none", "imagenet"):
        given = settings("--workdir=run", f"--embedding_weights={kept}")
        run_flags.resolve(given)
        assert given.embedding_weights == kept
    assert given.mixed_precision in ("float32", "float16", "bfloat16")


@pytest.mark.parametrize(
    "given, sentence",
    [
        ([], "--workdir is missing"),
        (["--workdir=x", "--epochs=0", "--pretrain_epochs=0"], "nothing would be trained"),
        (["--workdir=x", "--l1_weight=nan"], "--l1_weight=nan is not a number"),
    ],
)
def test_flags_that_make_no_run(given, sentence):
    with pytest.raises(UserError, match=sentence):
        run_flags.resolve(settings(*given))


def test_generator_leaves_branches_out():
    def parameters(*given):
        return run_flags.build_generator(settings(*given), 32).count_params()

    assert parameters() == 6_592_506
    assert parameters("--segmentation_weights=none") == 6_574_050
    assert parameters("--segmentation_weights=none", "--embedding_weights=none") == 6_317_794


def test_a_generator_gets_the_options_it_has():
    unet = run_flags.build_generator(settings("--generator=unet", "--noskips"), 256)
    assert unet.count_params() < 54_409_858
    for given in (["--noskips"], ["--generator=koalarization", "--dropout=0.2"]):
        with pytest.raises(UserError, match="is for other generators than --generator="):
            run_flags.build_generator(settings(*given), 32)
        with pytest.raises(UserError, match="is for other generators than --generator="):
            run_flags.resolve(settings("--workdir=run", *given))
    with pytest.raises(UserError, match="noise that the generator does not have"):
        run_flags.build_generator(settings("--dropout_at_inference"), 32)
    noisy = run_flags.build_generator(settings("--dropout=0.2", "--dropout_at_inference"), 32)
    assert noisy.count_params() == 6_592_506
    rates = {layer.rate for layer in noisy.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.2}
    given = ("--generator=resnet18_unet", "--upsampling=transposed", "--output_activation=sigmoid")
    variant = run_flags.build_generator(settings(*given), 32)
    assert variant.count_params() == 16_493_634
    assert any(layer.name == "sigmoid" for layer in variant.layers)


def test_branches_that_a_generator_does_not_have_get_no_weights(tmp_path):
    given = settings("--workdir=run", "--generator=unet")
    run_flags.resolve(given)
    for branch in ("embedding", "segmentation", "backbone"):
        assert given[f"{branch}_weights"].value == "none"
    assert run_flags.frozen_fingerprints(given) == {
        "embedding_weights": "none",
        "segmentation_weights": "none",
    }
    given = settings("--workdir=run", "--generator=resnet18_unet", f"--backbone_weights={tmp_path}")
    run_flags.resolve(given)
    assert given.backbone_weights == str(tmp_path) and given.embedding_weights == "none"
    for flag in ("--embedding_weights=random", "--backbone_weights=random"):
        with pytest.raises(UserError, match=f"--generator=unet has nothing that {flag}"):
            run_flags.resolve(settings("--workdir=run", "--generator=unet", flag))
