"""Decodes files and parses their data, and refuses files that would crash the process or fill its memory.

The size of a file, its depth and the values that its aliases expand to are bounded before anything is built: libyaml
crashes on brackets that are nested too deeply, and a few aliases of aliases fill any memory.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, ValuesView
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml

from onboarding.domain.errors import error_text

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 100_000
_MAX_NUMBER = 300  # digits; `1:1:1…` is a number to base 60, and takes quadratic time
_MAX_DIRECTIVES = 100
# UTF-32's mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 4096  # bytes from which the encoding of a text without a mark is read
_FASTEST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")

_AS_YAML = "write it as YAML or JSON"
_AS_JSON = "write it as JSON"
_VALID_YAML = "correct the YAML; check indentation and quotes near that line"
_SMALLER = "split it, or remove what is not needed"
_FLATTER = "write it with fewer levels"


class Unreadable(ValueError):
    """A text that cannot be read. `line` is 0 if it is not known."""

    def __init__(self, problem: str, fix: str = _AS_YAML, line: int = 0) -> None:
        super().__init__(error_text("", problem, fix))
        self.problem = problem
        self.fix = fix
        self.line = line


class _Loader(_FASTEST):  # type: ignore[misc]  # libyaml's, where PyYAML was built with it
    """Adds the line to errors about values that have no YAML type, such as the date 2027-13-45."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in _NUMBERS and len(node.value) > _MAX_NUMBER:
            problem = f"a number has more than {_MAX_NUMBER} digits"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError, OverflowError) as error:
            problem = f"{node.value!r} cannot be read ({error})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def read_file(path: Traversable) -> str:
    """The text of a file without its byte order mark. Raises OSError or Unreadable."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise too_large()
    return decode(content)


def decode(content: bytes, errors: str = "strict") -> str:
    """The text of bytes in UTF-8, UTF-16 or UTF-32 without its byte order mark. Raises Unreadable."""
    try:
        return content.decode(encoding_of(content), errors).lstrip("\ufeff")
    except UnicodeDecodeError as error:
        name = "-".join(error.encoding.upper().split("-")[:2])
        raise Unreadable(f"the text is not {name} at byte {error.start}", "save it as UTF-8") from None


def encoding_of(head: bytes) -> str:
    """The codec for a text that begins with these bytes: the one of its byte order mark; UTF-16 if there is no mark and
    every other byte is mostly 0, as PowerShell and Excel write it; else UTF-8."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    even, odd = head[0:_HEAD:2], head[1:_HEAD:2]
    if 0 not in even and odd.count(0) * 2 > len(odd):
        return "utf-16-le"
    if 0 not in odd and even.count(0) * 2 > len(even):
        return "utf-16-be"
    return "utf-8"


def too_large(limit: int = MAX_BYTES) -> Unreadable:
    return Unreadable(f"the text is larger than {limit // 1024**2} MiB", _SMALLER)


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises Unreadable."""
    if len(text) > MAX_BYTES:
        raise too_large()
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        # The error holds the whole text, which may have secrets in it.
        raise Unreadable(f"the text is not JSON: {error.msg}", _AS_JSON, error.lineno) from None
    except ValueError:
        raise Unreadable("the text has a number with too many digits", "put it in quotes", line=1) from None
    except RecursionError:
        raise _too_deep() from None
    check_size(value)
    return value


# A quote or a comment that is not closed goes to the end of the text, so that no text is read twice.
_STRING_OR_COMMENT: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)


def without_comments(text: str) -> str:
    """A JSON text without the comments `//` and `/* */` that ARM and editors allow; its lines keep their numbers."""
    return _STRING_OR_COMMENT.sub(lambda found: found[0] if found[0][0] == '"' else "\n" * found[0].count("\n"), text)


def parse_yaml(text: str, *, bounded: bool = True) -> Any:
    """The value of a YAML text. Raises Unreadable. The files of the package need no bounds, which cost as much time as
    reading."""
    if len(text) > MAX_BYTES:
        raise too_large()
    if text.count("\n%") > _MAX_DIRECTIVES:
        raise Unreadable(f"the text has more than {_MAX_DIRECTIVES} lines that begin with %")
    try:
        if bounded:
            _check_events(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        # A missing end has its line behind the last one. The error quotes lines, which may contain
        # secrets.
        line = min(error.problem_mark.line, text.count("\n")) + 1 if error.problem_mark else 1
        raise Unreadable(f"the text is not YAML: {error.problem}", _VALID_YAML, line) from None
    except yaml.YAMLError as error:
        raise Unreadable(f"the text is not YAML: {str(error).partition('\n')[0]}", _VALID_YAML) from None


def compose_yaml(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, which have their lines; None if it cannot be read."""
    try:
        if len(text) > MAX_BYTES or text.count("\n%") > _MAX_DIRECTIVES:
            return None
        _check_events(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_FASTEST)
        return node
    except (yaml.YAMLError, ValueError, RecursionError):  # an error text needs a line, never another error
        return None


