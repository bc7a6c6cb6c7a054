# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colours photographs: `python -m koalagan.colorize --saved_model=DIR --output_dir=OUT PHOTO...`.

Takes files and folders (with all that lies below them; the tree is kept) in any size and any format
of `koalagan.data.pictures`, turned upright by their EXIF orientation and converted to sRGB by their
colour profile. Every result is a PNG of full size with the photograph's own lightness. `x/a.jpg`
becomes `OUT/x/a.png`; where that name would belong to two photographs, or is itself one of them,
their whole names are kept: `OUT/x/a.jpg.png`.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import flags
from PIL import Image

from koalagan import errors, files, lazy, progress, saved_model
from koalagan.data import pictures, sources
from koalagan.errors import UserError

tf = lazy.module("tensorflow")

# What colouring at full size takes at most: measured, 24 megapixels took 2.7 GB.
_BYTES_PER_PIXEL = 112


def define_flags(fv: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the command's flags on `fv`."""
    flags.DEFINE_string(
        "saved_model",
        None,
        "The exported model: a run's export folder.",
        required=True,
        flag_values=fv,
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Where the coloured pictures go; made if absent.",
        required=True,
        flag_values=fv,
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command on the photographs and folders named in `argv[1:]`."""
    left_out = colorize_files(
        saved_model=os.path.expanduser(flags.FLAGS.saved_model),
        photographs=argv[1:],
        output_dir=os.path.expanduser(flags.FLAGS.output_dir),
    )
    return 1 if left_out else 0


def colorize_files(
    *, saved_model: str, photographs: Sequence[str], output_dir: str
) -> dict[str, str]:
    """Colours photographs into PNG files under `output_dir`; see the module for their names.

    Progress, each picture left out, and a list of them at the end go to stderr. A result of an
    earlier call is replaced; a photograph never is.

    Args:
        saved_model: a folder that `export.export_savedmodel` wrote.
        photographs: files and folders.
        output_dir: made if absent. Pictures in it are not taken for photographs of a folder.

    Returns:
        Why each picture that was left out was: path -> one sentence.

    Raises:
        UserError: nothing to colour, no such model, or no place to write to.
    """
    jobs = _plan(photographs, output_dir)
    colorize = load_model(saved_model)
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output_dir} cannot be made: {error.strerror}.") from error
    left_out = {}
    with progress.bar("colorize", len(jobs)) as bar:
        for photograph, error in _colour_all(jobs, colorize):
            if error:
                left_out[photograph] = str(error)
                bar.write(f"koalagan: {error}", file=sys.stderr)
            bar.update()
    if left_out:
        print(f"koalagan: {len(left_out)} of {len(jobs)} pictures were left out:", file=sys.stderr)
        for photograph in left_out:
            print(f"    {photograph}", file=sys.stderr)
    return left_out


def _colour_all(
    jobs: Sequence[tuple[str, str]], colorize: Callable[[np.ndarray, str], np.ndarray]
) -> Iterator[tuple[str, pictures.BadPicture | None]]:
    """Colours (photograph, file to write) one by one; each photograph as its result is written, or
    with what is wrong with it.

    While the model works on one, the next is decoded and the one before encoded: at most three
    pictures are held at once.
    """

    def decode(number: int) -> concurrent.futures.Future | None:
        return pool.submit(_decode, jobs[number][0]) if number < len(jobs) else None

    # One for each of the two things that happen beside the model.
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        decoding, written = decode(0), None
        for number, (photograph, target) in enumerate(jobs):
            decoded, decoding = decoding, decode(number + 1)
            error = None
            try:
                coloured = colorize(decoded.result(), photograph)
            except pictures.BadPicture as bad:
                error = bad
            if written:
                former, writing = written
                writing.result()
                yield former, None
                written = None
            if error:
                yield photograph, error
            else:
                written = photograph, pool.submit(_write, target, coloured)
        if written:
            photograph, writing = written
            writing.result()
            yield photograph, None


def _decode(path: str) -> np.ndarray:
    return pictures.decode(pictures.read(path), path)


def _plan(photographs: Sequence[str], output_dir: str) -> list[tuple[str, str]]:
    """(photograph, file to write) for every picture, each once, no two to the same file."""
    if not photographs:
        raise UserError("Name at least one photograph, or a folder of them, to colour.")
    output = os.path.realpath(output_dir)
    found = {}  # Absolute path -> (path as given, name below the output folder).
    for given in photographs:
        if os.path.isdir(given):
            if os.path.realpath(given) == output:
                raise UserError(
                    f"--output_dir={output_dir} is a folder of the photographs: name another."
                )
            for name in sources.list_pictures(given):
                path = os.path.join(given, name)
                if not os.path.realpath(path).startswith(os.path.join(output, "")):
                    found.setdefault(os.path.abspath(path), (path, name))
        elif os.path.exists(given):
            found.setdefault(os.path.abspath(given), (given, os.path.basename(given)))
        else:
            raise UserError(f"There is no photograph or folder {given}.")
    if not found:
        raise UserError(
            f"There are no pictures in {', '.join(photographs)} "
            f"({', '.join(sources.PICTURE_EXTENSIONS)})."
        )

    uses = Counter(_key(os.path.splitext(name)[0]) for _, name in found.values())
    taken = {_key(os.path.realpath(path)) for path in found}
    jobs, renamed = [], []
    for path, name in found.values():
        shared = uses[_key(os.path.splitext(name)[0])] > 1
        for candidate in _result_names(name, shared):
            target = os.path.join(output, candidate)
            key = _key(os.path.realpath(target))
            if key not in taken:
                break
            shared = True
        taken.add(key)
        jobs.append((path, target))
        if shared:
            renamed.append(f"{path} becomes {candidate}")
    if renamed:
        print("koalagan: some results keep the whole name of their photograph,", file=sys.stderr)
        print(
            "because the plain one is another's as well:", *renamed, sep="\n    ", file=sys.stderr
        )
    return jobs


def _key(path: str) -> str:
    """Equal for names that are one file on the many file systems that ignore case."""
    return path.casefold()


def _result_names(name: str, shared: bool) -> Iterator[str]:
    """What the result of the photograph `name` may be called, best first, without end."""
    if not shared:
        yield f"{os.path.splitext(name)[0]}.png"
    yield f"{name}.png"
    for number in itertools.count(2):
        yield f"{name}-{number}.png"


def load_model(path: str) -> Callable[[np.ndarray, str], np.ndarray]:
    """A function from (picture [h,w,3], its path for messages) to the picture in colour."""
    signature = saved_model.load(path, "serving_default", "colorized")

    def colorize(rgb: np.ndarray, photograph: str) -> np.ndarray:
        height, width = rgb.shape[:2]
        too_large = pictures.BadPicture(
            f"The picture {photograph} ({width}x{height} pixels) does not fit into memory: make it "
            "smaller."
        )
        # Asked for more than there is, Linux kills the process.
        if height * width * _BYTES_PER_PIXEL > _memory_available():
            raise too_large
        try:
            return signature(image=tf.constant(rgb[None]))[0].numpy()
        except tf.errors.ResourceExhaustedError as error:
            raise too_large from error

    return colorize


def _memory_available() -> float:
    """Bytes; without end where the system does not tell."""
    try:
        with open("/proc/meminfo") as file:
            facts = dict(line.split(":") for line in file)
        return 1024 * int(facts["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return float("inf")


def _write(target: str, rgb: np.ndarray) -> None:
    """Writes a PNG that appears whole or not at all."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        files.publish(target, Image.fromarray(rgb).save)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    define_flags()
    errors.run(main)
