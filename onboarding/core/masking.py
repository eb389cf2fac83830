"""What must be done to a foreign text before it is written down: secrets out, length bounded.

Handlers, proxies and ARM quote what they were given, so any message may hold a workspace key, a token or a proxy
password. Mask first and cut afterwards: half a key no longer looks like one.
"""

from __future__ import annotations

import re

MASK = "***"

# One character of base64, also as JSON (`\/`, `\u002B`) and as URLs (`%2F`) spell it.
_UNIT = r"(?:[A-Za-z0-9+/]|\\/|\\u002[BbFf]|%2[BbFf])"
_PADDING = r"(?:=|\\u003[Dd]|%3[Dd]){1,2}"
_NAMES = (
    r"AccountKey|SharedAccessKey|SharedAccessSignature|workspace_?key|shared_?key|client_?secret|access_?token"
    r"|refresh_?token|pass(?:word|wd)|pwd|secret|sig|api_?key"
)
_NAMED = re.compile(rf"""(?P<name>\b(?:{_NAMES})\\?["']?\s*[=:]\s*\\?["']?)(?P<value>[^\s"'&;,\\}}]+)""", re.IGNORECASE)
_SCHEME = re.compile(r"\b(?P<name>Bearer|SharedKey|SharedKeyLite|Basic)\s+(?P<value>[\w.~+/=:-]{8,})", re.IGNORECASE)
_USER = re.compile(r"""(?P<name>(?:\b|//))[^\s/:@"'<>]+:[^\s@"'<>]+@(?=[\w\[])""")
_TOKEN = re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]+){1,4}")
_PADDED = re.compile(rf"{_UNIT}{{24,}}{_PADDING}")
_LONG = re.compile(rf"{_UNIT}{{40,}}")
_LONG_URL_SAFE = re.compile(r"(?<![\w-])[\w-]{64,}={0,2}")


def mask(text: str) -> str:
    """The text without workspace keys, tokens, signatures, account keys and passwords."""
    text = _TOKEN.sub(MASK, text)
    text = _SCHEME.sub(rf"\g<name> {MASK}", text)
    text = _NAMED.sub(rf"\g<name>{MASK}", text)
    text = _USER.sub(rf"\g<name>{MASK}@", text)
    text = _PADDED.sub(MASK, text)
    text = _LONG.sub(_mask_if_random, text)
    return _LONG_URL_SAFE.sub(_mask_if_random, text)


def cut(text: str, limit: int = 8192) -> str:
    """The text in at most `limit` characters: its head and its tail, and between them how much is missing."""
    if len(text) <= limit:
        return text
    note = f"\n[… {len(text) - limit:,} characters and more cut …]\n"
    room = limit - len(note)
    if room < 2:
        return text[: max(limit, 0)]
    head = room // 2
    return text[:head] + note + text[len(text) - (room - head) :]


def _mask_if_random(found: re.Match[str]) -> str:
    """Paths and camel-case names are mostly lower-case letters; of a random key's characters, two in five are."""
    run = found.group()
    words = sum(character.islower() or character in "-_" for character in run)
    return run if words > 0.65 * len(run) else MASK
