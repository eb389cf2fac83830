"""Reads what the handler inside the VM reported: its name, operation, exit code and version, from ARM's message.

Messages are localised, cut at the head and full of numbers that are not exit codes (time limits, rpm's status, quoted
source lines). Only the forms that handlers, the guest agent and ARM write count as exit codes.
"""

from __future__ import annotations

import re

from msgspec import Struct

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.lazy_pattern import Pattern

_OPERATIONS = "Install|Enable|Disable|Uninstall|Update"
_NOT_CURLS = r"(?<!curl )(?<!curl failed with )(?<!curl returned )"
# An unbounded repetition is followed by something else, or is possessive (`*+`), because texts have any length.
# The most reliable first: the handler's own log line, the guest agent's line, then sentences.
_EXIT_CODES = tuple(
    Pattern(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?P<operation>{_OPERATIONS}),failed,(?P<exit>-?\d{{1,5}})\b",
        rf"Non-zero exit code:\s*(?P<exit>-?\d{{1,5}})(?:[^\n]{{0,400}}?\s-?(?P<operation>{_OPERATIONS})\b)?",
        rf"\b(?P<operation>{_OPERATIONS})\s+failed with exit code:?\s*(?P<exit>-?\d{{1,5}})\b",
        rf"{_NOT_CURLS}\bexit(?:ing|ed)?(?: with)? code\s*+(?:[:=]\s*+)?(?P<exit>0x[0-9a-f]{{1,8}}|-?\d{{1,5}})\b",
        rf"{_NOT_CURLS}\bexit status\s*+(?:[:=]\s*+)?(?P<exit>\d{{1,5}})\b",
        # ARM's own: `(publisher 'P' and type 'T'). Error code: '62'. Error message: '…'`; 0 means no exit code.
        r"(?<!terminal )\bError code: ?\\?['\"](?P<exit>-?[1-9]\d{0,4})\\?['\"]",
        r"(?<!terminal )\bError code: (?P<exit>[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])(?![\d.x])",
        r"\bStatus=error, Code=(?P<exit>-?[1-9]\d{0,4})\b",
        r"\bProvisioningState/failed/(?P<exit>-?[1-9]\d{0,4})(?![\w/])",
    )
)
_IN_STATUS_CODE = Pattern(r"^ProvisioningState/failed/(?P<exit>-?\d{1,5})$", re.IGNORECASE)
_OPERATION = Pattern(rf"\b(?P<operation>{_OPERATIONS}) failed\b|\s-(?P<argument>{_OPERATIONS})\b", re.IGNORECASE)


class HandlerReport(Struct, frozen=True):
    """What the handler reported."""

    handler: str = ""  # publisher and type; empty if unknown
    operation: str = ""  # such as `install`, in lower case; empty if unknown
    exit_code: int | None = None
    version: tuple[int, ...] = ()  # of the handler; empty if unknown


def read_report(evidence: Evidence, names: HandlerNames) -> HandlerReport:
    """Find what the handler reported in the evidence's messages and status codes."""
    text = evidence.text
    found = next(filter(None, (pattern.search(text) for pattern in _EXIT_CODES)), None)
    handler = names.find(text, evidence.handler)
    return HandlerReport(
        handler=handler.name,
        operation=_operation(found, text),
        exit_code=_number(found["exit"]) if found else _from_status_code(evidence),
        version=handler.version,
    )


def _operation(found: re.Match[str] | None, text: str) -> str:
    operation = found.groupdict().get("operation") if found else None
    if not operation and (match := _OPERATION.search(text)):
        operation = match["operation"] or match["argument"]
    return (operation or "").lower()


def _from_status_code(evidence: Evidence) -> int | None:
    """The exit code in `ProvisioningState/failed/<n>`; None for 0, which means that the handler gave none."""
    found = next(filter(None, (_IN_STATUS_CODE.match(code) for code in evidence.codes)), None)
    return (_number(found["exit"]) or None) if found else None


def _number(text: str) -> int:
    return int(text, 16) if text.lower().startswith("0x") else int(text)
