"""The settings of an extension as a JSON Schema (a part of draft 2020-12), and the check of values against it.

Two words are ours: `secret` marks values that no text may show, `destination` the value that says where the agent
reports to. No library checks values: `jsonschema` would take longer to load than the whole catalogue, and its errors
quote the values, which may be secret. Problems are returned, never raised, and never quote a value.

As in `entry_file`, annotations are no texts, because msgspec would compile each of them at the start of a process.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from onboarding.domain.errors import as_written
from onboarding.domain.typed_file import FileMapping

type Path = tuple[str | int, ...]

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class SettingSchema(FileMapping, frozen=True, kw_only=True, omit_defaults=True):
    """What one value may be. Without `type` it follows from the other keys; without any, every JSON value is valid."""

    what: ClassVar[str] = "the schema of a setting"
    type: Annotated[
        Literal["object", "array", "string", "number", "integer", "boolean"] | None, Meta(description="Its type.")
    ] = None
    description: Annotated[str, Meta(description="What it means, for people.")] = ""
    properties: Annotated[
        dict[str, "SettingSchema"] | None, Meta(description="The settings in an object, by name.")
    ] = None
    required: Annotated[tuple[str, ...], Meta(description="The properties that must be there.")] = ()
    additional_properties: Annotated[
        bool | None, Meta(description="Whether other properties are valid; default: only if none are named.")
    ] = None
    items: Annotated["SettingSchema | None", Meta(description="What each item of a list is.")] = None
    enum: Annotated[
        Annotated[tuple[Any, ...], Meta(min_length=1)] | None, Meta(description="The only valid values.")
    ] = None
    pattern: Annotated[str | None, Meta(description="A regular expression that is found in the text.")] = None
    format: Annotated[Literal["guid", "base64", "uri"] | None, Meta(description="The form of a text.")] = None
    min_length: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="The least number of characters, without white space around them."),
    ] = None
    minimum: Annotated[int | float | None, Meta(description="The least number.")] = None
    maximum: Annotated[int | float | None, Meta(description="The greatest number.")] = None
    default: Annotated[Any, Meta(description="What is sent where the policy gives no value; may hold templates.")] = (
        None
    )
    secret: Annotated[
        bool | None,
        Meta(description="Whether no file and no text may show it; default: as what it is in; protected settings are."),
    ] = None
    destination: Annotated[bool, Meta(description="Whether it says where the agent reports to.")] = False

    @property
    def kind(self) -> str:
        """The type, also where it follows from other keys; empty for every type."""
        if self.type is not None:
            return self.type
        if self.properties is not None:
            return "object"
        if self.items is not None:
            return "array"
        return "string" if self.format or self.pattern or self.min_length else ""

    @property
    def is_open(self) -> bool:
        """Whether an object may have properties that are not named here."""
        return self.properties is None if self.additional_properties is None else self.additional_properties

    def at(self, name: object) -> "SettingSchema":
        """The schema of a property; one that takes everything for a property that is not named."""
        return (self.properties or {}).get(name, _ANY)  # type: ignore[call-overload, no-any-return]

    @property
    def each_item(self) -> "SettingSchema":
        return self.items or _ANY


class SettingProblem(Struct, frozen=True):
    """What is wrong with one value, or with one that is not there."""

    path: Path  # it begins with `settings` or `protectedSettings`
    kind: Literal["missing", "unknown", "unfit"]
    text: str  # `must be …`

    def __str__(self) -> str:
        return f"{written(self.path)} {self.text}"


_ANY = SettingSchema()
NO_SETTINGS = SettingSchema(type="object", properties={})


def written(path: Path) -> str:
    """The path as people write it: `settings.a.b[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def problems(
    schema: SettingSchema, value: Any, path: Path, is_open: Callable[[str], bool] = lambda text: False
) -> Iterator[SettingProblem]:
    """Everything that the schema refuses in a value. A text that `is_open` gets its value later."""
    if problem := _misfit(schema, value, is_open):
        yield SettingProblem(path, "unfit", problem)
    elif isinstance(value, Mapping):
        for name in schema.required:
            if value.get(name) is None:
                yield SettingProblem((*path, name), "missing", "is missing")
        for name, each in value.items():
            if not schema.is_open and name not in (schema.properties or {}):
                yield SettingProblem((*path, str(name)), "unknown", "is unknown")
            elif not isinstance(name, str):
                yield SettingProblem((*path, str(name)), "unfit", "must have a name that is a text")
            elif each is not None:
                yield from problems(schema.at(name), each, (*path, name), is_open)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from problems(schema.each_item, each, (*path, index), is_open)


def secret_values(schema: SettingSchema, value: Any, secret: bool, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The values that no text may show, each with its path. `secret` is what holds where the schema does not say."""
    secret = secret if schema.secret is None else schema.secret
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from secret_values(schema.at(name), each, secret, (*path, str(name)))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from secret_values(schema.each_item, each, secret, (*path, index))
    elif secret and value is not None:
        yield path, value


def with_defaults(schema: SettingSchema, value: Any) -> Any:
    """The value with the defaults of what it leaves out."""
    if isinstance(value, Mapping):
        given = {name: with_defaults(schema.at(name), each) for name, each in value.items()}
        missing = {name: each.default for name, each in (schema.properties or {}).items() if given.get(name) is None}
        return given | {name: default for name, default in missing.items() if default is not None}
    return [with_defaults(schema.each_item, each) for each in value] if isinstance(value, list) else value


def destinations(schema: SettingSchema, path: Path = ()) -> Iterator[Path]:
    """The paths of the settings that say where the agent reports to."""
    if schema.destination:
        yield path
    for name, each in (schema.properties or {}).items():
        yield from destinations(each, (*path, name))


def schema_at(schema: SettingSchema, path: Path) -> SettingSchema:
    """The schema of what is at a path."""
    for step in path:
        schema = schema.each_item if isinstance(step, int) else schema.at(step)
    return schema


def value_at(value: Any, path: Path) -> Any:
    """What is at a path; None if there is nothing."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _misfit(schema: SettingSchema, value: Any, is_open: Callable[[str], bool]) -> str:
    if problem := _wrong_type(schema, value):
        return problem
    if isinstance(value, str) and is_open(value):
        return ""
    if schema.enum is not None and not any(_same(value, each) for each in schema.enum):
        return f"must be {' or '.join(as_written(each) for each in schema.enum)}"
    if isinstance(value, str):
        return _wrong_text(schema, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if schema.minimum is not None and value < schema.minimum:
            return f"must be {schema.minimum} or more"
        if schema.maximum is not None and value > schema.maximum:
            return f"must be {schema.maximum} or less"
    return ""


def _wrong_type(schema: SettingSchema, value: Any) -> str:
    kind = schema.kind
    is_number = (
        math.isfinite(value) if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    )
    match kind:
        case "string":
            some = " that is not empty" if schema.min_length or schema.format else ""
            return "" if isinstance(value, str) else f"must be a text{some}"
        case "boolean":
            return "" if isinstance(value, bool) else "must be the JSON boolean true or false, not a string"
        case "integer":
            return "" if is_number and int(value) == value else "must be a whole number, not a string"
        case "number":
            return "" if is_number else "must be a number, not a string"
        case "array":
            return "" if isinstance(value, list) else "must be a list"
        case "object":
            return "" if isinstance(value, Mapping) else "must be an object with names and values"
    return "" if is_number or isinstance(value, (str, bool, list, Mapping)) else "must be a value that JSON has"


def _wrong_text(schema: SettingSchema, value: str) -> str:
    least = schema.min_length or (1 if schema.format else 0)
    if len(value.strip()) < least:
        return "must be a text that is not empty" if least == 1 else f"must have {least} characters or more"
    match schema.format:
        case "guid" if not _GUID.fullmatch(value):
            return "must be a GUID such as 6f680a37-00c6-41c7-a93f-1437e3462574"
        case "base64" if not _survives_base64(value):
            return "must be base64 that decodes and encodes to itself (copy the whole key, = signs included)"
        case "uri" if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", value):
            return "must be a URI such as https://vault.example/secrets/web"
    if schema.pattern is not None and not re.search(schema.pattern, value):
        return f"must match {as_written(schema.pattern)}"
    return ""


def _survives_base64(value: str) -> bool:
    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except (binascii.Error, ValueError):
        return False


def _same(value: object, other: object) -> bool:
    """Whether two JSON values are equal; to Python, true is 1."""
    return isinstance(value, bool) is isinstance(other, bool) and value == other
