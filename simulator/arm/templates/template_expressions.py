"""The template expressions that extension templates use: `parameters()`, `concat()`, `resourceGroup()` with its
properties, `resourceId()`. Anything else is refused by name, as Azure refuses a function that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.arm.http.errors import ArmError

_TOKEN = re.compile(r"\s*(?:'(?P<text>(?:[^']|'')*)'|(?P<number>-?\d+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[(),.]))")


def invalid_template(problem: str) -> ArmError:
    return ArmError(400, "InvalidTemplate", f"Deployment template validation failed: '{problem}'.", gateway=True)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The values that expressions can read. They include secure parameters, so they are never printed."""

    parameters: Mapping[str, Any]
    subscription: str
    group: str
    location: str

    def __repr__(self) -> str:
        return f"Surroundings({self.group})"

    def evaluate(self, value: Any) -> Any:
        """The value with every expression in it evaluated."""
        if isinstance(value, Mapping):
            return {key: self.evaluate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.evaluate(item) for item in value]
        if not isinstance(value, str) or not value.startswith("["):
            return value
        if value.startswith("[["):
            return value[1:]
        if not value.endswith("]"):
            raise invalid_template(f"the expression '{value}' is not closed")
        return _Reader(value[1:-1], self).whole()

    def call(self, name: str, arguments: list[Any]) -> Any:
        functions: dict[str, Callable[..., Any]] = {
            "parameters": self._parameter,
            "concat": lambda *parts: "".join(map(str, parts)),
            "resourcegroup": self._group,
            "resourceid": self._resource_id,
        }
        function = functions.get(name.lower())
        if function is None:
            raise invalid_template(f"The template function '{name}' is not valid.")
        return function(*arguments)

    def _parameter(self, name: str) -> Any:
        found = {key.lower(): value for key, value in self.parameters.items()}
        if name.lower() not in found:
            raise invalid_template(f"The template parameter '{name}' is not found.")
        return found[name.lower()]

    def _group(self) -> dict[str, str]:
        return {"id": self._scope, "name": self.group, "location": self.location}

    def _resource_id(self, type_: str, *names: str) -> str:
        namespace, *types = type_.split("/")
        if len(types) != len(names):
            raise invalid_template(f"resourceId('{type_}') takes {len(types)} names")
        path = "/".join(f"{part}/{name}" for part, name in zip(types, names, strict=True))
        return f"{self._scope}/providers/{namespace}/{path}"

    @property
    def _scope(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"


class _Reader:
    """Evaluates one expression from left to right."""

    def __init__(self, text: str, surroundings: Surroundings) -> None:
        self._text = text
        self._at = 0
        self._surroundings = surroundings

    def whole(self) -> Any:
        value = self._value()
        if self._text[self._at :].strip():
            raise self._unreadable()
        return value

    def _value(self) -> Any:
        token = self._next()
        if token["text"] is not None:
            return token["text"].replace("''", "'")
        if token["number"] is not None:
            return int(token["number"])
        if token["name"] is None:
            raise self._unreadable()
        value = self._surroundings.call(token["name"], self._arguments())
        while self._take("."):
            name = self._next()["name"]
            if not isinstance(value, Mapping) or name not in value:
                raise invalid_template(f"The language expression property '{name}' doesn't exist.")
            value = value[name]
        return value

    def _arguments(self) -> list[Any]:
        if not self._take("("):
            raise self._unreadable()
        arguments: list[Any] = []
        while not self._take(")"):
            if arguments and not self._take(","):
                raise self._unreadable()
            arguments.append(self._value())
        return arguments

    def _take(self, sign: str) -> bool:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match["sign"] != sign:
            return False
        self._at = match.end()
        return True

    def _next(self) -> re.Match[str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._unreadable()
        self._at = match.end()
        return match

    def _unreadable(self) -> ArmError:
        return invalid_template(f"Unable to parse language expression '{self._text}' at position {self._at}")
