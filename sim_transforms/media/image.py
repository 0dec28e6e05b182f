"""Pictures: bytes -> [height, width, channels] uint8. The one decoder of preprocessing, embedding and queries.

TensorFlow's `decode_image` is not used: it ignores EXIF rotation and shows colour hidden under transparency.
"""

import errno
import io
import os
import stat
import struct
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from sim_transforms.errors import MediaError, one_line
from sim_transforms.media.archive import is_member, read_member
from sim_transforms.media.parts import MAX_FILE_BYTES, FileFacts, Part, Parts
from sim_transforms.records.media import MediaShape
from sim_transforms.settings.stages import ImageSettings

Array = np.ndarray[Any, Any]

# A JPEG is decoded at half, a quarter or an eighth of its size where that leaves so many times what is wanted.
_DRAFT_GAP = 2

# Pillow's other plug-ins are slow, rare, or start programs (EPS).
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

Image.init()
# A truncated file is refused rather than filled with black rows.
ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked before decoding


def decoder_version() -> str:
    """Changes whenever the same file may decode to other pixels; part of a model's fingerprint."""
    return f"pillow-{PIL.__version__}/vips-{version('pyvips-binary')}/4"


def image_shape(settings: ImageSettings) -> MediaShape:
    """What `decode_image` gives, and how."""
    return MediaShape(
        kind="image",
        dtype="uint8",
        shape=(settings.height, settings.width, settings.channels),
        resize=settings.resize,
        filter=settings.filter,
        background=settings.background,
        max_pixels=settings.max_pixels,
        min_side=settings.min_side,
        max_aspect=settings.max_aspect,
    )


def decode_image(data: bytes, shape: MediaShape) -> Array:
    """Decodes a picture of any format that Pillow knows, or libvips where Pillow refuses; first frame.

    EXIF rotation is applied, transparency is laid on the background, 16-bit grey is scaled to 8 bits, CMYK becomes RGB.

    Args:
        data: content of the file.
        shape: with shape (height, width, channels of 1 or 3), and how to resize.

    Returns:
        [height, width, channels] uint8.

    Raises:
        MediaError: empty, not_an_image, too_large, too_small, too_long, truncated or damaged.
    """
    return np.asarray(_decoded(data, shape)[0], np.uint8).reshape(shape.shape)


def decode_picture(data: bytes, shape: MediaShape) -> Parts:
    """The same as the one part of a file, with what the file declares."""
    small, (width, height) = _decoded(data, shape)
    return Parts((Part(None, small.tobytes()),), 0, FileFacts(len(data), width=width, height=height))


