"""Turns the errors of `msgspec` about a file into ours: the place in the file, the problem in words and the fix.

msgspec names the path to a wrong value and the type that it expects there, but not the key of a free mapping, and not
what the types say in words: both are looked up in the data and in the type.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from enum import EnumType
from typing import Any

import msgspec
from msgspec import ValidationError, inspect

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key
from onboarding.domain.typed_file import FileMapping, Refused, from_file

type Step = str | int
"""One step down a file's data: a key, or an index of a list."""


def described(error: ValidationError, data: Any, kind: Any, place: str) -> ConfigurationError:
    """The error as people need it. `place` is that of the data."""
    return _Finding(error, data, kind).error(place)


def joined(place: str, *steps: Step) -> str:
    """The place with a path below it: `agent.yaml` and `exemptions`, 2 are `agent.yaml: exemptions[2]`. The place may
    be empty, where the file is not known."""
    for number, step in enumerate(steps):
        if isinstance(step, int):
            place = f"{place}[{step}]"
        elif place:
            place += f"{'.' if number or ': ' in place else ': '}{step}"
        else:
            place = step
    return place


def _inside(place: str, path: str) -> str:
    return f"{place}{path}" if path.startswith("[") else joined(place, path) if path else place


_AT = re.compile(r"(?P<text>.*) - at `(?P<key>key` in `)?(?P<path>\$[^`]*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[(\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")

# By what msgspec expects: what a value of another type is not, and what to write.
_WORDS: Mapping[str, tuple[str, str]] = {
    "bool": ("true or false", "true or false, without quotes"),
    "int": ("a whole number", "a number without quotes"),
    "float": ("a number", "a number without quotes"),
    "str": ("a text", "a text, in quotes if it is a number or a date"),
    "array": ("a list", "`- item` lines"),
    "object": ("a mapping", "`key: value` lines"),
}


class _Finding:
    """One error of msgspec: where it is in the data, and which type was expected there."""

    def __init__(self, error: ValidationError, data: Any, kind: Any) -> None:
        self._message, self._data, self._kind = str(error), data, kind
        self._refused = error.__cause__.error if isinstance(error.__cause__, Refused) else None
        self._text, self._is_key, self._steps, self._value = self._message, False, list[Step](), data
        if found := _AT.fullmatch(self._message):
            self._find(found)

    def _find(self, found: re.Match[str]) -> None:
        """Follow the path of the error. An unknown key that looks like the end of such an error is at the root."""
        steps, value = list[Step](), self._data
        for step in _STEP.finditer(found["path"]):
            name: Any = int(step[2]) if step[2] else self._bad_key(steps, value) if step[3] else step[1]
            if isinstance(name, str) and not (isinstance(value, Mapping) and name in value):
                return
            steps.append(name)
            value = value[name]
        if (unknown := _UNKNOWN.fullmatch(found["text"])) and not (isinstance(value, Mapping) and unknown[1] in value):
            return
        self._text, self._is_key, self._steps = found["text"], bool(found["key"]), steps
        self._value = self._bad_key(steps, value) if found["key"] else value

    def _bad_key(self, steps: Sequence[Step], mapping: Mapping[Any, Any]) -> Any:
        """The key of a mapping that the error is about. msgspec does not say it, but it is the first that has the
        error: the mapping with the keys up to it has the same error, and with fewer keys it has not."""
        keys = list(mapping)

        def fails(last: int) -> bool:
            first_keys = {key: mapping[key] for key in keys[: last + 1]}
            try:
                msgspec.convert(_with(self._data, steps, first_keys), self._kind, dec_hook=from_file)
            except ValidationError as error:
                return str(error) == self._message
            return False

        key = keys[bisect_left(range(len(keys) - 1), True, key=fails)]
        self._data = _with(self._data, steps, {key: mapping[key]})  # the other keys may have the same error
        return key

    def error(self, place: str) -> ConfigurationError:
        where = joined(place, *self._steps)
        info, extra = _type_at(self._kind, self._steps)
        if self._is_key or _UNKNOWN.fullmatch(self._text) or _MISSING.fullmatch(self._text):
            holders = (each for each in _members(info) if isinstance(each, (inspect.StructType, inspect.DictType)))
            info = next(holders)
        if self._is_key:
            return self._of_key(joined(place, *self._steps, str(self._value)), info)
        field, fix = self._field(), self._refused.fix if self._refused else self._fix(info, extra)
        if self._value is None and field is not None:
            without = "" if field.required else ", or leave the key out"
            return ConfigurationError(where, f"key '{field.encode_name}' has no value", fix + without)
        if self._refused is not None:
            return ConfigurationError(_inside(where, self._refused.place), self._refused.problem, fix)
        if found := _UNKNOWN.fullmatch(self._text):
            return unknown_key(joined(place, *self._steps, found[1]), found[1], self._owner(info), _keys(info))
        if found := _MISSING.fullmatch(self._text):
            problem = f"missing key '{found[1]}' in {self._owner(info)}"
            said = _said(*_type_at(self._kind, [*self._steps, found[1]]))
            return ConfigurationError(joined(place, *self._steps, found[1]), problem, f"add `{found[1]}:` and {said}")
        shown = as_written(self._value)
        if _names(info):
            return ConfigurationError(where, f"unknown {extra.get('one', 'value')} {shown}", fix)
        if self._text.endswith(" of length >= 1") and field is not None:
            return ConfigurationError(where, f"key '{field.encode_name}' is empty", fix)
        return ConfigurationError(where, f"{shown} is not {_said(info, extra)}", fix)

    def _fix(self, info: inspect.Type, extra: Mapping[str, Any]) -> str:
        if "fix" in extra:
            return str(extra["fix"])
        if names := _names(info):
            return known_names(extra.get("many", "values"), names, self._value or "")
        return "write " + ", or ".join(map(_form, _members(info)))

    def _field(self) -> inspect.Field | None:
        """The key of a struct whose value the error is about; None for an item of a list and the like."""
        if not self._steps:
            return None
        above, _ = _type_at(self._kind, self._steps[:-1])
        structs = (each for each in _members(above) if isinstance(each, inspect.StructType))
        fields = (field for struct in structs for field in struct.fields if field.encode_name == self._steps[-1])
        return next(fields, None)

    def _owner(self, info: inspect.Type) -> str:
        """What the mapping is called that has a key too many, or too few."""
        struct: type[FileMapping] = info.cls  # type: ignore[attr-defined]  # only structs have such errors
        return struct.called(self._value)

    def _of_key(self, where: str, info: inspect.Type) -> ConfigurationError:
        """The error of a key itself: a number, a name that is not known, a text that no key may be."""
        if isinstance(info, inspect.StructType):
            return unknown_key(where, self._value, _said(info, {}), _keys(info))
        key, extra = _bare(info.key_type) if isinstance(info, inspect.DictType) else (info, {})
        shown = as_written(self._value)
        if names := _names(key):
            one, many = extra.get("one", "key"), extra.get("many", "keys")
            return ConfigurationError(where, f"unknown {one} {shown}", known_names(many, names, self._value))
        if "is" in extra and isinstance(self._value, str):
            return ConfigurationError(where, f"{shown} is not {extra['is']}", extra["fix"])
        return ConfigurationError(where, f"the key {shown} is not a text", "put it in quotes")


