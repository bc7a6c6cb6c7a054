# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which files in a folder are pictures."""

import os

from koalagan.errors import UserError

PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def list_pictures(folder: str) -> list[str]:
    """Lists the pictures under `folder` as sorted, relative POSIX paths.

    Hidden files and folders are skipped: macOS writes a `._photo.jpg` without a picture beside each
    file that it copies to other disks. Links to files are followed, links to folders are not.

    Raises:
        UserError: `folder` or a folder in it cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(PICTURE_EXTENSIONS) and not name.startswith("."):
                path = os.path.relpath(os.path.join(parent, name), folder)
                found.append(path.replace(os.sep, "/"))
    return sorted(found)
