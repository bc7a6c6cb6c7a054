# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which files are pictures, by their names and by their first bytes."""

import dataclasses
import os

from koalagan.errors import UserError

PICTURE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".jp2", ".j2k", ".avif"),
)
_BEGINNINGS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",  # TIFF
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds, as sorted, relative POSIX paths.

    Attributes:
        pictures: files that are named or begin like pictures.
        left_out: other files, and links to folders whose files are listed already.
    """

    pictures: list[str]
    left_out: list[str]


def begins_like_a_picture(path: str) -> bool:
    """Whether the first bytes of a file are those of a picture format; False if unreadable."""
    try:
        with open(path, "rb") as file:
            begin = file.read(32)
    except OSError:
        return False
    return (
        begin.startswith(_BEGINNINGS)
        or (begin[:4] == b"RIFF" and begin[8:12] == b"WEBP")
        or (begin[:2] == b"BM" and begin[6:10] == bytes(4))
        or (begin[4:8] == b"ftyp" and begin[8:12] in (b"avif", b"avis"))
    )


def is_picture(path: str) -> bool:
    """Whether a file is named like a picture, or begins like one under another name."""
    # A damaged picture is one by its name, so that it is reported and not left out.
    if path.lower().endswith(PICTURE_EXTENSIONS):
        return True
    return os.path.isfile(path) and begins_like_a_picture(path)


def scan(folder: str) -> Listing:
    """Lists what is under `folder`.

    Hidden files and folders are skipped: macOS writes a `._photo.jpg` without a picture beside each
    file that it copies to other disks. Links to files and folders are followed, each folder once.

    Raises:
        UserError: `folder` or a folder in it cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    pictures, left_out = [], []
    seen = {os.path.realpath(folder)}
    for parent, folders, files in os.walk(folder, onerror=fail, followlinks=True):

        def relative(name: str, parent: str = parent) -> str:
            return os.path.relpath(os.path.join(parent, name), folder).replace(os.sep, "/")

        entered = []
        for name in folders:
            real = os.path.realpath(os.path.join(parent, name))
            if name.startswith("."):
                continue
            if real in seen:
                left_out.append(relative(name))
            else:
                entered.append(name)
                seen.add(real)
        folders[:] = entered
        for name in files:
            if not name.startswith("."):
                kept = pictures if is_picture(os.path.join(parent, name)) else left_out
                kept.append(relative(name))
    return Listing(sorted(pictures), sorted(left_out))


def list_pictures(folder: str) -> list[str]:
    """The pictures under `folder`; see `scan`."""
    return scan(folder).pictures
