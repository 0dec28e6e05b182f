"""Views of pictures and of spectra: seeded, nothing without strength, each change as it should be."""

import keras
import numpy as np
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.settings.training import AugmentSettings

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="views are made by TensorFlow")

import tensorflow as tf  # noqa: E402

from trainer.self_supervised.affine import affine  # noqa: E402
from trainer.self_supervised.blur import blur  # noqa: E402
from trainer.self_supervised.colour import jitter  # noqa: E402
from trainer.self_supervised.crops import crop, flip  # noqa: E402
from trainer.self_supervised.picture_views import picture_views  # noqa: E402
from trainer.self_supervised.sound_masks import mask_spectra  # noqa: E402
from trainer.turned_classes import check_square, turn_classes  # noqa: E402

NOTHING = AugmentSettings(shift=0.0, turn=0.0, zoom=0.0)
EVERYTHING = AugmentSettings(
    crop=0.5, flip=True, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, blur=1.0, local_crops=2
)
SEED = tf.constant([3, 7], tf.int32)


def _batch(channels: int = 1, side: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, side, side, channels)).astype(np.float32)


def test_views_without_strength_are_the_pictures() -> None:
    for view in picture_views(tf.constant(_batch()), SEED, NOTHING, 2, 0):
        np.testing.assert_array_equal(view, _batch())


@pytest.mark.parametrize("channels", [1, 3])
def test_views_same_seed_gives_the_same_and_another_others(channels: int) -> None:
    batch = tf.constant(_batch(channels))
    first, again = (picture_views(batch, SEED, EVERYTHING, 2, 2) for _ in range(2))
    other = picture_views(batch, SEED + 1, EVERYTHING, 2, 2)
    assert len(first) == 4
    for one, same, another in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert one.shape == batch.shape
        assert not np.array_equal(one, another)
        assert np.isfinite(one).all()
    assert not np.array_equal(first[0], first[1])


def test_affine_of_no_strength_gives_the_picture_back() -> None:
    np.testing.assert_allclose(affine(tf.constant(_batch(3)), SEED, NOTHING), _batch(3), atol=1e-5)


def test_affine_outside_is_background() -> None:
    moved = affine(tf.fill([2, 8, 8, 1], -0.7), SEED, AugmentSettings(shift=0.5))
    np.testing.assert_allclose(moved, -0.7, atol=1e-6)


def test_flip_mirrors_some_pictures_and_changes_nothing_else() -> None:
    batch = np.repeat(_batch(), 8, axis=0)
    found = flip(tf.constant(batch), SEED).numpy()
    mirrored = [np.array_equal(one, other[:, ::-1]) for one, other in zip(found, batch, strict=True)]
    same = [np.array_equal(one, other) for one, other in zip(found, batch, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert any(mirrored)
    assert any(same)


def test_crop_of_the_whole_area_is_the_picture_and_a_small_one_a_part_of_it() -> None:
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (6, 12, 12, 1))
    np.testing.assert_allclose(crop(tf.constant(ramp), SEED, 0.9999, 1.0), ramp, atol=2.5)
    small = crop(tf.constant(ramp), SEED, 0.1, 0.1).numpy()
    heights = small[:, -1, 0, 0] - small[:, 0, 0, 0]
    np.testing.assert_array_less(heights, 11 * np.sqrt(0.1 * 4 / 3) + 0.1)
    assert len({float(top) for top in small[:, 0, 0, 0]}) == 6


def test_jitter_of_brightness_adds_one_number_to_a_picture() -> None:
    strength = AugmentSettings(brightness=0.5)
    moved = jitter(tf.constant(_batch(3)), SEED, strength).numpy() - _batch(3)
    assert np.ptp(moved, axis=(1, 2, 3)).max() < 1e-5
    assert np.abs(moved).max() <= 0.5
    assert len({round(float(value), 4) for value in moved[:, 0, 0, 0]}) == 5


def test_jitter_of_contrast_scales_about_the_mean() -> None:
    moved = jitter(tf.constant(_batch()), SEED, AugmentSettings(contrast=0.5)).numpy()
    np.testing.assert_allclose(moved.mean(axis=(1, 2, 3)), _batch().mean(axis=(1, 2, 3)), atol=1e-5)
    ratios = moved.std(axis=(1, 2, 3)) / _batch().std(axis=(1, 2, 3))
    assert 0.5 <= ratios.min() < ratios.max() <= 1.5


def test_jitter_of_colour_leaves_grey_alone_and_luma_as_it_was() -> None:
    strength, luma = AugmentSettings(saturation=0.9, hue=0.5), np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.repeat(_batch(), 3, axis=3)
    np.testing.assert_allclose(jitter(tf.constant(grey), SEED, strength), grey, atol=2e-3)
    moved = jitter(tf.constant(_batch(3)), SEED, strength).numpy()
    np.testing.assert_allclose(moved @ luma, _batch(3) @ luma, atol=2e-3)
    assert np.abs(moved - _batch(3)).max() > 0.1


def test_blur_keeps_the_mean_of_a_plain_picture_and_takes_variance_from_others() -> None:
    np.testing.assert_allclose(blur(tf.fill([3, 9, 9, 1], 0.4), SEED, 2.0), 0.4, atol=1e-5)
    assert blur(tf.constant(_batch()), SEED, 2.0).numpy().var() < 0.6 * _batch().var()


def test_masks_hide_a_stretch_of_time_and_a_range_of_bands() -> None:
    spectra = np.ones((40, 20, 10, 1), np.float32)
    settings = AugmentSettings(time_mask=0.5, frequency_mask=0.4)
    found = mask_spectra(tf.constant(spectra), SEED, settings).numpy()[..., 0]
    times, bands = (found == 0).all(axis=2), (found == 0).all(axis=1)
    assert times.sum(axis=1).max() <= 10
    assert bands.sum(axis=1).max() <= 4
    assert times.any()
    assert bands.any()
    for hidden in times:
        places = np.flatnonzero(hidden)
        assert len(places) == 0 or np.ptp(places) + 1 == len(places)
    np.testing.assert_array_equal(mask_spectra(tf.constant(spectra), SEED, NOTHING), spectra)


def test_turned_classes_turn_whole_classes_and_number_them_apart() -> None:
    batch, classes = _batch(side=6), np.array([0, 0, 1, 1, -1], np.int32)
    seen = set()
    for number in range(30):
        turned, numbers = turn_classes(tf.constant(batch), tf.constant(classes), SEED + number, 0.7, 2)
        numbers = numbers.numpy()
        assert numbers[0] == numbers[1]
        assert numbers[4] == -1
        quarters = np.where(classes >= 0, (numbers - classes) // 2, 0)
        for item in range(5):
            np.testing.assert_array_equal(turned[item], np.rot90(batch[item], quarters[item]))
        seen |= set(numbers.tolist())
    assert seen == {-1, *range(8)}


def test_turned_classes_of_oblong_pictures_are_refused() -> None:
    check_square((8, 8, 3))
    with pytest.raises(UsageError, match="square"):
        check_square((8, 9, 3))
