"""Files with types: what a file may say is a `msgspec` struct, and what it says is read into that struct.

A type says everything once: the keys and their types for reading, the description of each key and the JSON Schema for
editors. `msgspec` checks; this module turns its errors into ours, with the place in the file and the fix, and names the
key that was probably meant. Of several errors the first is raised.

    class Exemption(FileMapping, frozen=True):
        what: ClassVar[str] = "an exemption"
        scope: Annotated[Scope, Meta(description="Where.", extra={"is": "a scope"})]
        category: Annotated[Category, Meta(extra={"one": "category", "many": "categories"})] = Category.WAIVER

A type of ours that is no struct, such as a scope, has the class method `from_file(value)`, which raises
`ConfigurationError` with a place inside of the value, and a class attribute `file_schema`, its JSON Schema. What no
type can say is checked in a struct's `__post_init__`, which raises `Refused`. Of a value, `Meta(extra=…)` may say in
words what it `is` and the `fix`; of a value with a fixed set of names, what `one` and `many` of them are called.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from enum import EnumType
from typing import Any, ClassVar, Self

import msgspec
from msgspec import Struct, ValidationError, inspect

from onboarding.domain.errors import ConfigurationError, as_written, known_names, unknown_key

type Step = str | int
"""One step down a file's data: a key, or an index of a list."""


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


def read_as[T](raw: object, kind: type[T], place: str) -> T:
    """The value that a file's data stands for. `place` is the file, or the file and a path in it, as in
    `agent.yaml: exemptions`. Raises ConfigurationError for the first thing that is wrong."""
    data = as_json(raw)
    try:
        return msgspec.convert(data, kind, dec_hook=_from_file)
    except ValidationError as error:
        raise _Finding(error, data, kind).error(place) from error


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a file's type, for editors."""
    return msgspec.json.schema(kind, schema_hook=_schema)


def keys_of(kind: type[FileMapping]) -> tuple[str, ...]:
    """The keys of a mapping, as files write them."""
    return kind.__struct_encode_fields__


def as_json(value: object) -> Any:
    """The data with dates as texts: to YAML, 2027-01-01 without quotes is a date. Keys are values of the file too."""
    if isinstance(value, Mapping):
        return {as_json(key): as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [as_json(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


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


def _from_file(kind: type, value: object) -> Any:
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
                msgspec.convert(_with(self._data, steps, first_keys), self._kind, dec_hook=_from_file)
            except ValidationError as error:
                return str(error) == self._message
            return False

        key = keys[bisect_left(range(len(keys) - 1), True, key=fails)]
        self._data = _with(self._data, steps, {key: mapping[key]})  # the other keys may have the same error
        return key

    def error(self, place: str) -> ConfigurationError:
        where = joined(place, *self._steps)
        info, extra = _type_at(self._kind, self._steps)
        if self._is_key:
            return self._of_key(joined(where, str(self._value)), info)
        if self._value is None and (field := self._field()) is not None:
            fix = self._refused.fix if self._refused else extra.get("fix") or f"write {_written(info, self._text)}"
            without = "" if field.required else ", or leave the key out"
            return ConfigurationError(where, f"key '{field.encode_name}' has no value", fix + without)
        if self._refused is not None:
            where = _inside(where, self._refused.place)
            return ConfigurationError(where, self._refused.problem, self._refused.fix)
        if found := _UNKNOWN.fullmatch(self._text):
            return unknown_key(joined(where, found[1]), found[1], self._owner(info), _keys(info))
        if found := _MISSING.fullmatch(self._text):
            problem = f"missing key '{found[1]}' in {self._owner(info)}"
            said = _said(*_type_at(self._kind, [*self._steps, found[1]]))
            return ConfigurationError(joined(where, found[1]), problem, f"add `{found[1]}:` and {said}")
        shown = as_written(self._value)
        if names := _names(info):
            problem = f"unknown {extra.get('one', 'value')} {shown}"
            return ConfigurationError(where, problem, known_names(extra.get("many", "values"), names, self._value))
        problem = f"{shown} is not {_said(info, extra)}"
        if "is" not in extra and "of length" in self._text:
            problem = f"{shown} is not allowed here"
        return ConfigurationError(where, problem, extra.get("fix") or f"write {_written(info, self._text)}")

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


def _written(info: inspect.Type, text: str) -> str:
    """How to write a value of the type."""
    members = list(_members(info))
    if "of length" in text:
        return "at least one `- item` line" if text.startswith("Expected `array`") else "a text that is not empty"
    return ", or ".join(map(_form, members))


def _form(info: inspect.Type) -> str:
    if isinstance(info, inspect.StructType):
        return f"a mapping with the keys {', '.join(_keys(info))}"
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