def _with(data: Any, steps: Sequence[Step], value: Any) -> Any:
    """A copy of the data with another value at a place."""
    if not steps:
        return value
    copy: Any = dict(data) if isinstance(data, Mapping) else list(data)
    copy[steps[0]] = _with(data[steps[0]], steps[1:], value)
    return copy


def _type_at(kind: Any, steps: Sequence[Step]) -> tuple[inspect.Type, Mapping[str, Any]]:
    """The type at a path of a type, and what its `Meta(extra=…)` says."""
    info, extra = _bare(inspect.type_info(kind))
    for step in steps:
        info, extra = _bare(_below(info, step))
    return info, extra


def _below(info: inspect.Type, step: Step) -> inspect.Type:
    """The type one step below a type; of a union, below the member that has such steps."""
    for member in _members(info):
        if isinstance(step, int) and isinstance(member, (inspect.ListType, inspect.VarTupleType)):
            return member.item_type
        if isinstance(step, str) and isinstance(member, inspect.DictType):
            return member.value_type
        if isinstance(step, str) and isinstance(member, inspect.StructType):
            return next(field.type for field in member.fields if field.encode_name == step)
    raise AssertionError(f"msgspec checks nothing below {info}")


def _members(info: inspect.Type) -> Iterator[inspect.Type]:
    """The members of a union without null; of another type, the type itself."""
    for member in info.types if isinstance(info, inspect.UnionType) else (info,):
        bare, _ = _bare(member)
        if isinstance(bare, inspect.UnionType):
            yield from _members(bare)
        elif not isinstance(bare, inspect.NoneType):
            yield bare


def _bare(info: inspect.Type) -> tuple[inspect.Type, Mapping[str, Any]]:
    """A type without its metadata and without null, and what the metadata says."""
    extra: Mapping[str, Any] = {}
    while True:
        if isinstance(info, inspect.Metadata):
            extra = {**(info.extra or {}), **extra}
            info = info.type
        elif isinstance(info, inspect.UnionType):
            others = [each for each in info.types if not isinstance(each, inspect.NoneType)]
            if len(others) != 1:
                return info, extra
            info = others[0]
        else:
            return info, extra


def _said(info: inspect.Type, extra: Mapping[str, Any]) -> str:
    """What a value of the type is, in words."""
    if "is" in extra:
        return str(extra["is"])
    if isinstance(info, inspect.StructType):
        return str(getattr(info.cls, "what", "a mapping"))  # only ours have it
    if isinstance(info, inspect.UnionType):
        return " or ".join(_said(each, {}) for each in _members(info))
    return _WORDS[_json_type(info)][0]


def _form(info: inspect.Type) -> str:
    """How to write a value of the type."""
    if isinstance(info, inspect.StructType):
        required = [field.encode_name for field in info.fields if field.required]
        return f"a mapping with the keys {', '.join(required or _keys(info))}"
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        item, _ = _bare(info.item_type)
        if isinstance(item, inspect.StructType):
            inside = ", ".join(f"{key}: …" for key in _keys(item))
            return f"`- {{{inside}}}` lines"
    return _WORDS[_json_type(info)][1]


def _json_type(info: inspect.Type) -> str:
    kinds = (
        ((inspect.BoolType,), "bool"),
        ((inspect.IntType,), "int"),
        ((inspect.FloatType,), "float"),
        ((inspect.ListType, inspect.VarTupleType), "array"),
        ((inspect.DictType, inspect.StructType), "object"),
    )
    return next((name for types, name in kinds if isinstance(info, types)), "str")


def _keys(info: inspect.Type) -> list[str]:
    return [field.encode_name for field in info.fields] if isinstance(info, inspect.StructType) else []


def _names(info: inspect.Type) -> list[str]:
    """The values of an enum or of literals; empty for another type."""
    kind = getattr(info, "cls", None)
    if isinstance(kind, EnumType):
        members: Mapping[str, Any] = kind.__members__
        return [str(member) for member in members.values()]
    return [str(each) for each in info.values] if isinstance(info, inspect.LiteralType) else []
