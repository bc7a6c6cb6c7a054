# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""EXIF as bytes: entries are dropped or exchanged, and everything else stays as it was.

EXIF is a TIFF structure (TIFF 6.0, section 2; CIPA DC-008): a header that states the byte order,
and directories of entries `tag, type, count, value or its offset`. Its texts are bytes in encodings
that nothing states, and maker notes hold offsets of their own, so a block is not decoded and
written anew: entries are removed from their directory, and all values stay where they are.
"""

import dataclasses
import mmap
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from koalagan.data.tiff import X_RESOLUTION, Y_RESOLUTION, Block, Entry

ORIENTATION = 0x0112
XMP, IPTC = 0x02BC, 0x83BB
_EXIF, _GPS = 0x8769, 0x8825
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202

# What describes the file's pixels or holds data that other fields of a result hold: sizes, strips,
# tiles, color tables, sub-images, XMP, IPTC, Photoshop's resources and layers, the ICC profile.
_OF_THE_FILE = {
    *range(0x00FE, 0x0108),
    0x010A,
    0x0111,
    ORIENTATION,
    *range(0x0115, 0x011A),
    0x011C,
    *range(0x0120, 0x0126),
    0x012D,
    0x013D,
    0x013E,
    0x013F,
    0x0140,
    *range(0x0141, 0x0146),
    0x014A,
    *range(0x0152, 0x0160),
    *range(0x0200, 0x0215),
    XMP,
    IPTC,
    0x8649,
    0x8773,
    0x935C,
    # Of raw files (DNG).
    *range(0xC612, 0xC800),
}
# In the Exif directory: color space, width, height, interoperability, gamma.
_EXIF_OF_THE_FILE = {0xA001, 0xA002, 0xA003, 0xA005, 0xA500}
# Places in the picture, which a turned result has elsewhere.
_PLACES = {0x9214, 0xA214}
_MAKER_NOTE = 0x927C
_EXCHANGED = ((X_RESOLUTION, Y_RESOLUTION), (0xA20E, 0xA20F))  # by a turn

_WORD = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # what the byte order turns


def cleaned(data: bytes, *, turned: bool = False) -> bytes:
    """An EXIF block without what describes the former file: orientation, sizes, thumbnail.

    Args:
        data: the block, from its TIFF header on.
        turned: whether the picture was turned by 90 degrees: horizontal and vertical resolutions
            change places.

    Returns:
        The block; all values lie where they lay. Empty if no entry is left.

    Raises:
        ValueError: it is not such a block.
    """
    block = Block(bytearray(data))
    first = block.first
    thumbnail = block.next(first)
    dropped = _OF_THE_FILE, _EXIF_OF_THE_FILE, set()
    if turned:
        dropped = tuple(tags | _PLACES for tags in dropped)
    inner = [_offset(block, first, tag) for tag in (_EXIF, _GPS)]
    ends = [8]
    left = 0
    for offset, tags in zip((first, *inner), dropped, strict=True):
        if offset:
            left += _drop(block, offset, tags)
            if turned:
                _exchange(block, offset)
            ends.append(_end(block, offset))
    if thumbnail:
        _blank_thumbnail(block, thumbnail)
    (count,) = block.unpack("H", first)
    struct.pack_into(block.order + "I", block.data, first + 2 + 12 * count, 0)
    return bytes(block.data[: max(ends)]) if left else b""


def _offset(block: Block, directory: int, tag: int) -> int:
    """The offset of an inner directory; 0 if there is none."""
    for entry in block.directory(directory):
        if entry.tag == tag:
            return int(block.number(entry) or 0)
    return 0


def _drop(block: Block, offset: int, tags: set[int]) -> int:
    """Removes entries from a directory; returns how many of those left are no pointers."""
    (count,) = block.unpack("H", offset)
    block.unpack("I", offset + 2 + 12 * count)  # it lies within
    start, end = offset + 2, offset + 2 + 12 * count
    entries = [bytes(block.data[at : at + 12]) for at in range(start, end, 12)]

    def tag(entry: bytes) -> int:
        return struct.unpack_from(block.order + "H", entry)[0]

    kept = [entry for entry in entries if tag(entry) not in tags]
    following = bytes(block.data[end : end + 4])
    table = b"".join([*kept, following])
    struct.pack_into(block.order + "H", block.data, offset, len(kept))
    block.data[start : end + 4] = table.ljust(end + 4 - start, b"\0")
    return sum(tag(entry) not in (_EXIF, _GPS) for entry in kept)


def _exchange(block: Block, offset: int) -> None:
    """Exchanges the values of horizontal and vertical resolutions."""
    (count,) = block.unpack("H", offset)
    places = {block.unpack("H", at)[0]: at for at in range(offset + 2, offset + 2 + 12 * count, 12)}
    for one, other in _EXCHANGED:
        if one in places and other in places:
            a, b = places[one] + 2, places[other] + 2
            block.data[a : a + 10], block.data[b : b + 10] = (
                block.data[b : b + 10],
                block.data[a : a + 10],
            )


def _end(block: Block, offset: int) -> int:
    """Where a directory and its values end."""
    (count,) = block.unpack("H", offset)
    ends = [offset + 6 + 12 * count]
    for entry in block.directory(offset):
        if len(entry.value) > 4:
            ends.append(struct.unpack(block.order + "I", entry.field)[0] + len(entry.value))
    return max(ends)


def _blank_thumbnail(block: Block, offset: int) -> None:
    try:
        numbers = {entry.tag: block.number(entry) for entry in block.directory(offset)}
    except ValueError:
        return
    start, size = (int(numbers.get(tag) or 0) for tag in (_THUMBNAIL, _THUMBNAIL_BYTES))
    end = min(start + size, len(block.data))
    if start:
        block.data[start:end] = bytes(max(0, end - start))


def of_tiff(data: bytes, *, turned: bool = False) -> bytes:
    """The EXIF of a TIFF file as a block of its own: what its first directory says of the picture.

    A maker note is left out: its offsets hold only where it lies.

    Raises:
        ValueError: the file is not a TIFF with 32-bit offsets.
    """
    source = Block(data)
    inner = {}
    for tag, dropped in ((_EXIF, {*_EXIF_OF_THE_FILE, _MAKER_NOTE}), (_GPS, set())):
        if offset := _offset(source, source.first, tag):
            entries = [one for one in source.directory(offset) if one.tag not in dropped]
            if entries:
                inner[tag] = entries
    entries = [
        one
        for one in source.directory(source.first)
        if one.tag not in {*_OF_THE_FILE, _EXIF, _GPS} and len(one.value) <= 0xFFFF
    ]
    if not entries and not inner:
        return b""
    block = _built(source.order, entries, inner)
    return cleaned(block, turned=True) if turned else block


def _built(order: str, entries: list[Entry], inner: dict[int, list[Entry]]) -> bytes:
    data = bytearray(struct.pack(order + "2sHI", _mark(order), 42, 8))
    return bytes(data + _directory(order, 8, entries, inner))


def _mark(order: str) -> bytes:
    return b"II" if order == "<" else b"MM"


def _directory(
    order: str, offset: int, entries: Iterable[Entry], inner: dict[int, list[Entry]]
) -> bytes:
    """A directory that lies at `offset`, followed by its values and the inner directories."""
    pointers = [Entry(tag, 4, 1, bytes(4), bytes(4)) for tag in inner]
    entries = sorted([*entries, *pointers], key=lambda entry: entry.tag)
    table = bytearray(struct.pack(order + "H", len(entries)))
    values = bytearray()
    start = offset + 6 + 12 * len(entries)
    for entry in entries:
        table += struct.pack(order + "HHI", entry.tag, entry.type, entry.count)
        if entry.tag in inner:
            values += bytes(len(values) % 2)
            table += struct.pack(order + "I", start + len(values))
            values += _directory(order, start + len(values), inner[entry.tag], {})
        elif len(entry.value) <= 4:
            table += entry.value.ljust(4, b"\0")
        else:
            values += bytes(len(values) % 2)
            table += struct.pack(order + "I", start + len(values))
            values += entry.value
    return bytes(table) + bytes(4) + bytes(values)


def into_tiff(
    path: Path,
    block: bytes,
    others: Iterable[tuple[int, bytes]] = (),
    without: Collection[int] = (),
) -> None:
    """Puts the entries of an EXIF block into the directory of a TIFF file, in their byte order.

    Args:
        path: a TIFF file with one picture. Samples of 16 bits must have the block's byte order
            already, whatever the file says.
        block: the EXIF block, or b"".
        others: further tags and their bytes, such as XMP.
        without: tags of the file that are left out, unless the block has them.

    Raises:
        ValueError: the file or `block` is not what it should be.
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
            target = Block(contents)
            own = [entry for entry in target.directory(target.first) if entry.tag not in without]
            order, end = target.order, len(contents)
        order, entries, inner = _completed(order, own, block, others)
        # Behind everything else, where the header points to.
        start = end + end % 2
        file.seek(end)
        file.write(bytes(end % 2) + _directory(order, start, entries, inner))
        file.seek(0)
        file.write(struct.pack(order + "2sHI", _mark(order), 42, start))


def _completed(
    own_order: str, own: Iterable[Entry], block: bytes, others: Iterable[tuple[int, bytes]]
) -> tuple[str, list[Entry], dict[int, list[Entry]]]:
    """The byte order, entries and inner directories of a file with an EXIF block."""
    order = own_order
    carried: list[Entry] = []
    inner = {}
    if block:
        source = Block(block)
        order = source.order
        carried = [e for e in source.directory(source.first) if e.tag not in (_EXIF, _GPS)]
        for tag in (_EXIF, _GPS):
            if offset := _offset(source, source.first, tag):
                inner[tag] = [one for one in source.directory(offset) if one.tag != _MAKER_NOTE]
    carried += [Entry(tag, 1, len(value), value, b"") for tag, value in others]
    tags = {entry.tag for entry in carried}
    turned = own if order == own_order else _turned(own)
    return order, [entry for entry in turned if entry.tag not in tags] + carried, inner


def _turned(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries in the other byte order."""
    for entry in entries:
        word = _WORD.get(entry.type, 1)
        value = entry.value
        if word > 1:
            words = [value[at : at + word][::-1] for at in range(0, len(value), word)]
            value = b"".join(words)
        yield dataclasses.replace(entry, value=value)
