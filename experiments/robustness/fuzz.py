# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Feeds damaged pictures to an exported model and to `colorize`.

    python experiments/robustness/fuzz.py --files=10000 --seed=0

Files are made from valid JPEG, PNG, GIF, BMP, WebP and TIFF files by changing, deleting and
repeating parts of them. Each goes through the SavedModel's `colorize_bytes` and through the steps
of `colorize`. A picture may be colored or refused, with TensorFlow's error or with one sentence;
anything else ends the program and leaves the file in --keep.
"""

import collections
import dataclasses
import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from koalagan import cli, progress
from koalagan.color.detection import has_color
from koalagan.data import decoding, picture_file
from koalagan.data.koala_scenes import drawing
from koalagan.exporting import savedmodel
from koalagan.inference import colorizer
from koalagan.options import option
from koalagan.photos import metadata, scans

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")


@dataclasses.dataclass(frozen=True)
class FuzzSettings:
    """Fuzzing."""

    files: int = option(10000, "How many files to try.", minimum=1)
    seed: int = option(0, "Seed of the damage.")
    saved_model: str | None = option(None, "An exported model (default: a tiny one, made here).")
    keep: str = option("fuzz-last-file.bin", "Where the current file is kept.")


def originals() -> list[bytes]:
    """Small pictures in every format, and in less common variants of some."""
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
    """A copy of the file with one to four changes."""
    content = bytearray(original)
    for _ in range(choose.randint(1, 4)):
        start = choose.randrange(len(content) + 1)
        # Headers and lengths are at the start.
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
    """Colors a file with `colorize_bytes`; returns "colored" or "refused"."""
    try:
        colored = signature(image_bytes=tf.constant([encoded]))["colorized_bytes"]
    except tf.errors.InvalidArgumentError:
        return "refused"
    tf.io.decode_png(colored[0])
    return "colored"


def _through_strips(path: Path) -> None:
    """Reads a file as `colorize` reads scans; it may be refused."""
    try:
        scan = scans.Scan(picture_file.pages(str(path))[0], str(path))
        rows = sum(len(strip) for strip in scan.strips())
    except picture_file.BadPicture:
        return
    if rows != scan.size[0]:
        raise AssertionError("the strips have another height")


def through_colorize(color: Callable, encoded: bytes, path: Path) -> str:
    """Does what `colorize` does with a file; returns "colored" or "refused".

    Args:
        color: colors an array.
        encoded: the content of the file.
        path: where the file is written.

    Raises:
        AssertionError: the error is not one sentence, or the result has another size.
    """
    path.write_bytes(encoded)
    try:
        rgb = decoding.decode(str(path), str(path))
    except picture_file.BadPicture as error:
        sentence = str(error)
        if "\n" in sentence or str(path) not in sentence:
            raise AssertionError(f"not one sentence that names the file: {sentence}") from error
        return "refused"
    metadata.read(encoded)
    has_color(rgb)
    _through_strips(path)
    if color(rgb).shape != rgb.shape:
        raise AssertionError("the result has another size")
    return "colored"


def export_small(folder: Path) -> str:
    """Exports a tiny untrained model; returns its path."""
    L = keras.Input((None, None, 1), name="L")
    ab = keras.layers.Conv2D(2, 1, name="ab")(L)
    path = str(folder / "export")
    savedmodel.export(keras.Model({"L": L}, ab), {}, path, (16, 16))
    return path


def main(given: FuzzSettings, _: list[str]) -> None:
    """Runs the command."""
    choose = random.Random(given.seed)
    whole = originals()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = given.saved_model or export_small(Path(folder))
        signature = tf.saved_model.load(path).signatures["colorize_bytes"]
        color = colorizer.load(path).colorize
        kept = Path(given.keep)
        with progress.bar("fuzz", given.files, unit="file") as bar:
            for _ in range(given.files):
                encoded = mutated(choose, choose.choice(whole))
                # `through_colorize` writes the file first: it is still there after a crash.
                counts[f"colorize {through_colorize(color, encoded, kept)}"] += 1
                counts[f"colorize_bytes {through_signature(signature, encoded)}"] += 1
                bar.update()
        kept.unlink()
    for what, count in sorted(counts.items()):
        print(f"{what}: {count}")


COMMAND = cli.Command(__doc__, FuzzSettings, main)

if __name__ == "__main__":
    cli.run(COMMAND)
