"""Every kind of picture becomes the pixels that are asked for, or is refused with a reason, before it is decoded."""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from sim_transforms.errors import MediaError
from sim_transforms.media.image import _middle, decode_image, image_shape
from sim_transforms.settings.stages import ImageSettings

SHAPE = image_shape(ImageSettings(height=32, width=48, channels=3))
RED, BLUE = (220, 30, 40), (20, 60, 210)


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _halves(width: int = 200, height: int = 100, mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture.convert(mode)


def _near(pixel: np.ndarray, color: tuple[int, ...], within: int = 12) -> bool:
    return bool((np.abs(pixel.astype(int) - np.array(color)) <= within).all())


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95, "progressive": True}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("TIFF", "CMYK", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("AVIF", "RGB", {"quality": 95}),
    ],
)
def test_every_format_gives_the_same_picture(kind: str, mode: str, options: dict[str, object]) -> None:
    pixels = decode_image(_encoded(_halves(mode=mode), kind, **options), SHAPE)
    assert (pixels.shape, pixels.dtype) == ((32, 48, 3), np.uint8)
    assert _near(pixels[16, 8], RED)
    assert _near(pixels[16, 40], BLUE)


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_pillow_was_built_with_what_the_readme_says(kind: str) -> None:
    assert features.check(kind)


def test_sixteen_bits_and_grey_are_scaled_to_eight() -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = decode_image(_encoded(Image.fromarray(values), "PNG"), replace(SHAPE, shape=(64, 64, 1)))
    np.testing.assert_allclose(pixels[:, :, 0], values / 257, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    upright = np.asarray(_halves(96, 64)).copy()
    upright[:16] = 255  # a white band on top
    exif = Image.Exif()
    exif[274] = orientation
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright), 7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    data = _encoded(Image.fromarray(np.ascontiguousarray(turned)), "JPEG", quality=95, exif=exif.tobytes())
    pixels = decode_image(data, SHAPE)
    assert _near(pixels[3, 24], (255, 255, 255), 25)
    assert _near(pixels[24, 8], RED, 25)
    assert _near(pixels[24, 40], BLUE, 25)


def test_transparency_shows_the_background() -> None:
    clear = Image.new("RGBA", (60, 60), (*RED, 0))
    for background in ((255, 255, 255), (10, 200, 30)):
        pixels = decode_image(_encoded(clear, "PNG"), replace(SHAPE, background=background))
        assert _near(pixels[16, 24], background, 1)


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (40, 40), color) for color in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "TIFF"):
        data = _encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert _near(decode_image(data, SHAPE)[16, 24], RED)


def test_fit_keeps_the_whole_picture_on_the_background() -> None:
    shape = replace(SHAPE, shape=(40, 40, 3), resize="fit", background=(1, 2, 3))
    pixels = decode_image(_encoded(_halves(200, 100), "PNG"), shape)
    assert _near(pixels[5, 20], (1, 2, 3), 0)
    assert _near(pixels[34, 20], (1, 2, 3), 0)
    assert _near(pixels[20, 2], RED)
    assert _near(pixels[20, 37], BLUE)


def test_fill_keeps_the_middle() -> None:
    picture = _halves(300, 100)
    picture.paste((0, 255, 0), (0, 0, 90, 100))
    pixels = decode_image(_encoded(picture, "PNG"), replace(SHAPE, shape=(40, 40, 3), resize="fill"))
    assert _near(pixels[20, 2], RED)
    assert _near(pixels[20, 37], BLUE)


