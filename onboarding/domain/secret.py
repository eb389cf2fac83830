"""The secret values that this process holds, and where a text shows one of them.

A pattern finds what looks like a secret; this module finds the known values. Each value is searched for whole and in
parts of `PART` characters and more, as it is, as hex and as base64 in all three alignments, with any escapes (URL,
JSON, XML), line breaks or blanks in between. The text is read once for each length of part, so the time grows only
with its length.

Values of `SHORTEST` to `PART` - 1 characters are searched for whole, and as words only: their parts are ordinary words.
Shorter ones are left to the patterns. The number of values is bounded; those used longest ago are dropped first.
"""

from __future__ import annotations

import base64
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import NoReturn

MASK = "***"
PART = 12
SHORTEST = 6
_LONGEST = 16_384  # of a longer value, the beginning: protected settings are keys and passwords, seldom scripts
_SMALLEST_PIECE = 8  # a shorter rest, of a part of PART characters that is mostly blanks, occurs in ordinary texts

# Between the bytes of hex: `62:6d:39`. After `%3A`, an escape of URLs, the same characters belong to a value.
_SEPARATOR = r"(?<=[^0-9A-Za-z%][0-9a-fA-F]{2})[:-](?=[0-9a-fA-F]{2}(?![0-9A-Za-z]))"
_ODD = re.compile(
    rf"""
      [\x00-\x20]+
    | \\+ (?: u[dD][89abAB][0-9a-fA-F]{{2}} \\+ u[dD][c-fC-F][0-9a-fA-F]{{2}}
            | u[0-9a-fA-F]{{4}} | x[0-9a-fA-F]{{2}} | [nrtbfv] )?
    | % (?:25)*+ (?:[0-9a-fA-F]{{2}})?
    | & (?:amp;)*+ (?: \#[0-9]{{1,7}}; | \#[xX][0-9a-fA-F]{{1,6}}; | (?:lt|gt|quot|apos); )?
    | {_SEPARATOR}
    | (?P<character>[^\x00-\x7f])
    """,
    re.VERBOSE,
)
# Nearly every text has only blanks of these: then removing the blanks is enough.
_MORE_THAN_BLANKS = re.compile(rf"[\\%&]|{_SEPARATOR}")
_BLANKS = bytes(range(33))
_LEFT_OUT = _BLANKS + b"\\"
_ENTITIES = {"lt": b"<", "gt": b">", "quot": b'"', "apos": b"'"}
# Hex comes in both cases, base64 in two alphabets; a key in lower case still reveals most of itself.
_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")
_WORD = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz") | frozenset(range(128, 256))

_LOGIN = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^\s:/@]*:(?P<password>.+)@", re.DOTALL)
_NAMED_VALUE = re.compile(
    r"(?:^|[\s;?&=])(?:AccountKey|SharedAccessKey|SharedSecretValue|client_?secret|password|passwd|pwd|sig)"
    r"\s*=\s*(?P<value>[^\s;&]+)",
    re.IGNORECASE,
)


def secret_parts(value: str) -> tuple[str, ...]:
    """The secret parts of a connection string, or of a URL with a signature or a password."""
    login = _LOGIN.match(value)
    named = [found["value"] for found in _NAMED_VALUE.finditer(value)]
    return tuple(dict.fromkeys([*([login["password"]] if login else []), *named]))