def line_of(text: str, place: str) -> int:
    """The line of a path such as `rule.allOf[2].field` in a JSON or YAML text, else of the nearest part above it."""
    return line_in(nodes_of(text), place)


def nodes_of(text: str) -> yaml.Node | None:
    """The nodes of a JSON or YAML text, for `line_in`."""
    # JSON may be indented with tabs, YAML may not. In JSON a tab is never part of a string.
    return compose_yaml(text.replace("\t", " "))


def line_in(nodes: yaml.Node | None, place: str) -> int:
    """As `line_of`, for many places of one text."""
    node, line, rest = nodes, 1, place
    while node is not None and rest:
        node, line, rest = _step(node, line, rest.removeprefix("."))
    return line


_INDEX: Final = re.compile(r"\[(\d{1,9})\]")


def _step(node: Any, line: int, rest: str) -> tuple[Any, int, str]:
    """One step down a path: the node there with its line, and what is left of the path; no node where nothing fits."""
    if isinstance(node, yaml.SequenceNode) and (index := _INDEX.match(rest)) and int(index[1]) < len(node.value):
        item = node.value[int(index[1])]
        return item, item.start_mark.line + 1, rest[index.end() :]
    if isinstance(node, yaml.MappingNode):
        fitting = [(key, value) for key, value in node.value if _begins_with(rest, key)]
        if fitting:  # keys may have dots in them; the exact spelling comes first
            key, value = max(fitting, key=lambda each: (len(each[0].value), rest.startswith(each[0].value)))
            return value, key.start_mark.line + 1, rest[len(key.value) :]
    return None, line, ""


def _begins_with(path: str, key: yaml.Node) -> bool:
    name = key.value if isinstance(key, yaml.ScalarNode) else ""
    return (
        bool(name) and path[: len(name)].lower() == name.lower() and path[len(name) : len(name) + 1] in ("", ".", "[")
    )


def check_size(value: Any) -> None:
    """Raises Unreadable if a value is nested too deeply or contains too many values."""
    count = 0
    for depth, width in enumerate(_levels(value), 1):
        count += width
        if depth > MAX_DEPTH:
            raise _too_deep()
        if count > MAX_VALUES:
            raise _too_many()


def check_depth(value: Any) -> None:
    """Raises Unreadable if a value is nested too deeply; the number of values does not matter."""
    if any(depth > MAX_DEPTH for depth, _ in enumerate(_levels(value), 1)):
        raise _too_deep()


def _levels(value: Any) -> Iterator[int]:
    """The number of values at each depth, counted without recursion."""
    level = [value]
    while level:
        yield len(level)
        holders = [found.values() if isinstance(found, dict) else found for found in level]
        level = [inner for found in holders if isinstance(found, (list, ValuesView)) for inner in found]


def _check_events(text: str) -> None:
    """Raises Unreadable if the text has too many values or is nested too deeply. The parser's events come one by one
    and without recursion, so they are counted before anything is built.

    An alias counts as many values as its anchor has."""
    sizes: dict[str, int | None] = {}  # by anchor; None while its value is not complete
    open_: list[tuple[str | None, int]] = []  # the anchor of each open collection, and the values before it
    count = 0
    for event in yaml.parse(text, Loader=_FASTEST):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 1)
            if size is None:
                raise Unreadable(f"the alias '*{event.anchor}' is inside of what it names", _FLATTER, line)
            count += size
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.anchor:
                sizes[event.anchor] = None
            open_.append((event.anchor, count))
            count += 1
            if len(open_) > MAX_DEPTH:
                raise _too_deep(line)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                sizes[anchor] = count - before
        if count > MAX_VALUES:
            raise _too_many(line)


def _too_deep(line: int = 0) -> Unreadable:
    return Unreadable(f"the text is nested more than {MAX_DEPTH} deep", _FLATTER, line)


def _too_many(line: int = 0) -> Unreadable:
    return Unreadable(
        f"the text holds more than {MAX_VALUES:,} values, aliases counted as often as they are used", _SMALLER, line
    )
