"""Removes what a console, a CI log or a box around a message adds to it.

Colours, bars, timestamps and the frames of PowerShell and Packer do not belong to a message, nor do the breaks where a
console ends its lines. Every step reads the text once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

# Also with the escape character as editors and JSON spell it, and without it, since a clipboard may lose it.
_ESCAPE = re.compile(
    r"(?:\x1b|␛|\^\[|\\x1[bB]|\\u001[bB]|\\033|\\e(?=\[))(?:\[[0-9;:?]{0,32}[A-Za-z]|\][^\x07\x1b\n]{0,256}(?:\x07|\x1b\\)?|[()][A-Z0-9])"
    r"|\x9b[0-9;:?]{0,32}[A-Za-z]"
    r"|\[\d{1,3}(?:;\d{1,3}){0,5}m(?!\])"
    r"|\[m(?=[\s\[]|$)"
)
_BREAK = re.compile(r"\r\n?|\n|\u2028|\u2029")
_BARS = "│┃║▌▏"
_FRAME = re.compile(r"[\s╭╮╰╯╷╵┌┐└┘├┤┏┓┗┛╔╗╚╝─━═~=_*#+-]+")
_LEVEL = re.compile(r"\[?(?:ERROR|ERR|FATAL|WARNING|WARN|INFO|VERBOSE|DEBUG|TRACE)\]?(?::\s*|\s+)")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_PREFIX = re.compile(
    "|".join(
        (
            rf"\s{{0,40}}[{_BARS}]\s?",
            r"\s{0,12}\|(?:\s|$)",
            r"\s{0,4}(?:>{1,3}|#|//)\s",
            r"\s{0,8}[\[(]?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
            r"(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?[\])]?:?(?=\s|\[|$)\s?",
            r"\s{0,8}[\[(]?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?[\])]?:?(?=\s|$)\s?",
            r"\s{0,8}[\[(]?\d{1,2}[/.]\d{1,2}[/.]\d{4},? \d{1,2}:\d\d:\d\d(?: [AP]M)?[\])]?:?(?=\s|$)\s?",
            rf"{_MONTH} [ \d]\d \d\d:\d\d:\d\d \S{{1,64}} [\w./@-]{{1,48}}(?:\[\d{{1,9}}\])?:\s",
            r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{1,9}\s{1,8}\d{1,9} \S{1,80}\] ",
            r"##\[\w{1,20}\]",
            r"::(?:error|warning|notice|debug)\b[^:\n]{0,120}::",
            r"\s{0,4}(?:==>\s)?azure-arm(?:\.[\w.-]{1,48})?:\s",
            r"==>\s[\w.-]{1,64}:\s",
            r"[A-Za-z][\w.-]{0,40}\s{1,12}\|\s",
            r"\[Pipeline\]\s",
        )
    )
)
# The lines that PowerShell puts around a message: where the error happened, and what the shell calls it.
_ASIDE = re.compile(
    r"\s{0,12}\+\s"
    r"|\s{0,4}At (?:line:\d|\S{1,260}:\d{1,6} char:\d)"
    r"|\s{0,4}Line \|\s{0,4}$"
    r"|\s{0,8}\d{1,6} \|\s"
)
_MARK = re.compile(
    r"\[?(?:stdout|stderr)\]|(?:Code|Status|Message|Target|ErrorCode|ErrorMessage|StatusCode)\s{0,24}[:=]"
)
_PREFIXES = 4
_MOST = 256 * 1024
_NARROWEST = 20
_WIDTHS = (80, 120)
_ENDS_OF_A_START = ("] ", ": ", "| ", "> ", " - ")


class _Line(Struct, frozen=True):
    text: str
    length: int  # characters on the screen, prefixes included


def without_decoration(text: str) -> str:
    """The text without colours, bars, timestamps and the like; its lines stay."""
    return "\n".join(line.text for line in _lines(text)).strip()


def unwrapped(text: str) -> tuple[str, ...]:
    """The text without the line breaks of a console, in two versions, the likelier one first: one in which words end at
    a break, and one in which a word goes on in the next line if its line fills the width.

    Empty if no line is broken, or if the text is too long for a console. A blank line, the mark of an output and a
    field such as `Message:` begin a new line."""
    if len(text) > _MOST:
        return ()
    lines = _without_their_common_start(list(_lines(text)))
    if sum(bool(line.text) for line in lines) < 2:
        return ()
    width = max(_NARROWEST, *(line.length for line in lines))
    between_words, within_words = _joined(lines, width=0), _joined(lines, width)
    if between_words == within_words:
        return (between_words,)
    return (within_words, between_words) if _breaks_words(lines, width) else (between_words, within_words)


def _breaks_words(lines: list[_Line], width: int) -> bool:
    """Whether the console seems to break words: it fills line after line, or has broken a number."""
    pairs = [(line, after) for line, after in pairwise(lines) if line.text.strip() and after.text.strip()]
    filled = [line.length >= width - 1 for line, _ in pairs]
    if sum(filled) > 1 and all(filled):
        return True
    return any(line.length == width and line.text[-1:].isdigit() and after.text[:1].isdigit() for line, after in pairs)


def _without_their_common_start(lines: list[_Line]) -> list[_Line]:
    """The lines, with what all of them begin with, such as the name of a job, in the first line alone."""
    texts = [line.text for line in lines if line.text]
    common = _common_start(min(texts), max(texts)) if len(texts) > 1 else ""
    end = max(common.rfind(mark) + len(mark) if mark in common else 0 for mark in _ENDS_OF_A_START)
    if not end:
        return lines
    first = next(index for index, line in enumerate(lines) if line.text)
    return [line if index <= first else _Line(line.text[end:], line.length) for index, line in enumerate(lines)]


def _common_start(one: str, other: str) -> str:
    length = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _joined(lines: list[_Line], width: int) -> str:
    """The lines joined. With a `width`, the last word of a line that fills it goes on in the next line."""
    parts: list[str] = []
    before: _Line | None = None
    level = ""
    for line in lines:
        words = line.text.strip()
        own = _LEVEL.match(words)
        if before and own and own.group() == level:
            words = words[own.end() :]
        level = own.group() if own else ""
        if not words:
            before = None
            continue
        if before is None or _MARK.match(words):
            parts.append("\n" if parts else "")
        elif not (width and before.length in (width, *_WIDTHS) and not before.text[-1:].isspace()):
            parts.append(" ")
        parts.append(" ".join(words.split()))
        before = line
    return "".join(parts)


def _lines(text: str) -> Iterator[_Line]:
    for raw in _BREAK.split(_ESCAPE.sub("", text.lstrip("\ufeff")).replace("\xa0", " ")):
        if not _ASIDE.match(raw):
            yield _content(raw.rstrip())


def _content(line: str) -> _Line:
    """The content behind its prefixes and before the bar that closes its box."""
    at, boxed = 0, False
    for _ in range(_PREFIXES):
        found = _PREFIX.match(line, at)
        if not found:
            break
        at, boxed = found.end(), boxed or any(bar in found.group() for bar in _BARS)
    content = line[at:]
    if boxed and content.endswith(tuple(_BARS)):
        content = content[:-1].rstrip()
    return _Line("" if _FRAME.fullmatch(content) else content, at + len(content))
