"""No part of a known secret survives in a text, in whatever form it comes, and nothing else is hidden."""

from __future__ import annotations

import base64
import html
import json
import re
import string
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onboarding.domain.secret import MASK, PART, KnownSecrets, secret_parts

PRINTABLE = string.ascii_letters + string.digits + "!#$%&'()+,-./:;<=>?@[\\]^_`{|}~\"äß€🗝"
KEY = base64.b64encode(bytes(range(150, 214))).decode()
KEYS = st.binary(min_size=32, max_size=64).map(lambda raw: base64.b64encode(raw).decode())
PASSWORDS = st.text(PRINTABLE + "  ", min_size=PART, max_size=40).map(str.strip).filter(lambda text: len(text) >= PART)
SECRETS = st.one_of(KEYS, PASSWORDS)
WORDS = st.text(string.ascii_letters + string.digits + " .,:;()[]'/\\%&=\n_-", max_size=30)


def _wrapped(columns: int, separator: str = "\n") -> Callable[[str], str]:
    def wrap(text: str) -> str:
        return separator.join(text[at : at + columns] for at in range(0, len(text), columns))

    return wrap


def _base64(before: int) -> Callable[[str], str]:
    """As it stands behind so many other bytes, without what these leave in the first characters."""

    def encode(text: str) -> str:
        return base64.b64encode(b"#" * before + text.encode()).decode()[4 if before else 0 :]

    return encode


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "hex": lambda text: text.encode().hex(),
    "HEX": lambda text: text.encode().hex().upper(),
    "hex, spaced": lambda text: text.encode().hex(" "),
    "hex, with colons": lambda text: f" {text.encode().hex(':')} ",
    "hex, wrapped": lambda text: _wrapped(64)(text.encode().hex()),
    "escaped bytes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    **{f"base64, {before} bytes on": _base64(before) for before in range(3)},
    "base64, wrapped": lambda text: _wrapped(76)(_base64(1)(text)),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in a URL": lambda text: quote(_base64(2)(text), safe=""),
    **{f"wrapped at {columns}": _wrapped(columns) for columns in (7, 32, 39, 64, 76)},
    "wrapped by Windows and indented": _wrapped(32, "\r\n    "),
    "wrapped, in JSON": lambda text: json.dumps(_wrapped(32)(text)),
    "with blanks": _wrapped(10, " "),
    "URL": lambda text: quote(text, safe=""),
    "URL, each byte": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON, each character": lambda text: re.sub("(....)", r"\\u\1", text.encode("utf-16-be").hex()),
    "XML": html.escape,
    "lower case": str.lower,
}


def _hidden(secret: str, text: str) -> str:
    known = KnownSecrets()
    known.remember(secret)
    return known.hide(text)


def _windows(text: str, size: int = PART) -> set[str]:
    return {text[at : at + size] for at in range(len(text) - size + 1)}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30)
@given(secret=SECRETS, before=WORDS, after=WORDS)
def test_nothing_of_a_secret_is_left_in_any_form(form: str, secret: str, before: str, after: str) -> None:
    if form == "lower case":
        assume(secret.isascii() and "\\" not in secret)
    shown = FORMS[form](secret)
    hidden = _hidden(secret, f"{before} {shown} {after}")
    assert MASK in hidden
    # Compared as it was written, since each form has its own spelling; blanks and line breaks tell nothing.
    size = PART if len(shown) < 3 * len(secret) else 3 * PART
    assert not _windows("".join(shown.split()), size) & _windows("".join(hidden.split()), size)


@given(secret=SECRETS, data=st.data(), before=WORDS, after=WORDS)
def test_no_part_of_twelve_characters_is_left(secret: str, data: st.DataObject, before: str, after: str) -> None:
    start = data.draw(st.integers(0, len(secret) - PART))
    part = secret[start : data.draw(st.integers(start + PART, len(secret)))]
    hidden = _hidden(secret, before + part + after)
    assert not [window for window in _windows(part) if window in hidden]


@pytest.mark.parametrize(
    "form", ["hex", "base64, 0 bytes on", "base64, 1 bytes on", "base64, 2 bytes on", "URL", "JSON"]
)
@settings(max_examples=30)
@given(secret=SECRETS, data=st.data())
def test_no_part_of_twelve_characters_is_left_in_other_forms(form: str, secret: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(secret) - PART))
    shown = FORMS[form](secret[start : start + PART])
    if "base64" in form:
        shown = shown.rstrip("=")
    elif form == "JSON":
        shown = shown[1:-1]
    assert shown not in _hidden(secret, f"<{shown}>")


@given(secret=KEYS, text=st.text())
def test_a_text_without_a_secret_stays_as_it_is(secret: str, text: str) -> None:
    assert _hidden(secret, text) == text


@given(secret=KEYS, words=st.lists(WORDS, min_size=2, max_size=5))
def test_what_stands_around_a_secret_stays(secret: str, words: list[str]) -> None:
    words = [f"<{word}>" for word in words]
    assert _hidden(secret, secret.join(words)) == MASK.join(words)