@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_filter_is_pillows_of_that_name(name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    pixels = decode_image(_encoded(noise, "PNG"), replace(SHAPE, filter=name))
    np.testing.assert_array_equal(pixels, noise.resize((48, 32), Image.Resampling[name.upper()]))


def test_large_jpeg_is_scaled_while_it_is_decoded_to_nearly_the_same() -> None:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 18, 3), np.uint8)).resize((1800, 1200), 2)
    data = _encoded(coarse, "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        exact = np.asarray(whole.convert("RGB").resize((48, 32), Image.Resampling.BILINEAR), int)
    assert np.abs(decode_image(data, SHAPE).astype(int) - exact).mean() < 1.5


def _reason(data: bytes, shape: object = SHAPE) -> str:
    with pytest.raises(MediaError) as caught:
        decode_image(data, shape)
    return caught.value.reason


def test_limits_refuse_by_the_declared_size() -> None:
    data = _encoded(_halves(200, 100), "PNG")
    assert _reason(data, replace(SHAPE, max_pixels=19_999)) == "too_large"
    assert _reason(data, replace(SHAPE, min_side=101)) == "too_small"
    assert _reason(data, replace(SHAPE, max_aspect=1.9)) == "too_long"
    decode_image(data, replace(SHAPE, max_pixels=20_000, min_side=100, max_aspect=2.0))


def test_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    assert _reason(b"\x89PNG\r\n\x1a\n" + body) == "too_large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_half_a_file_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    data = _encoded(noise, kind)
    assert _reason(data[: len(data) // 2]) in ("truncated", "damaged", "not_an_image")


def test_what_is_no_picture_is_refused() -> None:
    assert _reason(b"") == "empty"
    assert _reason(b"plain text") == "not_an_image"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["stretch", "fit", "fill"]), st.sampled_from([1, 3]))
def test_any_size_gives_the_shape(width: int, height: int, resize: str, channels: int) -> None:
    data = _encoded(_halves(width, height), "PNG")
    pixels = decode_image(data, replace(SHAPE, shape=(32, 48, channels), resize=resize))
    assert pixels.shape == (32, 48, channels)


def test_fill_takes_every_size() -> None:
    """A box a hair outside the picture, which rounding gives for every twentieth size, is an error of Pillow's."""
    for wanted in (16, 28, 224):
        for side in range(4, 1200):
            for sides in ((side, 900), (900, side)):
                left, top, right, bottom = _middle(sides, (wanted, wanted))
                assert 0 <= left < right <= sides[0]
                assert 0 <= top < bottom <= sides[1]
                assert abs((right - left) - (bottom - top)) < 1e-6


def test_formats_that_start_programs_are_not_read() -> None:
    assert _reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) print\n") == "not_an_image"


def _vips_tiff(values: np.ndarray, kind: str) -> bytes:
    picture = pyvips.Image.new_from_array(values).cast(kind)
    return bytes(picture.copy(interpretation="srgb" if kind == "float" else "rgb16").tiffsave_buffer())


@pytest.mark.parametrize(("kind", "scale"), [("float", 1 / 255), ("float", 1.0), ("ushort", 257)])
def test_pictures_that_pillow_refuses_are_read_by_the_second_decoder(kind: str, scale: float) -> None:
    values = np.asarray(_halves()).astype(np.float64) * scale
    pixels = decode_image(_vips_tiff(values, kind), SHAPE)
    assert _near(pixels[16, 8], RED)
    assert _near(pixels[16, 40], BLUE)


def test_floating_point_pictures_with_nan_are_damaged() -> None:
    values = np.asarray(_halves()).astype(np.float64)
    values[3, 3] = np.nan
    with pytest.raises(MediaError) as caught:
        decode_image(_vips_tiff(values, "float"), SHAPE)
    assert caught.value.reason == "damaged"


def test_limits_hold_for_the_second_decoder() -> None:
    with pytest.raises(MediaError) as caught:
        decode_image(_vips_tiff(np.zeros((60, 60, 3)), "float"), replace(SHAPE, max_pixels=3_599))
    assert caught.value.reason == "too_large"


def test_drawings_are_not_rendered() -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/hosts"/></svg>'
    with pytest.raises(MediaError) as caught:
        decode_image(drawing, SHAPE)
    assert caught.value.reason == "not_an_image"
