"""Views of clips are windows of what was played, under noise of a bounded loudness, the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest

from sim_transforms.media.sound import sound_shape
from sim_transforms.settings.stages import SoundSettings
from trainer.sound_views import ClipNeighbors, SoundViews

RATE = 8_000
SHAPE = sound_shape(SoundSettings(sample_rate=RATE, seconds=1.0, hop_seconds=0.5))
SOUND = SHAPE.sound
assert SOUND is not None


def _steps(count: int, first: int = 0) -> np.ndarray:
    """Samples that say where they stand."""
    return (np.arange(first, first + count) + 1_000).astype(np.int16)


def test_a_clip_is_followed_by_the_one_a_hop_later_of_its_own_sound() -> None:
    ids = np.array(["a#0", "a#0.5", "a#1.3", "b#1", "b#1.5", "b#10", "b#10.5"], dtype=object)
    assert ClipNeighbors(ids, SOUND).follows.tolist() == [1, -1, -1, 4, -1, 6, -1]


def test_clips_with_gaps_between_them_have_no_followers() -> None:
    ids = np.array(["a#0", "a#2"], dtype=object)
    assert ClipNeighbors(ids, replace(SOUND, hop_seconds=2.0)).follows.tolist() == [-1, -1]


def test_views_are_windows_of_the_clip_and_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.sound_views._LOUDEST_NOISE", 200.0)
    monkeypatch.setattr("trainer.sound_views._QUIETEST_NOISE", 200.0)
    views = SoundViews(SOUND, 0)
    starts = set()
    for _ in range(20):
        for view in views.pair(_steps(RATE), _steps(RATE, RATE // 2)):
            samples = np.frombuffer(view, "<i2")
            np.testing.assert_array_equal(samples, _steps(RATE, int(samples[0]) - 1_000))
            starts.add(int(samples[0]) - 1_000)
    assert 0 <= min(starts) < 500
    assert 3_500 < max(starts) <= RATE // 2


def test_without_a_follower_at_least_half_of_the_clip_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.sound_views._LOUDEST_NOISE", 200.0)
    monkeypatch.setattr("trainer.sound_views._QUIETEST_NOISE", 200.0)
    views = SoundViews(SOUND, 1)
    heard = [np.count_nonzero(np.frombuffer(v, "<i2")) for _ in range(20) for v in views.pair(_steps(RATE), None)]
    assert min(heard) >= RATE // 2
    assert len(set(heard)) > 20


@pytest.mark.parametrize("seconds", [1.0, 90.0])
def test_noise_is_as_loud_as_the_clip_at_most(seconds: float) -> None:
    sound = replace(SOUND, seconds=seconds, hop_seconds=seconds / 2)
    clip = np.rint(8_000 * np.sin(np.arange(round(seconds * RATE)) / 5)).astype(np.int16)
    views = SoundViews(sound, 2)
    power = float(np.square(clip, dtype=np.float64).mean())
    for view in views.pair(clip, clip):
        samples = np.frombuffer(view, "<i2").astype(np.float64)
        assert 0.4 * power < np.square(samples).mean() < 4.5 * power


def test_the_same_seed_gives_the_same_views() -> None:
    pairs = [SoundViews(SOUND, 7).pair(_steps(RATE), None) for _ in range(2)]
    assert pairs[0] == pairs[1]
    assert SoundViews(SOUND, 8).pair(_steps(RATE), None) != pairs[0]
