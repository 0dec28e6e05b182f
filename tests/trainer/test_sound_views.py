"""Views of clips are windows of what was played, under noise of a bounded loudness, the same for the same seed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sim_transforms.media.sound import sound_shape
from sim_transforms.settings.stages import SoundSettings
from sim_transforms.settings.training import AugmentSettings
from trainer.sound_views import ClipNeighbors, SoundViews

RATE = 8_000
SHAPE = sound_shape(SoundSettings(sample_rate=RATE, seconds=1.0, hop_seconds=0.5))
SOUND = SHAPE.sound
assert SOUND is not None
SILENT = AugmentSettings(noise_db=None)


def _steps(count: int, first: int = 0) -> np.ndarray:
    """Samples that say where they stand."""
    return (np.arange(first, first + count) + 1_000).astype(np.int16)


def test_a_clip_is_followed_by_the_one_a_hop_later_of_its_own_sound() -> None:
    ids = np.array(["a#0", "a#0.5", "a#1.3", "b#1", "b#1.5", "b#10", "b#10.5"], dtype=object)
    assert ClipNeighbors(ids, SOUND).follows.tolist() == [1, -1, -1, 4, -1, 6, -1]


def test_clips_with_gaps_between_them_have_no_followers() -> None:
    ids = np.array(["a#0", "a#2"], dtype=object)
    assert ClipNeighbors(ids, replace(SOUND, hop_seconds=2.0)).follows.tolist() == [-1, -1]


def test_views_are_windows_of_the_clip_and_the_next() -> None:
    views = SoundViews(SOUND, 0, SILENT)
    starts = set()
    for _ in range(20):
        for view in views.pair(_steps(RATE), _steps(RATE, RATE // 2)):
            samples = np.frombuffer(view, "<i2")
            np.testing.assert_array_equal(samples, _steps(RATE, int(samples[0]) - 1_000))
            starts.add(int(samples[0]) - 1_000)
    assert 0 <= min(starts) < 500
    assert 3_500 < max(starts) <= RATE // 2


def test_without_a_follower_at_least_half_of_the_clip_is_heard() -> None:
    views = SoundViews(SOUND, 1, SILENT)
    heard = [np.count_nonzero(np.frombuffer(v, "<i2")) for _ in range(20) for v in views.pair(_steps(RATE), None)]
    assert min(heard) >= RATE // 2
    assert len(set(heard)) > 20


@pytest.mark.parametrize("seconds", [1.0, 90.0])
def test_noise_is_as_loud_as_the_clip_at_most(seconds: float) -> None:
    sound = replace(SOUND, seconds=seconds, hop_seconds=seconds / 2)
    clip = np.rint(8_000 * np.sin(np.arange(round(seconds * RATE)) / 5)).astype(np.int16)
    views = SoundViews(sound, 2, AugmentSettings())
    power = float(np.square(clip, dtype=np.float64).mean())
    for view in views.pair(clip, clip):
        samples = np.frombuffer(view, "<i2").astype(np.float64)
        assert 0.4 * power < np.square(samples).mean() < 4.5 * power


def test_the_same_seed_gives_the_same_views() -> None:
    pairs = [SoundViews(SOUND, 7, AugmentSettings()).pair(_steps(RATE), None) for _ in range(2)]
    assert pairs[0] == pairs[1]
    assert SoundViews(SOUND, 8, AugmentSettings()).pair(_steps(RATE), None) != pairs[0]


def test_a_resumed_stream_gives_the_views_that_were_to_come() -> None:
    undisturbed, resumed = (SoundViews(SOUND, 7, AugmentSettings()) for _ in range(2))
    undisturbed.pair(_steps(RATE), None)
    resumed.go_to(json.loads(json.dumps(undisturbed.position())))
    assert resumed.pair(_steps(RATE), None) == undisturbed.pair(_steps(RATE), None)


def test_another_sound_is_mixed_in_up_to_its_share() -> None:
    views = SoundViews(SOUND, 3, AugmentSettings(noise_db=None, mix=0.4))
    clip, other = np.full(RATE, 1_000, np.int16), np.full(RATE, 5_000, np.int16)
    found = {int(np.frombuffer(view, "<i2")[0]) for _ in range(40) for view in views.pair(clip, clip, other)}
    assert 1_000 <= min(found) < 1_400
    assert 2_200 < max(found) <= 2_600


def test_pairs_mix_the_next_sound_of_the_batch() -> None:
    views = SoundViews(SOUND, 3, AugmentSettings(noise_db=None, mix=0.5))
    clips = [np.full(RATE, level, np.int16) for level in (1_000, 2_000, 3_000)]
    first, _, third = views.pairs(clips, clips)
    assert 1_000 < np.frombuffer(first[0], "<i2")[0] <= 1_500
    assert 2_000 <= np.frombuffer(third[0], "<i2")[0] < 3_000


def test_gain_makes_louder_and_quieter_up_to_its_decibels() -> None:
    views = SoundViews(SOUND, 3, AugmentSettings(noise_db=None, gain_db=6.0))
    clip = np.full(RATE, 1_000, np.int16)
    found = [int(np.frombuffer(view, "<i2")[0]) for _ in range(40) for view in views.pair(clip, clip)]
    assert 501 <= min(found) < 600
    assert 1_700 < max(found) <= 1_996
