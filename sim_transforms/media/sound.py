"""Sounds: bytes -> clips of [samples] int16, one channel. The one decoder of preprocessing, embedding and queries.

libsndfile reads first; what it does not know (AAC, WMA, Opus in WebM, the sound of a film) FFmpeg reads. Both give
float32 blocks, so that a long sound is never in memory at its own rate; soxr brings them to the rate that is wanted.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr

from sim_transforms.errors import MediaError, one_line
from sim_transforms.media.parts import Blocks, FileFacts, Part, Parts
from sim_transforms.media.wav import mended
from sim_transforms.records.media import MediaShape, SoundShape
from sim_transforms.settings.stages import SoundSettings

Array = np.ndarray[Any, Any]

_BLOCK = 2**16
_FULL_SCALE = 32_768
_RATES = (100, 768_000)
_MOST_CHANNELS = 64
# A header of these formats says how many samples there are, and is right; others are often left as a stream began.
_EXACT = ("FLAC",)


def decoder_version() -> str:
    """Changes whenever the same file may decode to other samples; part of a model's fingerprint."""
    return f"libsndfile-{soundfile.__libsndfile_version__}/soxr-{soxr.__version__}/1"


def sound_shape(settings: SoundSettings) -> MediaShape:
    """What `decode_sound` gives, and how."""
    sound = SoundShape(
        sample_rate=settings.sample_rate,
        seconds=settings.seconds,
        hop_seconds=settings.hop_seconds,
        min_seconds=settings.min_seconds,
        max_seconds=settings.max_seconds,
        silence_db=settings.silence_db,
        window=settings.window,
        step=settings.step,
        mel_bands=settings.mel_bands,
        min_hz=settings.min_hz,
        max_hz=settings.top_hz,
        top_db=settings.top_db,
    )
    return MediaShape("audio", "int16", (round(settings.seconds * settings.sample_rate),), sound=sound)


def decode_sound(data: bytes, shape: MediaShape) -> Parts:
    """Decodes a sound and cuts it into clips.

    Clips begin every `hop_seconds`; where more than `min_seconds` are left after the last, one more ends with the
    sound. A sound of less than a clip is filled up with silence.

    Args:
        data: content of the file.
        shape: of a clip, with `sound`.

    Returns:
        The clips, [samples] int16 each, with their starts; how many were skipped as silent.

    Raises:
        MediaError: empty, not_a_sound, not_finite, too_short, too_long, silent, bad_rate, truncated or damaged.
    """
    assert shape.sound is not None
    if not data:
        raise MediaError("empty", "the file holds no bytes")
    stream = _open(mended(data))
    samples = _samples(stream, shape.sound)
    facts = FileFacts(
        size_bytes=len(data),
        seconds=round(len(samples) / shape.sound.sample_rate, 3),
        sample_rate=stream.sample_rate,
        channels=stream.channels,
    )
    return _cut(samples, shape, facts)


@dataclass(frozen=True)
class _Stream:
    """An opened sound: [frames, channels] float32 blocks, full scale at 1."""

    sample_rate: int
    channels: int
    declared_seconds: float
    blocks: Blocks


def _open(data: bytes) -> _Stream:
    """By libsndfile, else by FFmpeg; where both refuse, libsndfile's reason stands if it knew the format."""
    try:
        stream = _libsndfile(data)
    except MediaError as refused:
        from sim_transforms.media.ffmpeg import open_ffmpeg

        try:
            rate, channels, seconds, blocks = open_ffmpeg(data)
        except MediaError as error:
            raise (refused if refused.reason != "not_a_sound" else error) from error
        stream = _Stream(rate, channels, seconds, blocks)
    if not _RATES[0] <= stream.sample_rate <= _RATES[1]:
        raise MediaError("bad_rate", f"the sound has {stream.sample_rate} samples a second; {_RATES[0]} to {_RATES[1]}")
    if not 1 <= stream.channels <= _MOST_CHANNELS:
        raise MediaError("bad_channels", f"the sound has {stream.channels} channels; 1 to {_MOST_CHANNELS} are read")
    return stream


