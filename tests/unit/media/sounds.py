"""Sounds for tests: tones, and the same as files of many formats."""

import io
import struct
from typing import Any

import av
import numpy as np
import soundfile

Array = np.ndarray[Any, Any]

# What soundfile writes: name -> (format, subtype).
WRITTEN = {
    "WAV8": ("WAV", "PCM_U8"),
    "WAV16": ("WAV", "PCM_16"),
    "WAV24": ("WAV", "PCM_24"),
    "WAV32": ("WAV", "PCM_32"),
    "WAVFLOAT": ("WAV", "FLOAT"),
    "WAVDOUBLE": ("WAV", "DOUBLE"),
    "WAVULAW": ("WAV", "ULAW"),
    "WAVADPCM": ("WAV", "IMA_ADPCM"),
    "AIFF": ("AIFF", "PCM_16"),
    "AU": ("AU", "PCM_16"),
    "CAF": ("CAF", "PCM_16"),
    "FLAC": ("FLAC", "PCM_16"),
    "FLAC24": ("FLAC", "PCM_24"),
    "OGG": ("OGG", "VORBIS"),
    "OPUS": ("OGG", "OPUS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
# What FFmpeg writes: name -> (container, codec).
BY_FFMPEG = {"M4A": ("mp4", "aac"), "WMA": ("asf", "wmav2"), "WEBM": ("webm", "libopus"), "AC3": ("ac3", "ac3")}


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.5) -> Array:
    """[n] float32, a sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def melody(seconds: float, rate: int, seed: int) -> Array:
    """[n] float32: a tone of another height every quarter of a second, with an overtone."""
    generator = np.random.default_rng(seed)
    steps = [tone(0.25, rate, 220.0 * 2 ** (int(n) / 12), 0.3) for n in generator.integers(0, 30, int(seconds * 4) + 1)]
    melody: Array = np.concatenate(steps)[: round(seconds * rate)]
    return melody


def encoded(samples: Array, rate: int, name: str) -> bytes:
    """[n] or [n, channels] samples as a file."""
    buffer = io.BytesIO()
    if name in BY_FFMPEG:
        _by_ffmpeg(buffer, samples, rate, *BY_FFMPEG[name])
    else:
        kind, subtype = WRITTEN[name]
        soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def _by_ffmpeg(buffer: io.BytesIO, samples: Array, rate: int, container: str, codec: str) -> None:
    planes = np.atleast_2d(samples.T.astype(np.float32))
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono" if len(planes) == 1 else "stereo")
        stream.bit_rate = 128_000
        stream.codec_context.open()
        size = stream.codec_context.frame_size or planes.shape[1]
        for first in range(0, planes.shape[1], size):
            piece = np.ascontiguousarray(planes[:, first : first + size])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", stream.layout.name)
            frame.sample_rate, frame.pts = rate, first
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def wav_with(sizes: tuple[int, int], samples: Array, rate: int) -> bytes:
    """A WAV file of int16 samples whose header gives these sizes of the whole and of its data."""
    data = samples.astype("<i2").tobytes()
    whole, length = sizes
    head = b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + b"data" + struct.pack("<I", length) + data
