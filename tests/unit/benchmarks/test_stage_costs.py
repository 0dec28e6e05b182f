"""The cost model: a line through two sizes, the search for cells apart, and how far off it is at a third."""

import time

import pytest

from benchmarks import stage_costs
from benchmarks.stage_costs import Cost, Costs, line_through

CELL = 1e-8


def _cost(seconds: float) -> Cost:
    return Cost(seconds, 10 * seconds, 20 * seconds)


def _costs(index: tuple[float, ...]) -> Costs:
    """A model of stages that cost 5 s and 1 ms an item, but for the index."""
    sizes = (10_000, 100_000, 1_000_000)
    straight = tuple(_cost(5 + 0.001 * size) for size in sizes)
    measured = dict.fromkeys(stage_costs.STAGES, straight) | {"index": tuple(map(_cost, index))}
    return Costs(sizes, measured, shard_items=5_000, cell_seconds=CELL)


def test_line_goes_through_both_sizes() -> None:
    line = line_through((10, 110), (_cost(3), _cost(13)))
    assert line.each.cpu_seconds == pytest.approx(0.1)
    assert line.at(10).cpu_seconds == pytest.approx(3)
    assert line.at(110).written_bytes == pytest.approx(260)


def test_what_is_fixed_is_never_less_than_nothing() -> None:
    line = line_through((10, 20), (_cost(1), _cost(3)))
    assert line.fixed == Cost(0.0, 0.0, 0.0)
    assert line.at(20).cpu_seconds == pytest.approx(3)


def test_search_for_cells_is_counted_apart_and_grows_with_items_and_shards() -> None:
    line = [5 + 0.001 * size for size in (10_000, 100_000, 1_000_000)]
    shards = (3, 25, 250)
    measured = [s + 2 * n * c * CELL for s, n, c in zip(line, (10_000, 100_000, 1_000_000), shards, strict=True)]
    costs = _costs(tuple(measured))
    assert costs.line("index").each.cpu_seconds == pytest.approx(0.001)
    assert costs.ratio("index") == pytest.approx(1)
    assert costs.search("embed", 1_000_000) == 0
    assert costs.search("index", 1_000_000, 50_000) == pytest.approx(2e6 * 25 * CELL)


def test_verdict_is_of_the_largest_size() -> None:
    kept = stage_costs.verdicts(_costs((15, 105, 1_500)))
    assert kept == {
        "preprocess: predicted within 25 %": True,
        "embed: predicted within 25 %": True,
        "index: predicted within 25 %": False,
        "reindex: predicted within 25 %": True,
    }


def test_tables_have_a_row_for_each_stage_and_each_catalog() -> None:
    costs = _costs((15, 105, 1_005))
    for table in (stage_costs.model_table(costs), stage_costs.trial_table(costs)):
        assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == list(stage_costs.STAGES)
    for table in (stage_costs.carried_table(costs), stage_costs.sizes_table()):
        assert len(table.splitlines()) == 2 + len(stage_costs.CARRIED)


def test_pictures_are_the_same_for_the_same_number_and_all_different() -> None:
    assert stage_costs.picture(7, 0) == stage_costs.picture(7, 0)
    assert len({stage_costs.picture(number, 0) for number in range(300)}) == 300


def test_pace_tells_how_much_slower_a_core_is_than_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_costs, "_PACE_SECONDS", 0.01)
    monkeypatch.setattr(stage_costs, "_work_seconds", lambda: 0.006)
    with stage_costs.Pace(0.004) as pace:
        time.sleep(0.1)
    assert pace.slowdown == pytest.approx(1.5)
    assert stage_costs.Pace(0.004).slowdown == 1.0
    assert stage_costs.Pace.rest() == 0.006


def test_medians_are_of_each_figure() -> None:
    costs = [Cost(3.0, 10, 5, 1.2), Cost(1.0, 30, 4, 1.0), Cost(2.0, 20, 6, 1.1)]
    assert stage_costs._median(costs) == Cost(2.0, 20, 5, 1.1)
