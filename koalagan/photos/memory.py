# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Whether a picture fits into memory: Linux kills a process that asks for more than there is."""

from koalagan.data.picture_file import BadPicture

# The peak of coloring at full size: 1.1 GB were measured for 25 megapixels with transparency (0.7
# for gray ones), in addition to the program and the model. Each further variant is held, and held
# again while it is written.
_BYTES_PER_PIXEL = 46
_BYTES_PER_PIXEL_OF_A_VARIANT = 2 * 3


def check(size: tuple[int, int], name: str, variants: int = 1) -> None:
    """Checks that there is enough memory to color a picture.

    Args:
        size: its (height, width).
        name: its name in the message.
        variants: how many results are held.

    Raises:
        BadPicture: there is not.
    """
    per_pixel = _BYTES_PER_PIXEL + (variants - 1) * _BYTES_PER_PIXEL_OF_A_VARIANT
    if size[0] * size[1] * per_pixel > available():
        raise too_large(size, name)


def too_large(size: tuple[int, int], name: str) -> BadPicture:
    """The error for a picture of the size (height, width) that does not fit into memory."""
    height, width = size
    return BadPicture(
        f"The picture {name} ({width}x{height} pixels) does not fit into memory: make it smaller."
    )


def available() -> float:
    """Available memory in bytes; infinite where the system does not report it."""
    try:
        with open("/proc/meminfo") as file:
            facts = dict(line.split(":") for line in file)
        return 1024 * int(facts["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return float("inf")
