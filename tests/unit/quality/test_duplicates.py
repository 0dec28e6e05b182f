"""Groups and leaks are those of slow loops, and many items of one hash stay one group."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_transforms.quality.duplicates import find_leaks, groups_of, hashed_items, near_groups
from sim_transforms.quality.near_hashes import DISTANCE
from sim_transforms.quality.perceptual import FLAT

_HASHES = st.sampled_from((FLAT, 1, 0b111, 0xFF, 0xFFF, 0xFFFF, 0x7FFF_0000, 0xFFFF_0000, 2**63, 2**63 + 1))
_ITEMS = st.lists(st.tuples(_HASHES, st.integers(0, 6)), max_size=24)


def _arrays(items: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([h for h, _ in items], np.uint64), np.array([d for _, d in items], np.int64)


def _listed(groups: object) -> list[list[int]]:
    return [groups.of(number).tolist() for number in range(len(groups))]  # type: ignore[attr-defined, arg-type]


def _near(hashes: np.ndarray, one: int, other: int) -> bool:
    a, b = int(hashes[one]), int(hashes[other])
    return FLAT not in (a, b) and (a ^ b).bit_count() <= DISTANCE


@given(codes=st.lists(st.integers(0, 5), max_size=30))
def test_groups_of_codes_are_those_of_a_loop(codes: list[int]) -> None:
    rows = [[row for row, code in enumerate(codes) if code == wanted] for wanted in set(codes)]
    expected = sorted((r for r in rows if len(r) > 1), key=lambda r: (-len(r), r[0]))
    assert _listed(groups_of(np.array(codes, np.int64))) == expected


@given(codes=st.lists(st.integers(0, 3), max_size=20), kinds=st.lists(st.integers(0, 4), min_size=20, max_size=20))
def test_kinds_of_groups_are_those_of_a_loop(codes: list[int], kinds: list[int]) -> None:
    groups = groups_of(np.array(codes, np.int64))
    expected = [len({kinds[row] for row in rows}) for rows in _listed(groups)]
    assert groups.kinds(np.array(kinds)).tolist() == expected


@settings(deadline=None)
@given(items=_ITEMS)
def test_find_leaks_are_those_of_a_loop(items: list[tuple[int, int]]) -> None:
    hashes, digests = _arrays(items)
    is_train = np.arange(len(items)) % 3 > 0
    found = find_leaks(hashed_items(hashes, digests), is_train)
    expected = {}
    for row in np.flatnonzero(~is_train).tolist():
        train = np.flatnonzero(is_train).tolist()
        exact = [t for t in train if digests[t] == digests[row]]
        near = [t for t in train if _near(hashes, row, t) and digests[t] != digests[row]]
        if exact or near:
            bits = 0 if exact else min((int(hashes[t]) ^ int(hashes[row])).bit_count() for t in near)
            expected[row] = (bool(exact), bits)
    assert dict(zip(found.test.tolist(), found.exact.tolist(), strict=True)) == {r: e for r, (e, _) in expected.items()}
    for row, partner, exact, bits in zip(found.test, found.train, found.exact, found.bits, strict=True):
        assert is_train[partner]
        assert digests[partner] == digests[row] if exact else _near(hashes, row, partner)
        assert bits == expected[int(row)][1]


@settings(deadline=None)
@given(items=_ITEMS)
def test_near_groups_are_linked_items_of_several_files(items: list[tuple[int, int]]) -> None:
    # One hash a file: pictures. Then all links count, and groups are the connected ones of at least two digests.
    hashes, _ = _arrays(items)
    digests = np.arange(len(items))
    groups = _listed(near_groups(hashed_items(hashes, digests)))
    reached = {row: {row} for row in range(len(items)) if hashes[row] != FLAT}
    for one in reached:
        for other in reached:
            if _near(hashes, one, other) and reached[one] is not reached[other]:
                joined = reached[one] | reached[other]
                for row in joined:
                    reached[row] = joined
    expected = {tuple(sorted(rows)) for rows in reached.values() if len(rows) > 1}
    assert {tuple(rows) for rows in groups} == expected


def test_near_groups_of_clips_of_one_sound_are_none() -> None:
    hashes = np.array([1, 3, 7, 7], np.uint64)
    assert len(near_groups(hashed_items(hashes, np.zeros(4, np.int64)))) == 0


def test_near_groups_join_clips_of_one_sound_only_through_another() -> None:
    hashes = np.array([1, 3, 7, 7], np.uint64)
    # Hash 7 is of two sounds: the first one's other clips are near it.
    assert _listed(near_groups(hashed_items(hashes, np.array([0, 0, 0, 1])))) == [[0, 1, 2, 3]]


def test_near_groups_of_a_hash_that_many_share_are_one_group() -> None:
    items = hashed_items(np.full(100_000, 12345, np.uint64), np.arange(100_000))
    assert len(items.near.left) == 0
    assert [len(rows) for rows in _listed(near_groups(items))] == [100_000]


def test_flat_items_are_counted_and_compared_with_none() -> None:
    items = hashed_items(np.zeros(1000, np.uint64), np.arange(1000))
    assert items.flat == 1000
    assert len(near_groups(items)) == 0
    assert len(find_leaks(items, np.arange(1000) % 2 == 0).test) == 0
