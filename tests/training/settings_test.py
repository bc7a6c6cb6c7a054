# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import dataclasses
import typing
from pathlib import Path

import pytest

from koalagan import options
from koalagan.errors import UserError
from koalagan.evaluation import intervals
from koalagan.evaluation.settings import EvaluationSettings
from koalagan.exporting import formats
from koalagan.exporting.settings import ExportSettings
from koalagan.models import GENERATORS, heads, picture_features
from koalagan.models.generators import resnet18_unet
from koalagan.training import schedules, state
from koalagan.training.resolving import resolve
from koalagan.training.settings import RunSettings, parse

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

# Flags are public: run folders and flagfiles of users hold them.
DEFAULTS = {
    "dataset": "coco/2017",
    "data_dir": None,
    "download": False,
    "resize": "stretch",
    "on_bad_picture": "fail",
    "store_dir": None,
    "train_split": "train[:8000]",
    "eval_split": "train[8000:10000]",
    "image_size": 256,
    "crop_from": 0,
    "generator": "inception_fusion",
    "embedding": "inception_resnet_v2",
    "embedding_weights": "imagenet",
    "segmentation_weights": "pascalvoc",
    "frozen_precision": "float32",
    "backbone_weights": "imagenet",
    "levels": 8,
    "skips": True,
    "dropout": None,
    "dropout_at_inference": False,
    "upsampling": "subpixel",
    "output_activation": "tanh",
    "head": "regression",
    "temperature": 1.0,
    "conditional_discriminator": True,
    "init_from": None,
    "pretrain_epochs": 20,
    "pretrain_learning_rate": 1e-4,
    "epochs": 15,
    "generator_learning_rate": 2e-4,
    "discriminator_learning_rate": 2e-4,
    "learning_rate_schedule": "constant",
    "backbone_learning_rate_factor": 1.0,
    "ema_momentum": 0.0,
    "discriminator_every": 5,
    "pixel_loss": "l1",
    "l1_weight": 100.0,
    "class_weight": 1.0,
    "rebalancing_lambda": 1.0,
    "gan_loss": "vanilla",
    "batch_size": 64,
    "strategy": "auto",
    "precise_batch_norm": 50,
    "sync_batch_norm": False,
    "mixed_precision": "auto",
    "seed": 0,
    "deterministic": False,
    "workdir": None,
    "checkpoint_every_steps": 0,
    "checkpoint_every_minutes": 10.0,
    "keep_checkpoints": 2,
    "best_metric": "psnr",
    "early_stopping": 0,
    "check_every": 10,
    "log_every": 10,
    "jit_compile": "auto",
}


def resolved(*arguments):
    """Settings as the command line gives them, resolved, by flag."""
    given = [argument.strip("-").split("=")[0] for argument in arguments]
    return options.values(resolve(parse(["--workdir=run", *arguments]), given))


def test_flags_and_defaults():
    assert options.values(parse([])) == options.values(RunSettings()) == DEFAULTS


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.flags")), ids=lambda path: path.stem)
def test_every_experiment_is_a_run(path, monkeypatch):
    monkeypatch.chdir(EXPERIMENTS.parent)  # one experiment includes another by its path
    settings = resolve(parse([f"--flagfile=experiments/{path.name}"]))
    assert settings.saving.workdir == f"runs/{path.stem}"
    header = path.read_text().split("\n--")[0]
    for part in ("# Reproduces: ", "# Command: ", "# Cost: ", "# Expect: "):
        assert part in header
    assert f"--flagfile=experiments/{path.name}" in header and "@" not in header


