"""Finds the handler that a message is about: publisher and type, and the version if the message has it.

A quoted name with dots may also be a VM's, an extension resource's or a host's. It counts as a handler if the words
before it say so, or if nothing says that it is something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice

from msgspec import Struct

from onboarding.domain.lazy_pattern import Pattern

_QUOTE = r"""\\?['"‘’“”`]"""
_NAME = r"[A-Za-z][\w-]{0,80}+(?:\.[A-Za-z][\w-]{0,80}+)"
_WITH_VERSION = Pattern(
    r"\b(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*){1,5})-(?P<version>\d{1,5}(?:\.\d{1,9}){1,3})(?=[\]/\s])"
)
_PUBLISHER = r"\bpublisher(?:Name)?"
_TYPE = r"\b(?:extension)?type(?:PropertiesType|Name)?"
_KEY_ENDS = rf"(?:{_QUOTE})?(?:\s{{0,4}}[:=]\s{{0,4}}|\s{{1,4}}(?=\\?['\"‘’“”`]))"
_AND = rf"[,;)]?\s{{0,40}}(?:and |with |of |from )?(?:the )?(?:{_QUOTE})?"


def _value(name: str) -> str:
    """A value in quotes, or a word behind a colon or an equals sign. Without its closing quote a name may be cut."""
    return rf"{_KEY_ENDS}(?:{_QUOTE}(?P<{name}>[\w.-]{{1,120}}){_QUOTE}|(?P<{name}_bare>[\w.-]{{1,120}}))"


# `(publisher 'A.B' and type 'T')`; `publisher 'A.B', type 'T', and type handler version '1'`; `"publisher": "A.B", …`
_PAIR = Pattern(_PUBLISHER + _value("publisher") + _AND + _TYPE + _value("type"), re.IGNORECASE)
_PAIR_TURNED = Pattern(_TYPE + _value("type") + _AND + _PUBLISHER + _value("publisher"), re.IGNORECASE)
# `namespace A.B, type T`, as in the classic API.
_NAMESPACE = Pattern(
    rf"\bnamespace\s{_QUOTE}?(?P<publisher>[\w.-]{{1,120}}?){_QUOTE}?,?\s"
    rf"(?:and )?type\s{_QUOTE}?(?P<type>[\w.-]{{1,120}}\w)",
    re.IGNORECASE,
)
_SAID = Pattern(
    rf"(?:\bhandler|type|\btyp|\btipo|種類|类型|유형)\s{{0,3}}[:=]?\s{{0,3}}{_QUOTE}(?P<name>{_NAME}{{1,6}}){_QUOTE}",
    re.IGNORECASE,
)
# Logs write names without quotes: `HandlerName: A.B.C`, `name=A.B.C, op=Enable`, `[A.B.C] Install failed`.
_BARE = Pattern(
    rf"(?:\b(?P<said>handler|plug-?in)[ _-]?(?:name|type)?|\bextension[ _-]?(?:name|type)?|\bname|(?P<bracket>\[))"
    rf"(?(bracket)|\s{{0,3}}[:=]?\s{{0,3}})(?P<name>{_NAME}{{1,6}})(?=[\s,;:)\]]|\.?$)",
    re.IGNORECASE | re.MULTILINE,
)
_RESOURCE = Pattern(rf"\bextension\s{{0,3}}:?\s{{0,3}}{_QUOTE}(?P<name>[\w.-]{{1,120}}){_QUOTE}", re.IGNORECASE)
_QUOTED = Pattern(rf"(?P<before>[^\s'\"]{{0,24}})[\s:=(]{{0,3}}{_QUOTE}(?P<name>{_NAME}{{2,6}}){_QUOTE}")
_OTHER_THINGS = Pattern(
    r"(?:VM|machine|extension|resource|instance|host|hostname|server|computer|name|group|scope|client|user|account"
    r"|namespace|provider|region|location|domain|file|path|module|package|service|to|from|at|property|parameter|url"
    r"|action|error|publisher|image|template|deployment|policy|assignment|definition|role|identity|vault)s?:?$",
    re.IGNORECASE,
)
_HOST = Pattern(
    r"\.(?:com|net|org|io|local|internal|lan|corp|test|example|cloud|dev|eu|de|uk|fr|jp|cn|us|int|intra|home|ad)$", re.I
)
_MODULE = Pattern(r"Microsoft\.(?:Azure\.(?:Commands|Management|PowerShell)|Rest|PowerShell\.Commands)\.")
_TRIES = 50
_LONG = 10


class Handler(Struct, frozen=True):
    """A handler that a message names."""

    name: str = ""  # publisher and type; empty if the message names none
    version: tuple[int, ...] = ()  # empty if the message has none


class HandlerNames(Struct, frozen=True):
    """The handlers that are known by their types alone."""

    by_type: Mapping[str, str]  # publisher and type, by the folded type; the longest type first

    def find(self, text: str, known: str = "") -> Handler:
        """The handler of a message; `known` is what its surroundings say about it (`A.B` or `A.B-1.2`)."""
        if known:
            found = _WITH_VERSION.match(f"{known} ")
            return _versioned(found) if found else Handler(known)
        if found := _WITH_VERSION.search(text):
            return _versioned(found)
        return Handler(self._name_in(text))

    def named_after(self, name: str) -> str:
        """The handler whose type an extension resource or a status file is named after; empty for other names, whatever
        dots they have."""
        if name.lower().startswith("microsoft.") and name.count(".") > 1:
            return name
        folded = _folded(name)
        return next((handler for kind, handler in self.by_type.items() if _begins_with(folded, kind)), "")

    def _name_in(self, text: str) -> str:
        for pattern in (_PAIR, _PAIR_TURNED, _NAMESPACE):
            if found := pattern.search(text):
                publisher, kind = (_part(found, name) for name in ("publisher", "type"))
                return kind if kind.lower().startswith(f"{publisher.lower()}.") else f"{publisher}.{kind}"
        if found := _SAID.search(text):
            return found["name"]
        if (found := _RESOURCE.search(text)) and (known := self.named_after(found["name"])):
            return known
        quoted = (found["name"] for found in islice(_QUOTED.finditer(text), _TRIES) if _may_be_one(found))
        if name := next(quoted, ""):
            return name
        return next((found["name"] for found in islice(_BARE.finditer(text), _TRIES) if self._is_one(found)), "")

    def _is_one(self, found: re.Match[str]) -> bool:
        """Whether a name without quotes is a handler: the text says so, or it has Microsoft's three parts, or is
        known."""
        name = found["name"]
        if found["said"]:
            return name != name.lower() and not _HOST.search(name)
        microsofts = name.startswith("Microsoft.") and name.count(".") > 1 and not _MODULE.match(name)
        return microsofts or name.lower() in map(str.lower, self.by_type.values())


def parse_handlers(raw: Mapping[str, Sequence[str]]) -> HandlerNames:
    """Read the types of each publisher."""
    by_type = {_folded(kind): f"{publisher}.{kind}" for publisher, kinds in raw.items() for kind in kinds}
    return HandlerNames(dict(sorted(by_type.items(), key=lambda item: -len(item[0]))))


def _versioned(found: re.Match[str]) -> Handler:
    return Handler(found["name"], tuple(int(part) for part in found["version"].split(".")))


def _part(found: re.Match[str], name: str) -> str:
    return (found[name] or found.groupdict().get(f"{name}_bare") or "").strip(".")


def _may_be_one(found: re.Match[str]) -> bool:
    name = found["name"]
    return not _OTHER_THINGS.search(found["before"]) and name != name.lower() and not _HOST.search(name)


def _begins_with(name: str, kind: str) -> bool:
    """Whether the name begins with the type. A short type must be the whole name."""
    return name == kind or (len(kind) >= _LONG and name.startswith(kind))


def _folded(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
