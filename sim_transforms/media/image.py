"""Pictures: bytes -> [height, width, channels] uint8. The one decoder of preprocessing, embedding and queries.

TensorFlow's `decode_image` is not used: it ignores EXIF rotation and shows colour hidden under transparency.
"""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from sim_transforms.errors import MediaError
from sim_transforms.records.manifests import MediaShape
from sim_transforms.settings.stages import MediaSettings

Array = np.ndarray[Any, Any]

MAX_FILE_BYTES = 100 * 2**20
MAX_PIXELS = 50_000_000

# A truncated file is refused rather than filled with black rows.
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked before decoding


def decoder_version() -> str:
    """Changes whenever the same file may decode to other pixels; part of a model's fingerprint."""
    return f"pillow-{PIL.__version__}/stretch-bilinear/2"


def image_shape(settings: MediaSettings) -> MediaShape:
    """What `decode_image` gives."""
    return MediaShape("image", "uint8", (settings.height, settings.width, settings.channels))


def decode_image(data: bytes, shape: MediaShape) -> Array:
    """Decodes a picture of any format that Pillow knows, first frame.

    EXIF rotation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, CMYK becomes RGB; the
    picture is stretched to the wanted size with Pillow's bilinear filter (antialiased when it shrinks).

    Args:
        data: content of the file.
        shape: with shape (height, width, channels of 1 or 3).

    Returns:
        [height, width, channels] uint8.

    Raises:
        MediaError: empty, not_an_image, too_large, truncated or damaged.
    """
    if not data:
        raise MediaError("empty", "the file holds no bytes")
    height, width, channels = shape.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = _open(data)
        try:
            flat = _flatten(ImageOps.exif_transpose(picture), "L" if channels == 1 else "RGB")
            small = flat if flat.size == (width, height) else flat.resize((width, height), Image.Resampling.BILINEAR)
        except _DECODING_ERRORS as error:
            raise _decoding_error(error) from error
    return np.asarray(small, np.uint8).reshape(height, width, channels)


# What Pillow's format plug-ins raise on damaged files.
_DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    AssertionError,
    struct.error,
    Image.DecompressionBombError,
)


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise MediaError("not_an_image", "no picture format is recognised in the file") from error
    except _DECODING_ERRORS as error:
        raise _decoding_error(error) from error
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width} x {picture.height}"
        raise MediaError("too_large", f"the picture declares {size} pixels; at most {MAX_PIXELS:,} are decoded")
    if not picture.width or not picture.height:
        raise MediaError("damaged", "the picture declares no pixels")
    return picture


def _decoding_error(error: BaseException) -> MediaError:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    short = any(
        word in text.lower() for word in ("truncated", "unexpected end", "not enough image data", "broken data")
    )
    return MediaError(
        "truncated" if short or isinstance(error, EOFError) else "damaged", f"the decoder stopped: {text}"
    )


def _flatten(picture: Image.Image, mode: str) -> Image.Image:
    """One mode for all pictures: alpha on white, 16 bits to 8, then grey or colour."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _eight_bits(picture).convert(mode)
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, layer).convert(mode)
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _eight_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise MediaError("damaged", "the picture holds values that are not finite")
    # 16-bit modes hold 0 to 65,535; of the wider modes only those that go beyond 8 bits are scaled.
    wide = picture.mode.startswith("I;16") or values.max(initial=0) > 255
    scale = 257.0 if wide else 1.0
    return Image.fromarray(np.clip(np.rint(values / scale), 0, 255).astype(np.uint8))


def read_media(uri: str) -> bytes:
    """Content of a local media file.

    Raises:
        MediaError: missing, not_a_file, too_large or unreadable.
    """
    path = Path(uri)
    try:
        if not path.exists():
            raise MediaError("missing", "there is no such file")
        if not path.is_file():
            raise MediaError("not_a_file", "the uri names no regular file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise MediaError("too_large", f"the file holds {path.stat().st_size:,} bytes; at most {MAX_FILE_BYTES:,}")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise MediaError("unreadable", f"the file cannot be read: {error}") from error
