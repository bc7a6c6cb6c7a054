# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which photographs a command is given, what their results are called, and how those are written.

The result of `x/a.jpg` is `OUT/x/a.png`; where that name would belong to two photographs, or is
itself one of them, their whole names are kept: `OUT/x/a.jpg.png`. A photograph is never written to.
"""

from __future__ import annotations

import dataclasses
import errno
import filecmp
import glob
import itertools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from koalagan import files
from koalagan.data import decoding, sources
from koalagan.errors import UserError, one_line
from koalagan.photos import film_files, metadata

# --format: the ending of its files; "same" keeps the photograph's own.
FORMATS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp"}
# What is wrong with one result, where other errors are wrong with the place for all.
_OF_ONE_FILE = (None, errno.ENAMETOOLONG)


@dataclasses.dataclass(frozen=True)
class Job:
    """A photograph and the files that its results go to.

    Attributes:
        photograph: its path as given.
        name: what it is called, below the folder it was found in.
        targets: one for each variant.
        copy: where it goes if it has colour and keeps it; None where it lies there already.
    """

    photograph: str
    name: str
    targets: tuple[str, ...]
    copy: str | None

    def existing(self, recolor: bool) -> list[str]:
        """Those of its results that are there; `recolor` says that it will not be copied."""
        copies = (self.copy,) if self.copy and not recolor else ()
        # Of a PNG, result and copy have the same name.
        return [path for path in dict.fromkeys((*self.targets, *copies)) if os.path.exists(path)]

    def done(self, recolor: bool) -> bool:
        """Whether nothing is left to do for it.

        A copy has the name of a result of the photograph's own format: only what is in them tells.
        """

        def is_copy(path: str) -> bool:
            return filecmp.cmp(self.photograph, path, shallow=False)

        there = [target for target in self.targets if os.path.exists(target)]
        if not recolor and self.copy and os.path.exists(self.copy) and is_copy(self.copy):
            return True
        return len(there) == len(self.targets) and not (recolor and any(map(is_copy, there)))


def expand(given: Iterable[str], output: str) -> Iterator[tuple[str, str]]:
    """Files and folders for what a command line names, each with the name that its result gets.

    `-` is a list on stdin, one a line, and a pattern (`**` goes into folders) stands for what it
    matches, with the tree below its fixed part; neither brings what lies in the folder `output`,
    the results of an earlier call, unless all of it does.

    Raises:
        UserError: a pattern matches nothing.
    """

    def outside(paths: list[str]) -> list[str]:
        return [path for path in paths if not _inside(path, output)] or paths

    for argument in given:
        if argument == "-":
            # Names of files need not be text.
            lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
            for path in outside([line for line in lines if line]):
                yield path, os.path.basename(path)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            pattern = os.path.expanduser(argument)
            matches = sorted(glob.glob(pattern, recursive=True))
            if not matches:
                raise UserError(f"Nothing is called {argument}.")
            fixed = itertools.takewhile(
                lambda part: not glob.has_magic(part), pattern.split(os.sep)
            )
            root = os.sep.join(fixed) or (os.sep if os.path.isabs(pattern) else os.curdir)
            for path in outside(matches):
                name = os.path.relpath(path, root)
                # A result never leaves the output's folder.
                above = name.split(os.sep)[0] == os.pardir
                yield path, os.path.basename(path) if above else name
        else:
            yield argument, os.path.basename(argument)


def _inside(path: str, folder: str) -> bool:
    """Whether a path is a real folder or lies in it."""
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(folder, ""))


def plan(
    given: Iterable[str],
    output_dir: str,
    *,
    format: str = "png",
    suffix: str = "",
    variants: int = 1,
) -> list[Job]:
    """What to do: every photograph once, no two results in one file.

    Args:
        given: files and folders (with all that lies below them); see `expand`.
        output_dir: need not exist. Pictures in it are not taken for photographs of a folder.
        format: of the results, one of `FORMATS` or "same".
        suffix: put behind the names of the results.
        variants: results for each photograph, numbered where there are several.

    Raises:
        UserError: nothing is given, it is not there, or `output_dir` is one of the folders.
    """
    output = os.path.realpath(output_dir)
    found = _find(given, output_dir)

    def targets(stem: str, name: str) -> tuple[str, ...]:
        if film_files.is_film(name):
            return (os.path.join(output, f"{stem}{suffix}{film_files.ending(name)}"),)
        ending = FORMATS.get(format) or os.path.splitext(name)[1]
        # GIF has 256 colours, which would not leave the lightness as it is.
        ending = FORMATS["png"] if ending.lower() == ".gif" else ending
        numbers = [""] if variants == 1 else [f"-{number}" for number in range(1, variants + 1)]
        return tuple(os.path.join(output, f"{stem}{suffix}{n}{ending}") for n in numbers)

    def plain(name: str) -> tuple[str, ...]:
        return targets(os.path.splitext(name)[0], name)

    uses = Counter(_key(plain(name)[0]) for _, name in found.values())
    taken = {_key(os.path.realpath(path)) for path in found}
    jobs, renamed = [], []
    for path, name in found.values():
        shared = uses[_key(plain(name)[0])] > 1
        for stem in _stems(name, shared):
            candidate = targets(stem, name)
            copy = os.path.join(output, f"{stem}{suffix}{os.path.splitext(name)[1]}")
            itself = _key(os.path.realpath(copy)) == _key(os.path.realpath(path))
            if itself or film_files.is_film(name):
                copy = None
            written = (*candidate, copy) if copy else candidate
            keys = {_key(os.path.realpath(result)) for result in written}
            if not keys & taken:
                break
            shared = True
        taken |= keys
        jobs.append(Job(path, name, candidate, copy))
        if shared:
            renamed.append(f"{path} becomes {os.path.relpath(candidate[0], output)}")
    if renamed:
        print("koalagan: some results keep the whole name of their photograph,", file=sys.stderr)
        print(
            "because the plain one is another's as well:", *renamed, sep="\n    ", file=sys.stderr
        )
    return jobs


def _find(given: Iterable[str], output_dir: str) -> dict[str, tuple[str, str]]:
    """Absolute path -> (path as given, name below its folder)."""
    output = os.path.realpath(output_dir)
    found, named = {}, []
    for path, own_name in expand(given, output):
        named.append(path)
        if os.path.isdir(path):
            if os.path.realpath(path) == output:
                raise UserError(
                    f"--output_dir={output_dir} is a folder of the photographs: name another."
                )
            for name in sources.list_pictures(path):
                picture = os.path.join(path, name)
                results = _inside(output, os.path.realpath(path)) and _inside(picture, output)
                if not results:
                    found.setdefault(os.path.abspath(picture), (picture, name))
        elif os.path.exists(path):
            found.setdefault(os.path.abspath(path), (path, own_name))
        else:
            raise UserError(f"There is no photograph or folder {path}.")
    if not named:
        raise UserError("Name at least one photograph, or a folder of them, to colour.")
    if not found:
        raise UserError(
            f"There are no pictures in {', '.join(named)} "
            f"({', '.join(sources.PICTURE_EXTENSIONS)})."
        )
    return found


def _key(path: str) -> str:
    """Equal for names that are one file on the many file systems that ignore case."""
    return path.casefold()


def _stems(name: str, shared: bool) -> Iterator[str]:
    """What the result of the photograph `name` may be called, best first, without end."""
    if not shared:
        yield os.path.splitext(name)[0]
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def write(
    target: str, rgb: np.ndarray, *, quality: int = 95, kept: metadata.Metadata | None = None
) -> None:
    """Writes a picture that appears whole or not at all.

    Args:
        target: its path; the ending says the format.
        rgb: uint8 [H,W,3].
        quality: of JPEG and WebP, 1 to 100.
        kept: the photograph's metadata, written as far as the format holds it.

    Raises:
        BadPicture: the format cannot hold it.
        UserError: it cannot be written.
    """
    ending = os.path.splitext(target)[1].lower()
    options = kept.options(ending) if kept else {}
    if ending in (".jpg", ".jpeg", ".webp"):
        options["quality"] = quality
    elif ending == ".png":
        # Six, the default, takes twice as long, and photographs are less than 1 % smaller for it.
        options["compress_level"] = 4
    try:
        _publish(target, lambda path: Image.fromarray(rgb).save(path, **options))
    except UserError:
        raise
    except Exception as error:
        if kept:  # What Pillow reads from a photograph it cannot always write, nor say why.
            return write(target, rgb, quality=quality)
        # A format's own limits, such as WebP's 16383 pixels.
        raise decoding.BadPicture(f"{target} cannot be written: {one_line(error)}.") from error


def copy(photograph: str, target: str) -> None:
    """Copies a photograph, which appears whole or not at all.

    Raises:
        BadPicture: something else lies there, which nobody asked to be replaced.
        UserError: it cannot be written.
    """
    if os.path.exists(target):
        if filecmp.cmp(photograph, target, shallow=False):
            return
        raise decoding.BadPicture(
            f"The picture {photograph} has colour, and its copy would replace {target}: name "
            "another --output_dir."
        )
    _publish(target, lambda path: shutil.copyfile(photograph, path))


def _publish(target: str, write: Callable[[Any], Any]) -> None:
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        files.publish(target, write)
    except OSError as error:
        kind = decoding.BadPicture if error.errno in _OF_ONE_FILE else UserError
        raise kind(f"{target} cannot be written: {error.strerror or error}.") from error
