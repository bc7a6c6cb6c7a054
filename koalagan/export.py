# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""A trained generator as a SavedModel that TensorFlow loads without koalagan.

The whole chain is inside, in float32: decoding, Lab, the frozen networks, the generator at its own
size, its chroma brought to the picture's size and joined with the picture's own lightness
(`joining.py`). Three signatures, each with one named input and one named output:

    serving_default  image uint8 [B,H,W,C], C 1 or 3   -> colorized uint8 [B,H,W,3]
    colorize_bytes   image_bytes string [B]            -> colorized_bytes string [B], PNG
    predict_ab       L float32 [B,h,w,1] in [-1,1]     -> ab float32 [B,h,w,2] in [-1,1]

The networks see what they saw in training: L of the picture resized as uint8 (`data/pictures.py`).
`predict_ab` takes any size that the generator takes, the other two any size at all. Pictures in
`image_bytes` are JPEG, PNG, BMP (without a palette), GIF or WebP and may differ in size; their EXIF
orientation and colour profiles are not applied, TensorFlow cannot read them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

import koalagan
from koalagan import errors, lazy, precision, run_flags, saved_model, workdir
from koalagan.data.pictures import resize
from koalagan.errors import UserError, one_line
from koalagan.models import FROZEN

keras = lazy.module("keras")
tf = lazy.module("tensorflow")
checkpoint = lazy.module("koalagan.checkpoint")
joining = lazy.module("koalagan.joining")
lab = lazy.module("koalagan.lab")

# Flags of the run that the SavedModel's metadata repeats.
_DESCRIBED = (
    "generator",
    "embedding_weights",
    "segmentation_weights",
    "backbone_weights",
    "dropout_at_inference",
    "dataset",
    "train_split",
)


