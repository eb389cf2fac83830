"""Files with types: what a file may say is a `msgspec` struct, and what it says is read into that struct.

A type says everything once: the keys and their types for reading, the description of each key and the JSON Schema for
editors. `msgspec` checks; this module turns its errors into ours, with the place in the file and the fix, and names the
key that was probably meant. Of several errors the first is raised. msgspec was chosen over pydantic because the
product's values are its structs already, and because pydantic takes longer to load than all modules of an event.

    class ExemptionEntry(FileMapping):
        what: ClassVar[str] = "an exemption"
        scope: Annotated[Scope, Meta(description="Where.")]
        expires_on: Annotated[str | None, Meta(description="Until when.")] = None

A type of ours that is no struct, such as a scope, has the class method `from_file(value)`, which raises
`ConfigurationError` with a place inside of the value, and a class attribute `file_schema`, its JSON Schema.
`Meta(extra={"is": "a GUID", "fix": "copy it from the portal"})` says in words what a value must be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import EnumType
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, ValidationError

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.lazy_pattern import Pattern


class FileMapping(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A mapping of a file, with these keys and no others; a key is written `likeThis`."""

    what: ClassVar[str] = "the file"
    """What the mapping is, for errors: "unknown key 'x' in an exemption"."""


def read_as[T](raw: object, kind: type[T], place: str) -> T:
    """The value that a file's data stands for. `place` is the file, or the file and a path in it, as in
    `agent.yaml: exemptions`. Raises ConfigurationError for the first thing that is wrong."""
    data = _without_dates(raw)
    try:
        return msgspec.convert(data, kind, dec_hook=_from_file)
    except ValidationError as error:
        raise _Finding(error, data, kind).error(place) from error


def json_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a file's type, for editors."""
    return msgspec.json.schema(kind, schema_hook=_schema)


def _from_file(kind: type, value: object) -> Any:
    read: Any = getattr(kind, "from_file", None)
    if read is None:
        raise NotImplementedError(f"{kind.__name__} has no from_file")
    try:
        return read(value)
    except ConfigurationError as error:
        raise ValueError from error  # msgspec adds the path to no other error


def _schema(kind: type) -> dict[str, Any]:
    schema: dict[str, Any] = kind.file_schema  # type: ignore[attr-defined]
    return schema


