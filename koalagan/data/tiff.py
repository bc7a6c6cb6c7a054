# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""The structure of TIFF files (TIFF 6.0, section 2), which EXIF has too: directories of entries."""

import dataclasses
import struct

SUBFILE_TYPE, OLD_SUBFILE_TYPE, WIDTH, HEIGHT = 0x00FE, 0x00FF, 0x0100, 0x0101
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
SUB_DIRECTORIES = 0x014A
# To follow a broken chain of directories would take forever.
_MOST_DIRECTORIES = 10000

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry of a directory: its value as bytes, in the byte order of its block."""

    tag: int
    type: int
    count: int
    value: bytes
    field: bytes  # the entry's last four bytes: the value, or its offset


class Block:
    """A TIFF structure: that of EXIF, or a TIFF file.

    Args:
        data: its bytes.

    Raises:
        ValueError: it is not one.
    """

    def __init__(self, data: bytes):
        self.data = data
        self.order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]), "")
        if not self.order:
            raise ValueError("it is not a TIFF structure")

    def unpack(self, format: str, offset: int) -> tuple:
        """Numbers at an offset.

        Raises:
            ValueError: they lie outside.
        """
        try:
            return struct.unpack_from(self.order + format, self.data, offset)
        except struct.error as error:
            raise ValueError("a directory lies outside of it") from error

    @property
    def first(self) -> int:
        """The offset of the first directory."""
        return self.unpack("I", 4)[0]

    def directory(self, offset: int) -> list[Entry]:
        """The entries of a directory; those whose value lies outside of the block are left out."""
        (count,) = self.unpack("H", offset)
        entries = []
        for number in range(count):
            at = offset + 2 + 12 * number
            tag, kind, values = self.unpack("HHI", at)
            field = bytes(self.data[at + 8 : at + 12])
            size = _BYTES.get(kind, 0) * values
            start = self.unpack("I", at + 8)[0] if size > 4 else at + 8
            if size and start + size <= len(self.data):
                value = bytes(self.data[start : start + size])
                entries.append(Entry(tag, kind, values, value, field))
        return entries

    def next(self, offset: int) -> int:
        """The offset of the directory after one; 0 if it is the last."""
        (count,) = self.unpack("H", offset)
        return self.unpack("I", offset + 2 + 12 * count)[0]

    def number(self, entry: Entry) -> float | None:
        """The first number of an entry; None where it holds none."""
        formats = {1: "B", 3: "H", 4: "I", 5: "II", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
        if entry.type not in formats:
            return None
        values = struct.unpack_from(self.order + formats[entry.type], entry.value)
        if len(values) == 1:
            return float(values[0])
        return values[0] / values[1] if values[1] else None

    def directories(self) -> list[int]:
        """The offsets of the directories in their chain."""
        offsets = [self.first]
        while (following := self.next(offsets[-1])) and len(offsets) < _MOST_DIRECTORIES:
            if following in offsets:
                break
            offsets.append(following)
        return offsets

    def images(self) -> list[int]:
        """The offsets of the directories that describe images of full size, at least one.

        Reduced copies, such as thumbnails, say so in their NewSubfileType. Raw files (DNG) hold
        one in their first directory, and the image of full size in a directory below it.
        """
        found, all_of_them = [], []
        for offset in self.directories():
            entries = {entry.tag: entry for entry in self.directory(offset)}
            below = []
            if SUB_DIRECTORIES in entries:
                value, size = entries[SUB_DIRECTORIES].value, len(entries[SUB_DIRECTORIES].value)
                below = struct.unpack(f"{self.order}{size // 4}I", value[: size // 4 * 4])
            for one in (offset, *below):
                numbers = self.numbers(one)
                reduced = (
                    int(numbers.get(SUBFILE_TYPE, 0)) & 1 or numbers.get(OLD_SUBFILE_TYPE) == 2
                )
                pixels = numbers.get(WIDTH, 0) * numbers.get(HEIGHT, 0)
                all_of_them.append((pixels, -len(all_of_them), one))
                if not reduced and (one == offset or not found):
                    found.append(one)
        return found or [max(all_of_them)[-1]]

    def numbers(self, offset: int) -> dict[int, float]:
        """The numbers of a directory by tag."""
        found = {entry.tag: self.number(entry) for entry in self.directory(offset)}
        return {tag: number for tag, number in found.items() if number is not None}

    def resolution(self) -> tuple[float, float] | None:
        """Dots per inch, horizontally and vertically, where an absolute resolution is stated."""
        numbers = self.numbers(self.first)
        # Inches are the default of both standards, and centimeters the other unit.
        scale = {2: 1.0, 3: 2.54}.get(int(numbers.get(RESOLUTION_UNIT, 2)))
        found = [numbers.get(tag, 0.0) for tag in (X_RESOLUTION, Y_RESOLUTION)]
        if not scale or min(found) <= 0:
            return None
        return found[0] * scale, found[1] * scale
