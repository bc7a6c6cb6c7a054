# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Which files are films, by their names and by their first bytes."""

from pathlib import Path

from koalagan.data import picture_folder

# Containers that results keep; films in other containers become Matroska.
_KEPT = (".mp4", ".m4v", ".mov", ".mkv")
_EXTENSIONS = (
    *(*_KEPT, ".avi", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".ts", ".mts", ".m2ts"),
    *(".3gp", ".3g2", ".vob", ".divx", ".dv", ".mxf", ".asf", ".f4v", ".m2v", ".mjpeg"),
)
_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\0\0\x01\xba",  # MPEG program stream
    b"\0\0\x01\xb3",  # MPEG video
    b"\x06\x0e\x2b\x34",  # MXF
)
# Files of the same family as MP4 that are pictures.
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
_PACKET = 188  # bytes, of an MPEG transport stream; cameras prefix each with four more


def is_film(path: str) -> bool:
    """Whether a file is named like a film, or begins like one under a name that says nothing."""
    if path.lower().endswith(_EXTENSIONS):
        return True
    if path.lower().endswith(picture_folder.PICTURE_EXTENSIONS):
        return False
    try:
        with open(path, "rb") as file:
            begin = file.read(2 * _PACKET)
    except OSError:
        return False
    return (
        begin.startswith(_BEGINNINGS)
        or (begin[:4] == b"RIFF" and begin[8:12] == b"AVI ")
        or (begin[4:8] == b"ftyp" and begin[8:12] not in _PICTURE_BRANDS)
        or (begin[:1] == b"G" and begin[_PACKET : _PACKET + 1] == b"G")
        or (begin[4:5] == b"G" and begin[_PACKET + 8 : _PACKET + 9] == b"G")
    )


def result_extension(path: str) -> str:
    """The extension of the result for a film."""
    extension = Path(path).suffix
    return extension if extension.lower() in _KEPT else ".mkv"
