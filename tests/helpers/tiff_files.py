# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""TIFF files and EXIF blocks, put together byte by byte."""

import struct

EXIF, GPS = 0x8769, 0x8825
CAPTIONS = {"UTF-8": "Großmutter\0".encode(), "Latin-1": "Großmutter\0".encode("latin-1")}


def short(tag, *values):
    return tag, 3, len(values), lambda order: struct.pack(f"{order}{len(values)}H", *values)


def long(tag, *values):
    return tag, 4, len(values), lambda order: struct.pack(f"{order}{len(values)}I", *values)


def rational(tag, *values):
    numbers = [number for value in values for number in (value, 1)]
    return tag, 5, len(values), lambda order: struct.pack(f"{order}{len(numbers)}I", *numbers)


def text(tag, content):
    return tag, 2, len(content), lambda order: content


def undefined(tag, content):
    return tag, 7, len(content), lambda order: content


def structure(order, *directories, data=b""):
    """A TIFF structure, "<" or ">": a chain of directories, then `data`.

    A directory is a list of entries; an entry whose content is a list points to that directory. In
    `long` entries, the value -1 stands for the offset of `data`.
    """
    out = bytearray(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8))
    out += data
    links = [4]
    for entries in directories:
        out += bytes(len(out) % 2)
        struct.pack_into(f"{order}I", out, links[-1], len(out))
        links.append(_append(order, out, entries))
    return bytes(out)


def _append(order, out, entries):
    """Appends a directory; returns where the offset of the next one goes."""
    start = len(out)
    out += struct.pack(f"{order}H", len(entries)) + bytes(12 * len(entries) + 4)
    for number, (tag, kind, count, content) in enumerate(sorted(entries, key=lambda e: e[0])):
        at = start + 2 + 12 * number
        if isinstance(content, list):
            out += bytes(len(out) % 2)
            value = struct.pack(f"{order}I", len(out))
            _append(order, out, content)
        else:
            value = content(order)
            if len(value) > 4:
                out += bytes(len(out) % 2)
                out += value
                value = struct.pack(f"{order}I", len(out) - len(value))
        struct.pack_into(f"{order}HHI", out, at, tag, kind, count)
        out[at + 8 : at + 12] = value.ljust(4, b"\0")
    return start + 2 + 12 * len(entries)


def inner(tag, entries):
    """An entry that points to a directory of its own."""
    return tag, 4, 1, entries


def comment(order):
    """A UserComment in Unicode, whose byte order is that of its block."""
    return b"UNICODE\0" + "Ärger".encode("utf-16-le" if order == "<" else "utf-16-be")


def exif(order, *, caption=CAPTIONS["UTF-8"], orientation=1, thumbnail=b"THUMBNAIL"):
    """The EXIF of a scanned print of 204 by 98 dots per inch."""
    first = [
        text(0x010E, caption),
        short(0x0112, orientation),
        rational(0x011A, 204),
        rational(0x011B, 98),
        short(0x0128, 2),
        inner(
            EXIF,
            [
                text(0x9003, b"1936:06:01 12:00:00\0"),
                undefined(0x927C, b"maker's note"),
                undefined(0x9286, comment(order)),
                short(0xA001, 1),
                long(0xA002, 640),
                long(0xA003, 480),
            ],
        ),
        inner(GPS, [text(1, b"N\0"), rational(2, 59, 54, 0)]),
    ]
    # The thumbnail's offset is that of the structure's data, behind the header.
    second = [long(0x0201, 8), long(0x0202, len(thumbnail))]
    return structure(order, first, second, data=thumbnail)


def picture(order, gray, height, width, *entries):
    """(directory, data) of a page of one gray level; its pixels are where `data` is put, at 8."""
    return [
        long(0x0100, width),
        long(0x0101, height),
        short(0x0102, 8),
        short(0x0103, 1),
        short(0x0106, 1),
        long(0x0111, 8),
        long(0x0116, height),
        long(0x0117, height * width),
        *entries,
    ], bytes([gray]) * (height * width)
