"""Brings what is known about a failure into one form: ARM error bodies, operation results, statuses, pasted text.

Reads every envelope that was seen in practice (wrapped or bare, capital keys, JSON inside a message, HTML of a proxy,
nothing at all) and never raises. It does not classify; `failures.classification` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import replace
from html import unescape
from itertools import islice
from typing import Any, ClassVar, Self

from msgspec import field

from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.lazy_pattern import Pattern
from onboarding.domain.machine.machine_facts import Status

# The codes of a problem of our own identity: no token for now, and no token until a person fixes the identity. Nothing
# was sent to ARM.
TOKEN_UNAVAILABLE, IDENTITY_UNUSABLE = "TokenUnavailable", "IdentityUnusable"
NO_TOKEN = (TOKEN_UNAVAILABLE, IDENTITY_UNUSABLE)

_DEPTH = 16
_JSON_TRIES = 6
_MOST_DETAILS = 50
_HIDDEN = Pattern(r"<(?:style|script)\b", re.IGNORECASE)
_HIDDEN_END = Pattern(r"</(?:style|script)>", re.IGNORECASE)
_ERROR_CODE = r"(?P<code>[A-Za-z][A-Za-z0-9]{3,79})"
# Where tools put a code: `(Code) words`, `Code="X"`, `-> X : words` (Packer), `X: words`, `<Code>X</Code>`,
# `error code X`, `Status: "X"` (Terraform). The last few need a name of two words, as codes are: `AnError`.
_TWO_WORDS = r"(?P<code>[A-Z][A-Za-z0-9]{2,40}?[a-z0-9][A-Z][A-Za-z0-9]{2,40})"
_CODE_IN_TEXT = (
    Pattern(rf"^(?:ERROR:\s*)?\({_ERROR_CODE}\)\s", re.MULTILINE),
    Pattern(rf"\b(?:Error ?)?Code\\?[\"']?\s*[:=]\s*\\?[\"']?{_ERROR_CODE}\b", re.IGNORECASE),
    Pattern(rf"<(?:\w{{1,20}}:)?(?:Error)?Code>\s*{_ERROR_CODE}\s*<", re.IGNORECASE),
    Pattern(rf"[>-] {_ERROR_CODE} ?: "),
    Pattern(rf"^\s{{0,40}}{_TWO_WORDS}\s*$"),
    Pattern(rf"\b(?:error|with|and) code:? \\?[\"']?{_TWO_WORDS}\b"),
    Pattern(rf"\b(?:Status|Reason)\\?[\"']?\s?[:=]\s?\\?[\"']{_TWO_WORDS}\b"),
    Pattern(rf"(?:^|[:;>\"'] ?){_TWO_WORDS}: ", re.MULTILINE),
)
_MOST_CODES = 8
_STATUS_IN_TEXT = (
    Pattern(
        r"(?:\bStatus ?Code\s*[=:]\s*|^(?:HTTP(?:/\d(?:\.\d)?)?\s+)?)(?P<status>[45]\d\d)\b(?!-)",
        re.IGNORECASE,
    ),
    # `HTTP Error 503`, `HTTP/1.1 502`, `HTTP Status 503`, `(503) Server Unavailable`, `indicate success: 503 (…)`
    Pattern(
        r"\bHTTP(?:/\d(?:\.\d)?| error| status(?: code)?| response(?: code)?):? (?P<status>[45]\d\d)\b"
        r"|\bstatus(?: code)?\\?[\"']?\s?[:=]?\s?\\?[\"'(]?(?P<second>[45]\d\d)\b"
        r"|\((?P<third>[45]\d\d)\) [A-Z]|\bsuccess: (?P<fourth>[45]\d\d) \(",
        re.IGNORECASE,
    ),
)
# The words that stand for a number: `invalid status code 'Service Unavailable'`, `<title>502 Bad Gateway</title>`.
_PHRASES = {
    "badrequest": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "notfound": 404,
    "proxyauthenticationrequired": 407,
    "requesttimeout": 408,
    "conflict": 409,
    "preconditionfailed": 412,
    "toomanyrequests": 429,
    "internalservererror": 500,
    "badgateway": 502,
    "serviceunavailable": 503,
    "servertemporarilyunavailable": 503,
    "gatewaytimeout": 504,
}
_PHRASE = "|".join(
    (
        "Bad Request|Unauthorized|Forbidden|Not Found|Proxy Authentication Required|Request Time-?out|Conflict",
        "Precondition Failed|Too Many Requests|(?:Internal )?Server Error|Bad Gateway|Service Unavailable",
        "(?:Server|Service) Temporarily Unavailable|Gateway Time-?out",
    )
).replace(" ", "[ _-]?")
_STATUS_AS_WORDS = (
    Pattern(
        rf"\b(?:status(?: code)?|returned|answered|response)(?: was| is)?\s?[:=]?\s?\\?[\"'(]?(?P<words>{_PHRASE})\b",
        re.IGNORECASE,
    ),
    Pattern(rf"\b(?P<number>[45]\d\d)[ :-]{{1,3}}(?:{_PHRASE})\b", re.IGNORECASE),
)
_STATUS_OF_A_PAGE = Pattern(rf"\bError:? (?P<number>[45]\d\d)\b|\b(?P<words>{_PHRASE})\b", re.IGNORECASE)
_PAGE = Pattern(r"<!doctype html|<html\b", re.IGNORECASE)
_HEAD = 4096
WEB_PAGE = "WebPage"  # the code of an answer that is an HTML page, most often a proxy's
_OF_A_HANDLER = Pattern(
    r"\[std(?:out|err)\]|exit code|failed with|processing extension|terminal failure", re.IGNORECASE
)


class Detail(HidingStruct, frozen=True):
    """One error object inside another; absent parts are empty."""

    hidden: ClassVar[frozenset[str]] = frozenset({"message"})

    code: str = ""
    message: str = ""
    target: str = ""


class Evidence(HidingStruct, frozen=True):
    """One failure as ARM, a handler or a person's text reports it; absent parts are empty."""

    hidden: ClassVar[frozenset[str]] = frozenset({"message", "headers"})

    http_status: int | None = None  # None if nobody answered, or if the text has none
    code: str = ""  # of the outermost error
    message: str = ""  # of the outermost error; foreign text
    target: str = ""  # of the outermost error
    details: tuple[Detail, ...] = ()  # the errors inside, from the outside in
    inner_code: str = ""  # of `innererror`
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    handler: str = ""  # publisher, type and perhaps version (`A.B-1.2`), where something besides the messages names it

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code, the most specific first."""
        inner = (detail.code for detail in reversed(self.details))
        return tuple(code for code in (self.inner_code, *inner, self.code) if code)

    @property
    def text(self) -> str:
        """Every message, the outermost first."""
        return "\n".join(m for m in (self.message, *(detail.message for detail in self.details)) if m)

    @classmethod
    def from_body(cls, http_status: int | None, body: object, headers: Mapping[str, str] | None = None) -> Self:
        """Read the body of an ARM answer, decoded from JSON or as text."""
        found = tuple(islice(_errors(body, _DEPTH), _MOST_DETAILS))
        if (words := _visible_text(body)) and not words.startswith(("{", "[{")):
            found = (Detail(message=words), *found)
        first = found[0] if found else Detail(message=_visible_text(body))
        return cls(
            http_status=http_status,
            code=first.code,
            message=first.message,
            target=first.target,
            details=found[1:],
            inner_code=_inner_code(body, _DEPTH),
            headers={str(name).lower(): str(value) for name, value in (headers or {}).items()},
        )

    @classmethod
    def from_operation(cls, body: object) -> Evidence:
        """Read the result of an asynchronous operation: the HTTP status is 200, and the failure is in the body."""
        evidence = cls.from_body(200, body)
        if evidence.code:
            return evidence
        return replace(evidence, code=_string(_folded(body).get("status")))

    @classmethod
    def from_status(cls, statuses: Iterable[Status]) -> Self:
        """Read an instance view: the messages of every status that does not report success, failures first."""
        bad = [s for s in statuses if not s.code.lower().startswith(("provisioningstate/succeeded", "powerstate/"))]
        bad.sort(key=lambda s: not s.code.lower().startswith("provisioningstate/failed"))
        details = [Detail(s.code, s.message or s.display) for s in bad]
        first = details[0] if details else Detail()
        return cls(code=first.code, message=first.message, details=tuple(details[1:]))

    @classmethod
    def from_text(cls, text: str, http_status: int | None = None, headers: Mapping[str, str] | None = None) -> Evidence:
        """Read what a person pasted: a message, a body, or what `az`, PowerShell or Terraform printed."""
        evidence = cls.from_body(http_status, text, headers)
        codes = list(_codes_in(text))
        outermost = evidence.code or next(iter(codes), "")
        more = [Detail(code) for code in codes if code not in (outermost, *evidence.codes)]
        if _PAGE.search(text[:_HEAD]):
            more.append(Detail(WEB_PAGE))
        return replace(
            evidence,
            code=outermost,
            details=(*evidence.details, *more),
            http_status=_status_in(text, evidence.message) if http_status is None else http_status,
        )


def _codes_in(text: str) -> Iterator[str]:
    """The codes in a text, each once, the surest first."""
    seen: set[str] = set()
    for pattern in _CODE_IN_TEXT:
        for found in islice(pattern.finditer(text), _MOST_CODES):
            code = found["code"]
            if code not in seen:
                seen.add(code)
                yield code


def _status_in(text: str, words: str) -> int | None:
    """The HTTP status in a text, by its number or its name; `words` is the text as a reader sees it.

    What a handler prints often quotes the answers of other services: there only the surest form counts."""
    surest = _STATUS_IN_TEXT[:1]
    if number := _first(surest, text.strip(), "status") or _first(surest, words, "status"):
        return int(number)
    if _PAGE.search(text[:_HEAD]):
        found = _STATUS_IN_TEXT[1].search(words) or _STATUS_OF_A_PAGE.search(words)
        return _number_of(found)
    if _OF_A_HANDLER.search(text):
        return None
    patterns = (_STATUS_IN_TEXT[1], *_STATUS_AS_WORDS)
    return _number_of(next(filter(None, (pattern.search(words) for pattern in patterns)), None))


def _number_of(found: re.Match[str] | None) -> int | None:
    """The status in a match, by its number or by its words; None without a match."""
    if found is None:
        return None
    status = next(filter(None, found.groups()))
    return int(status) if status.isdigit() else _PHRASES.get("".join(filter(str.isalpha, status)).lower())


def _errors(value: object, depth: int) -> Iterator[Detail]:
    """Every error object in the value, the outermost first."""
    if depth == 0:
        return
    if isinstance(value, str | bytes):
        for inner in _json_in(_decoded(value)):
            yield from _errors(inner, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _errors(item, depth - 1)
    else:
        yield from _errors_of_mapping(_folded(value), depth)


def _errors_of_mapping(raw: Mapping[str, Any], depth: int) -> Iterator[Detail]:
    code, message = _string(raw.get("code")), _string(raw.get("message"))
    error = raw.get("error", raw.get("odata.error"))
    if isinstance(error, str):
        code, message = code or error, message or _string(raw.get("error_description")) or error
        error = None
    if code or message:
        yield Detail(code, message, _string(raw.get("target")))
    for inner in (error, message, raw.get("details"), raw.get("properties"), raw.get("statusmessage")):
        if inner:
            yield from _errors(inner, depth - 1)


def _inner_code(value: object, depth: int) -> str:
    if depth == 0:
        return ""
    if isinstance(value, str | bytes):
        return next(filter(None, (_inner_code(inner, depth - 1) for inner in _json_in(_decoded(value)))), "")
    raw = _folded(value)
    inner = _folded(raw.get("innererror"))
    own = _string(inner.get("internalerrorcode")) or _string(inner.get("code"))
    if own or not raw:
        return own
    return _inner_code(raw.get("error"), depth - 1) or _inner_code(raw.get("message"), depth - 1)


def _json_in(text: str) -> Iterator[object]:
    """The JSON objects in a text, alone or after some words."""
    decoder, start = json.JSONDecoder(), text.find("{")
    for _ in range(_JSON_TRIES):
        if start < 0:
            return
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield value
        start = text.find("{", end)


def _visible_text(value: object) -> str:
    """The text of an answer that is not JSON; of a proxy's HTML page, what a reader would see."""
    text = _decoded(value) if isinstance(value, str | bytes) else ""
    if text.lstrip().startswith("<"):
        text = unescape(" ".join(word for part in _outside_tags(text) for word in part.split()))
    return text.strip()


def _outside_tags(page: str) -> Iterator[str]:
    """The text between the tags, without styles and scripts. Each character is read once or twice, however many tags
    are never closed: an end that is missing behind one place is not searched for behind the next."""
    at, hidden_ends = 0, True
    while (start := page.find("<", at)) >= 0:
        hides = hidden_ends and _HIDDEN.match(page, start)
        found = _HIDDEN_END.search(page, start) if hides else None
        hidden_ends = hidden_ends and not (hides and found is None)
        end = found.end() if found else page.find(">", start) + 1
        if not end:
            break
        yield page[at:start]
        at = end
    yield page[at:]


def _decoded(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")


def _folded(value: object) -> Mapping[str, Any]:
    return {str(k).lower(): v for k, v in value.items()} if isinstance(value, Mapping) else {}


def _string(value: object) -> str:
    """A code or message: text as it is, a number as text, OData's `{"value": …}` as its value."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**9 else ""
    return value if isinstance(value, str) else ""


def _first(patterns: Iterable[Pattern], text: str, group: str) -> str:
    found = next(filter(None, (pattern.search(text) for pattern in patterns)), None)
    return found[group] if found else ""
