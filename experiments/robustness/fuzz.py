# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Feeds damaged pictures to an exported model and to `colorize`.

    python experiments/fuzz.py --files=10000 --seed=0

Files are made from real JPEG, PNG, GIF, BMP, WebP and TIFF files by changing, cutting and repeating
parts of them. Each goes through the SavedModel's `colorize_bytes` and through what `colorize` does
with a file. A picture may be coloured or refused, with TensorFlow's error or with one sentence;
anything else ends the program, and the file that did it is left in --keep.
"""

import collections
import io
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from koalagan import errors, export, progress
from koalagan.data import decoding
from koalagan.data.koala_scenes import drawing
from koalagan.inference import colorizer
from koalagan.photos import metadata

# The last two are no formats of TensorFlow's.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


def originals() -> list[bytes]:
    """Small pictures in every format, and in the less usual kinds of some."""
    scene = Image.fromarray(drawing.draw_scene(np.random.default_rng(0), 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [(scene, kind, {}) for kind in _FORMATS]
    kinds += [
        (scene, "JPEG", {"progressive": True, "exif": exif, "xmp": b"<x tiff:Orientation='6'/>"}),
        (scene.convert("L"), "JPEG", {}),
        (scene.convert("CMYK"), "JPEG", {}),
        (scene.convert("L"), "PNG", {}),
        (scene.convert("RGBA"), "PNG", {}),
        (scene.quantize(16), "PNG", {}),
        (Image.fromarray(np.asarray(scene.convert("L")).astype(np.uint16) * 257), "PNG", {}),
    ]
    return [_encoded(*kind) for kind in kinds]


def _encoded(image: Image.Image, kind: str, options: dict) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mutated(choose: random.Random, original: bytes) -> bytes:
    """The file with one to four changes."""
    content = bytearray(original)
    for _ in range(choose.randint(1, 4)):
        start = choose.randrange(len(content) + 1)
        # Headers and lengths stand in front.
        start = start if choose.random() < 0.5 else min(start, choose.randrange(64))
        stop = start + choose.choice((1, 1, 2, 4, 16, 200))
        part = bytes(content[start:stop])
        change = choose.randrange(6)
        if change == 0 and part:
            content[start] ^= 1 << choose.randrange(8)
        elif change == 1:
            content[start:stop] = choose.randbytes(len(part))
        elif change == 2:
            content[start:stop] = choose.choice((b"\0", b"\xff")) * len(part)
        elif change == 3:
            del content[start:stop]
        elif change == 4:
            content[start:start] = part * choose.choice((1, 2, 50))
        else:
            del content[start:]
    return bytes(content)


def through_signature(signature: Callable[..., dict], encoded: bytes) -> str:
    """ "coloured" or "refused"."""
    try:
        coloured = signature(image_bytes=tf.constant([encoded]))["colorized_bytes"]
    except tf.errors.InvalidArgumentError:
        return "refused"
    tf.io.decode_png(coloured[0])
    return "coloured"


def through_colorize(colour: Callable, encoded: bytes, path: Path) -> str:
    """ "coloured" or "refused"; `colour` colours an array, `path` is written."""
    path.write_bytes(encoded)
    try:
        rgb = decoding.decode(decoding.read(str(path)), str(path))
    except decoding.BadPicture as error:
        sentence = str(error)
        if "\n" in sentence or str(path) not in sentence:
            raise AssertionError(f"not one sentence that names the picture: {sentence}") from error
        return "refused"
    metadata.read(encoded)
    colorizer.has_color(rgb)
    if colour(rgb).shape != rgb.shape:
        raise AssertionError("the result is of another size")
    return "coloured"


def export_small(folder: Path) -> str:
    """Writes an export that paints everything in one colour; returns its path."""
    L = keras.Input((None, None, 1), name="L")
    ab = keras.layers.Conv2D(2, 1, name="ab")(L)
    path = str(folder / "export")
    export.export_savedmodel(keras.Model({"L": L}, ab), None, path, (16, 16))
    return path


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    given = flags.FLAGS
    choose = random.Random(given.seed)
    whole = originals()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = given.saved_model or export_small(Path(folder))
        signature = tf.saved_model.load(path).signatures["colorize_bytes"]
        colour = colorizer.load(path).colorize
        kept = Path(given.keep)
        with progress.bar("fuzz", given.files, unit="file") as bar:
            for _ in range(given.files):
                encoded = mutated(choose, choose.choice(whole))
                # Before it is used: a crash of the process leaves it there.
                counts[f"colorize {through_colorize(colour, encoded, kept)}"] += 1
                counts[f"colorize_bytes {through_signature(signature, encoded)}"] += 1
                bar.update()
        kept.unlink()
    for what, count in sorted(counts.items()):
        print(f"{what}: {count}")
    return 0


def _define_flags() -> None:
    flags.DEFINE_integer("files", 10000, "How many.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of what is done to them.")
    flags.DEFINE_string("saved_model", None, "An export; by default a tiny one made for this.")
    flags.DEFINE_string("keep", "fuzz-last-file.bin", "Where the file being used lies.")


if __name__ == "__main__":
    _define_flags()
    errors.run(main)
