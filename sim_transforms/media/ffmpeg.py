"""Sounds that libsndfile does not know, by FFmpeg (PyAV): AAC, ALAC, WMA, AC-3, Opus in WebM, the sound of a film."""

import io
from typing import Any

import av

from sim_transforms.errors import MediaError, one_line
from sim_transforms.media.parts import Blocks

# Containers alone: FFmpeg also reads play lists, which name other files and hosts.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,ogg,opus,tak,tta,"
    "voc,w64,wav,webm,wv,xwma"
)
_MICROSECONDS = 1_000_000
_FAILURES = (av.FFmpegError, ValueError, IndexError, RuntimeError, EOFError, OverflowError)


def open_ffmpeg(data: bytes) -> tuple[int, int, float, Blocks]:
    """Opens the first sound of a file.

    Returns:
        Samples a second, channels, declared seconds (0 where unknown), and [frames, channels] float32 blocks.

    Raises:
        MediaError: not_a_sound or damaged; the blocks raise damaged too.
    """
    av.logging.set_level(None)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
    try:
        container: Any = av.open(io.BytesIO(data), options=options)
    except _FAILURES as error:
        raise MediaError("not_a_sound", "no sound format is recognised in the file") from error
    if not container.streams.audio:
        container.close()
        raise MediaError("not_a_sound", "the file holds no sound")
    stream = container.streams.audio[0]
    seconds = (container.duration or 0) / _MICROSECONDS
    context = stream.codec_context
    if context is None or not context.sample_rate:
        container.close()
        raise MediaError("damaged", "the sound has no sample rate")
    context.thread_count = 1
    return context.sample_rate, max(1, context.channels), max(0.0, seconds), _blocks(container, stream)


def _blocks(container: Any, stream: Any) -> Blocks:
    rate, read = stream.codec_context.sample_rate, 0
    with container:
        try:
            planes = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                if frame.sample_rate != rate:
                    raise MediaError("damaged", f"the rate changes from {rate} to {frame.sample_rate} within the sound")
                for piece in planes.resample(frame):
                    read += piece.samples
                    yield piece.to_ndarray().T
        except _FAILURES as error:
            raise MediaError("damaged", f"the decoder stopped after {read:,} samples: {one_line(error)}") from error
    if not read:
        raise MediaError("damaged", "the sound holds no samples")
