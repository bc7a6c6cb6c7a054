# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which photographs a command line names, and which files their results go to.

The result of `x/a.jpg` is `OUT/x/a.png`. Where two photographs would share that name, or where it
is itself a photograph, the extension is kept: `OUT/x/a.jpg.png`. A photograph is never written to.
"""

import dataclasses
import filecmp
import glob
import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from koalagan.data import picture_folder
from koalagan.errors import UserError
from koalagan.photos import film_kinds
from koalagan.photos.settings import FORMATS


@dataclasses.dataclass(frozen=True)
class Job:
    """A photograph or film, and the files that its results go to.

    Attributes:
        photograph: its path as given.
        name: its path relative to the folder in which it was found.
        targets: one path for each variant.
        copy: the path of its copy, made if it has color and is not to be recolored; None where that
            would be the photograph itself.
        is_film: whether it is a film.
        taken: keys of all photographs and results of the call, which no further page may replace.
    """

    photograph: str
    name: str
    targets: tuple[str, ...]
    copy: str | None
    is_film: bool = False
    taken: Collection[str] = dataclasses.field(default=(), compare=False, repr=False)

    def page_targets(self, page: int) -> tuple[str, ...]:
        """The paths of the results of a page of a file with several, from 1."""
        if page == 1:
            return self.targets
        parts = [os.path.splitext(target) for target in self.targets]
        for number in itertools.chain([""], map("-{}".format, itertools.count(2))):
            targets = [f"{stem}-page{page}{number}{extension}" for stem, extension in parts]
            if not {_key(os.path.realpath(target)) for target in targets} & set(self.taken):
                return tuple(targets)

    def existing(self, recolor: bool) -> list[str]:
        """Its results that exist; with `recolor`, it is not going to be copied."""
        copies = (self.copy,) if self.copy and not recolor else ()
        # For a PNG, the result and the copy have the same name.
        return [path for path in dict.fromkeys((*self.targets, *copies)) if os.path.exists(path)]

    def done(self, recolor: bool) -> bool:
        """Whether all its results exist.

        A copy may have the name of a result in the photograph's own format, so that only the
        contents tell them apart.
        """

        def is_copy(path: str) -> bool:
            return filecmp.cmp(self.photograph, path, shallow=False)

        existing = [target for target in self.targets if os.path.exists(target)]
        if not recolor and self.copy and os.path.exists(self.copy) and is_copy(self.copy):
            return True
        return len(existing) == len(self.targets) and not (recolor and any(map(is_copy, existing)))


def plan(
    given: Iterable[str],
    output_dir: str,
    *,
    format: str = "png",
    suffix: str = "",
    variants: int = 1,
) -> list[Job]:
    """Plans the work: each photograph once, and no two results in one file.

    Args:
        given: files, folders (with everything below them), patterns, or "-" for a list on stdin.
        output_dir: need not exist. Pictures in it are not taken for photographs of a folder.
        format: of the results, one of `FORMATS` or "same".
        suffix: appended to the names of the results.
        variants: results for each photograph, numbered if there are several.

    Raises:
        UserError: nothing is given, something does not exist, or `output_dir` is a given folder.
    """
    output = os.path.realpath(output_dir)
    found = _find(given, output_dir)
    films = {path for path, _ in found.values() if film_kinds.is_film(path)}

    def results(stem: str, path: str, name: str) -> tuple[str, ...]:
        if path in films:
            names = [f"{stem}{suffix}{film_kinds.result_extension(name)}"]
        else:
            names = _file_names(stem, name, format, suffix, variants)
        return tuple(os.path.join(output, file) for file in names)

    def shortest(path: str, name: str) -> str:
        return _key(results(os.path.splitext(name)[0], path, name)[0])

    uses = Counter(shortest(*one) for one in found.values())
    taken = {_key(os.path.realpath(path)) for path in found}
    jobs, renamed = [], []
    for path, name in found.values():
        shared = uses[shortest(path, name)] > 1
        for stem in _stems(name, shared):
            targets = results(stem, path, name)
            copy = os.path.join(output, f"{stem}{suffix}{os.path.splitext(name)[1]}")
            itself = _key(os.path.realpath(copy)) == _key(os.path.realpath(path))
            if itself or path in films:
                copy = None
            written = (*targets, copy) if copy else targets
            keys = {_key(os.path.realpath(result)) for result in written}
            if not keys & taken:
                break
            shared = True
        taken |= keys
        jobs.append(Job(path, name, targets, copy, is_film=path in films, taken=taken))
        if shared:
            renamed.append(f"{path} becomes {os.path.relpath(targets[0], output)}")
    if renamed:
        print(
            "koalagan: some results keep the extension of their photograph in their name, because "
            "the shorter name is not unique:",
            *renamed,
            sep="\n    ",
            file=sys.stderr,
        )
    return jobs


def _file_names(stem: str, name: str, format: str, suffix: str, variants: int) -> list[str]:
    """The files of the variants of `name`, whose own name without extension becomes `stem`."""
    extension = FORMATS.get(format) or os.path.splitext(name)[1]
    # GIF has 256 colors, which would change the lightness.
    extension = FORMATS["png"] if extension.lower() == ".gif" else extension
    numbers = [""] if variants == 1 else [f"-{number}" for number in range(1, variants + 1)]
    return [f"{stem}{suffix}{number}{extension}" for number in numbers]


def _stems(name: str, shared: bool) -> Iterator[str]:
    """Candidates for the name of the result of `name` without its extension, without end."""
    if not shared:
        yield os.path.splitext(name)[0]
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def _key(path: str) -> str:
    """Equal for names that are one file on the many file systems that ignore case."""
    return path.casefold()


def _find(given: Iterable[str], output_dir: str) -> dict[str, tuple[str, str]]:
    """Maps absolute paths to (path as given, name relative to its folder)."""
    output = os.path.realpath(output_dir)
    found, named, left_out = {}, [], []
    for path, own_name in _expand(given, output):
        named.append(path)
        if os.path.isdir(path):
            if os.path.realpath(path) == output:
                raise UserError(
                    f"--output_dir={output_dir} is also a folder of photographs: name another one."
                )
            listing = picture_folder.scan(path)
            left_out += [os.path.join(path, name) for name in listing.left_out]
            for name in listing.pictures:
                picture = os.path.join(path, name)
                is_result = _inside(output, os.path.realpath(path)) and _inside(picture, output)
                if not is_result:
                    found.setdefault(os.path.abspath(picture), (picture, name))
        elif os.path.exists(path):
            found.setdefault(os.path.abspath(path), (path, own_name))
        else:
            raise UserError(f"There is no photograph or folder {path}.")
    left_out = [path for path in left_out if not _inside(path, output)]
    if left_out:
        shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        print(
            f"koalagan: left out {len(left_out)} files that are not pictures (films are colored "
            f"if they are named themselves): {shown}",
            file=sys.stderr,
        )
    if not named:
        raise UserError("Name at least one photograph or folder to color.")
    if not found:
        raise UserError(
            f"There are no pictures in {', '.join(named)} "
            f"({', '.join(picture_folder.PICTURE_EXTENSIONS)})."
        )
    return found


def _expand(given: Iterable[str], output: str) -> Iterator[tuple[str, str]]:
    """Resolves patterns and "-" to (path, name of the result) of files and folders.

    "-" reads a list from stdin, one path a line. A pattern (`**` matches any number of folders)
    keeps the tree below its fixed part. Neither includes what lies in the folder `output`, the
    results of an earlier call, unless everything does.

    Raises:
        UserError: a pattern matches nothing.
    """

    def outside(paths: list[str]) -> list[str]:
        return [path for path in paths if not _inside(path, output)] or paths

    for argument in given:
        if argument == "-":
            # File names need not be valid Unicode.
            lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
            for path in outside([line for line in lines if line]):
                yield path, os.path.basename(path)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            pattern = _escaped(os.path.expanduser(argument))
            matches = sorted(glob.glob(pattern, recursive=True))
            if not matches:
                raise UserError(f"No file or folder matches {argument}.")
            fixed = itertools.takewhile(
                lambda part: part == glob.escape(re.sub(r"\[([*?[])\]", r"\1", part)),
                pattern.split(os.sep),
            )
            root = os.sep.join(fixed) or (os.sep if os.path.isabs(pattern) else os.curdir)
            root = re.sub(r"\[([*?[])\]", r"\1", root)
            for path in outside(matches):
                name = os.path.relpath(path, root)
                # A result never leaves the output folder.
                above = name.split(os.sep)[0] == os.pardir
                yield path, os.path.basename(path) if above else name
        else:
            yield argument, os.path.basename(argument)


def _escaped(pattern: str) -> str:
    """A pattern whose folders that exist under this very name, brackets and all, are meant so."""
    parts = pattern.split(os.sep)
    existing = 0
    while existing < len(parts) - 1 and os.path.isdir(os.sep.join(parts[: existing + 1]) or os.sep):
        existing += 1
    return os.sep.join([*map(glob.escape, parts[:existing]), *parts[existing:]])


def _inside(path: str, folder: str) -> bool:
    """Whether a path is a folder, given as its real path, or lies in it."""
    return os.path.join(os.path.realpath(path), "").startswith(os.path.join(folder, ""))