class KnownSecrets:
    """The values to search for. `version` changes whenever a text must be searched again."""

    def __init__(self, most: int = 256, characters: int = 32_768) -> None:
        self._most = most
        self._characters = characters
        self._values: dict[str, tuple[str, ...]] = {}  # the one used longest ago first
        self._index: _Index | None = None
        self._new: list[str] = []
        self._lock = Lock()
        self.version = 0

    def __repr__(self) -> str:
        return f"KnownSecrets({len(self._values)} values)"

    def remember(self, value: str) -> None:
        """Search for this value and for its secret parts from now on. Costs nothing the second time."""
        with self._lock:
            if value in self._values:
                self._values[value] = self._values.pop(value)
                return
            wanted = (value, *secret_parts(value))
            hidden = tuple(dict.fromkeys(each for text in wanted if len(each := text.strip()[:_LONGEST]) >= SHORTEST))
            if not hidden:
                return
            self._values[value] = hidden
            self._new += hidden
            self.version += 1
            self._forget()

    def hide(self, text: str) -> str:
        """The text with `MASK` where it shows a known value or a part of one."""
        index = self._current()
        spans = sorted(index.find(text)) if index else []
        if not spans:
            return text
        shown: list[str] = []
        end = 0
        for start, stop in spans:
            if start > end or not shown:
                shown += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*shown, text[end:]])

    def _current(self) -> _Index | None:
        if not self._values:
            return None
        with self._lock:
            if self._index is None:
                self._index = _Index()
                self._new = [text for hidden in self._values.values() for text in hidden]
            for text in self._new:
                self._index.add(text)
            self._new = []
            return self._index

    def _forget(self) -> None:
        """If there are too many values, drop a quarter at once: the index is made again each time."""
        if self._within(1.0):
            return
        while len(self._values) > 1 and not self._within(0.75):
            del self._values[next(iter(self._values))]
        self._index = None

    def _within(self, share: float) -> bool:
        characters = sum(len(text) for hidden in self._values.values() for text in hidden)
        return len(self._values) <= share * self._most and characters <= share * self._characters


KNOWN = KnownSecrets()


class _Index:
    """Everything to search for. Long values are cut into pieces of one length, one at every place."""

    def __init__(self) -> None:
        self._plain: set[str] = set()
        self._pieces: dict[int, set[bytes]] = {}
        self._whole: set[tuple[bytes, bool]] = set()  # a short value, and whether it must be a word
        self._mostly_blanks = False  # whether some parts are mostly blanks: these are found in the plain text alone

    def add(self, value: str) -> None:
        self._plain.update(_windows(value))
        forms = _escaped_forms(value)
        if len(value) < PART:
            self._whole.update((form, True) for form in forms if len(form) >= SHORTEST - 2)
            self._whole.update((form, False) for form in _encoded_forms(value) if len(form) > SHORTEST)
            return
        for form in (*forms, *_encoded_forms(value)):
            self._add_pieces(form)
        if _ODD.search(value):
            for window in _windows(value):
                for form in _escaped_forms(window):
                    self._add_pieces(form)

    def _add_pieces(self, form: bytes) -> None:
        length = min(PART, len(form))
        if length < _SMALLEST_PIECE:
            self._mostly_blanks = True
        else:
            pieces = self._pieces.setdefault(length, set())
            pieces.update(form[at : at + length] for at in range(len(form) - length + 1))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """The spans of the text that show a value or a part of one; they may overlap."""
        if text.isascii() and not self._mostly_blanks and not _MORE_THAN_BLANKS.search(text):
            if next(self._shown(text.encode().translate(_FOLD, _BLANKS)), None) is None:
                return
        else:
            # The plain text too: the characters around a value can form an escape with its ends.
            yield from _hits(text, PART, self._plain)
        squeezed = _squeeze(text)
        for start, stop, word in self._shown(squeezed.content):
            if not word or squeezed.is_word(start, stop):
                yield squeezed.place(start, stop)

    def _shown(self, content: bytes) -> Iterator[tuple[int, int, bool]]:
        """The spans of a squeezed text that show something, and whether each counts only as a word."""
        for length, pieces in tuple(self._pieces.items()):
            for start, stop in _hits(content, length, pieces):
                yield start, stop, False
        for form, word in tuple(self._whole):
            at = content.find(form)
            while at >= 0:
                yield at, at + len(form), word
                at = content.find(form, at + 1)


def _windows(value: str) -> Iterator[str]:
    return (value[at : at + PART] for at in range(len(value) - PART + 1))


def _hits[T: (str, bytes)](text: T, length: int, pieces: set[T]) -> Iterator[tuple[int, int]]:
    """The spans of pieces of that length; overlapping ones are joined."""
    start = stop = -1
    for at in [at for at in range(len(text) - length + 1) if text[at : at + length] in pieces]:
        if at >= stop:
            if stop >= 0:
                yield start, stop
            start = at
        stop = at + length
    if stop >= 0:
        yield start, stop


