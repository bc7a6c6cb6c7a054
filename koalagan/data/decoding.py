# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""From the bytes of a picture file to pixels: `decode` gives uint8 sRGB [h, w, 3], upright."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from koalagan.data import picture_file
from koalagan.data.picture_file import BadPicture, Page
from koalagan.errors import one_line

_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION = 258, 262  # TIFF tags


@dataclasses.dataclass(frozen=True)
class Layers:
    """The pixels of a picture that may be transparent.

    Attributes:
        rgb: uint8 sRGB [h, w, 3], as shown on white.
        color: uint8 sRGB [h, w, 3], the colors under the transparency; `rgb` where there is none.
        alpha: uint8 [h, w], 0 where it is transparent; None if it is not.
    """

    rgb: np.ndarray
    color: np.ndarray
    alpha: np.ndarray | None = None


def decode(source: bytes | str, name: str) -> np.ndarray:
    """Decodes a picture, the first one of a file with several, by `decode_page`.

    Args:
        source: the contents of the file, or its path.
        name: what error messages call it.

    Raises:
        BadPicture: it cannot be read or decoded.
    """
    return decode_page(picture_file.pages(source)[0], name)


def decode_page(page: Page, name: str) -> np.ndarray:
    """Decodes a picture to uint8 sRGB [h, w, 3], as `decode_layers` shows it on white."""
    return decode_layers(page, name).rgb


def decode_layers(page: Page, name: str) -> Layers:
    """Decodes a picture with its transparency.

    The EXIF orientation and the ICC profile are applied. Grayscale becomes three equal channels (16
    bits without a profile are scaled by 1/257), and transparent pixels are composited over white.
    Safe to call from several threads.

    Args:
        page: the picture.
        name: what error messages call it.

    Raises:
        BadPicture: the picture is empty, damaged, far too large, or not a picture.
    """
    with refusing(page, name), page.opened() as image:
        return _layers(_loaded(image))


def decode_deep(page: Page, name: str) -> tuple[np.ndarray, bytes | None]:
    """Decodes a picture, whose grays keep more than 8 bits.

    Args:
        page, name: see `decode_layers`.

    Returns:
        Its upright pixels, and the ICC profile that is to be applied to them, if there is one:
        uint16 [h, w], grays; or uint8 sRGB [h, w, 3] or, with transparency, [h, w, 4].

    Raises:
        BadPicture: see `decode_layers`.
    """
    with refusing(page, name), page.opened() as image:
        image = _loaded(image)
        layers = _layers(image)  # which refuses more than 16 bits
        if image.mode.startswith("I"):
            return np.array(image).astype(np.uint16), image.info.get("icc_profile")
    if layers.alpha is None:
        return layers.color, None
    return np.dstack([layers.color, layers.alpha]), None


@contextlib.contextmanager
def refusing(page: Page, name: str) -> Iterator[None]:
    """Turns whatever fails while a page is decoded into a `BadPicture` that calls it `name`."""
    if page.empty:
        raise BadPicture(f"The picture {name} is empty or cannot be read.")
    try:
        yield
    except BadPicture:
        raise
    except Image.DecompressionBombError:
        raise BadPicture(
            f"The picture {name} has more than {page.max_pixels // 10**6} million pixels: make it "
            "smaller, or color it with `koalagan colorize --max_megapixels`."
        ) from None
    except Image.UnidentifiedImageError:
        formats = ", ".join(picture_file.formats())
        raise BadPicture(
            f"The picture {name} is damaged or in a format other than {formats}."
        ) from None
    except Exception as error:  # Decoders let through whatever a broken file provokes.
        raise BadPicture(f"The picture {name} cannot be decoded: {one_line(error)}.") from error


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Broken metadata around a good picture: leave it as stored.
        return 1


def _loaded(image: Image.Image) -> Image.Image:
    """An image with its pixels, upright."""
    image.load()
    return _scale_deep_gray(_upright(image), getattr(image, "tag_v2", {}))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Broken metadata around a good picture: leave it as stored.
        return image


def _scale_deep_gray(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Converts a grayscale TIFF of 12 or 16 bits, which Pillow gives as stored, to 0..65535."""
    if not image.mode.startswith("I;16"):
        return image
    gray = np.asarray(image).astype(np.uint16)
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        gray = (gray.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    if tags.get(_PHOTOMETRIC_INTERPRETATION) == 0:  # WhiteIsZero
        gray = 65535 - gray
    scaled = Image.fromarray(gray)
    scaled.info = image.info
    return scaled


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts a Pillow image to uint8 sRGB [h, w, 3], as `decode` does.

    Raises:
        ValueError: the range of its values is unknown.
    """
    return _layers(image).rgb


def _layers(image: Image.Image) -> Layers:
    if image.mode.startswith("I"):  # 16-bit grayscale; `convert` would clip it to 255.
        gray = np.asarray(image).astype(np.int32)
        if gray.min() < 0 or gray.max() > 65535:
            raise ValueError("its gray values have more than 16 bits")
        transparent = image.info.get("transparency")
        white = gray == transparent if isinstance(transparent, int) else None
        deep = Image.fromarray(gray.astype(np.uint16)) if "icc_profile" in image.info else image
        deep.info = image.info
        if (converted := _to_srgb(deep)) is not deep:
            rgb = np.array(converted)
        else:
            gray += 128  # In place, because scans are large.
            gray //= 257
            rgb = np.repeat(gray.astype(np.uint8)[..., None], 3, axis=-1)
        if white is None or not white.any():
            return Layers(rgb, rgb)
        shown = rgb.copy()
        shown[white] = 255
        return Layers(shown, rgb, np.where(white, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its gray values are floating-point numbers of an unknown range")
    if image.has_transparency_data:
        image = _to_srgb(image.convert("RGBA"))
        shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        rgb, rgba = np.array(shown.convert("RGB")), np.array(image)
        if (rgba[..., 3] == 255).all():
            return Layers(rgb, rgb)
        return Layers(rgb, np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])
    if image.mode == "P":
        image = image.convert("RGB")
    rgb = np.array(_to_srgb(image).convert("RGB"))
    return Layers(rgb, rgb)


def to_apply(encoded: bytes) -> ImageCms.ImageCmsProfile | None:
    """An ICC profile; None for that of sRGB, as most are: it would only add rounding errors.

    Raises:
        ImageCms.PyCMSError, OSError: it is broken.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(encoded))
    name = ImageCms.getProfileDescription(profile)
    return None if "sRGB" in name and "linear" not in name.lower() else profile


def _to_srgb(image: Image.Image) -> Image.Image:
    """Applies the picture's ICC profile; ignores a profile that does not fit, as browsers do."""
    encoded = image.info.get("icc_profile")
    if not encoded:
        return image
    try:
        if not (profile := to_apply(encoded)):
            return image
        converted = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.createProfile("sRGB"),
            outputMode="RGBA" if image.mode == "RGBA" else "RGB",
            flags=ImageCms.Flags.HIGHRESPRECALC,  # As fast, and more exact in the shadows of grays.
        )
    # A broken profile, or one for another color space than the picture's.
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    del converted.info["icc_profile"]
    return converted
