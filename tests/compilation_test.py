# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""--jit_compile: when XLA compiles, that nothing else changes, and that a second start is quick."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import tiny

from koalagan import compilation, options
from koalagan.training import networks
from koalagan.training.settings import RunSettings


@pytest.mark.parametrize("gpus", [0, 1])
def test_auto_compiles_on_gpus_and_not_deterministically(monkeypatch, gpus):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"] * gpus)
    assert compilation.resolve("auto", deterministic=False) == bool(gpus)
    assert not compilation.resolve("auto", deterministic=True)
    for deterministic in (False, True):
        assert compilation.resolve("true", deterministic=deterministic)
        assert not compilation.resolve("false", deterministic=deterministic)


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_compiled_step_gives_the_losses_of_the_plain_one(monkeypatch, adversarial):
    function, compiled = tf.function, []

    def noted(*given, jit_compile=None, **options):
        # Keras's name of a step of validation.
        if given and given[0].__name__ in ("train_step", "one_step_on_data"):
            compiled.append(jit_compile)
        return function(*given, jit_compile=jit_compile, **options)

    data = tf.data.Dataset.from_tensors(tiny.batch()).repeat()
    validation = tf.data.Dataset.from_tensors(tiny.batch(seed=1))
    histories, weights = [], []
    for jit_compile in (False, True):
        monkeypatch.setattr(tf, "function", noted)
        compiled.clear()
        model = tiny.gan()
        model.compile(
            adversarial=adversarial,
            discriminator_every=2,
            gan_loss="vanilla",
            jit_compile=jit_compile,
        )
        options = {"steps_per_epoch": 2, "epochs": 3, "verbose": 0, "shuffle": False}
        histories.append(model.fit(data, validation_data=validation, **options).history)
        weights.append(tiny.weights(model))
        # Of training, with and without the discriminator's turn; of validation.
        assert compiled == [jit_compile] * 2 + [False]
    plain, fast = histories
    assert plain.keys() == fast.keys()
    for name in plain:
        # XLA adds in another order: float32 rounding, a few units in the seventh digit.
        np.testing.assert_allclose(fast[name], plain[name], rtol=1e-5, err_msg=name)
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("generator", ["inception_fusion", "koalarization", "resnet18_unet"])
def test_the_generators_first_steps_are_those_of_the_plain_form(generator):
    settings = options.replace(RunSettings(), generator=generator, image_size=64, batch_size=2)
    rng = np.random.default_rng(0)
    batch = {
        "rgb": rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
        "mirrored": np.array([True, False]),
        "embedding": rng.normal(size=(2, 1001)).astype(np.float32),
        "segmentation": rng.normal(size=(2, 16, 16, 21)).astype(np.float16),
    }
    logs = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = networks.build_gan(settings)
        model.compile(jit_compile=jit_compile)
        model.make_train_function()
        data = iter(tf.data.Dataset.from_tensors(batch).repeat())
        model.train_function(data)
        logs.append({name: float(v) for name, v in model.train_function(data).items()})
    # Two pictures make a batch norm that magnifies rounding errors.
    assert logs[1] == pytest.approx(logs[0], rel=1e-3)


PROGRAM = """
from koalagan import compilation
compilation.keep_in({folder!r})
import tensorflow as tf
print(float(tf.function(lambda x: tf.reduce_sum(x * 3), jit_compile=True)(tf.ones([4]))))
"""


def in_a_process(program):
    """What a program prints in a process of its own."""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not result.returncode, result.stderr
    return result.stdout


def test_what_is_compiled_is_kept(tmp_path):
    folder = tmp_path / "cache" / "xla"
    kept = []
    for _ in range(2):
        result = in_a_process(PROGRAM.format(folder=str(folder)))
        assert "12.0" in result
        kept.append({path.name: path.stat().st_mtime_ns for path in folder.iterdir()})
    assert len(kept[0]) == 1 and kept[0] == kept[1]


def test_the_cache_is_for_gpus_and_leaves_the_users_flags(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    monkeypatch.setattr(compilation.glob, "glob", lambda pattern: [])
    compilation.keep_compiled("true")
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_clustering_debug"
    monkeypatch.setattr(compilation.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    compilation.keep_in(str(tmp_path / "a home"))
    compilation.keep_compiled("false")
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_clustering_debug"
    compilation.keep_compiled("auto")
    given = f"--tf_xla_clustering_debug --tf_xla_persistent_cache_directory={tmp_path}/koalagan/xla"
    assert os.environ["TF_XLA_FLAGS"] == given
    compilation.keep_compiled("auto")
    assert os.environ["TF_XLA_FLAGS"] == given


def test_the_command_chooses_the_cache_before_tensorflow_starts():
    result = in_a_process(
        "import sys\n"
        "from koalagan import train\n"
        "from koalagan import compilation\n"
        "def stop(choice):\n"
        "    print(choice, 'tensorflow' in sys.modules)\n"
        "    raise SystemExit\n"
        "compilation.keep_compiled = stop\n"
        "from koalagan.training.settings import RunSettings\n"
        "train.main(RunSettings(), [])\n"
    )
    assert result.strip().endswith("auto False")