def _without_dates(value: object) -> Any:
    """The data with dates as texts: to YAML, 2027-01-01 without quotes is a date. Keys are texts of the file too."""
    if isinstance(value, str):  # nearly every value is, and the other checks take longer
        return value
    if isinstance(value, Mapping):
        return {_without_dates(key): _without_dates(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_dates(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


_STEP = Pattern(r"\.([^.\[\]]+)|\[(\d+)\]|\[(\.\.\.)\]")
_UNKNOWN = Pattern(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_MISSING = Pattern(r"Object missing required field `(.*)`\Z")


class _Finding:
    """One error of msgspec: where it is in the data, and which type was expected there."""

    def __init__(self, error: ValidationError, data: Any, kind: type) -> None:
        self._text, at, path = str(error).rpartition(" - at `")
        if not at:
            self._text, path = str(error), "$"
        self._cause = error.__cause__.__cause__ if error.__cause__ else None
        path = path.removesuffix("`")
        self._is_key = path.startswith("key` in ")
        self._data, self._kind, self._message = data, kind, str(error)
        steps: list[str | int] = []
        value = data
        for found in _STEP.finditer(path):
            step: Any = int(found[2]) if found[2] else found[1] or self._key(steps, value)
            steps.append(step)
            value = value[step]
        if self._is_key:
            value = self._key(steps, value)
            steps.append(str(value))
        self._steps, self._value = steps, value

    def error(self, place: str) -> ConfigurationError:
        where = _joined(place, self._steps)
        if isinstance(self._cause, ConfigurationError):
            return ConfigurationError(
                _joined(where, [self._cause.place] if self._cause.place else []), self._cause.problem, self._cause.fix
            )
        expected, extra = _type_at(self._kind, self._steps[:-1] if self._is_key else self._steps)
        what = getattr(expected, "what", "the mapping")
        if found := _UNKNOWN.match(self._text):
            return unknown_key(_joined(where, [found[1]]), found[1], what, _keys(expected))
        if found := _MISSING.match(self._text):
            fix = _type_at(expected, [found[1]])[1].get("fix") if isinstance(expected, type) else None
            problem = f"missing key {found[1]!r} in {what}"
            return ConfigurationError(_joined(where, [found[1]]), problem, fix or f"add `{found[1]}:` and a value")
        if self._is_key:
            names = _names(expected.key_type) if isinstance(expected, msgspec.inspect.DictType) else ()
            fix = known_names("keys", names, self._value) if names else "put it in quotes"
            return ConfigurationError(where, f"unknown key {as_written(self._value)}", fix)
        if "is" in extra:
            return ConfigurationError(where, f"{as_written(self._value)} is not {extra['is']}", extra["fix"])
        return self._by_type(where, expected)

    def _by_type(self, where: str, expected: Any) -> ConfigurationError:
        shown = as_written(self._value)
        if names := _names(expected):
            return ConfigurationError(where, f"unknown value {shown}", known_names("values", names, self._value))
        for opening, kind, fix in _EXPECTED:
            if self._text.startswith(f"Expected `{opening}"):
                return ConfigurationError(where, f"{shown} is not {kind}", fix)
        wanted = self._text.removeprefix("Expected ").partition(", got")[0].replace("`", "")
        return ConfigurationError(where, f"{shown} is not allowed here", f"write {wanted}")

    def _key(self, steps: Sequence[str | int], mapping: Mapping[str, Any]) -> Any:
        """The key of a mapping that the error is about: msgspec does not say it, so each is tried alone."""
        for key in mapping:
            try:
                msgspec.convert(_with(self._data, steps, {key: mapping[key]}), self._kind, dec_hook=_from_file)
            except ValidationError as error:
                if str(error) == self._message:
                    return key
        return next(iter(mapping))


# By the beginning of what msgspec expects: what the value is not, and what to do.
_EXPECTED = (
    ("str", "a text", "write a text; put a number or a date in quotes"),
    ("bool", "true or false", "write true or false, without quotes"),
    ("int", "a whole number", "write a number without quotes"),
    ("float", "a number", "write a number without quotes"),
    ("array", "a list", "write `- item` lines"),
    ("object", "a mapping", "write `key: value` lines"),
)


def _with(data: Any, steps: Sequence[str | int], value: Any) -> Any:
    """A copy of the data with another value at a place."""
    if not steps:
        return value
    copy: Any = dict(data) if isinstance(data, Mapping) else list(data)
    copy[steps[0]] = _with(data[steps[0]], steps[1:], value)
    return copy


def _joined(place: str, steps: Sequence[str | int]) -> str:
    for step in steps:
        if isinstance(step, int) or (isinstance(step, str) and step.startswith("[")):
            place = f"{place}[{step}]" if isinstance(step, int) else f"{place}{step}"
        elif not place or ": " in place:
            place = f"{place}.{step}" if place else str(step)
        else:
            place = f"{place}: {step}"
    return place


def _type_at(kind: Any, steps: Sequence[str | int]) -> tuple[Any, Mapping[str, Any]]:
    """The type at a path of a type, a struct class or one of `msgspec.inspect`, and what its `Meta(extra=…)` says."""
    import msgspec.inspect as inspect  # only an error needs it

    info: Any = inspect.type_info(kind)
    info, extra = _bare(info, steps[0] if steps else None)
    for index, step in enumerate(steps):
        following = steps[index + 1] if index + 1 < len(steps) else None
        if isinstance(info, inspect.StructType):
            info = next((field.type for field in info.fields if field.encode_name == step), info)
        elif isinstance(info, inspect.DictType):
            info = info.value_type
        elif isinstance(info, (inspect.ListType, inspect.VarTupleType)):
            info = info.item_type
        info, extra = _bare(info, following)
    return (info.cls if isinstance(info, inspect.StructType) else info), extra


def _bare(info: Any, step: str | int | None) -> tuple[Any, Mapping[str, Any]]:
    """A type without its metadata; of a union, the member that has the next step of the path."""
    import msgspec.inspect as inspect

    extra: Mapping[str, Any] = {}
    while isinstance(info, (inspect.Metadata, inspect.UnionType)):
        if isinstance(info, inspect.Metadata):
            extra = info.extra or extra
            info = info.type
        else:
            holders = (
                (inspect.ListType, inspect.VarTupleType)
                if isinstance(step, int)
                else (
                    inspect.StructType,
                    inspect.DictType,
                )
            )
            members = [each for each in info.types if not isinstance(each, inspect.NoneType)]
            fitting = (
                [each for each in members if isinstance(_bare(each, step)[0], holders)] if step is not None else []
            )
            info = (fitting or members)[0]
    return info, extra


def _keys(kind: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)] if isinstance(kind, type) else []


def _names(info: Any) -> list[str]:
    """The values of an enum or of literals; empty for another type."""
    kind = getattr(info, "cls", None)
    if isinstance(kind, EnumType):
        members: Mapping[str, Any] = kind.__members__
        return [str(member) for member in members.values()]
    return [str(each) for each in getattr(info, "values", ())]
