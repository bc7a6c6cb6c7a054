# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
import os
import resource

import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan import precision
from koalagan.errors import UserError
from koalagan.training import checkpoint, divergence
from koalagan.training.state import RunState


def _train(model, steps, *, adversarial=True):
    model.compile(adversarial=adversarial, discriminator_every=2)
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False)


def _everything(model):
    optimizers = (
        model.pretraining_optimizer,
        model.generator_optimizer,
        model.discriminator_optimizer,
    )
    state = [variable for optimizer in optimizers for variable in optimizer.variables]
    counters = [model.step.numpy(), model.adversarial_step.numpy()]
    return (
        tiny.weights(model.generator)
        + tiny.weights(model.discriminator)
        + [np.array(variable) for variable in state]
        + counters
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_restores_networks_optimizers_loss_scale_and_steps(tmp_path, dtype):
    with precision.policy(dtype):
        model, other = tiny.gan(seed=1), tiny.gan(seed=2)
    _train(model, 2, adversarial=False)
    _train(model, 3)
    checkpoint.RunCheckpoint(model, str(tmp_path)).save()
    assert checkpoint.RunCheckpoint(other, str(tmp_path)).restore()
    for got, expected in zip(_everything(other), _everything(model), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert int(other.step) == 5 and int(other.adversarial_step) == 3


def test_the_discriminators_turn_is_that_of_the_restored_step(tmp_path):
    """Also where the restored run had more steps of pretraining than the one that restores it."""
    whole, other = tiny.gan(), tiny.gan(seed=9)
    _train(whole, 1, adversarial=False)
    _train(whole, 3)
    checkpoint.RunCheckpoint(whole, str(tmp_path)).save()
    _train(other, 1)  # keeps its compiled steps
    checkpoint.RunCheckpoint(other, str(tmp_path)).restore()
    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    for model in (whole, other):
        model.fit(data, steps_per_epoch=2, verbose=0, shuffle=False)
    for got, expected in zip(_everything(other), _everything(whole), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_restored_run_continues_as_the_uninterrupted_one(tmp_path):
    whole, first, second = tiny.gan(), tiny.gan(), tiny.gan(seed=9)
    _train(whole, 7)
    _train(first, 4)
    checkpoint.RunCheckpoint(first, str(tmp_path)).save()
    checkpoint.RunCheckpoint(second, str(tmp_path)).restore()
    _train(second, 3)
    for got, expected in zip(_everything(second), _everything(whole), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_nothing_to_restore(tmp_path):
    assert not checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()


def test_keeps_the_newest_checkpoints(tmp_path):
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path), keep=2)
    for step in (1, 2, 3, 10):
        model.step.assign(step)
        path = run.save()
    assert run.save() == path
    names = {name.split(".")[0] for name in os.listdir(tmp_path / "checkpoints")}
    assert names == {"checkpoint", "step-3", "step-10"}
    # TensorFlow's own tools find them too.
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")) == path


def test_the_state_is_kept(tmp_path):
    run = checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path))
    run.state.losses = {"loss_G": [0.1 + 0.2, 3.0]}
    run.save(validated=False)
    other = checkpoint.RunCheckpoint(tiny.gan(seed=1), str(tmp_path))
    state = other.state
    assert other.restore() and state == run.state and state.losses
    # The same step, validated, is the newer one.
    run.state.losses = None
    run.save()
    assert other.restore() and state == RunState() and other.state is state


@pytest.mark.parametrize("name", ["lr[1e-4]", "a\\b"])
def test_a_folder_that_tensorflow_writes_to_and_cannot_read_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="TensorFlow cannot read files from"):
        checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path / name))


@pytest.mark.parametrize("name", ["a b", "b*", "c?", "{d}", "\u00e9"])
def test_other_folders_are_accepted(tmp_path, name):
    checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path / name)).save()
    assert checkpoint.RunCheckpoint(tiny.gan(seed=1), str(tmp_path / name)).restore()


