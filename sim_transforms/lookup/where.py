"""`--where`: conditions on an item's metadata in the words of SQL, as expressions of pyarrow; nothing is run as code.

colour = 'red' AND (price < 20 OR brand IN ('a', 'b')) AND NOT label LIKE 'test%' AND note IS NOT NULL

    condition   = any { "OR" any }
    any         = one { "AND" one }
    one         = "NOT" one | "(" condition ")" | column test
    test        = ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | ["NOT"] ("IN" "(" value {"," value} ")" | "LIKE" text | "BETWEEN" value "AND" value)
                | "IS" ["NOT"] "NULL"
    column      = name | '"' any characters, "" for a quotation mark '"'
    value       = 'text, '' for an apostrophe' | number | TRUE | FALSE

As in SQL a comparison with a missing value is neither true nor false, and its item is left out. In LIKE `%` stands for
any characters, `_` for one.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from sim_transforms.errors import UsageError

# Deeper ones would end the parser's own stack, and longer ones are no condition that a person wrote.
_MOST_DEPTH, _MOST_CHARACTERS = 50, 10_000
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<name>[^\W\d]\w*)
    | (?P<sign><=|>=|!=|<>|[=<>(),])
    )""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "in", "like", "between", "is", "null", "true", "false"}
_COMPARISONS = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Where:
    """A condition.

    Attributes:
        text: as it was given.
        expression: of pyarrow, over the columns of `items.parquet`.
        columns: that it names.
    """

    text: str
    expression: pc.Expression
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int

    @property
    def word(self) -> str:
        """The keyword that it is, or ""."""
        lower = self.text.lower()
        return lower if self.kind == "name" and lower in _WORDS else ""


def parse_where(text: str, schema: pa.Schema) -> Where:
    """Reads a condition.

    Args:
        text: of at most 10,000 characters.
        schema: of the columns that it may name; `row` and `digest` are none of them.

    Raises:
        UsageError: it is none, or names a column that is not there, or compares one with a value of another kind. Says
            where, and what is allowed there.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"where: {len(text):,} characters; at most {_MOST_CHARACTERS:,} are read")
    parser = _Parser(text, schema)
    expression = parser.condition()
    parser.expect_end()
    return Where(text, expression, tuple(sorted(parser.named)))