@pytest.mark.parametrize(
    "settings, name, choices",
    [
        (RunSettings, "best_metric", state.MORE_IS_BETTER),
        (RunSettings, "generator", GENERATORS),
        (RunSettings, "learning_rate_schedule", schedules.SCHEDULES),
        (RunSettings, "output_activation", resnet18_unet.OUTPUT_ACTIVATIONS),
        (RunSettings, "upsampling", resnet18_unet.UPSAMPLINGS),
        (RunSettings, "head", heads.HEADS),
        (EvaluationSettings, "compare", intervals.COMPARISONS),
        (EvaluationSettings, "features", ["none", *picture_features.NETWORKS]),
        (ExportSettings, "format", ["savedmodel", *formats.FORMATS]),
        (ExportSettings, "export_dtype", formats.FORMATS["tflite"].dtypes),
    ],
)
def test_choices_are_those_of_the_code(settings, name, choices):
    """Options are declared without TensorFlow, so some repeat what a library lists."""
    fields = {field.name: field for group in options.groups(settings) for field in fields_of(group)}
    assert list(fields[name].metadata["choices"]) == list(choices)


def fields_of(group):
    assert typing.get_type_hints(group)  # every flag's type is known
    return dataclasses.fields(group)


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--nonsense=1"], "nonsense"),
        (["--image_size=7"], "image_size"),
        (["--ema_momentum=1"], "ema_momentum"),
        (["--dropout=0.96"], "dropout"),
        (["--seed=4294967296"], "seed"),
        (["--gan_loss=hinge"], "gan_loss"),
        (["--epochs=many"], "epochs"),
        (["--flagfile=/no/file"], "/no/file"),
    ],
)
def test_arguments_that_are_not_flags_of_a_run(arguments, part):
    with pytest.raises(UserError, match=f"cannot be read as flags .*{part}") as info:
        parse(arguments)
    assert "\n" not in str(info.value)


def test_resolve_makes_paths_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/koala")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    values = resolved("--data_dir=pictures", "--init_from=~/other")
    assert values["data_dir"] == str(tmp_path / "pictures")
    assert values["init_from"] == "/home/koala/other"
    assert values["store_dir"] == "/home/koala/.cache/koalagan"
    assert resolved("--store_dir=~/store", "--workdir=~/run")["store_dir"] == "/home/koala/store"
    assert resolved("--workdir=~/run")["workdir"] == "/home/koala/run"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert resolved()["store_dir"] == "/cache/koalagan"


@pytest.mark.parametrize(
    "weights, expected",
    [
        ("slim:w/x.ckpt", "slim:{here}/w/x.ckpt"),
        ("slim:/data/2016:08/x.ckpt", "slim:/data/2016:08/x.ckpt"),
        ("w/x.weights.h5", "{here}/w/x.weights.h5"),
        ("folder", "{here}/folder"),
        # A folder of that name is not meant.
        ("random", "random"),
        ("none", "none"),
        ("imagenet", "imagenet"),
    ],
)
def test_resolve_makes_weights_absolute(tmp_path, monkeypatch, weights, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "random").mkdir()
    values = resolved(f"--embedding_weights={weights}")
    assert values["embedding_weights"] == expected.format(here=tmp_path)