def test_generator_alone(tmp_path):
    model = tiny.gan(seed=1)
    checkpoint.RunCheckpoint(model, str(tmp_path)).save()
    generator = tiny.generator()
    checkpoint.restore_generator(generator, str(tmp_path))
    for got, expected in zip(generator.get_weights(), model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_no_checkpoint_and_another_network(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.restore_generator(tiny.generator(), str(tmp_path))
    checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).save()
    with pytest.raises(UserError, match="another network"):
        checkpoint.restore_generator(tiny.discriminator(), str(tmp_path))


def cut(path):
    path = path.with_name(f"{path.name}.data-00000-of-00001")
    path.write_bytes(path.read_bytes()[:100])


def flip(path):
    path = path.with_name(f"{path.name}.data-00000-of-00001")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty_index(path):
    path.with_name(f"{path.name}.index").write_bytes(b"")


def lose_data(path):
    path.with_name(f"{path.name}.data-00000-of-00001").unlink()


@pytest.mark.parametrize("damage", [cut, flip, empty_index, lose_data])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, capfd, damage):
    model = tiny.gan(seed=1)
    run = checkpoint.RunCheckpoint(model, str(tmp_path), keep=3)
    run.save()
    expected = _everything(model)
    _train(model, 2)
    run.save()
    damage(tmp_path / "checkpoints" / "step-2")
    capfd.readouterr()

    other = tiny.gan(seed=2)
    assert checkpoint.RunCheckpoint(other, str(tmp_path)).restore()
    for got, was in zip(_everything(other), expected, strict=True):
        np.testing.assert_array_equal(got, was)
    told = capfd.readouterr().err.splitlines()[-1]
    assert "step-2 cannot be read" in told and "step-0 is used" in told
    # It is out of the way, and still there.
    assert checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()
    assert "cannot be read" not in capfd.readouterr().err
    assert any(name.startswith("damaged-step-2") for name in os.listdir(tmp_path / "checkpoints"))


def test_only_damaged_checkpoints(tmp_path):
    checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).save()
    cut(tmp_path / "checkpoints" / "step-0")
    with pytest.raises(UserError, match="step-0 cannot be restored"):
        checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()
    assert (tmp_path / "checkpoints" / "step-0.index").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path):
    """In a process whose files may not grow, as on a full disk."""
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path))
    run.save()
    model.step.assign(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(UserError, match="step-1 cannot be written"):
            run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).tidy()
    names = {name.split(".")[0] for name in os.listdir(tmp_path / "checkpoints")}
    assert names == {"checkpoint", "step-0"}
    assert checkpoint.RunCheckpoint(tiny.gan(), str(tmp_path)).restore()


def test_a_diverged_model_is_not_saved(tmp_path):
    model = tiny.gan()
    run = checkpoint.RunCheckpoint(model, str(tmp_path))
    run.save()
    model.compile(adversarial=False)
    data = tiny.batch() | {"ab": tiny.batch()["ab"] * np.nan}
    model.fit(tf.data.Dataset.from_tensors(data), verbose=0, shuffle=False)
    with pytest.raises(divergence.NotFinite):
        run.save()
    assert not (tmp_path / "checkpoints" / "step-1.index").exists()


def test_the_best_generator_is_kept_beside_the_newest(tmp_path):
    model = tiny.gan(seed=1)
    run = checkpoint.RunCheckpoint(model, str(tmp_path), keep=1)
    with pytest.raises(UserError, match="no epoch is validated"):
        checkpoint.restore_generator(tiny.generator(), str(tmp_path), best=True)
    kept = []
    for _ in range(3):
        _train(model, 1)
        kept.append(tiny.weights(model.generator))
        if len(kept) < 3:
            run.save_best()
        run.save()
        run.drop_former_best()
    names = {name.split(".")[0] for name in os.listdir(tmp_path / "checkpoints")}
    assert names == {"checkpoint", "best-2", "step-3"}
    for best, expected in ((True, kept[1]), (False, kept[2])):
        generator = tiny.generator()
        checkpoint.restore_generator(generator, str(tmp_path), best=best)
        for got, was in zip(generator.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(got, was)
