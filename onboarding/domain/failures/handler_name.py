"""Which handler a message is about: publisher and type, and its version where it is told.

A quoted name with dots may as well be a VM's, an extension resource's or a host's. It counts as a handler where the
words before it say so, and where nothing says otherwise.
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
    """In quotes, or a word behind a colon or an equals sign. A quote that is not closed holds half a name."""
    return rf"{_KEY_ENDS}(?:{_QUOTE}(?P<{name}>[\w.-]{{1,120}}){_QUOTE}|(?P<{name}_bare>[\w.-]{{1,120}}))"


# `(publisher 'A.B' and type 'T')`; `publisher 'A.B', type 'T', and type handler version '1'`; `"publisher": "A.B", …`
_PAIR = Pattern(_PUBLISHER + _value("publisher") + _AND + _TYPE + _value("type"), re.IGNORECASE)
_PAIR_TURNED = Pattern(_TYPE + _value("type") + _AND + _PUBLISHER + _value("publisher"), re.IGNORECASE)
# `namespace A.B, type T`, as the classic API had it.
_NAMESPACE = Pattern(
    rf"\bnamespace\s{_QUOTE}?(?P<publisher>[\w.-]{{1,120}}?){_QUOTE}?,?\s"
    rf"(?:and )?type\s{_QUOTE}?(?P<type>[\w.-]{{1,120}}\w)",
    re.IGNORECASE,
)
_SAID = Pattern(
    rf"(?:\bhandler|type|\btyp|\btipo|種類|类型|유형)\s{{0,3}}[:=]?\s{{0,3}}{_QUOTE}(?P<name>{_NAME}{{1,6}}){_QUOTE}",
    re.IGNORECASE,
)
# Logs write it without quotes: `HandlerName: A.B.C`, `name=A.B.C, op=Enable`, `[A.B.C] Install failed`.
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
    """`name` is publisher and type; empty where the text names none."""

    name: str = ""
    version: tuple[int, ...] = ()


class HandlerNames(Struct, frozen=True):
    """The handlers that are known by their types alone: publisher and type by the plain form of the type, the longest
    first."""

    by_type: Mapping[str, str]

    def find(self, text: str, told: str = "") -> Handler:
        """The handler of a message; `told` is what its surroundings say (`A.B` or `A.B-1.2`)."""
        if told:
            found = _WITH_VERSION.match(f"{told} ")
            return _versioned(found) if found else Handler(told)
        if found := _WITH_VERSION.search(text):
            return _versioned(found)
        return Handler(self._named(text))

    def named_after(self, name: str) -> str:
        """The handler after whose type something is named, as an extension's resource or status file. Other names say
        nothing, whatever dots they have."""
        if name.lower().startswith("microsoft.") and name.count(".") > 1:
            return name
        plain = _plain(name)
        return next((handler for kind, handler in self.by_type.items() if _begins_with(plain, kind)), "")

    def _named(self, text: str) -> str:
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
        """Whether a name without quotes is a handler: it is called so, or has Microsoft's three parts, or is known."""
        name = found["name"]
        if found["said"]:
            return name != name.lower() and not _HOST.search(name)
        microsofts = name.startswith("Microsoft.") and name.count(".") > 1 and not _MODULE.match(name)
        return microsofts or name.lower() in map(str.lower, self.by_type.values())


def parse_handlers(raw: Mapping[str, Sequence[str]]) -> HandlerNames:
    """Read the types of each publisher."""
    told = {_plain(kind): f"{publisher}.{kind}" for publisher, kinds in raw.items() for kind in kinds}
    return HandlerNames(dict(sorted(told.items(), key=lambda item: -len(item[0]))))


def _versioned(found: re.Match[str]) -> Handler:
    return Handler(found["name"], tuple(int(part) for part in found["version"].split(".")))


def _part(found: re.Match[str], name: str) -> str:
    return (found[name] or found.groupdict().get(f"{name}_bare") or "").strip(".")


def _may_be_one(found: re.Match[str]) -> bool:
    name = found["name"]
    return not _OTHER_THINGS.search(found["before"]) and name != name.lower() and not _HOST.search(name)


def _begins_with(name: str, kind: str) -> bool:
    """A short type, such as DSC, is the whole name; a long one may have something behind it."""
    return name == kind or (len(kind) >= _LONG and name.startswith(kind))


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