class _Parser:
    """Descends the grammar at the head of this page.

    Attributes:
        named: columns so far.
    """

    def __init__(self, text: str, schema: pa.Schema) -> None:
        self._text = text
        self._kinds = {field.name: field.type for field in schema if field.name not in ("row", "digest")}
        self._tokens, self._next, self._depth = self._read(text), 0, 0
        self.named: set[str] = set()

    def condition(self) -> pc.Expression:
        """`any { "OR" any }`."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            self._fail(f"more than {_MOST_DEPTH} conditions stand in each other")
        found = self._all_of()
        while self._take_word("or"):
            found = found | self._all_of()
        self._depth -= 1
        return found

    def expect_end(self) -> None:
        """Nothing may follow."""
        if self._token.kind != "end":
            self._fail("AND, OR or the end is expected")

    def _all_of(self) -> pc.Expression:
        found = self._one()
        while self._take_word("and"):
            found = found & self._one()
        return found

    def _one(self) -> pc.Expression:
        negated = False
        while self._take_word("not"):
            negated = not negated
        if self._take_sign("("):
            found = self.condition()
            self._expect_sign(")")
        else:
            found = self._test()
        return ~found if negated else found

    def _test(self) -> pc.Expression:
        name, kind = self._column()
        field = pc.field(name)
        sign = self._token
        if sign.kind == "sign" and sign.text in _COMPARISONS:
            self._next += 1
            return _COMPARISONS[sign.text](*_comparable(field, kind, self._value(name, kind)))
        if self._take_word("is"):
            is_valid = self._take_word("not")
            self._expect_word("null")
            return field.is_valid() if is_valid else field.is_null()
        negated = self._take_word("not")
        found = self._listed(name, kind)
        return ~found if negated else found

    def _listed(self, name: str, kind: pa.DataType) -> pc.Expression:
        field = pc.field(name)
        if self._take_word("in"):
            self._expect_sign("(")
            values = [self._value(name, kind)]
            while self._take_sign(","):
                values.append(self._value(name, kind))
            self._expect_sign(")")
            # No whole number is 1.5. `isin` says false of a missing value, where SQL says nothing.
            possible = pa.array([v for v in values if not pa.types.is_integer(kind) or v == int(v)], kind)
            return pc.if_else(field.is_valid(), field.isin(possible), None)
        if self._take_word("like"):
            if not pa.types.is_string(kind):
                self._fail(f"{name} is no text, which LIKE is for")
            return pc.match_like(field, self._value(name, kind))
        if self._take_word("between"):
            low = pc.greater_equal(*_comparable(field, kind, self._value(name, kind)))
            self._expect_word("and")
            return low & pc.less_equal(*_comparable(field, kind, self._value(name, kind)))
        return self._fail("=, !=, <, <=, >, >=, IN, LIKE, BETWEEN or IS NULL is expected")

    def _column(self) -> tuple[str, pa.DataType]:
        token = self._token
        if token.kind not in ("name", "quoted") or token.word:
            self._fail("a column is expected")
        name = token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text
        if name not in self._kinds:
            near = difflib.get_close_matches(name, self._kinds, n=1, cutoff=0.5)
            meant = f", did you mean {near[0]}?" if near else ""
            self._fail(f"there is no column {name!r}{meant}; known are {', '.join(sorted(self._kinds))}")
        self._next += 1
        self.named.add(name)
        return name, self._kinds[name]

    def _value(self, name: str, kind: pa.DataType) -> Any:
        """A value of a column's kind."""
        token = self._token
        found: Any = None
        fits = False
        if token.kind == "text":
            found, fits = token.text[1:-1].replace("''", "'"), pa.types.is_string(kind)
        elif token.kind == "number":
            found, fits = _number(token.text), pa.types.is_integer(kind) or pa.types.is_floating(kind)
        elif token.word in ("true", "false"):
            found, fits = token.word == "true", pa.types.is_boolean(kind)
        else:
            self._fail(f"a value is expected: {_example(kind)}")
        if not fits:
            self._fail(f"{name} is {_named(kind)}: {_example(kind)} is expected")
        if token.kind == "number" and not abs(found) <= _LARGEST:
            self._fail("the number is too large")
        self._next += 1
        # Arrow refuses whole numbers that a float would round.
        return float(found) if pa.types.is_floating(kind) else found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take_word(self, word: str) -> bool:
        taken = self._token.word == word
        self._next += taken
        return taken

    def _expect_word(self, word: str) -> None:
        if not self._take_word(word):
            self._fail(f"{word.upper()} is expected")

    def _take_sign(self, sign: str) -> bool:
        taken = (self._token.kind, self._token.text) == ("sign", sign)
        self._next += taken
        return taken

    def _expect_sign(self, sign: str) -> None:
        if not self._take_sign(sign):
            self._fail(f"{sign} is expected")

    def _read(self, text: str) -> list[_Token]:
        tokens, place = [], 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                start = place + len(text[place:]) - len(text[place:].lstrip())
                what = "a quotation mark is missing" if text[start] in "'\"" else "nothing that a condition is made of"
                raise UsageError(f"where: {what} at character {start + 1}: {text[start : start + 20]!r}")
            assert match.lastgroup is not None
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            place = match.end()
        return [*tokens, _Token("end", "", len(text))]

    def _fail(self, message: str) -> NoReturn:
        token = self._token
        found = "the end" if token.kind == "end" else f"{token.text[:40]!r} at character {token.place + 1}"
        raise UsageError(f"where: found {found}: {message}")


def _comparable(field: pc.Expression, kind: pa.DataType, value: Any) -> tuple[pc.Expression, pa.Scalar]:
    """Both of one kind; whole numbers are compared as such where the value is one, so that none is rounded."""
    if pa.types.is_integer(kind):
        if value == int(value):
            return field, pa.scalar(int(value), pa.int64())
        return field.cast(pa.float64(), safe=False), pa.scalar(value, pa.float64())
    return field, pa.scalar(value, pa.float64() if pa.types.is_floating(kind) else kind)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _named(kind: pa.DataType) -> str:
    return "text" if pa.types.is_string(kind) else "true or false" if pa.types.is_boolean(kind) else "a number"


def _example(kind: pa.DataType) -> str:
    return "'text'" if pa.types.is_string(kind) else "TRUE or FALSE" if pa.types.is_boolean(kind) else "a number as 7.5"
