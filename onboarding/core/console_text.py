"""What a console, a CI log or a box drawn around a message adds to it, taken off again.

Colours, bars, timestamps and the frames of PowerShell and Packer are no part of a message, nor are the breaks where a
console ends its lines. Every step goes through the text once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Also as editors and JSON spell the escape character, and without it, as it is lost on the way over a clipboard.
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
            r"\s{0,4}>{1,3}\s",
            r"\s{0,8}[\[(]?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
            r"(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?[\])]?:?(?=\s|\[|$)\s?",
            r"\s{0,8}[\[(]?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?[\])]?:?(?=\s|$)\s?",
            r"\s{0,8}[\[(]?\d{1,2}[/.]\d{1,2}[/.]\d{4},? \d{1,2}:\d\d:\d\d(?: [AP]M)?[\])]?:?(?=\s|$)\s?",
            rf"{_MONTH} [ \d]\d \d\d:\d\d:\d\d \S{{1,64}} [\w./@-]{{1,48}}(?:\[\d{{1,9}}\])?:\s",
            r"##\[\w{1,20}\]",
            r"::(?:error|warning|notice|debug)\b[^:\n]{0,120}::",
            r"\s{0,4}(?:==>\s)?azure-arm(?:\.[\w.-]{1,48})?:\s",
            r"==>\s[\w.-]{1,64}:\s",
            r"[A-Za-z][\w.-]{0,40}\s{1,12}\|\s",
            r"\[Pipeline\]\s",
        )
    )
)
# The lines that PowerShell puts around a message: where it happened, and what it is in the shell's own words.
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


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    length: int  # as it stood on the screen


def plain(text: str) -> str:
    """The text without colours, bars, timestamps and the like; its lines stay."""
    return "\n".join(line.text for line in _lines(text)).strip()


def unwrapped(text: str) -> tuple[str, ...]:
    """The text with the breaks of a console taken out, as words end at a break and as they go on over it.

    Nothing where no line is broken, or where the text is too long for a console. A blank line, the mark of an output
    and a field such as `Message:` begin something new."""
    if len(text) > _MOST:
        return ()
    lines = list(_lines(text))
    if sum(bool(line.text) for line in lines) < 2:
        return ()
    between_words = _joined(lines, width=0)
    within_words = _joined(lines, width=max(_NARROWEST, *(line.length for line in lines)))
    return (between_words,) if between_words == within_words else (between_words, within_words)


def _joined(lines: list[_Line], width: int) -> str:
    """The lines put together again. With a `width`, a line that fills it goes on within its last word."""
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
            yield _Line(_content(raw), len(raw))


def _content(line: str) -> str:
    """What stands in the line behind its prefixes, and before the bar that closes its box."""
    at, boxed = 0, False
    for _ in range(_PREFIXES):
        found = _PREFIX.match(line, at)
        if not found:
            break
        at, boxed = found.end(), boxed or any(bar in found.group() for bar in _BARS)
    content = line[at:]
    if boxed and content.rstrip().endswith(tuple(_BARS)):
        content = content.rstrip()[:-1].rstrip()
    return "" if _FRAME.fullmatch(content) else content
