# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Decoding picture files in a TensorFlow graph, without Python: what `colorize_bytes` reads.

JPEG, PNG, WebP, BMP and the first frame of a GIF become the picture that `koalagan.data.decoding`
makes of them, but for color profiles, which TensorFlow does not read. What it would decode to
something else is refused.
"""

import tensorflow as tf

# EXIF lies near the beginning, where a segment of JPEG has at most 64 KB; in WebP, at the end.
_SEARCHED = 2**17
_EXIF_MARKS = {"jpeg": b"Exif\0\0", "png": b"eXIf", "webp": b"EXIF????"}  # ?: any byte
_ORIENTATION = 0x0112


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a picture to uint8 [H,W,3], upright, transparent pixels over white.

    Args:
        encoded: string scalar, the contents of the file.

    Raises:
        tf.errors.InvalidArgumentError: it is not such a file, or a kind of BMP that TensorFlow
            cannot decode.
    """
    is_bmp = tf.strings.substr(encoded, 0, 2) == "BM"
    known = tf.cond(is_bmp, lambda: _is_plain_bmp(encoded), lambda: True)
    message = "BMP pictures must have 8, 24 or 32 bits a pixel and no compression"
    with tf.control_dependencies([tf.debugging.Assert(known, [message])]):
        # Channels as stored otherwise: asked for four, TensorFlow invents alpha for palettes.
        decoded = tf.cond(
            tf.io.is_jpeg(encoded),
            # The default, a faster transform, is off by several levels.
            lambda: tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE"),
            lambda: tf.cond(
                _has_transparent_color(encoded),
                lambda: tf.io.decode_png(encoded, channels=4),
                lambda: tf.io.decode_image(encoded, expand_animations=False),
            ),
        )
    decoded = tf.ensure_shape(decoded, [None, None, None])
    channels = tf.shape(decoded)[-1]
    has_alpha = channels % 2 == 0
    color = decoded[..., : channels - tf.cast(has_alpha, tf.int32)]
    rgb = tf.ensure_shape(tf.tile(color, [1, 1, 3 // tf.shape(color)[-1]]), [None, None, 3])

    def over_white():
        alpha = tf.cast(decoded[..., -1:], tf.float32) / 255.0
        white = 255.0 * (1.0 - alpha)
        return tf.cast(tf.round(tf.cast(rgb, tf.float32) * alpha + white), tf.uint8)

    # The fourth byte of BMP pixels is mostly unused, and zero.
    rgb = tf.cond(has_alpha & ~is_bmp, over_white, lambda: rgb)
    rgb = tf.cond(is_bmp & (channels == 1), lambda: _with_palette(encoded, rgb), lambda: rgb)
    return _upright(rgb, orientation(encoded))


def _has_transparent_color(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a file is a PNG without alpha, gray or RGB, one of whose colors is transparent."""
    header = _header(encoded, 26)
    is_png = tf.reduce_all(header[:8] == list(b"\x89PNG\r\n\x1a\n"))
    # The chunk comes before the pixels; the rest of the file may hold these letters by chance.
    begin = _header(encoded, _SEARCHED)
    transparency, pixels = _positions(begin, b"tRNS"), _positions(begin, b"IDAT")
    named = tf.reduce_any(transparency[:1] < tf.concat([pixels[:1], [_SEARCHED]], 0)[0])
    return is_png & ((header[25] == 0) | (header[25] == 2)) & named


def _header(encoded: tf.Tensor, length: int) -> tf.Tensor:
    """The first bytes, int32 [length]; zeros where the file is shorter."""
    some = tf.strings.substr(tf.strings.join([encoded, "\0" * length]), 0, length)
    return tf.cast(tf.io.decode_raw(some, tf.uint8), tf.int32)


def _little(header: tf.Tensor, offset: int, length: int) -> tf.Tensor:
    """A number of one, two or three bytes, the least significant first."""
    return sum(header[offset + place] * 256**place for place in range(length))


def _is_plain_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a BMP file has 8, 24 or 32 bits a pixel, not compressed, as TensorFlow expects."""
    header = _header(encoded, 54)
    bits, compression = _little(header, 28, 2), _little(header, 30, 2)
    return tf.reduce_any(bits == [8, 24, 32]) & (compression == 0) & (header[14] >= 40)


def _with_palette(encoded: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """The colors of a BMP's palette, four bytes each, blue first, for three equal indices."""
    header = _header(encoded, 54)
    start = 14 + _little(header, 14, 2)
    size = _little(header, 46, 2)
    size = tf.where((size == 0) | (size > 256), 256, size)
    table = tf.io.decode_raw(tf.strings.substr(encoded, start, 4 * size), tf.uint8)
    palette = tf.reverse(tf.reshape(table, [-1, 4])[:, :3], [1])
    return tf.gather(palette, tf.minimum(tf.cast(indices[..., 0], tf.int32), size - 1))


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG, PNG or WebP file, int32 from 1 to 8; 1 where it has none."""
    length = tf.strings.length(encoded)
    is_webp = tf.strings.substr(tf.strings.join([encoded, "\0" * 12]), 8, 4) == "WEBP"
    searched = tf.where(is_webp, length, tf.minimum(length, _SEARCHED))
    content = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 0, searched), tf.uint8), tf.int32)
    marks = [
        (mark + header, len(mark))
        for mark in _EXIF_MARKS.values()
        for header in (b"II*\0", b"MM\0*")
    ]
    starts = [_positions(content, pattern) + skipped for pattern, skipped in marks]
    starts = tf.sort(tf.concat(starts, axis=0))
    return tf.cond(tf.size(starts) > 0, lambda: _orientation_at(content, starts[0]), lambda: 1)


def _positions(content: tf.Tensor, pattern: bytes) -> tf.Tensor:
    """Where a pattern begins in bytes [N], int32 in increasing order."""
    padded = tf.pad(content, [[0, len(pattern)]])
    length = tf.shape(content)[0]
    matches = [
        padded[place : place + length] == byte
        for place, byte in enumerate(pattern)
        if byte != ord("?")
    ]
    return tf.cast(tf.where(tf.reduce_all(tf.stack(matches), axis=0))[:, 0], tf.int32)


def _orientation_at(content: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of the EXIF block at `start`; 1 if there is none."""
    block = content[start:]
    is_little = block[0] == ord("I")
    size = tf.shape(block)[0]

    def number(offset: tf.Tensor, length: int) -> tf.Tensor:
        # What lies outside is read as the last byte: a broken block has no orientation.
        places = tf.clip_by_value(offset[..., None] + tf.range(length), 0, size - 1)
        values = tf.gather(block, places)
        values = tf.where(is_little, tf.reverse(values, [-1]), values)
        factors = [256**place for place in reversed(range(length))]
        return tf.reduce_sum(values * factors, axis=-1)

    directory = number(tf.constant(4), 4)
    count = tf.clip_by_value(number(directory, 2), 0, 1000)
    entries = directory + 2 + 12 * tf.range(count)
    is_orientation = number(entries, 2) == _ORIENTATION
    values = tf.boolean_mask(number(entries + 8, 2), is_orientation)
    value = tf.cond(tf.size(values) > 0, lambda: values[0], lambda: 1)
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A picture [H,W,3] as its EXIF orientation says (CIPA DC-008, 4.6.4)."""
    transposed = tf.cond(
        orientation >= 5, lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture
    )

    def among(*orientations: int) -> tf.Tensor:
        return tf.reduce_any(orientation == list(orientations))

    flipped = tf.cond(among(3, 4, 7, 8), lambda: transposed[::-1], lambda: transposed)
    return tf.cond(among(2, 3, 6, 7), lambda: flipped[:, ::-1], lambda: flipped)
