"""Parses the template language between `[` and `]` to a syntax tree. It knows no function by name.

`[[x]` is the escaped string `[x]`; a string in brackets is an expression; any other string is itself.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

MAX_LENGTH: Final = 81920
MAX_DEPTH: Final = 64
_MAX_DIGITS: Final = 300


class SyntaxFault(ValueError):
    """The text is not a valid expression; the problem names the position."""

    def __init__(self, problem: str, fix: str = "compare it with Azure's template language") -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


class Literal(Struct, frozen=True):
    value: str | int | float


class Call(Struct, frozen=True):
    name: str
    arguments: tuple[Expression, ...]


class Access(Struct, frozen=True):
    """`base.name` or `base[index]`; `safe` is the form `.?`, where a missing property is null."""

    base: Expression
    key: Expression
    safe: bool = False


type Expression = Literal | Call | Access

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_][\w$]*)|(?P<sign>\.\?|[()\[\],.?]))"
)


def is_expression(text: str) -> bool:
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def unescaped(text: str) -> str:
    return text[1:] if text.startswith("[[") else text


def parse(text: str) -> Expression:
    """The tree of an expression in its brackets. Raises `SyntaxFault`."""
    if len(text) > MAX_LENGTH:
        raise SyntaxFault(f"the expression is longer than {MAX_LENGTH} characters", "split it with parameters")
    parser = _Parser(_tokens(text[1:-1]))
    tree = parser.expression(0)
    parser.expect_end()
    return tree


def _tokens(text: str) -> list[tuple[str, str, int]]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxFault(f"unexpected {text[position : position + 12].strip()!r} at position {position + 1}")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind], match.start(kind) + 1))
        position = match.end()
    return tokens


def _number(text: str, position: int) -> int | float:
    if len(text) > _MAX_DIGITS:
        raise SyntaxFault(f"the number at position {position} has more than {_MAX_DIGITS} digits", "shorten it")
    return float(text) if "." in text else int(text)


class _Parser:
    """Recursive descent over the token list."""

    def __init__(self, tokens: list[tuple[str, str, int]]) -> None:
        self._tokens = tokens
        self._next = 0

    def expression(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise SyntaxFault(f"functions are nested more than {MAX_DEPTH} deep", "write it with fewer levels")
        kind, text, position = self._take("an expression")
        tree: Expression
        if kind == "string":
            tree = Literal(text[1:-1].replace("''", "'"))
        elif kind == "number":
            tree = Literal(_number(text, position))
        elif kind == "name":
            tree = self._call(text, position, depth)
        elif text == "(":
            tree = self.expression(depth + 1)
            self._expect(")")
        else:
            raise SyntaxFault(f"unexpected '{text}' at position {position}")
        return self._accesses(tree, depth)

    def expect_end(self) -> None:
        if self._next < len(self._tokens):
            _, text, position = self._tokens[self._next]
            raise SyntaxFault(f"unexpected '{text}' at position {position}")

    def _call(self, name: str, position: int, depth: int) -> Call:
        if not self._skip("("):
            raise SyntaxFault(f"'{name}' at position {position} is not a value", f"call the function: {name}(…)")
        arguments: list[Expression] = []
        if not self._skip(")"):
            arguments.append(self.expression(depth + 1))
            while self._skip(","):
                arguments.append(self.expression(depth + 1))
            self._expect(")")
        return Call(name, tuple(arguments))

    def _accesses(self, tree: Expression, depth: int) -> Expression:
        for _ in range(MAX_DEPTH):
            if self._skip(".?"):
                tree = Access(tree, Literal(self._name()), safe=True)
            elif self._skip("."):
                tree = Access(tree, Literal(self._name()))
            elif self._skip("["):
                safe = self._skip("?")
                tree = Access(tree, self.expression(depth + 1), safe)
                self._expect("]")
            else:
                return tree
        raise SyntaxFault(
            f"the expression reads more than {MAX_DEPTH} properties in a row", "write it with fewer levels"
        )

    def _name(self) -> str:
        kind, text, position = self._take("a property name")
        if kind != "name":
            raise SyntaxFault(f"'{text}' at position {position} is not a property name")
        return text

    def _take(self, wanted: str) -> tuple[str, str, int]:
        if self._next >= len(self._tokens):
            raise SyntaxFault("the expression ends too early", f"add {wanted}")
        self._next += 1
        return self._tokens[self._next - 1]

    def _skip(self, sign: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next][:2] == ("sign", sign):
            self._next += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        _, text, position = self._take(f"'{sign}'")
        if text != sign:
            raise SyntaxFault(f"unexpected '{text}' at position {position}", f"write '{sign}' there")
