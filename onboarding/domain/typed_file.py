"""Files with types: what a file may say is a `msgspec` struct, and what it says is read into that struct.

A type says everything once: the keys and their types for reading, the description of each key, and with them the JSON
Schema for editors. `msgspec` checks; `typed_file_errors` turns its errors into ours, with the place in the file and the
fix. Of several errors the first is raised.

    class Exemption(FileMapping, frozen=True):
        what: ClassVar[str] = "an exemption"
        scope: Annotated[Scope, Meta(description="Where.", extra={"is": "a scope"})]
        category: Annotated[Category, Meta(extra={"one": "category", "many": "categories"})] = Category.WAIVER

A type of ours that is no struct, such as a scope, has the class method `from_file(value)`, which raises
`ConfigurationError` with a place inside of the value, and a class attribute `file_schema`, its JSON Schema. What no
type can say is checked in a struct's `__post_init__`, which raises `Refused`. Of a value, `Meta(extra=…)` may say in
words what it `is` and the `fix`; of a value with a fixed set of names, what `one` and `many` of them are called.
Never write `Meta(pattern=…)` in a union with a list: msgspec 0.22 then writes outside of its memory. A module with many
such types does without `from __future__ import annotations`: each new process would compile every annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Self

import msgspec
from msgspec import Struct, ValidationError

from onboarding.domain.errors import ConfigurationError, as_written


class FileMapping(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping of a file, with these keys and no others; a key is written `likeThis`."""

    what: ClassVar[str] = "the file"
    """What the mapping is, for errors: "unknown key 'x' in an exemption"."""

    @classmethod
    def called(cls, mapping: Mapping[str, Any]) -> str:
        """What errors call this mapping of the file; it may have anything in it."""
        return cls.what


class Refused(ValueError):
    """Why a type refuses a value that has the right form. Its place is inside of the value; empty: the value itself."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__()
        self.error = ConfigurationError(place, problem, fix)


class Text(str):
    """A text, also where YAML reads something else: `reason: 4711`, `date: 2024-07-01`, `answer: no`."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}

    @classmethod
    def from_file(cls, value: object) -> Self:
        if not isinstance(value, (str, int, float)):
            raise ConfigurationError("", f"{as_written(value)} is not a text", "write a text")
        return cls(value)


class OneOrMany[T](tuple[T, ...]):
    """One value or a list of them; `item` is a type of ours. msgspec knows no union with such a type."""

    __slots__ = ()
    _item: ClassVar[Any]
    file_schema: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, item: Any) -> None:
        cls._item = item
        cls.file_schema = {"anyOf": [item.file_schema, {"type": "array", "items": item.file_schema}]}

    @classmethod
    def from_file(cls, value: object) -> Self:
        many: Any = tuple[cls._item, ...]  # type: ignore[name-defined]
        return cls(read_as(value, many, "") if isinstance(value, list) else (read_as(value, cls._item, ""),))


def read_as[T](raw: object, kind: type[T], place: str) -> T:
    """The value that a file's data stands for. `place` is the file, or the file and a path in it, as in
    `agent.yaml: exemptions`. Raises ConfigurationError for the first thing that is wrong."""
    data = as_json(raw)
    try:
        return msgspec.convert(data, kind, dec_hook=from_file)
    except ValidationError as error:
        from onboarding.domain.typed_file_errors import described  # most processes never see a wrong file

        raise described(error, data, kind, place) from error


def read_part[T](raw: object, kind: type[T], path: str) -> T:
    """As `read_as`, for a part of a file; `path` is where it is in the file, which the caller knows."""
    try:
        return read_as(raw, kind, "")
    except ConfigurationError as error:
        between = "." if error.place and not error.place.startswith("[") else ""
        raise ConfigurationError(f"{path}{between}{error.place}", error.problem, error.fix) from error


def json_schema(kind: type[FileMapping]) -> dict[str, Any]:
    """The JSON Schema of a file's type, for editors. It does not know the names of keys that are an enum."""
    schema = as_json(msgspec.json.schema(kind, schema_hook=_schema))
    parts = schema["$defs"]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **parts.pop(kind.__name__), "$defs": parts}


def keys_of(kind: type[FileMapping]) -> tuple[str, ...]:
    """The keys of a mapping, as files write them."""
    return kind.__struct_encode_fields__


def as_json(value: object) -> Any:
    """The data with dates as texts: to YAML, 2027-01-01 without quotes is a date. Keys are values of the file too."""
    if isinstance(value, str):  # nearly every value is, and the other checks take longer
        return value
    if isinstance(value, Mapping):
        return {as_json(key): as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [as_json(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def from_file(kind: type, value: object) -> Any:
    """The hook by which msgspec reads a type of ours that is no struct."""
    read: Any = getattr(kind, "from_file", None)
    if read is None:
        raise NotImplementedError(f"{kind.__name__} has no from_file")
    try:
        return read(value)
    except ConfigurationError as error:
        raise Refused(error.place, error.problem, error.fix) from error


def _schema(kind: type) -> dict[str, Any]:
    schema: Mapping[str, Any] = getattr(kind, "file_schema")  # noqa: B009 # mypy knows no such attribute of a type
    return dict(schema)
