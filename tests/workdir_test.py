# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from absl import flags

from koalagan import workdir
from koalagan.errors import UserError

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def settings(*given):
    values = flags.FlagValues()
    workdir.define_run_flags(values)
    values(["train", *given])
    return values


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
    workdir.resolve(given)
    assert given.workdir == f"runs/{path.stem}"


def test_flags_txt_repeats_the_run(tmp_path):
    given = settings(
        f"--workdir={tmp_path}/run", "--epochs=3", "--mixed_precision=float32", "--seed=7"
    )
    workdir.resolve(given)
    workdir.write_flags(given)
    again = settings(f"--flagfile={tmp_path}/run/flags.txt", f"--workdir={tmp_path}/run")
    assert again.flag_values_dict() == given.flag_values_dict()
    assert "workdir" not in (tmp_path / "run" / "flags.txt").read_text()
    workdir.check(again)


def test_a_run_is_continued_with_its_flags_only(tmp_path):
    given = settings(f"--workdir={tmp_path}", "--mixed_precision=float32")
    workdir.check(given)  # nothing there yet
    workdir.write_flags(given)
    elsewhere = settings(
        f"--workdir={tmp_path}",
        "--mixed_precision=float32",
        "--store_dir=/elsewhere",
        "--data_dir=/moved",
    )
    workdir.check(elsewhere)
    other = settings(f"--workdir={tmp_path}", "--mixed_precision=float32", "--seed=1")
    with pytest.raises(UserError, match=r"--seed=0 \(now 1\)"):
        workdir.check(other)


def test_resolve_makes_paths_absolute_and_names_the_dtype(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = settings("--workdir=run", "--data_dir=pictures", "--embedding_weights=slim:w/x.ckpt")
    workdir.resolve(given)
    assert given.data_dir == str(tmp_path / "pictures")
    assert given.embedding_weights == f"slim:{tmp_path}/w/x.ckpt"
    for kept in ("random", "none", "imagenet"):
        given = settings("--workdir=run", f"--embedding_weights={kept}")
        workdir.resolve(given)
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
        workdir.resolve(settings(*given))


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no flags.txt"):
        workdir.read_flags(str(tmp_path))
    (tmp_path / "flags.txt").write_text("--nonsense=1\n")
    with pytest.raises(UserError, match="nonsense"):
        workdir.read_flags(str(tmp_path))
    (tmp_path / "flags.txt").write_bytes(b"\xff\xfe--seed=1")
    with pytest.raises(UserError, match="cannot be read as flags"):
        workdir.read_flags(str(tmp_path))


def test_a_run_keeps_to_its_data(tmp_path):
    run = str(tmp_path)
    assert workdir.read_data(run) is None
    workdir.compare_data(run, {"train_split": "a", "embedding_weights": "random-v1"})
    workdir.compare_data(run, {"train_split": "a", "embedding_weights": "random-v1"})
    with pytest.raises(UserError, match=r"has changed since it began \(train_split\)"):
        workdir.compare_data(run, {"train_split": "b", "embedding_weights": "random-v1"})


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        workdir.make(str(tmp_path / "file" / "run"))
    workdir.make(str(tmp_path / "new" / "run"))
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_generator_leaves_branches_out():
    def parameters(*given):
        return workdir.build_generator(settings(*given), 32).count_params()

    assert parameters() == 6_592_506
    assert parameters("--segmentation_weights=none") == 6_574_050
    assert parameters("--segmentation_weights=none", "--embedding_weights=none") == 6_317_794


def test_a_generator_gets_the_options_it_has():
    unet = workdir.build_generator(settings("--generator=unet", "--noskips"), 256)
    assert unet.count_params() < 54_409_858
    for given in (["--noskips"], ["--generator=koalarization", "--dropout=0.2"]):
        with pytest.raises(UserError, match="is for other generators than --generator="):
            workdir.build_generator(settings(*given), 32)
    with pytest.raises(UserError, match="noise that the generator does not have"):
        workdir.build_generator(settings("--dropout_at_inference"), 32)
    noisy = workdir.build_generator(settings("--dropout=0.2", "--dropout_at_inference"), 32)
    assert noisy.count_params() == 6_592_506


def test_branches_that_a_generator_does_not_have_get_no_weights(tmp_path):
    given = settings("--workdir=run", "--generator=unet")
    workdir.resolve(given)
    for branch in ("embedding", "segmentation", "backbone"):
        assert given[f"{branch}_weights"].value == "none"
    assert workdir.frozen_fingerprints(given) == {
        "embedding_weights": "none",
        "segmentation_weights": "none",
    }
    given = settings("--workdir=run", "--generator=resnet18_unet", f"--backbone_weights={tmp_path}")
    workdir.resolve(given)
    assert given.backbone_weights == str(tmp_path) and given.embedding_weights == "none"
    for flag in ("--embedding_weights=random", "--backbone_weights=random"):
        with pytest.raises(UserError, match=f"--generator=unet has nothing that {flag}"):
            workdir.resolve(settings("--workdir=run", "--generator=unet", flag))