def _decoded(data: bytes, shape: MediaShape) -> tuple[Image.Image, tuple[int, int]]:
    """The picture as it is wanted, and the declared (width, height)."""
    if not data:
        raise MediaError("empty", "the file holds no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _by_pillow(data, shape)
        except MediaError as refused:
            if refused.reason not in ("not_an_image", "damaged"):
                raise
            return _by_vips(data, shape, refused)


def _by_pillow(data: bytes, shape: MediaShape) -> tuple[Image.Image, tuple[int, int]]:
    picture = _open(data)
    declared = picture.size
    _check_size(picture, shape)
    try:
        _draft(picture, shape)
        ImageOps.exif_transpose(picture, in_place=True)
        return _resized(_flatten(picture, _mode(shape), shape.background), shape), declared
    except _DECODING_ERRORS as error:
        raise _decoding_error(error) from error


def _by_vips(data: bytes, shape: MediaShape, refused: MediaError) -> tuple[Image.Image, tuple[int, int]]:
    """The second decoder; where it refuses too, the first one's reason stands, unless only this one knew the format."""
    from sim_transforms.media.vips import open_vips, to_pillow

    try:
        picture = open_vips(data)
        _check_size(picture, shape)
        decoded = to_pillow(picture)
    except MediaError as error:
        raise (refused if error.reason in ("not_an_image", refused.reason) else error) from error
    return _resized(_flatten(decoded, _mode(shape), shape.background), shape), (picture.width, picture.height)


def _mode(shape: MediaShape) -> str:
    return "L" if shape.shape[2] == 1 else "RGB"


def _check_size(picture: Any, shape: MediaShape) -> None:
    """Refuses by the declared `width` and `height`, before anything is decoded."""
    sides = picture.width, picture.height
    size = f"{sides[0]} x {sides[1]}"
    if sides[0] * sides[1] > shape.max_pixels:
        raise MediaError("too_large", f"the picture declares {size} pixels; at most {shape.max_pixels:,} are decoded")
    if not min(sides):
        raise MediaError("damaged", "the picture declares no pixels")
    if min(sides) < shape.min_side:
        raise MediaError("too_small", f"the picture has {size} pixels; sides of at least {shape.min_side} are expected")
    if shape.max_aspect is not None and max(sides) > shape.max_aspect * min(sides):
        message = f"the picture has {size} pixels; one side may be {shape.max_aspect:g} times the other at most"
        raise MediaError("too_long", message)


def _draft(picture: Image.Image, shape: MediaShape) -> None:
    """Lets the JPEG decoder skip what would be averaged away: it scales by eighths while it decodes."""
    wanted = max(shape.shape[:2]) * _DRAFT_GAP
    # By the shorter side, so that the wanted pixels are there whatever is cut off and however the picture is turned.
    scale = min(picture.size) / wanted
    if picture.format == "JPEG" and scale >= 2:
        picture.draft(None, (round(picture.width / scale), round(picture.height / scale)))


def _resized(picture: Image.Image, shape: MediaShape) -> Image.Image:
    size, kernel = (shape.shape[1], shape.shape[0]), Image.Resampling[shape.filter.upper()]
    if picture.size == size:
        return picture
    if shape.resize == "stretch":
        return picture.resize(size, kernel)
    if shape.resize == "fill":
        return picture.resize(size, kernel, box=_middle(picture.size, size))
    ratios = [wanted / side for wanted, side in zip(size, picture.size, strict=True)]
    inner = max(1, round(picture.width * min(ratios))), max(1, round(picture.height * min(ratios)))
    ground = Image.new("RGB", size, shape.background[:3]).convert(picture.mode)
    ground.paste(picture.resize(inner, kernel), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return ground


def _middle(sides: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box in the middle of a picture that stands as `size` does; never a hair outside."""
    (width, height), (wide, high) = sides, size
    if width * high >= height * wide:
        kept = min(width, height * wide / high)
        left = max(0.0, (width - kept) / 2)
        return left, 0, min(width, left + kept), height
    kept = min(height, width * high / wide)
    top = max(0.0, (height - kept) / 2)
    return 0, top, width, min(height, top + kept)


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
    AssertionError,
    struct.error,
    Image.DecompressionBombError,
)


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise MediaError("not_an_image", "no picture format is recognised in the file") from error
    except _DECODING_ERRORS as error:
        raise _decoding_error(error) from error
    return picture


def _decoding_error(error: BaseException) -> MediaError:
    text = one_line(error)
    short = any(
        word in text.lower() for word in ("truncated", "unexpected end", "not enough image data", "broken data")
    )
    return MediaError(
        "truncated" if short or isinstance(error, EOFError) else "damaged", f"the decoder stopped: {text}"
    )


def _flatten(picture: Image.Image, mode: str, background: tuple[int, ...]) -> Image.Image:
    """One mode for all pictures: alpha on the background, 16 bits to 8, then grey or colour."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _eight_bits(picture).convert(mode)
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        layer = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*background, 255))
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


def read_media(uri: str, most_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Content of a local media file, or of a member of an archive, of at most so many bytes.

    Raises:
        MediaError: missing, not_a_file, too_large or unreadable; or as `read_member`.
    """
    if is_member(uri):
        return read_member(uri, most_bytes)
    try:
        # A pipe would keep the opening from returning.
        descriptor = os.open(uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise MediaError("not_a_file", "the uri names no regular file")
            if status.st_size > most_bytes:
                raise MediaError("too_large", f"the file holds {status.st_size:,} bytes; at most {most_bytes:,}")
            return file.readall()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediaError("missing", "there is no such file") from error
    except IsADirectoryError as error:
        raise MediaError("not_a_file", "the uri names no regular file") from error
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == errno.ELOOP:
            raise MediaError("missing", "the file is a link that leads nowhere") from error
        raise MediaError("unreadable", f"the file cannot be read: {error}") from error
