"""Removes secrets from a foreign text and bounds its length, before the text is stored, logged or shown.

Handlers, proxies and ARM quote what they were given, so any message may hold a workspace key, a token or a proxy
password. First the values that this process knows are masked, in any encoding (`secret`), then what looks like a
secret. Mask first and cut afterwards: half a key no longer looks like one.
"""

from __future__ import annotations

import re
from functools import lru_cache

from onboarding.domain.secret import KNOWN, MASK

_SHORT = 4096

# One character of base64, also as JSON (`\/`, `\u002B`) and as URLs (`%2F`) spell it.
_UNIT = r"(?:[A-Za-z0-9+/]|\\/|\\u002[BbFf]|%2[BbFf])"
_PADDING = r"(?:=|\\u003[Dd]|%3[Dd]){1,2}"
# A run begins where no unit can have ended: at a plain boundary, or behind an escape that is not a unit.
_BEFORE = (
    r"(?:(?<![A-Za-z0-9+/\\%])|(?<=\\[nrt])"
    r"|(?<=%[0-9A-Fa-f]{2})(?<!%2[BbFf])|(?<=\\u00[0-9A-Fa-f]{2})(?<!\\u002[BbFf]))"
)
_LONG_NAMES = (
    r"AccountKey|SharedAccessKey|SharedAccessSignature|workspace_?key|shared_?key|client_?secret|access_?token"
    r"|refresh_?token|password|passwd|api_?key"
)
_SHORT_NAMES = r"sig|pwd|secret"

_TOKEN = re.compile(r"\beyJ[\w-]{8,1024}+(?:\.[\w-]+){1,4}")
_SCHEME = re.compile(r"\b(?P<name>Bearer|Basic|SharedKey(?:Lite)?)\s+(?!\*)[\w.~+/=:-]{8,}", re.IGNORECASE)
_PADDED = re.compile(rf"{_BEFORE}{_UNIT}{{24,}}+{_PADDING}")
_NAMED_VALUE = re.compile(
    rf"""\b(?P<name>(?:(?:{_LONG_NAMES})\\?["']?\s*[=:]|(?:{_SHORT_NAMES})=)\s*\\?["']?)[^\s"'&;,\\}}]+""",
    re.IGNORECASE,
)
# What counts as a password behind a mere word: six characters or more, with a letter and a digit; no path, no host.
_PASSWORD = r"""(?![/.~$-])(?!\S*://)(?![\w.-]+:\d+\b)(?=[^\s\d]*\d)(?=[^\sA-Za-z]*[A-Za-z])\S{6,}"""
# What follows an option of a command line is its value, whatever it looks like, unless the text is about the option.
_OPTION = re.compile(
    rf"""
    (?<!\S) (?P<name> ['"]? (?:
        --?[\w-]{{0,32}} (?:password | passwd | pwd | secret | token | (?<![a-z])key) (?: = | \s+ (?!-) ) ['"]?
      | -p \s+ (?={_PASSWORD})
    ))
    (?! (?:is|was|are|and|or|option|flag|argument|parameter|value|must|should|can|cannot|needs?|requires?|has)\b )
    [^\s"']+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SPOKEN_PASSWORD = re.compile(
    rf"""
    \b (?P<name> (?:password|passwd|passphrase|pwd) \s+ (?:(?:is|was)\s+)? | (?=\w+:\S{{1,256}}\s+proxy\b) \w{{1,64}}: )
    (?={_PASSWORD}) [^\s"',;]+
    """,
    re.IGNORECASE | re.VERBOSE,
)
# The login of a URL ends at the last `@` of its word, or at the first one behind some blanks.
_LOGIN = re.compile(
    r"""
    (?P<name>//) [^\s/:@"'<>]{1,64} : (?!\d{1,5}(?:[/?\#\s]|$))
    (?: [^\s"'<>]{1,256} | [^\s@"'<>]{1,64} (?:[ ][^\s@"'<>]{1,64}){1,3} ) @ (?=[\w\[])
    """,
    re.VERBOSE,
)
_USER = re.compile(r"""(?P<name>\b|//)[^\s/:@"'<>]{1,64}:[^\s@"'<>]{1,256}@(?=[\w\[])""")
_LONG = re.compile(rf"{_BEFORE}{_UNIT}{{40,}}+")
_URL_SAFE = re.compile(r"(?<![\w+/-])[\w-]{43,}+={0,2}(?![\w+/=%\\-])")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def mask(text: str) -> str:
    """The text without the secrets that this process knows, and without what looks like one: workspace keys, tokens,
    signatures, account keys and passwords."""
    return _remembered(text, KNOWN.version) if len(text) <= _SHORT else _masked(text)


@lru_cache(maxsize=512)
def _remembered(text: str, version: int) -> str:
    """Cached, since VMs of the same image have the same reasons. `version` stands for the values that are known."""
    return _masked(text)


def _masked(text: str) -> str:
    text = KNOWN.hide(text)
    text = _TOKEN.sub(MASK, text)
    text = _SCHEME.sub(rf"\g<name> {MASK}", text)
    text = _URL_SAFE.sub(_mask_if_random, text)
    text = _PADDED.sub(MASK, text)
    text = _OPTION.sub(rf"\g<name>{MASK}", text)
    text = _SPOKEN_PASSWORD.sub(rf"\g<name>{MASK}", text)
    text = _NAMED_VALUE.sub(rf"\g<name>{MASK}", text)
    text = _LOGIN.sub(rf"\g<name>{MASK}@", text)
    text = _USER.sub(rf"\g<name>{MASK}@", text)
    return _LONG.sub(_mask_if_random, text)


def cut(text: str, limit: int = 8192) -> str:
    """The text in at most `limit` characters: its head, a note that something is missing, and its tail."""
    if len(text) <= limit:
        return text
    note = f"\n[… cut, {len(text):,} characters in all …]\n"
    room = limit - len(note)
    if room < 2:
        return text[: max(limit, 0)]
    head = room // 2
    return text[:head] + note + text[len(text) - (room - head) :]


def _mask_if_random(found: re.Match[str]) -> str:
    """Paths, names and hashes stay: they are mostly lower-case letters, or lack a kind of character that keys have."""
    run = found.group()
    lower = sum(character.islower() for character in run)
    mixed = lower and any(c.isupper() for c in run) and any(c.isdigit() for c in run)
    return MASK if mixed and lower < 0.6 * len(run) and not _GUID.search(run) else run
