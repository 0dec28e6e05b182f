"""Checkpoints: what is saved comes back, a damaged one leaves the one before."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trainer.checkpoints import Checkpoint, Checkpoints


def _checkpoint(step: int) -> Checkpoint:
    generator = np.random.default_rng(step)
    arrays = {"model/0": generator.normal(size=(3, 4)).astype(np.float32), "step": np.array(step, np.int64)}
    return Checkpoint(step, arrays, {"best": {"precision_at_1": 0.1 + step}, "generator": 2**127 + step})


def _same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert (found.step, found.plain) == (expected.step, expected.plain)
    assert set(found.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_load_nothing_saved_gives_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new").load() is None


def test_load_gives_the_last_one_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 200, 90):
        checkpoints.save(_checkpoint(step))
    _same(Checkpoints(tmp_path).load(), _checkpoint(200))


def test_save_keeps_two_files(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        Checkpoints(tmp_path).save(_checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000000003.npz", "checkpoint-000000004.npz"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_load_of_a_damaged_file_gives_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(_checkpoint(step))
    path = tmp_path / "checkpoint-000000002.npz"
    data = bytearray(path.read_bytes())
    place = data.index(_checkpoint(2).arrays["model/0"].tobytes())
    data[place] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": data}[damage])
    _same(checkpoints.load(), _checkpoint(1))


def test_clear_leaves_other_files(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(_checkpoint(1))
    (tmp_path / "steps.jsonl").touch()
    Checkpoints(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["steps.jsonl"]


def _damaged_copies(path: Path) -> Iterator[bytes]:
    """Bits of the directory at the end, which no checksum covers, and a name that is another."""
    whole = path.read_bytes()
    begins = whole.rindex(b"PK\x01\x02")
    for place in range(begins, len(whole)):
        for bit in (0, 5):
            yield whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]


def test_load_never_fails_for_a_bit_of_the_directory_and_never_gives_other_arrays(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(_checkpoint(step))
    newest = tmp_path / "checkpoint-000000002.npz"
    for data in _damaged_copies(newest):
        newest.write_bytes(data)
        found = checkpoints.load()
        assert found is not None
        _same(found, _checkpoint(found.step))


def test_load_of_a_file_under_another_step_gives_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(_checkpoint(step))
    (tmp_path / "checkpoint-000000002.npz").rename(tmp_path / "checkpoint-000000009.npz")
    (tmp_path / "checkpoint-000000010.npz").mkdir()
    _same(checkpoints.load(), _checkpoint(1))
    checkpoints.clear()
