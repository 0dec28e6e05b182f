"""No file stops, kills or fills the worker: it is rejected with a reason, and those around it are decoded."""

import hashlib
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim_transforms.errors import MediaError
from sim_transforms.media.guard import Bounds, Decoded, GuardedDecoder
from sim_transforms.media.image import decode_image, image_shape
from sim_transforms.settings.stages import ImageSettings

SHAPE = image_shape(ImageSettings(height=20, width=30, channels=3))
BOUNDS = Bounds(20.0, 2**29)


def _pictures(folder: Path, count: int) -> list[Path]:
    generator, paths = np.random.default_rng(0), []
    for number in range(count):
        path = folder / f"picture {number} ü.png"
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


def _assert_decoded(found: Decoded | MediaError, path: Path) -> None:
    assert isinstance(found, Decoded)
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.content.parts[0].media == decode_image(path.read_bytes(), SHAPE).tobytes()


def test_files_come_back_in_their_order_as_the_decoder_gives_them(tmp_path: Path) -> None:
    paths = _pictures(tmp_path, 40)
    paths[7].write_bytes(b"no picture")
    paths[9].unlink()
    with GuardedDecoder(SHAPE, BOUNDS) as decoder:
        for _ in range(2):
            found = list(decoder.decode([str(path) for path in paths]))
            assert [f.reason for f in found if isinstance(f, MediaError)] == ["not_an_image", "missing"]
            for place in set(range(40)) - {7, 9}:
                _assert_decoded(found[place], paths[place])
        assert list(decoder.decode([])) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sleeps", "timeout"),
        ("spins", "timeout"),
        ("eats", "out_of_memory"),
        ("crashes", "crashed"),
        ("exits", "crashed"),
    ],
)
def test_poisoned_files_are_rejected_and_the_others_decoded(name: str, reason: str, tmp_path: Path) -> None:
    paths = _pictures(tmp_path, 12)
    for place in (0, 4, 5, 11):
        paths[place] = tmp_path / f"{name}.png"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    seconds = 1.0 if reason == "timeout" else 20.0  # a loaded machine gives memory slowly
    with GuardedDecoder(SHAPE, Bounds(seconds, 2**28), "tests.unit.media.poisoned_child") as decoder:
        found = list(decoder.decode([str(path) for path in paths]))
    assert time.monotonic() - began < 100
    for place, path in enumerate(paths):
        if path.stem == name:
            assert isinstance(found[place], MediaError)
            assert found[place].reason == reason
        else:
            _assert_decoded(found[place], path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB


def test_longest_paths_and_large_answers_do_not_block_each_other(tmp_path: Path) -> None:
    shape = image_shape(ImageSettings(height=400, width=500, channels=3))
    deep = tmp_path
    while len(str(deep)) < 3600:
        deep = deep / ("語" * 80)
    uris = [f"{deep}/{number}.png" for number in range(30)]
    paths = [str(path) for path in _pictures(tmp_path, 30)]
    mixed = [uri for pair in zip(uris, paths, strict=True) for uri in pair]
    with GuardedDecoder(shape, BOUNDS) as decoder:
        found = list(decoder.decode(mixed))
    assert [isinstance(f, Decoded) for f in found] == [False, True] * 30


def test_child_is_gone_when_the_block_ends(tmp_path: Path) -> None:
    (path,) = _pictures(tmp_path, 1)
    with GuardedDecoder(SHAPE, BOUNDS) as decoder:
        list(decoder.decode([str(path)]))
        child = decoder._child
        assert child is not None
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_child_that_cannot_start_says_so() -> None:
    decoder = GuardedDecoder(SHAPE, BOUNDS, "tests.unit.media.nothing")
    with decoder, pytest.raises(RuntimeError, match="did not start"):
        list(decoder.decode(["a.png"]))


@pytest.mark.parametrize("shared", [True, False])
def test_media_of_many_files_are_their_own_through_shared_memory_and_without(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.delattr(os, "memfd_create")
    paths = _pictures(tmp_path, 150)  # more than there are slots, all kept until the end
    with GuardedDecoder(SHAPE, BOUNDS) as decoder:
        found = list(decoder.decode([str(path) for path in paths]))
    assert len({f.digest for f in found if isinstance(f, Decoded)}) == 150
    for one, path in zip(found, paths, strict=True):
        _assert_decoded(one, path)


def test_media_too_large_for_shared_memory_go_through_the_pipe(tmp_path: Path) -> None:
    shape = image_shape(ImageSettings(height=1000, width=1200, channels=3))
    paths = _pictures(tmp_path, 3)
    with GuardedDecoder(shape, BOUNDS) as decoder:
        for one, path in zip(decoder.decode([str(path) for path in paths]), paths, strict=True):
            assert isinstance(one, Decoded)
            assert one.content.parts[0].media == decode_image(path.read_bytes(), shape).tobytes()


def test_descriptors_of_shared_memory_are_given_back(tmp_path: Path) -> None:
    paths = [str(path) for path in _pictures(tmp_path, 2)]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with GuardedDecoder(SHAPE, BOUNDS) as decoder:
            assert len(list(decoder.decode(paths))) == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_child_that_ended_while_nothing_was_asked_is_no_files_fault(tmp_path: Path) -> None:
    paths = _pictures(tmp_path, 3)
    with GuardedDecoder(SHAPE, BOUNDS) as decoder:
        list(decoder.decode([str(paths[0])]))
        child = decoder._child
        assert child is not None
        child.kill()
        child.wait()
        for one, path in zip(decoder.decode([str(path) for path in paths]), paths, strict=True):
            _assert_decoded(one, path)


def test_memory_that_other_files_have_taken_is_no_files_fault(tmp_path: Path) -> None:
    paths = _pictures(tmp_path, 5)
    leak = paths[0].rename(tmp_path / "leaks.png")
    with GuardedDecoder(SHAPE, Bounds(20.0, 2**28), "tests.unit.media.poisoned_child") as decoder:
        for one, path in zip(decoder.decode([str(p) for p in (leak, *paths[1:])]), (leak, *paths[1:]), strict=True):
            _assert_decoded(one, path)


def test_sandbox_that_refuses_shared_memory_gets_media_through_the_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> int:
        raise OSError(1, name)

    monkeypatch.setattr(os, "memfd_create", refuse)
    paths = _pictures(tmp_path, 3)
    with GuardedDecoder(SHAPE, BOUNDS) as decoder:
        for one, path in zip(decoder.decode([str(path) for path in paths]), paths, strict=True):
            _assert_decoded(one, path)
