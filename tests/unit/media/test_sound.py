"""Every kind of sound becomes the clips that are asked for, or is refused with a reason."""

from dataclasses import replace

import numpy as np
import pytest

from sim_transforms.errors import MediaError
from sim_transforms.media.parts import Parts
from sim_transforms.media.sound import clip_starts, decode_sound, sound_shape
from sim_transforms.records.clips import clip_id
from sim_transforms.settings.stages import SoundSettings
from tests.unit.media.sounds import BY_FFMPEG, WRITTEN, encoded, melody, tone, wav_with

RATE = 16_000
SHAPE = sound_shape(SoundSettings(sample_rate=RATE, seconds=1.0, hop_seconds=0.5))


def _samples(parts: Parts, place: int = 0) -> np.ndarray:
    return np.frombuffer(parts.parts[place].media, "<i2")


def _pitch(samples: np.ndarray, rate: int = RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


def _refused(data: bytes, shape: object = SHAPE) -> str:
    with pytest.raises(MediaError) as caught:
        decode_sound(data, shape)
    assert caught.value.message
    return caught.value.reason


@pytest.mark.parametrize("name", [*WRITTEN, *BY_FFMPEG])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_gives_the_same_tone(name: str, channels: int) -> None:
    rate = 48_000 if name in ("OPUS", "WEBM") else 44_100
    samples = tone(2.2, rate, 1000.0)
    parts = decode_sound(
        encoded(np.stack([samples] * channels, axis=1) if channels > 1 else samples, rate, name), SHAPE
    )
    assert [part.start for part in parts.parts][:3] == [0.0, 0.5, 1.0]
    middle = _samples(parts, 1)
    assert middle.shape == (RATE,)
    assert abs(_pitch(middle) - 1000.0) < 2.0
    assert np.abs(middle).max() / 32768 == pytest.approx(0.5, abs=0.06)
    assert (parts.facts.channels, parts.facts.sample_rate) == (channels, rate)


def test_channels_are_averaged() -> None:
    left, right = tone(1.0, RATE, 500.0, 0.8), tone(1.0, RATE, 500.0, 0.2)
    parts = decode_sound(encoded(np.stack([left, right], axis=1), RATE, "WAVFLOAT"), SHAPE)
    np.testing.assert_allclose(_samples(parts) / 32768, (left + right) / 2, atol=1e-4)


def test_a_sound_at_the_wanted_rate_is_only_rounded() -> None:
    samples = melody(1.0, RATE, 1)
    parts = decode_sound(encoded(samples, RATE, "WAVFLOAT"), SHAPE)
    np.testing.assert_array_equal(_samples(parts), np.rint(samples * 32768).astype(np.int16))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_keeps_pitch_and_length(rate: int) -> None:
    parts = decode_sound(encoded(tone(2.0, rate, 700.0), rate, "WAV16"), SHAPE)
    assert parts.facts.seconds == pytest.approx(2.0, abs=0.002)
    assert abs(_pitch(_samples(parts, 1)) - 700.0) < 2.0


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [
        (0.7, [0.0]),
        (1.0, [0.0]),
        (1.3, [0.0]),
        (1.6, [0.0, 0.5]),
        (2.2, [0.0, 0.5, 1.0]),
    ],
)
def test_clips_begin_every_hop(seconds: float, starts: list[float]) -> None:
    parts = decode_sound(encoded(melody(seconds, RATE, 2), RATE, "WAV16"), SHAPE)
    assert [part.start for part in parts.parts] == starts


def test_what_is_left_over_is_in_a_clip_that_ends_with_the_sound() -> None:
    shape = sound_shape(SoundSettings(sample_rate=RATE, seconds=1.0, hop_seconds=1.0, min_seconds=0.25))
    samples = melody(2.4, RATE, 3)
    parts = decode_sound(encoded(samples, RATE, "WAVFLOAT"), shape)
    assert [part.start for part in parts.parts] == [0.0, 1.0, 1.4]
    np.testing.assert_array_equal(_samples(parts, 2), np.rint(samples[-RATE:] * 32768).astype(np.int16))


def test_starts_cover_all_but_less_than_min_seconds() -> None:
    for samples in range(1, 5 * RATE, 977):
        starts = clip_starts(samples, SHAPE)
        assert starts == sorted(set(starts))
        assert samples - (starts[-1] + RATE) < 0.5 * RATE
        assert len(starts) == 1 or starts[-1] + RATE <= samples


