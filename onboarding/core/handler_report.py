"""What the handler inside the VM said: operation, exit code and version, out of ARM's wrapping.

Messages are localised, cut at the head and full of numbers that are not exit codes (time limits, rpm's status, quoted
source lines). Only the forms that handlers and the guest agent write are read; anything else is no exit code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from onboarding.core.evidence import Evidence

# The most reliable first: the handler's own log line, the guest agent's line, then sentences.
_EXIT_CODES = (
    re.compile(r"\b(?P<operation>Install|Enable|Disable|Uninstall|Update),failed,(?P<exit>-?\d{1,5})\b", re.IGNORECASE),
    re.compile(
        r"Non-zero exit code:\s*(?P<exit>-?\d{1,5})(?:[^\n]*?\s-(?P<operation>install|enable|disable|uninstall|update)\b)?",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?P<operation>Install|Enable|Disable|Uninstall|Update)\s+failed with exit code:?\s*(?P<exit>-?\d{1,5})\b",
        re.IGNORECASE,
    ),
    re.compile(r"\bexit(?:ing)?(?: with)? code\s*[:=]?\s*(?P<exit>0x[0-9a-f]{1,8}|-?\d{1,5})\b", re.IGNORECASE),
    re.compile(r"\bexit status\s*[:=]?\s*(?P<exit>\d{1,5})\b", re.IGNORECASE),
)
_IN_STATUS_CODE = re.compile(r"^ProvisioningState/failed/(?P<exit>-?\d{1,5})$", re.IGNORECASE)
_OPERATION = re.compile(
    r"\b(?P<operation>Install|Enable|Disable|Uninstall|Update) failed\b|\s-(?P<argument>install|enable|update)\b",
    re.IGNORECASE,
)
_VERSION = re.compile(r"[A-Za-z]+\.[A-Za-z.]+-(?P<version>\d{1,5}(?:\.\d{1,9}){1,3})(?=[\]/\s])")


@dataclass(frozen=True, slots=True)
class HandlerReport:
    """Absent parts are None, an empty text and an empty tuple."""

    operation: str = ""
    exit_code: int | None = None
    version: tuple[int, ...] = ()


def read_report(evidence: Evidence) -> HandlerReport:
    """Find what the handler said in the evidence's texts and status codes."""
    text = evidence.text
    found = next(filter(None, (pattern.search(text) for pattern in _EXIT_CODES)), None)
    version = _VERSION.search(text)
    return HandlerReport(
        operation=_operation(found, text),
        exit_code=_number(found["exit"]) if found else _from_status_code(evidence),
        version=tuple(int(part) for part in version["version"].split(".")) if version else (),
    )


def _operation(found: re.Match[str] | None, text: str) -> str:
    named = found.groupdict().get("operation") if found else None
    if not named and (match := _OPERATION.search(text)):
        named = match["operation"] or match["argument"]
    return (named or "").lower()


def _from_status_code(evidence: Evidence) -> int | None:
    """The number in `ProvisioningState/failed/<n>`, which is 0 where the handler gave none."""
    found = next(filter(None, (_IN_STATUS_CODE.match(code) for code in evidence.codes)), None)
    return (_number(found["exit"]) or None) if found else None


def _number(text: str) -> int:
    return int(text, 16) if text.lower().startswith("0x") else int(text)
