import json
from pathlib import Path

import pytest

from benchmarks.comparison import with_rounds
from benchmarks.scale import growth, percent, verdict, within
from benchmarks.tables import markdown_table, mebibytes, median_and_all, median_of, shown, write_json


def test_table_of_cells_of_different_width_is_aligned() -> None:
    assert markdown_table(["a", "long"], [["123", "4"]]) == "| a   | long |\n| --- | ---- |\n| 123 | 4    |"


def test_table_with_a_row_of_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="has 1 cells; 2 are expected"):
        markdown_table(["a", "b"], [["1"]])


def test_numbers_are_shown_with_thousands_and_a_dash_for_none() -> None:
    assert (shown(12_345.678, 1), shown(None), mebibytes(3 * 2**20)) == ("12,345.7", "-", "3")


def test_median_of_values_with_a_missing_one_is_null() -> None:
    assert median_of([1.0, None]) is None
    assert median_of([]) is None
    assert median_of([3.0, 1.0, 2.0]) == 2.0


def test_median_and_all_of_several_rounds_shows_them_in_order() -> None:
    assert median_and_all([3.0, 1.0, 2.0]) == "2.0 (3.0, 1.0, 2.0)"
    assert median_and_all([3.0]) == "3.0"


def test_figure_with_rounds_shows_those_that_have_none() -> None:
    assert with_rounds(2_000.4, [1_999.6, None]) == "2,000 (2,000, -)"
    assert with_rounds(None, [None]) == "-"


def test_json_of_a_new_folder_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "figures.json", {"b": 1, "a": None})
    assert json.loads((tmp_path / "new" / "figures.json").read_text()) == {"a": None, "b": 1}


@pytest.mark.parametrize(
    ("values", "kept"),
    [([100, 125], True), ([100, 126], False), ([100, 90], True), ([100, None], None), ([0, 1], None)],
)
def test_growth_within_a_quarter_is_judged_against_the_first(values: list[float | None], kept: bool | None) -> None:
    assert within(values, 0.25) is kept


def test_growth_is_shown_in_percent_with_its_sign() -> None:
    assert (percent(growth(100, 108)), percent(growth(100, 92)), percent(growth(None, 92))) == ("+8 %", "-8 %", "-")


def test_verdict_of_what_was_not_measured_says_so() -> None:
    assert [verdict(kept) for kept in (True, False, None)] == ["met", "missed", "not measured"]
