"""Numbers that workers leave while they run are added up, and never stand in the way of the work."""

import time
from pathlib import Path

import pytest

from sim_transforms.runs.tally import Tally, tallied, watched


def test_parts_are_added_up(tmp_path: Path) -> None:
    for part, count in (("a", 3), ("b", 4)):
        tally = Tally(str(tmp_path), part)
        for _ in range(count):
            tally.add()
        tally.flush()
    assert tallied(tmp_path) == (7, 0)


def test_a_part_that_is_worked_again_counts_once(tmp_path: Path) -> None:
    for _ in range(2):
        tally = Tally(str(tmp_path), "a")
        tally.add(5)
        tally.flush()
    assert tallied(tmp_path) == (5, 0)


def test_the_first_item_is_seen_at_once_and_the_others_later(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path), "a")
    tally.add()
    tally.add()
    assert tallied(tmp_path) == (1, 0)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_a_shared_folder_nothing_is_counted(folder: str, tmp_path: Path) -> None:
    tally = Tally(folder and str(tmp_path / folder), "a")
    tally.add()
    tally.flush()
    assert tallied(tmp_path / "nowhere") == (0, 0)
    assert not list(tmp_path.iterdir())


def test_watched_work_is_shown_while_it_runs_and_at_its_end(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    with watched(tmp_path / "t", 10, lambda *told: seen.append(told)) as folder:
        Tally(folder, "a").add(4, rejected=1)
        time.sleep(1.3)
    assert seen[0] == (4, 10, 1)
    assert seen[-1] == (10, 10, 1)


def test_work_that_fails_is_not_shown_as_done(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    with (
        pytest.raises(ValueError, match="broken"),
        watched(tmp_path / "t", 10, lambda *told: seen.append(told)),
    ):
        raise ValueError("broken")
    assert (10, 10, 0) not in seen
