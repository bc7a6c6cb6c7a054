# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Lab and back: exact, in range, and with the lightness kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.color
import tensorflow as tf

from koalagan.color import lab


def all_kinds_of_colors(count=200_000):
    """uint8 [1, n, 3]: random colors, and a lattice with the darkest and brightest levels."""
    levels = [0, 1, 2, 3, 4, 5, 7, 10, 11, 16, 32, 64, 96, 128, 160, 192, 224, 250, 253, 254, 255]
    lattice = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    random = np.random.default_rng(0).integers(0, 256, (count, 3))
    return np.concatenate([lattice, random]).astype(np.uint8)[None]


def strong_colors(count=200_000):
    """L and ab over the whole range a network can predict, most of it outside sRGB."""
    rng = np.random.default_rng(1)
    L = rng.uniform(-1, 1, (1, count, 1)).astype(np.float32)
    L[0, :100], L[0, 100:200] = -1, 1
    return L, rng.uniform(-1, 1, (1, count, 2)).astype(np.float32)


def lightness_of(rgb):
    return skimage.color.rgb2lab(np.asarray(rgb))[..., 0]


def test_agrees_with_scikit_image():
    rgb = all_kinds_of_colors()
    ours = lab.lab_units(*lab.rgb_to_lab(rgb))
    assert np.abs(ours - skimage.color.rgb2lab(rgb)).max() < 1e-3


def test_lightness_alone_is_the_same():
    rgb = all_kinds_of_colors()
    lightness = lab.lightness(rgb)
    assert lightness.dtype == tf.float32 and lightness.shape == (*rgb.shape[:-1], 1)
    assert np.abs((lightness[..., 0] + 1) * 50 - lightness_of(rgb)).max() < 1e-3


def test_ranges_hold_for_all_kinds_of_colors():
    L, ab = lab.rgb_to_lab(all_kinds_of_colors())
    assert L.dtype == ab.dtype == tf.float32
    assert np.abs(L).max() <= 1 + 1e-6 and np.abs(ab).max() <= 1
    assert np.abs(ab).max() > 0.9  # The range is also used.
    np.testing.assert_allclose(L[0, 0], -1)  # Black.


def test_real_colors_are_restored_exactly():
    rgb = all_kinds_of_colors()
    np.testing.assert_array_equal(lab.lab_to_rgb(*lab.rgb_to_lab(rgb)), rgb)


def test_colors_outside_srgb_keep_their_lightness():
    L, ab = strong_colors()
    off = np.abs(lightness_of(lab.lab_to_rgb(L, ab)) - (L[..., 0] + 1) * 50)
    assert off.max() < 1.0
    # The reason for the gamut mapping: plain clipping misses the bound by far.
    clipped = lab.tfio.color.lab_to_rgb(lab.lab_units(L, ab))
    assert np.abs(lightness_of(clipped) - (L[..., 0] + 1) * 50).max() > 3


def test_colors_outside_srgb_keep_their_hue_and_as_much_chroma_as_possible():
    L, ab = strong_colors(20_000)
    # Near black and white, and near gray, one uint8 level is a large step in hue or in ratio.
    keep = (np.abs(L[..., 0] - 0.1) < 0.7) & (np.linalg.norm(ab, axis=-1) > 0.2)
    L, ab = L[keep][None], ab[keep][None]
    rgb = lab.lab_to_rgb(L, ab).numpy()
    got, wanted = skimage.color.rgb2lab(rgb)[..., 1:], lab.lab_units(L, ab)[..., 1:].numpy()
    wanted_chroma = np.linalg.norm(wanted, axis=-1)
    kept = np.sum(got * wanted, axis=-1) / wanted_chroma
    across = np.linalg.norm(got - (kept / wanted_chroma)[..., None] * wanted, axis=-1)
    assert kept.min() > 0 and across.max() < 1.5
    # Either the color is complete, or it lies on the surface of sRGB: a channel at its limit.
    complete = kept > wanted_chroma - 1.5
    on_surface = (rgb.min(-1) <= 12) | (rgb.max(-1) >= 254)
    assert (complete | on_surface).all() and 0.1 < complete.mean() < 0.9


def test_zero_ab_is_gray():
    levels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    L, ab = lab.rgb_to_lab(levels)
    np.testing.assert_array_equal(lab.lab_to_rgb(L, tf.zeros_like(ab)), levels)


@pytest.mark.parametrize("shape", [(5, 7, 3), (2, 5, 7, 3)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_of_unknown_size_agree_with_eager(shape, jit_compile):
    rgb = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([None] * (len(shape) - 1) + [3], tf.uint8)],
    )
    def there_and_back(rgb):
        L, ab = lab.rgb_to_lab(rgb)
        return L, ab, lab.lab_to_rgb(L, 2.0 * ab)

    L, ab, strong = there_and_back(rgb)
    eager_L, eager_ab = lab.rgb_to_lab(rgb)
    np.testing.assert_allclose(L, eager_L, atol=1e-5)
    np.testing.assert_allclose(ab, eager_ab, atol=1e-5)
    eager_strong = lab.lab_to_rgb(eager_L, 2.0 * eager_ab)
    # One level: the last digit of float32 can decide a rounding or a bisection step.
    assert np.abs(strong.numpy().astype(int) - eager_strong.numpy()).max() <= 1


def test_works_in_tf_data():
    rgb = np.random.default_rng(3).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    dataset = tf.data.Dataset.from_tensor_slices(rgb).map(lab.rgb_to_lab).map(lab.lab_to_rgb)
    np.testing.assert_array_equal(np.stack(list(dataset.as_numpy_iterator())), rgb)


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory):
    """A process that loads an export of both conversions, then imports koalagan.color.lab."""
    module = tf.Module()
    module.f = tf.function(
        lambda rgb: lab.lab_to_rgb(*lab.rgb_to_lab(rgb)),
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)],
    )
    folder = str(tmp_path_factory.mktemp("export"))
    tf.saved_model.save(module, folder)
    program = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "import numpy as np, tensorflow as tf\n"
        "rgb = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3) * 10\n"
        "same = (tf.saved_model.load(sys.argv[1]).f(rgb).numpy() == rgb).all()\n"
        "print('same', same, {'koalagan', 'tensorflow_io'} & {*sys.modules})\n"
        "import koalagan.color.lab\n"
        "print('imported')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program, folder],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"},
    )


def test_exports_without_custom_operations(fresh_process):
    assert "same True set()" in fresh_process.stdout.splitlines(), fresh_process.stderr


def test_import_is_quiet_about_file_system_plugins(fresh_process):
    assert fresh_process.returncode == 0, fresh_process.stderr
    assert fresh_process.stdout.splitlines()[1:] == ["imported"]
    assert "tensorflow_io" not in fresh_process.stderr and "plugin" not in fresh_process.stderr


def test_takes_reduced_precision_predictions():
    rgb = np.random.default_rng(4).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    L, ab = lab.rgb_to_lab(rgb)
    close = lab.lab_to_rgb(L, tf.cast(ab, tf.bfloat16)).numpy().astype(int)
    assert np.abs(close - rgb).max() <= 4


def test_float_pictures_are_refused():
    with pytest.raises(TypeError, match="uint8"):
        lab.rgb_to_lab(np.zeros((2, 2, 3), np.float32))