def export_savedmodel(
    generator: keras.Model,
    embedding: keras.Model | None,
    output_dir: str,
    image_size: tuple[int, int],
    metadata: Mapping[str, Any] | None = None,
    segmentation: keras.Model | None = None,
) -> None:
    """Writes a SavedModel; see the module for its signatures.

    `output_dir` appears whole or not at all. An earlier SavedModel there is replaced.

    Args:
        generator: takes {"L": [B,h,w,1]} and, where they are given, what the frozen networks answer
            as "embedding" and "segmentation"; returns ab [B,h,w,2]. All in float32, built for any
            height and width.
        embedding: L [B,h,w,1] -> [B,1001], where the generator uses it.
        output_dir: the folder to write.
        image_size: (height, width) at which the generator colours pictures.
        metadata: JSON-able facts kept beside the model, in assets.extra/koalagan.json.
        segmentation: L [B,h,w,1] -> scores [B,h',w',21], where the generator uses them.

    Raises:
        UserError: `output_dir` is in use for something else, or cannot be written.
        ValueError: the generator's inputs are not those that the chain can give.
    """
    inputs = set(generator.input)
    frozen = {"embedding": embedding, "segmentation": segmentation}
    frozen = {name: model for name, model in frozen.items() if model is not None}
    expected = {"L", *frozen}
    if inputs != expected:
        raise ValueError(f"The generator takes {sorted(inputs)} instead of {sorted(expected)}.")
    output_dir = os.path.abspath(os.path.expanduser(output_dir))
    if os.path.lexists(output_dir) and not _replaceable(output_dir):
        raise UserError(
            f"{output_dir} exists and is no SavedModel of koalagan: name another folder."
        )

    chain = _Chain(generator, frozen, image_size)
    # Without AutoGraph: nothing here needs it, and it reads the source files when it traces, which
    # may have been updated since a long training imported them.
    signatures = {
        "serving_default": tf.function(
            chain.serving_default,
            autograph=False,
            input_signature=[tf.TensorSpec([None, None, None, None], tf.uint8, name="image")],
        ),
        "colorize_bytes": tf.function(
            chain.colorize_bytes,
            autograph=False,
            input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
        ),
        "predict_ab": tf.function(
            chain.predict_ab,
            autograph=False,
            input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32, name="L")],
        ),
    }
    # Not keras.export.ExportArchive: it stores every weight twice (Keras 3.15, TensorFlow 2.21).
    module = tf.Module()
    module.weights = [
        variable.value for model in (generator, *frozen.values()) for variable in model.variables
    ]
    description = {
        **(metadata or {}),
        "koalagan": koalagan.__version__,
        "tensorflow": tf.__version__,
        "image_size": list(image_size),
    }

    # Beside its final place, so that the rename stays on one file system.
    temporary = f"{output_dir}.writing-{os.getpid()}"
    try:
        os.makedirs(temporary)
        tf.saved_model.save(module, temporary, signatures=signatures)
        extra = os.path.join(temporary, "assets.extra")
        os.makedirs(extra)
        with open(os.path.join(extra, "koalagan.json"), "w", encoding="utf-8") as file:
            json.dump(description, file, indent=2)
            file.write("\n")
        _publish(temporary, output_dir)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{output_dir} cannot be written: {one_line(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def export_run(
    run: str, output_dir: str, *, best: bool = False, dropout_at_inference: bool = False
) -> None:
    """Exports the generator of a run's newest checkpoint, with the frozen networks it learned by.

    Args:
        run: the run's folder, as `koalagan.train` writes it.
        output_dir: the folder to write.
        best: of its best epoch, by the run's `--best_metric`, instead.
        dropout_at_inference: drop out when colouring, also where the run's flags do not say so: a
            call then colours the same picture differently every time.

    Raises:
        UserError: the run has no checkpoint, a frozen network's weights cannot be had, dropout is
            asked of a generator that has none, or `output_dir` cannot be written.
    """
    settings = workdir.read_flags(run)
    if dropout_at_inference:
        settings.dropout_at_inference = True
    # Float32 whatever the run computed in: its weights are float32 anyway.
    with precision.policy("float32"):
        generator = run_flags.build_generator(settings, (None, None))
    checkpoint.restore_generator(generator, run, best=best)
    kept = workdir.read_data(run)
    for name, fingerprint in run_flags.frozen_fingerprints(settings).items():
        if kept is not None and kept.get(name) != fingerprint:
            raise UserError(
                f"the weights that --{name}={settings[name].value} names are not those that {run} "
                "was trained with: bring them back."
            )
    export_generator(generator, settings, output_dir)


def export_generator(generator: keras.Model, settings: flags.FlagValues, output_dir: str) -> None:
    """Exports a generator with the frozen networks that a run's flags name.

    Args:
        generator: of these flags, in float32, for any height and width.
        settings: resolved (see `run_flags.resolve`).
        output_dir: the folder to write.

    Raises:
        UserError: a frozen network's weights cannot be had, or `output_dir` cannot be written.
    """
    frozen = {}
    for name, network in FROZEN.items():
        weights = settings[f"{name}_weights"].value
        if weights != "none":
            frozen[name] = network.build()
            network.load_weights(frozen[name], weights)
    export_savedmodel(
        generator,
        frozen.get("embedding"),
        output_dir,
        (settings.image_size, settings.image_size),
        metadata={name: settings[name].value for name in _DESCRIBED},
        segmentation=frozen.get("segmentation"),
    )


def _replaceable(path: str) -> bool:
    """Whether `path` is a SavedModel of ours, or an empty folder."""
    return os.path.isdir(path) and bool(saved_model.facts(path) or not os.listdir(path))


def _publish(temporary: str, output_dir: str) -> None:
    """Renames the finished folder into place; a full folder cannot be renamed over."""
    if not os.path.isdir(output_dir):
        os.rename(temporary, output_dir)
        return
    earlier = f"{output_dir}.replaced-{os.getpid()}"
    os.rename(output_dir, earlier)
    os.rename(temporary, output_dir)
    shutil.rmtree(earlier)


class _Chain:
    """The signatures as graph functions over one set of weights."""

    def __init__(
        self,
        generator: keras.Model,
        frozen: Mapping[str, keras.Model],
        image_size: tuple[int, int],
    ):
        self._generator = generator
        self._frozen = frozen
        self._size = image_size

    def predict_ab(self, L: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = {name: model(L, training=False) for name, model in self._frozen.items()}
        return {"ab": self._generator({"L": L, **answers}, training=False)}

    def serving_default(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        channels = tf.shape(image)[-1]
        one_or_three = tf.Assert(
            (channels == 1) | (channels == 3), ["image must have 1 or 3 channels, not", channels]
        )
        with tf.control_dependencies([one_or_three]):
            image = tf.tile(image, [1, 1, 1, 3 // channels])
        image = tf.ensure_shape(image, [None, None, None, 3])
        return {"colorized": joining.join(image, *self._predict(resize(image, self._size)))}

    def colorize_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        # Pictures are decoded twice, which costs far less than holding a batch of full-size
        # pictures, or than running the networks on one at a time.
        small = tf.map_fn(
            lambda encoded: resize(_decode(encoded), self._size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([*self._size, 3], tf.uint8),
        )

        def finish(encoded_and_prediction):
            encoded, L, ab = encoded_and_prediction
            joined = joining.join(_decode(encoded)[None], L[None], ab[None])
            return tf.io.encode_png(joined[0])

        colorized = tf.map_fn(
            finish,
            (image_bytes, *self._predict(small)),
            fn_output_signature=tf.string,
            parallel_iterations=1,  # Full-size pictures take much memory; joining uses all cores.
        )
        return {"colorized_bytes": colorized}

    def _predict(self, rgb: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """L of pictures of the model's size, and what it answers."""
        L, _ = lab.rgb_to_lab(rgb)
        return L, self.predict_ab(L)["ab"]


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one picture to uint8 [H,W,3], transparent pixels over white."""
    # Channels stay as stored: asked for four, TensorFlow makes up alpha for PNGs with a palette.
    decoded = tf.cond(
        tf.io.is_jpeg(encoded),
        # The default, a faster and coarser transform, is off by several levels.
        lambda: tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, expand_animations=False),
    )
    decoded = tf.ensure_shape(decoded, [None, None, None])
    channels = tf.shape(decoded)[-1]
    has_alpha = channels % 2 == 0
    colour = decoded[..., : channels - tf.cast(has_alpha, tf.int32)]
    rgb = tf.ensure_shape(tf.tile(colour, [1, 1, 3 // tf.shape(colour)[-1]]), [None, None, 3])

    def over_white():
        alpha = tf.cast(decoded[..., -1:], tf.float32) / 255.0
        white = 255.0 * (1.0 - alpha)
        return tf.cast(tf.round(tf.cast(rgb, tf.float32) * alpha + white), tf.uint8)

    # The fourth byte of BMP pixels is mostly unused, and zero.
    is_bmp = tf.strings.substr(encoded, 0, 2) == "BM"
    return tf.cond(has_alpha & ~is_bmp, over_white, lambda: rgb)


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of the command line."""
    flags.DEFINE_string(
        "workdir", None, "The run to export.", required=True, flag_values=flag_values
    )
    flags.DEFINE_string(
        "output_dir", None, "The folder to write.", required=True, flag_values=flag_values
    )
    flags.DEFINE_boolean(
        "dropout_at_inference",
        False,
        "Drop out when colouring, so that each time differs, also where the run does not.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "checkpoint",
        "latest",
        ["latest", "best"],
        "The newest checkpoint, or the one after the epoch that --best_metric of the run chose.",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "format", "savedmodel", ["savedmodel"], "What to write.", flag_values=flag_values
    )


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = flags.FLAGS
    if len(argv) > 1:
        raise UserError(f"export takes only flags, and {argv[1]!r} is none: see --help.")
    export_run(
        os.path.expanduser(settings.workdir),
        settings.output_dir,
        best=settings.checkpoint == "best",
        dropout_at_inference=settings.dropout_at_inference,
    )
    print(f"SavedModel: {settings.output_dir}")


if __name__ == "__main__":
    define_flags()
    errors.run(main)