class _Squeezed:
    """A text without escapes, line breaks and blanks, folded, with the place of each of its bytes in the original.

    It consists of stretches: `at` has the place of each in `content`, `spans` its place in the original text, and
    whether the two are equal byte for byte."""

    __slots__ = ("_at", "_spans", "content")

    def __init__(self, content: bytes, at: list[int], spans: list[tuple[int, int, bool]]) -> None:
        self.content = content
        self._at = at
        self._spans = spans

    def place(self, start: int, stop: int) -> tuple[int, int]:
        return self._span(start)[0], self._span(stop - 1)[1]

    def is_word(self, start: int, stop: int) -> bool:
        """Whether the span begins and ends at a word's boundary; what was left out separates words."""
        begin, end = self.place(start, stop)
        before = start > 0 and self._span(start - 1)[1] == begin and self.content[start - 1] in _WORD
        after = stop < len(self.content) and self._span(stop)[0] == end and self.content[stop] in _WORD
        return not before and not after

    def _span(self, place: int) -> tuple[int, int]:
        stretch = bisect_right(self._at, place) - 1
        start, stop, literal = self._spans[stretch]
        if not literal:
            return start, stop
        start += place - self._at[stretch]
        return start, start + 1


def _squeeze(text: str) -> _Squeezed:
    content: list[bytes] = []
    at: list[int] = []
    spans: list[tuple[int, int, bool]] = []
    length = end = 0
    for odd in _ODD.finditer(text):
        start, stop = odd.span()
        if start > end:
            content.append(text[end:start].encode())
            at.append(length)
            spans.append((end, start, True))
            length += start - end
        if meant := _meant(odd):
            content.append(meant)
            at.append(length)
            spans.append((start, stop, False))
            length += len(meant)
        end = stop
    if end < len(text):
        content.append(text[end:].encode())
        at.append(length)
        spans.append((end, len(text), True))
    return _Squeezed(b"".join(content).translate(_FOLD), at, spans)


def _meant(odd: re.Match[str]) -> bytes:
    """What an escape stands for; empty for blanks and everything else that is left out."""
    text = odd.group()
    if odd["character"]:
        return text.encode("utf-8", "surrogatepass")
    meant = b""
    match text[0]:
        case "\\":
            meant = _escaped(text.lstrip("\\"))
        case "%":
            meant = bytes.fromhex(text[-2:]) if len(text) > 2 else b"%"
        case "&":
            meant = _entity(text)
    return b"" if meant <= b" " or meant == b"\\" else meant


def _escaped(code: str) -> bytes:
    if code[:1] == "x":
        return bytes.fromhex(code[1:])
    if code[:1] != "u":
        return b""
    if len(code) > 5:
        high, low = int(code[1:5], 16), int(code[-4:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()
    return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")


def _entity(odd: str) -> bytes:
    name = odd.rstrip(";").rpartition("&")[2].rpartition(";")[2]
    if name[:1] == "#":
        number = int(name[2:], 16) if name[1:2] in "xX" else int(name[1:])
        return chr(number).encode("utf-8", "surrogatepass") if number <= 0x10FFFF else b""
    return _ENTITIES.get(name, b"&")


def _escaped_forms(value: str) -> set[bytes]:
    """The squeezed forms of a value: as it is, as a URL or a form spells it, and with an escape for each character.
    They differ only for values that look as if they held escapes."""
    content = value.encode("utf-8", "surrogatepass")
    url = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02x}" for byte in content)
    form = "+".join(url.split("%20"))
    return {_squeeze(value).content, _squeeze(url).content, _squeeze(form).content, content.translate(_FOLD, _LEFT_OUT)}


def _encoded_forms(value: str) -> Iterator[bytes]:
    """The value as hex, and as base64 inside a longer text: without the characters that hold bits of its neighbours."""
    content = value.encode("utf-8", "surrogatepass")
    yield content.hex().encode()
    for before in range(3):
        bits = 8 * (before + len(content))
        encoded = base64.b64encode(bytes(before) + content)
        yield encoded[-(-8 * before // 6) : bits // 6].translate(_FOLD)


class Secret:
    """Wraps a secret value. Only `reveal()` returns it, so a search finds every use."""

    __slots__ = ("__value",)

    def __init__(self, value: str, parts: Iterable[str] | None = None) -> None:
        """`parts` are the secret parts of a value that is not secret as a whole: of a connection string, the key."""
        self.__value = value
        for secret in (value,) if parts is None else parts:
            KNOWN.remember(secret)

    def reveal(self) -> str:
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
