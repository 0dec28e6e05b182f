"""Small pictures for a page: few bytes, hardly other colours, the same bytes each time."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim_transforms.commands.page_pictures import ExamplePictures, small_png


def _gradient(channels: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(64), np.arange(48))
    return np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8)[:, :, :channels]


@pytest.mark.parametrize(("channels", "error"), [(1, 0), (3, 8)])
def test_picture_is_nearly_what_it_was(channels: int, error: int) -> None:
    pixels = _gradient(channels)
    data = small_png(pixels)
    found = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"), np.int32)
    assert np.abs(found.reshape(pixels.shape) - pixels).mean() <= error
    assert data == small_png(pixels.copy())


def test_folder_without_examples_has_no_pictures(tmp_path: Path) -> None:
    assert ExamplePictures(tmp_path)("a", "d") is None
