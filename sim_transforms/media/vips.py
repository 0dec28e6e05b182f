"""Pictures that Pillow refuses, by libvips: TIFF of floating-point colours, and what its own readers make of the rest.

Reads the same formats as the first decoder and no other: libvips also renders drawings, which name other files.
"""

import os
from typing import Any

import numpy as np
from PIL import Image

# Read by libvips when it starts: what it warns of is dropped.
os.environ.setdefault("VIPS_WARNING", "0")
import pyvips

from sim_transforms.errors import MediaError, one_line

Array = np.ndarray[Any, Any]

_LOADERS = ("jpegload", "pngload", "webpload", "gifload", "tiffload", "heifload")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

# The binding hands warnings on to Python, whose garbage collector may then free a picture, which warns again: GLib ends
# the process at a warning within a warning.
pyvips._remove_log_handler()
pyvips.cache_set_max(0)
pyvips.operation_block_set("VipsForeignLoadSvg", True)


def open_vips(data: bytes) -> Any:
    """Opens a picture by its header; `width` and `height` are as declared, upright.

    Raises:
        MediaError: not_an_image.
    """
    try:
        picture = pyvips.Image.new_from_buffer(data, "", fail_on="error")
        if not str(picture.get("vips-loader")).startswith(_LOADERS):
            raise MediaError("not_an_image", "no picture format is recognised in the file")
        return picture.autorot()
    except pyvips.Error as error:
        raise MediaError("not_an_image", "no picture format is recognised in the file") from error


def to_pillow(picture: Any) -> Image.Image:
    """Decodes an opened picture to 8 bits: grey or colour, with or without transparency.

    Raises:
        MediaError: damaged.
    """
    try:
        if picture.interpretation in ("cmyk", "lab", "labs", "labq", "lch", "xyz"):
            picture = picture.colourspace("srgb")
        values: Array = picture.numpy()
    except pyvips.Error as error:
        raise MediaError("damaged", f"the decoder stopped: {one_line(error)}") from error
    values = values[:, :, None] if values.ndim == 2 else values
    bands = min(values.shape[2], 4)
    pixels = _eight_bits(values[:, :, :bands])
    return Image.fromarray(pixels if bands > 1 else pixels[:, :, 0], _MODES[bands])


def _eight_bits(values: Array) -> Array:
    """Whole numbers of 16 bits by 257; floating-point numbers up to 1 by 255, else as whole ones are taken."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise MediaError("damaged", "the picture holds values that are not finite")
    most = wide.max(initial=0)
    if values.dtype.kind == "f" and most <= 1:
        wide *= 255.0
    elif values.dtype == np.uint16 or most > 255:
        wide /= 257.0
    return np.clip(np.rint(wide), 0, 255).astype(np.uint8)
