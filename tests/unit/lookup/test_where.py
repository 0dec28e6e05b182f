"""Conditions mean what they mean in SQL, and what is none is refused with its place; nothing is run as code."""

import pyarrow as pa
import pytest

from sim_transforms.errors import UsageError
from sim_transforms.lookup.where import parse_where

TABLE = pa.table(
    {
        "row": pa.array(range(5), pa.int32()),
        "item_id": list("abcde"),
        "colour": ["red", "blue", None, "it's", "red"],
        "price": [1.5, None, 20.0, 0.0, 7.0],
        "stock": pa.array([1, 2, 3, None, 2**53 + 1], pa.int64()),
        "new": [True, False, None, True, False],
        "odd name": list("vwxyz"),
        "AND": list("vwxyz"),
        "digest": ["d"] * 5,
    }
)


def _met(text: str) -> str:
    return "".join(TABLE.filter(parse_where(text, TABLE.schema).expression).column("item_id").to_pylist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("colour = 'red'", "ae"),
        ("colour='it''s'", "d"),
        ("colour != 'red'", "bd"),
        ("colour <> 'red'", "bd"),
        ("price < 7", "ad"),
        ("price <= 7", "ade"),
        ("price > 7", "c"),
        ("price >= 7.0", "ce"),
        ("price > -1e3", "acde"),
        ("price < .5", "d"),
        ("NOT price < 7", "ce"),
        ("not not price < 7", "ad"),
        ("price BETWEEN 1 AND 7 AND new = false", "e"),
        ("price not between 1 and 7", "cd"),
        ("stock IN (1, 3, 4.5)", "ac"),
        ("stock NOT IN (1, 3)", "be"),
        ("stock = 9007199254740993", "e"),
        ("stock = 9007199254740992", ""),
        ("stock = 2.0", "b"),
        ("stock = 2.5", ""),
        ("price < 9007199254740993", "acde"),
        ("price IN (9007199254740993, 20)", "c"),
        ("price BETWEEN -9007199254740993 AND 9007199254740993", "acde"),
        ("stock > 2.5", "ce"),
        ("stock between 1.5 and 3", "bc"),
        ("colour LIKE 'r%'", "ae"),
        ("colour LIKE '_lue'", "b"),
        ("colour NOT LIKE 'r%'", "bd"),
        ("colour LIKE '%'", "abde"),
        ("colour IS NULL", "c"),
        ("colour IS NOT NULL AND new = TRUE", "ad"),
        ("new = true OR new = false", "abde"),
        ("price < 2 OR price > 10 AND new = true", "ad"),
        ("(price < 2 OR price > 10) AND new = true", "ad"),
        ("(price < 2 OR new = false) AND price > 1", "ae"),
        ("new = true OR price > 10", "acd"),
        ("\"odd name\" = 'v'", "a"),
        ("\"AND\" = 'z'", "e"),
        ("item_id IN ('a', 'e')", "ae"),
        ("item_id > 'c'", "de"),
        ("((((item_id = 'a'))))", "a"),
        ("\n colour\t=\n'red' ", "ae"),
        (" OR ".join(["stock = 1"] * 700), "a"),
    ],
)
def test_condition_keeps_what_sql_would_keep(text: str, expected: str) -> None:
    assert _met(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found the end: a column is expected"),
        ("colour", "found the end: =, !="),
        ("colour = 1", "found '1' at character 10: colour is text"),
        ("color = 'red'", "no column 'color', did you mean colour?; known are AND, colour, item_id"),
        ("price = 'a'", "price is a number"),
        ("new = 1", "new is true or false: TRUE or FALSE is expected"),
        ("price < ", "found the end: a value is expected"),
        ("price < stock", "found 'stock' at character 9: a value is expected"),
        ("(price < 1", "found the end: ) is expected"),
        ("price < 1)", "found ')' at character 10"),
        ("price < 1 stock > 2", "found 'stock' at character 11: AND, OR or the end is expected"),
        ("colour = 'red", "a quotation mark is missing at character 10"),
        ("colour = 'a' ; drop", "nothing that a condition is made of at character 14"),
        ("row = 1", "no column 'row'"),
        ("digest = 'd'", "no column 'digest'"),
        ("price LIKE 'a'", "price is no text"),
        ("stock IN ()", "found ')' at character 11"),
        ("stock IS 1", "NULL is expected"),
        ("(" * 100 + "new = true", "more than 50 conditions"),
        ("__import__('os')", "no column '__import__'"),
        ("price < 1e999", "the number is too large"),
        ("stock = 99999999999999999999", "the number is too large"),
        ("price = 0x10", "at character 9"),
        ("new = true AND", "found the end"),
        ("a" * 20_000, "20,000 characters"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_where(text, TABLE.schema)
    assert message in str(caught.value)


def test_condition_names_its_columns() -> None:
    assert parse_where("price < 1 or (new = true and price > 2)", TABLE.schema).columns == ("new", "price")