def _libsndfile(data: bytes) -> _Stream:
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        unknown = getattr(error, "code", 0) == 1
        raise MediaError(
            "not_a_sound" if unknown else "damaged",
            "no sound format is recognised in the file" if unknown else f"the decoder stopped: {one_line(error)}",
        ) from error
    declared = max(0, file.frames) / max(1, file.samplerate)
    return _Stream(file.samplerate, file.channels, declared, _blocks_of(file))


def _blocks_of(file: Any) -> Blocks:
    read = 0
    with file:
        while True:
            try:
                block = file.read(_BLOCK // file.channels + 1, dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, RuntimeError) as error:
                raise MediaError("damaged", f"the decoder stopped after {read:,} samples: {one_line(error)}") from error
            if not len(block):
                break
            read += len(block)
            yield block
        if file.format in _EXACT and read < file.frames:
            raise MediaError("truncated", f"the file declares {file.frames:,} samples and holds {read:,}")


def _samples(stream: _Stream, sound: SoundShape) -> Array:
    """[n] int16 at the wanted rate."""
    if stream.declared_seconds > sound.max_seconds:
        raise _too_long(stream.declared_seconds, sound)
    same = stream.sample_rate == sound.sample_rate
    resampler = None if same else soxr.ResampleStream(stream.sample_rate, sound.sample_rate, 1, dtype="float32")
    pieces, frames = [], 0
    with contextlib.closing(stream.blocks) as blocks:
        for block in blocks:
            frames += len(block)
            if frames > sound.max_seconds * stream.sample_rate:
                raise _too_long(frames / stream.sample_rate, sound)
            mono = block.mean(axis=1, dtype=np.float32)
            if not np.isfinite(mono).all():
                raise MediaError("not_finite", "the sound holds samples that are no finite numbers")
            pieces.append(_to_int16(mono if resampler is None else resampler.resample_chunk(mono)))
    if resampler is not None:
        pieces.append(_to_int16(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return np.concatenate([np.zeros(0, np.int16), *pieces])


def _too_long(seconds: float, sound: SoundShape) -> MediaError:
    return MediaError("too_long", f"the sound takes {seconds:,.0f} s; at most {sound.max_seconds:,g} are decoded")


def _to_int16(samples: Array) -> Array:
    scaled = np.rint(samples * np.float32(_FULL_SCALE))
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _cut(samples: Array, shape: MediaShape, facts: FileFacts) -> Parts:
    sound, length = shape.sound, shape.shape[0]
    assert sound is not None
    if len(samples) < _least_samples(sound):
        raise MediaError(
            "too_short", f"the sound takes {facts.seconds:g} s; at least {sound.min_seconds:g} are expected"
        )
    starts = clip_starts(len(samples), shape)
    parts = [
        Part(round(first / sound.sample_rate, 3), _filled(samples[first : first + length], length))
        for first in starts
        if not _is_silent(samples[first : first + length], sound.silence_db)
    ]
    if not parts:
        raise MediaError("silent", f"no clip is louder than {sound.silence_db:g} dB of full scale")
    return Parts(tuple(parts), len(starts) - len(parts), facts)


def _least_samples(sound: SoundShape) -> int:
    """Of a sound, and of what is left after its last whole clip."""
    return max(1, round(sound.min_seconds * sound.sample_rate))


def clip_starts(samples: int, shape: MediaShape) -> list[int]:
    """First sample of each clip of a sound of so many samples."""
    sound, length = shape.sound, shape.shape[0]
    assert sound is not None
    if samples <= length:
        return [0]
    hop = max(1, round(sound.hop_seconds * sound.sample_rate))
    starts = list(range(0, samples - length + 1, hop))
    left = samples - starts[-1] - length
    return [*starts, samples - length] if left >= _least_samples(sound) else starts


def _filled(clip: Array, length: int) -> bytes:
    return bytes(np.pad(clip, (0, length - len(clip))).astype("<i2").tobytes())


def _is_silent(clip: Array, silence_db: float | None) -> bool:
    if silence_db is None:
        return False
    wide = clip.astype(np.int64)
    return float((wide * wide).sum()) < 10.0 ** (silence_db / 10.0) * _FULL_SCALE**2 * len(clip)