READABLE = [
    "workspace 6f680a37-00c6-41c7-a93f-1437e3462574 of policy linux-monitoring",
    "2026-11-20 10:00:00 Install,failed,51: /var/lib/Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux-1.13.29",
    "C:\\new\\table\\%TEMP%\\x86 & co; 100% of &nbsp; \\u00 \\ud83d %zz %2",
    "cannot reach proxy.contoso.example",
]


@pytest.mark.parametrize("text", READABLE)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert _hidden(KEY, text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy said: hunter22", "proxy said: ***"),
        ("HUNTER22!", "***!"),
        ("u:hunter22@proxy", "u:***@proxy"),
        ("a\\nhunter22\\n", "a\\n***\\n"),
        ("password%3Dhunter22%26x", "password%3D***%26x"),
        ("hun\nter22", "***"),
        ("hunter221 and xhunter22", "hunter221 and xhunter22"),
        ("hunter2 hunters", "hunter2 hunters"),
        (f"in hex {b'hunter22'.hex()}00", "in hex ***00"),
        (f"Basic {base64.b64encode(b'u:hunter22').decode()}", "Basic dTp***g=="),
    ],
)
def test_a_short_secret_is_hidden_whole_and_as_a_word(text: str, shown: str) -> None:
    assert _hidden("hunter22", text) == shown


@pytest.mark.parametrize("value", ["", " ", "true", "8080", "user", "\n\n\n\n\n\n\n"])
def test_what_is_too_short_is_left_to_the_patterns(value: str) -> None:
    text = f"true for user at 8080 {value}"
    assert _hidden(value, text) == text


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (f"AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net", (KEY,)),
        (f"Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey={KEY}", (KEY,)),
        ("TableEndpoint=https://a;SharedAccessSignature=sv=2022&sig=ab%2Fcd%3D&se=1", ("ab%2Fcd%3D",)),
        ("https://a.example/x?sv=1&sig=abc", ("abc",)),
        ("http://user:p@ss W0rd/xyz@proxy:80", ("p@ss W0rd/xyz",)),
        ("user:pw@proxy", ("pw",)),
        ("http://proxy.example:8080", ()),
        ("6f680a37-00c6-41c7-a93f-1437e3462574", ()),
        (KEY, ()),
    ],
)
def test_what_is_secret_by_itself_in_a_value(value: str, parts: tuple[str, ...]) -> None:
    assert secret_parts(value) == parts


def test_the_password_of_a_url_is_hidden_where_it_stands_alone() -> None:
    assert (
        _hidden("http://svc:s3same@proxy.example:80", "login svc / s3same was refused") == "login svc / *** was refused"
    )


def test_a_new_secret_makes_answers_given_before_out_of_date() -> None:
    known = KnownSecrets()
    known.remember(KEY)
    first = known.version
    known.remember(KEY)
    assert known.version == first
    known.remember(KEY[::-1])
    assert known.version > first
    assert known.hide(f"{KEY} {KEY[::-1]}") == "*** ***"


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    known = KnownSecrets(most=4)
    secrets = [f"secret-number-{number}" * 2 for number in range(5)]
    for secret in secrets[:4]:
        known.remember(secret)
    known.remember(secrets[0])
    known.remember(secrets[4])
    assert known.hide(secrets[0]) == known.hide(secrets[4]) == MASK
    assert known.hide(f"<{secrets[1]}>") != f"<{MASK}>"


def test_what_is_remembered_is_bounded_by_its_size_too() -> None:
    known = KnownSecrets(characters=1000)
    for number in range(50):
        known.remember(base64.b64encode(f"{number:02}".encode() * 30).decode())
    assert repr(known) in {f"KnownSecrets({count} values)" for count in range(9, 13)}


UNITS = [
    "a",
    "\\",
    "%25",
    "&amp;",
    "\\ud83d",
    "ä",
    " 12:",
    " ",
    KEY,
    KEY[:11] + " ",
    "%",
    "\0",
    "hunter22",
    "hunter22 ",
]


@pytest.mark.parametrize("unit", UNITS)
def test_twice_the_text_takes_twice_the_steps(unit: str) -> None:
    known = KnownSecrets()
    known.remember(KEY)
    known.remember("hunter22")
    known.hide("now everything is prepared")
    run_event, twice = (_steps(partial(known.hide, (unit * size)[:size])) for size in (5_000, 10_000))
    assert twice <= 2.2 * run_event + 100


@pytest.mark.parametrize("unit", UNITS)
def test_a_large_hostile_text_is_read(unit: str) -> None:
    known = KnownSecrets()
    known.remember(KEY)
    text = (unit * 65_536)[:65_536]
    assert len(known.hide(text)) <= len(text)


def _steps(work: Callable[[], object]) -> int:
    """How many lines of code were run."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_no_repr_shows_a_value() -> None:
    known = KnownSecrets()
    known.remember(KEY)
    assert KEY not in repr(known)


def test_a_long_text_with_the_secret_at_its_end() -> None:
    filler = textwrap.fill("nothing to be seen here " * 3000, 100)
    assert _hidden(KEY, filler + _wrapped(39)(KEY)).endswith("here ***" if filler.endswith(" ") else f"here{MASK}")
