"""A folder of 80 files as people have them: odd, damaged, cut, lying about their size, or no media at all."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from tests.unit.media.sounds import encoded, melody, tone, wav_with

RATE = 16_000
OK = "accepted"
NO_PICTURE, NO_SOUND = "not_an_image", "not_a_sound"


@dataclass(frozen=True)
class Hostile:
    """A file: its bytes, or how it is made, and what becomes of it as a picture and as a sound."""

    name: str
    content: bytes | Callable[[Path], None]
    picture: str
    sound: str


def _photo(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(width * height).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), 2).convert(mode)


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _png(width: int, height: int, rows: bytes, kind: int = 2, depth: int = 8) -> bytes:
    """A PNG file of any declared size and whatever content."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def _good_pictures() -> dict[str, bytes]:
    photo, alpha = _photo(), _photo(mode="RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size))
    frames = [_photo(64, 64), _photo(65, 64).resize((64, 64))]
    jpeg = _saved(photo, "JPEG")
    wide16 = np.asarray(_photo(), np.uint16) * 257
    return {
        "plain.jpg": jpeg,
        "progressive.jpg": _saved(photo, "JPEG", progressive=True),
        "cmyk.jpg": _saved(photo.convert("CMYK"), "JPEG"),
        "grey.jpg": _saved(photo.convert("L"), "JPEG"),
        "turned.jpg": _saved(photo, "JPEG", exif=_exif()),
        "garbage-after.jpg": jpeg + bytes(range(256)) * 4,
        "png-named.jpg": _saved(photo, "PNG"),
        "palette.png": _saved(photo.convert("P"), "PNG", transparency=0),
        "alpha.png": _saved(alpha, "PNG"),
        "grey16.png": _saved(Image.fromarray(wide16[:, :, 0]), "PNG"),
        "colour16.png": bytes(
            pyvips.Image.new_from_array(wide16).copy(interpretation="rgb16").pngsave_buffer(bitdepth=16)
        ),
        "one-bit.png": _saved(photo.convert("1"), "PNG"),
        "pixel.png": _saved(_photo(1, 1), "PNG"),
        "line.png": _saved(_photo(4000, 1), "PNG"),
        "large.png": _png(7000, 7000, (b"\0" + b"\x30\x60\x90" * 7000) * 7000),
        "moving.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "lossy.webp": _saved(photo, "WEBP"),
        "moving.webp": _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "alpha.webp": _saved(alpha, "WEBP"),
        "plain.bmp": _saved(photo, "BMP"),
        "pages.tiff": _saved(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="tiff_lzw"),
        "float.tiff": bytes(pyvips.Image.new_from_array(np.asarray(photo) / 255.0).cast("float").tiffsave_buffer()),
        "plain.avif": _saved(photo, "AVIF"),
        "plain.jp2": _saved(photo, "JPEG2000"),
        "umlaut-ä .ppm": _saved(photo, "PPM"),
    }


def _bad_pictures() -> dict[str, tuple[bytes, str]]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    jpeg, png = _saved(noise, "JPEG"), _saved(noise, "PNG")
    crushed = bytearray(png)
    middle = len(crushed) // 2
    crushed[middle : middle + 64] = bytes(64)
    gif_bomb = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b"," + bytes(9) + b"\x02\x00;"
    return {
        "cut.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "head-only.jpg": (jpeg[:40], "truncated"),
        "cut.png": (png[: len(png) // 2], "truncated"),
        "crushed.png": (bytes(crushed), "truncated"),
        "cut.webp": (_saved(noise, "WEBP")[:300], "damaged"),
        "cut.tiff": (_saved(noise, "TIFF")[:500], "truncated"),
        "bomb.png": (_png(60000, 60000, b"\0" * 10**6), "too_large"),
        "bomb.gif": (gif_bomb, "too_large"),
        "no-pixels.png": (_png(0, 40, b""), NO_PICTURE),
        "page.jpg": (b"<html><body>404 Not Found</body></html>", NO_PICTURE),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', NO_PICTURE),
        "document.pdf": (b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF", NO_PICTURE),
        "archive.jpg": (b"PK\x03\x04" + bytes(200), NO_PICTURE),
    }


def _good_sounds() -> dict[str, bytes]:
    song = melody(2.0, 44_100, 1)
    stereo = np.stack([song, song[::-1]], axis=1)
    whole = np.rint(melody(2.0, RATE, 2) * 32767)
    mp3 = encoded(song, 44_100, "MP3")
    return {
        **{f"{name.lower()}.wav": encoded(song, 44_100, name) for name in ("WAV8", "WAV16", "WAV24", "WAV32")},
        "float.wav": encoded(song, 44_100, "WAVFLOAT"),
        "adpcm.wav": encoded(song, 44_100, "WAVADPCM"),
        "length-0.wav": wav_with((0, 0), whole, RATE),
        "length-max.wav": wav_with((0xFFFFFFFF, 0xFFFFFFFF), whole, RATE),
        "cut.wav": encoded(song, 44_100, "WAV16")[:120_000],
        "six-channels.wav": encoded(np.stack([melody(2.0, RATE, n) for n in range(6)], axis=1), RATE, "WAV16"),
        "telephone.wav": encoded(melody(2.0, 8_000, 3), 8_000, "WAVULAW"),
        "studio.flac": encoded(melody(2.0, 96_000, 4), 96_000, "FLAC24"),
        "stereo.ogg": encoded(stereo, 44_100, "OGG"),
        "voice.opus": encoded(melody(2.0, 48_000, 5), 48_000, "OPUS"),
        "plain.mp3": mp3,
        "tagged.mp3": b"ID3\x03\x00\x00\x00\x00\x07\x76" + bytes(1014) + mp3,
        "cut.mp3": mp3[: len(mp3) * 2 // 3],
        "plain.aiff": encoded(song, 44_100, "AIFF"),
        "plain.m4a": encoded(song, 44_100, "M4A"),
        "plain.wma": encoded(song, 44_100, "WMA"),
        "film.webm": encoded(melody(2.0, 48_000, 6), 48_000, "WEBM"),
    }


def _bad_sounds() -> dict[str, tuple[bytes, str]]:
    broken = tone(2.0, RATE)
    broken[1000] = np.nan
    flac, ogg = encoded(melody(3.0, RATE, 7), RATE, "FLAC"), encoded(melody(2.0, RATE, 8), RATE, "OGG")
    return {
        "nan.wav": (encoded(broken, RATE, "WAVFLOAT"), "not_finite"),
        "infinite.wav": (encoded(np.where(np.isnan(broken), np.inf, broken), RATE, "WAVDOUBLE"), "not_finite"),
        "no-samples.wav": (encoded(np.zeros(0, np.float32), RATE, "WAV16"), "too_short"),
        "click.wav": (encoded(tone(0.1, RATE), RATE, "WAV16"), "too_short"),
        "silence.flac": (encoded(np.zeros(2 * RATE, np.float32), RATE, "FLAC"), "silent"),
        "cut.flac": (flac[: len(flac) // 2], "damaged"),
        "head-only.ogg": (ogg[:60], "damaged"),
        "head-only.wav": (b"RIFF\x24\x00\x00\x00WAVE", "damaged"),
        "list.m3u": (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hosts\n", NO_SOUND),
        "text.mp3": (b"This was to be a song.\n" * 40, NO_SOUND),
        "silent-film.avi": (b"RIFF\x40\x00\x00\x00AVI LIST" + bytes(52), NO_SOUND),
        "endless.wav": (encoded(tone(400.0, 1000), 1000, "WAV8"), "too_long"),
    }


def _odd_files() -> list[Hostile]:
    """What is no regular file, or not there, or outside."""
    return [
        Hostile("nothing.jpg", b"", "empty", "empty"),
        Hostile("nothing.mp3", b"", "empty", "empty"),
        Hostile("zeros.bin", bytes(5000), NO_PICTURE, NO_SOUND),
        Hostile("noise.bin", np.random.default_rng(9).bytes(5000), NO_PICTURE, NO_SOUND),
        Hostile("pipe.jpg", os.mkfifo, "not_a_file", "not_a_file"),
        Hostile("gone.png", lambda path: path.symlink_to(path.parent / "nowhere.png"), "missing", "missing"),
        Hostile("loop.png", lambda path: path.symlink_to(path), "missing", "missing"),
        Hostile("outside.wav", lambda path: path.symlink_to("/etc/hosts"), "outside_catalog", "outside_catalog"),
        Hostile("huge.wav", lambda path: _sparse(path, 2**30), "too_large", "too_large"),
    ]


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def hostile_files() -> list[Hostile]:
    """All 80."""
    return [
        *(Hostile(name, data, OK, NO_SOUND) for name, data in _good_pictures().items()),
        *(Hostile(name, data, reason, NO_SOUND) for name, (data, reason) in _bad_pictures().items()),
        *(Hostile(name, data, NO_PICTURE, OK) for name, data in _good_sounds().items()),
        *(Hostile(name, data, NO_PICTURE, reason) for name, (data, reason) in _bad_sounds().items()),
        *_odd_files(),
    ]


def write_hostile(root: Path) -> list[Hostile]:
    """Writes them into the class folder `all` of a folder."""
    folder, files = root / "all", hostile_files()
    folder.mkdir(parents=True)
    for file in files:
        path = folder / file.name
        if callable(file.content):
            file.content(path)
        else:
            path.write_bytes(file.content)
    return files
