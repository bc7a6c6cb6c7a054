# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Colors photographs and films.

    koalagan colorize [--saved_model=DIR] [--output_dir=OUT] PHOTO_OR_FOLDER...

Without --saved_model, the model that comes with koalagan colors them. Its weights have the license
CC BY-NC 4.0: they are not for commercial use.

Arguments are files, folders (with everything below them; the tree is kept), patterns such as
'scans/**/*.tif', or - for a list on stdin. Photographs are JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG
2000 or AVIF files; they are turned upright by their EXIF orientation and converted to sRGB by their
color profile. A result has the full size of its photograph, its lightness and its metadata.

A photograph that has color already is copied unchanged, unless --recolor is given. Films are
colored only if they are named themselves, not by their folder. The exit status is 1 if something
could not be colored; everything else is done.
"""

import os

from koalagan import cli, options
from koalagan.photos.settings import ColorizeSettings


def main(settings: ColorizeSettings, photographs: list[str]) -> int:
    """Colors files; returns the exit status."""
    from koalagan.photos.colorizing import colorize_files

    sheet = settings.results.contact_sheet
    settings = options.replace(
        settings,
        saved_model=os.path.expanduser(settings.folders.saved_model),
        output_dir=os.path.expanduser(settings.folders.output_dir),
        contact_sheet=sheet and os.path.expanduser(sheet),
    )
    return 1 if colorize_files(photographs, settings) else 0


COMMAND = cli.Command(
    __doc__,
    ColorizeSettings,
    main,
    arguments="PHOTO_OR_FOLDER...",
    resumed_by="the same command with --skip_existing",
)

if __name__ == "__main__":
    cli.run(COMMAND)