def test_resolve_returns_new_settings():
    settings = parse(["--workdir=~/run", "--generator=unet"])
    before = options.values(settings)
    again = resolve(resolve(settings))
    assert again == resolve(settings) != settings and options.values(settings) == before
    # The machine is asked by `run.train` alone.
    assert again.optimization.mixed_precision == "auto"


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--workdir="], "--workdir is missing"),
        (["--epochs=0", "--pretrain_epochs=0"], "there is nothing to train"),
        (["--l1_weight=nan"], "--l1_weight=nan is not a finite number"),
        (["--generator_learning_rate=inf"], "--generator_learning_rate=inf is not a finite number"),
        (["--data_dir=/tmp/\udcff"], "--data_dir=.* is not valid UTF-8: rename it"),
        (["--noskips"], "--skips is not an option of --generator=inception_fusion"),
        (
            ["--generator=koalarization", "--dropout=0.2"],
            "--dropout is not an option of --generator=koalarization",
        ),
        (
            ["--generator=unet", "--embedding_weights=random"],
            "--generator=unet has no branch that --embedding_weights=random could be used for",
        ),
        (
            ["--backbone_learning_rate_factor=0.1"],
            "--backbone_learning_rate_factor=0.1 is for a generator with a pretrained encoder",
        ),
        (["--crop_from=256"], "--crop_from=256 leaves no parts of --image_size=256 to choose"),
        (
            ["--crop_from=300", "--segmentation_weights=pascalvoc"],
            "--crop_from takes parts of pictures, .*: pass --segmentation_weights=none",
        ),
        (["--l1_weight=0"], "pretraining has no loss to learn from: raise --l1_weight"),
        (
            ["--head=classification", "--l1_weight=0", "--class_weight=0"],
            "pretraining has no loss to learn from",
        ),
        (["--temperature=0.38"], "--temperature=0.38 is for --head=classification"),
        (["--class_weight=0.3"], "--class_weight=0.3 is for --head=classification"),
        (["--rebalancing_lambda=0.5"], "--rebalancing_lambda=0.5 is for --head=classification"),
        (
            ["--generator=koala", "--head=classification", "--init_from=koala"],
            "--init_from=koala starts from a model of --head=regression, not of --head=class",
        ),
        (
            [
                "--generator=resnet18_unet",
                "--output_activation=sigmoid",
                "--head=classification",
            ],
            "--output_activation=sigmoid is of the other head",
        ),
        (["--init_from=koala"], "--init_from=koala starts from .*: pass --generator=koala"),
        (
            ["--generator=koala", "--embedding=efficientnet_lite2"],
            "--generator=koala does not use an embedding: leave --embedding out",
        ),
        (
            ["--generator=unet", "--backbone_weights=random"],
            "--generator=unet has no branch that --backbone_weights=random could be used for",
        ),
    ],
)
def test_settings_that_make_no_run(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        resolved(*arguments)


@pytest.mark.parametrize(
    "generator, used",
    [
        ("inception_fusion", {"embedding", "segmentation"}),
        ("koalarization", {"embedding"}),
        ("unet", set()),
        ("resnet18_unet", {"backbone"}),
        ("koala", {"backbone"}),
    ],
)
def test_branches_that_a_generator_does_not_have_get_no_weights(generator, used):
    values = resolved(f"--generator={generator}")
    branches = ("embedding", "segmentation", "backbone")
    assert {branch for branch in branches if values[f"{branch}_weights"] != "none"} == used
    # Leaving out what is not there is not a mistake.
    resolved(f"--generator={generator}", "--segmentation_weights=none")


def test_the_model_that_comes_along_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "koala").mkdir()
    (tmp_path / "koala" / "flags.txt").write_text("--generator=koala\n--backbone_weights=random\n")
    values = resolved("--generator=koala", "--init_from=koala")
    assert values["init_from"] == "koala" and values["backbone_weights"] == "imagenet"
    folder = resolved("--generator=koala", "--init_from=./koala")["init_from"]
    assert folder == str(tmp_path / "koala")


def test_the_backbone_of_a_run_that_starts_from_another(tmp_path):
    """The encoder comes from the other run, and so does the name of its weights."""
    arguments = ["--generator=resnet18_unet", f"--init_from={tmp_path}"]
    assert resolved(*arguments)["backbone_weights"] == "imagenet"
    (tmp_path / "flags.txt").write_text("--generator=resnet18_unet\n--backbone_weights=random\n")
    assert resolved(*arguments)["backbone_weights"] == "random"


def test_a_run_that_starts_from_another_has_its_head(tmp_path):
    (tmp_path / "flags.txt").write_text("--head=classification\n--temperature=0.5\n")
    start = f"--init_from={tmp_path}"
    for arguments in ([start], [start, "--head=classification"]):
        values = resolved(*arguments)
        assert (values["head"], values["temperature"]) == ("classification", 0.5)
    assert resolved(start, "--class_weight=0.3", "--temperature=1")["temperature"] == 1
    with pytest.raises(UserError, match="starts from a model of --head=classification, not of --"):
        resolved(start, "--head=regression")
