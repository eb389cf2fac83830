"""The part of Kusto's language that the product's queries use, evaluated over rows; anything else is refused.

A query is parsed into a chain of steps, each from rows to rows. Every name has to be one of the columns at its place,
so a misspelt name is an error and not a null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

type Row = dict[str, Any]
type Rows = list[Row]
type Value = Callable[[Row], Any]
type Step = Callable[[Rows], Rows]
type Tables = Mapping[str, tuple[tuple[str, ...], Callable[[], Rows]]]  # columns, and the function that makes the rows

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*(?:-[a-z]\w*)?)|(?P<sign>=~|==|[|(),=.]))"
)


class Refused(Exception):
    """The query cannot be parsed; `token` is the first token that does not fit."""

    def __init__(self, message: str, token: str, position: int) -> None:
        super().__init__(message)
        self.token = token
        self.position = position


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def evaluate(query: str, tables: Tables) -> Rows:
    """The rows of a query. Raises Refused."""
    parser = _Parser(_tokens(query), tables)
    _, run = parser.pipeline()
    parser.expect("end")
    return run()


def _tokens(query: str) -> list[_Token]:
    tokens, at, end = [], 0, len(query.rstrip())
    while at < end:
        match = _TOKEN.match(query, at)
        if match is None:
            raise Refused("unknown token", query[at : at + 10].strip(), at)
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return [*tokens, _Token("end", "<EOF>", end)]


class _Parser:
    """Parses from left to right; `_columns` are the columns that the current step can name."""

    def __init__(self, tokens: list[_Token], tables: Tables) -> None:
        self._tokens = tokens
        self._tables = tables
        self._at = 0
        self._columns: tuple[str, ...] = ()

    def pipeline(self) -> tuple[tuple[str, ...], Callable[[], Rows]]:
        table = self._name()
        if table.lower() not in self._tables:
            raise self._refused(f"'{table}' is no table")
        self._columns, source = self._tables[table.lower()]
        steps: list[Step] = []
        while self._take("|"):
            steps.append(self._step())

        def run() -> Rows:
            rows = source()
            for step in steps:
                rows = step(rows)
            return rows

        return self._columns, run

    def expect(self, text: str) -> None:
        if not self._take(text) and self._tokens[self._at].kind != text:
            raise self._refused(f"'{text}' expected")

    def _step(self) -> Step:
        steps: dict[str, Callable[[], Step]] = {
            "where": self._where,
            "extend": self._extend,
            "mv-expand": self._expand,
            "join": self._join,
            "summarize": self._summarize,
            "project": self._project,
            "order": self._order,
        }
        name = self._name()
        if name not in steps:
            raise self._refused(f"operator '{name}' is not simulated", back=1)
        return steps[name]()

    def _where(self) -> Step:
        conditions = [self._condition()]
        while self._take("and"):
            conditions.append(self._condition())
        return lambda rows: [row for row in rows if all(condition(row) for condition in conditions)]

    def _condition(self) -> Value:
        left = self._value()
        if self._take("in"):
            among = self._list(self._value)
            return lambda row: left(row) in [each(row) for each in among]
        if self._take("=~"):
            right = self._value()
            return lambda row: str(left(row)).lower() == str(right(row)).lower()
        if self._take("contains"):
            right = self._value()
            return lambda row: _text(right(row)).lower() in _text(left(row)).lower()
        self.expect("==")
        right = self._value()
        return lambda row: left(row) == right(row)

    def _extend(self) -> Step:
        name, value = self._named()
        return lambda rows: [{**row, name: value(row)} for row in rows]

    def _expand(self) -> Step:
        name, value = self._named()
        return lambda rows: [{**row, name: each} for row in rows for each in value(row) or ()]

    def _named(self) -> tuple[str, Value]:
        name = self._name()
        self.expect("=")
        value = self._value()
        self._columns = tuple(dict.fromkeys((*self._columns, name)))
        return name, value

    def _join(self) -> Step:
        for word in ("kind", "=", "leftouter", "("):
            self.expect(word)
        left = self._columns
        right, run = self.pipeline()
        for word in (")", "on"):
            self.expect(word)
        self._columns = left
        key = self._column()
        if key not in right:
            raise self._refused(f"'{key}' is no column of the right side", back=1)
        renamed = {column: f"{column}1" if column in left else column for column in right}
        self._columns = (*left, *renamed.values())

        def join(rows: Rows) -> Rows:
            found: dict[Any, Rows] = {}
            for row in run():
                found.setdefault(row[key], []).append({renamed[column]: value for column, value in row.items()})
            nothing = [dict.fromkeys(renamed.values())]
            return [{**row, **match} for row in rows for match in found.get(row[key], nothing)]

        return join

    def _summarize(self) -> Step:
        name = self._name()
        for word in ("=", "make_list", "("):
            self.expect(word)
        value = self._value()
        for word in (")", "by"):
            self.expect(word)
        key = self._column()
        self._columns = (key, name)

        def summarize(rows: Rows) -> Rows:
            lists: dict[Any, list[Any]] = {}
            for row in rows:
                lists.setdefault(row[key], []).append(value(row))
            return [
                {key: group, name: [each for each in values if each is not None]} for group, values in lists.items()
            ]

        return summarize

    def _project(self) -> Step:
        columns = [self._column()]
        while self._take(","):
            columns.append(self._column())
        self._columns = tuple(columns)
        return lambda rows: [{column: row[column] for column in columns} for row in rows]

    def _order(self) -> Step:
        self.expect("by")
        keys = [self._sort_key()]
        while self._take(","):
            keys.append(self._sort_key())
        return lambda rows: sorted(rows, key=lambda row: [str(row[key] or "") for key in keys])

    def _sort_key(self) -> str:
        key = self._column()
        self.expect("asc")
        return key

    def _value(self) -> Value:
        token = self._tokens[self._at]
        if token.kind in ("text", "number"):
            self._at += 1
            literal = _unquoted(token.text) if token.kind == "text" else int(token.text)
            return lambda row: literal
        if token.kind == "name" and self._tokens[self._at + 1].text == "(":
            return self._call()
        return self._path()

    def _call(self) -> Value:
        name = self._name()
        if name not in _FUNCTIONS:
            raise self._refused(f"function '{name}' is not simulated", back=1)
        arguments = self._list(self._value)
        function = _FUNCTIONS[name]
        return lambda row: function(*(argument(row) for argument in arguments))

    def _path(self) -> Value:
        column, members = self._column(), []
        while self._take("."):
            members.append(self._name())

        def read(row: Row) -> Any:
            value = row[column]
            for member in members:
                value = value.get(member) if isinstance(value, Mapping) else None
            return value

        return read

    def _column(self) -> str:
        name = self._name()
        if name not in self._columns:
            raise self._refused(f"Failed to resolve scalar expression named '{name}'", back=1)
        return name

    def _list[T](self, item: Callable[[], T]) -> list[T]:
        self.expect("(")
        items = [item()]
        while self._take(","):
            items.append(item())
        self.expect(")")
        return items

    def _name(self) -> str:
        if self._tokens[self._at].kind != "name":
            raise self._refused("a name expected")
        self._at += 1
        return self._tokens[self._at - 1].text

    def _take(self, text: str) -> bool:
        token = self._tokens[self._at]
        taken = token.text == text and token.kind in ("name", "sign")
        self._at += taken
        return taken

    def _refused(self, message: str, *, back: int = 0) -> Refused:
        token = self._tokens[self._at - back]
        return Refused(message, token.text, token.position)


def _unquoted(literal: str) -> str:
    def character(match: re.Match[str]) -> str:
        return chr(int(match[1], 16)) if match[1] else match[2]

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", character, literal[1:-1])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _substring(text: Any, start: int, length: int) -> str:
    return _text(text)[start : start + length] if length >= 0 else _text(text)[start:]


def _bag(*parts: Any) -> dict[str, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "tolower": lambda value: _text(value).lower(),
    "tostring": _text,
    "substring": _substring,
    "indexof": lambda text, part: _text(text).find(part),
    "bag_pack": _bag,
}
