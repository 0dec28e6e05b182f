"""What travels together arrives whole, each entry once, and stays a small element."""

import pickle
from typing import Any

from sim_transforms.records.items import MediaRef, shard_of
from sim_transforms.send_together import SendTogether, entries_of


def _sent(count: int, buckets: int) -> list[tuple[int, bytes]]:
    sender = SendTogether(buckets)
    sender.start_bundle()
    references = [MediaRef(f"item-{number}", "/there.png", "l", "train", number) for number in range(count)]
    sent = [element for reference in references for element in sender.process(reference)]
    return sent + [window.value for window in sender.finish_bundle()]


def test_every_entry_arrives_once_in_its_bucket() -> None:
    sent = _sent(45_000, 7)
    arrived: list[tuple[int, Any]] = [(bucket, entry) for bucket, lists in sent for entry in entries_of([lists])]
    assert all(bucket == shard_of(entry.item_id, 7) for bucket, entry in arrived)
    assert sorted(entry.row for _, entry in arrived) == list(range(45_000))
    assert len(sent) < 45_000 / 500


def test_no_list_holds_more_than_a_thousand_entries() -> None:
    assert max(len(pickle.loads(lists)) for _, lists in _sent(2_500, 1)) == 1_000


def test_nothing_waits_for_the_next_bundle() -> None:
    sender = SendTogether(2)
    for name in ("a", "b"):
        sender.start_bundle()
        list(sender.process(MediaRef(name, "/there.png", "l", "train", 1)))
        (element,) = sender.finish_bundle()
        assert [entry.item_id for entry in entries_of([element.value[1]])] == [name]