def test_a_short_sound_is_filled_up_with_silence() -> None:
    parts = decode_sound(encoded(tone(0.6, RATE), RATE, "WAV16"), SHAPE)
    samples = _samples(parts)
    assert samples.shape == (RATE,)
    assert not samples[round(0.6 * RATE) :].any()


def test_silent_clips_are_skipped_and_counted() -> None:
    samples = np.concatenate([melody(1.0, RATE, 4), np.zeros(2 * RATE, np.float32), melody(1.0, RATE, 5)])
    parts = decode_sound(encoded(samples, RATE, "WAV16"), SHAPE)
    assert [part.start for part in parts.parts] == [0.0, 0.5, 2.5, 3.0]
    assert parts.skipped == 3


def test_silence_is_kept_where_the_settings_say_so() -> None:
    assert SHAPE.sound is not None
    shape = replace(SHAPE, sound=replace(SHAPE.sound, silence_db=None))
    parts = decode_sound(encoded(np.zeros(RATE, np.float32), RATE, "WAV16"), shape)
    assert len(parts.parts) == 1


@pytest.mark.parametrize("sizes", [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (36, 0x7FFFFFFF), (4, 3)])
def test_wav_headers_of_wrong_length_are_read_to_the_end(sizes: tuple[int, int]) -> None:
    samples = np.rint(tone(2.0, RATE, 440.0) * 32767)
    parts = decode_sound(wav_with(sizes, samples, RATE), SHAPE)
    assert parts.facts.seconds == pytest.approx(2.0, abs=0.01)


def test_samples_that_are_no_numbers_are_refused() -> None:
    samples = tone(1.0, RATE)
    samples[500] = np.nan
    assert _refused(encoded(samples, RATE, "WAVFLOAT")) == "not_finite"
    samples[500] = np.inf
    assert _refused(encoded(samples, RATE, "WAVDOUBLE")) == "not_finite"


def test_samples_beyond_full_scale_are_cut_at_it() -> None:
    parts = decode_sound(encoded(tone(1.0, RATE, level=3.0), RATE, "WAVFLOAT"), SHAPE)
    assert _samples(parts).max() == 32767
    assert _samples(parts).min() == -32768


def test_a_flac_file_that_is_cut_is_refused() -> None:
    data = encoded(melody(3.0, RATE, 6), RATE, "FLAC")
    assert _refused(data[: len(data) // 2]) in ("truncated", "damaged")


@pytest.mark.parametrize("name", ["WAV16", "OGG", "MP3"])
def test_a_stream_that_is_cut_is_read_as_far_as_it_goes(name: str) -> None:
    data = encoded(melody(6.0, RATE, 7), RATE, name)
    parts = decode_sound(data[: len(data) * 2 // 3], SHAPE)
    assert 2.0 < parts.facts.seconds < 5.0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no sound at all" * 50, "not_a_sound"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "not_a_sound"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hosts\n", "not_a_sound"),
        (b"ffconcat version 1.0\nfile /etc/hosts\n", "not_a_sound"),
        (b"RIFF\x24\x00\x00\x00WAVE", "damaged"),
        (encoded(tone(0.2, RATE), RATE, "WAV16"), "too_short"),
        (encoded(np.zeros(RATE, np.float32), RATE, "WAV16"), "silent"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert _refused(data) == reason


def test_long_sounds_are_refused_by_what_they_declare() -> None:
    assert SHAPE.sound is not None
    shape = replace(SHAPE, sound=replace(SHAPE.sound, max_seconds=2.0))
    assert _refused(encoded(melody(2.5, RATE, 8), RATE, "FLAC"), shape) == "too_long"


def test_long_sounds_that_declare_nothing_are_refused_while_they_are_read() -> None:
    assert SHAPE.sound is not None
    shape = replace(SHAPE, sound=replace(SHAPE.sound, max_seconds=2.0))
    samples = np.rint(tone(3.0, RATE) * 32767)
    assert _refused(wav_with((0, 0), samples, RATE), shape) == "too_long"


def test_ids_of_clips_end_with_their_start() -> None:
    ids = [clip_id("a#b", start) for start in (None, 0.0, 2.5, 10.0, 100.125)]
    assert ids == ["a#b", "a#b#0", "a#b#2.5", "a#b#10", "a#b#100.125"]


def test_the_same_file_gives_the_same_bytes() -> None:
    data = encoded(melody(4.0, 44_100, 9), 44_100, "OGG")
    assert decode_sound(data, SHAPE) == decode_sound(data, SHAPE)
