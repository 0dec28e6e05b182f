"""Sounds by FFmpeg: what is no sound, or names other files, is refused."""

import numpy as np
import pytest

from sim_transforms.errors import MediaError
from sim_transforms.media.ffmpeg import open_ffmpeg
from tests.unit.media.sounds import BY_FFMPEG, encoded, melody


@pytest.mark.parametrize("name", BY_FFMPEG)
def test_blocks_hold_the_samples_of_all_channels(name: str) -> None:
    left = melody(1.0, 48_000, 1)
    rate, channels, seconds, blocks = open_ffmpeg(encoded(np.stack([left, 0 * left], axis=1), 48_000, name))
    samples = np.concatenate(list(blocks))
    assert (rate, channels) == (48_000, 2)
    assert samples.dtype == np.float32
    assert len(samples) / rate == pytest.approx(1.0, abs=0.1)
    assert seconds == pytest.approx(1.0, abs=0.15) or name == "AC3"
    assert np.square(samples[:, 0]).mean() > 50 * np.square(samples[:, 1]).mean()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hosts\n#EXT-X-ENDLIST\n",
        b"v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        bytes(1000),
    ],
)
def test_play_lists_and_noise_are_no_sounds(data: bytes) -> None:
    with pytest.raises(MediaError) as caught:
        open_ffmpeg(data)
    assert caught.value.reason == "not_a_sound"


def test_a_cut_file_gives_what_it_holds_or_a_reason() -> None:
    data = encoded(melody(3.0, 44_100, 2), 44_100, "AC3")
    *_, blocks = open_ffmpeg(data[: len(data) // 2])
    assert 1.0 < sum(len(block) for block in blocks) / 44_100 < 2.0
    cut = encoded(melody(3.0, 44_100, 2), 44_100, "M4A")[:2000]
    with pytest.raises(MediaError):
        sum(len(block) for block in open_ffmpeg(cut)[3])
