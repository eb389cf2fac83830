"""What the handler inside the VM said: its name, operation, exit code and version, out of ARM's wrapping.

Messages are localised, cut at the head and full of numbers that are not exit codes (time limits, rpm's status, quoted
source lines). Only the forms that handlers, the guest agent and ARM write are read; anything else is no exit code.
"""

from __future__ import annotations

import re

from msgspec import Struct

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.lazy_pattern import Pattern

_OPERATIONS = "Install|Enable|Disable|Uninstall|Update"
_NOT_CURLS = r"(?<!curl )(?<!curl failed with )(?<!curl returned )"
# What is repeated without end is followed by something else, or never given back (`*+`): texts are of any length.
# The most reliable first: the handler's own log line, the guest agent's line, then sentences.
_EXIT_CODES = tuple(
    Pattern(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?P<operation>{_OPERATIONS}),failed,(?P<exit>-?\d{{1,5}})\b",
        rf"Non-zero exit code:\s*(?P<exit>-?\d{{1,5}})(?:[^\n]{{0,400}}?\s-?(?P<operation>{_OPERATIONS})\b)?",
        rf"\b(?P<operation>{_OPERATIONS})\s+failed with exit code:?\s*(?P<exit>-?\d{{1,5}})\b",
        rf"{_NOT_CURLS}\bexit(?:ing|ed)?(?: with)? code\s*+(?:[:=]\s*+)?(?P<exit>0x[0-9a-f]{{1,8}}|-?\d{{1,5}})\b",
        rf"{_NOT_CURLS}\bexit status\s*+(?:[:=]\s*+)?(?P<exit>\d{{1,5}})\b",
        # ARM's own: `(publisher 'P' and type 'T'). Error code: '62'. Error message: '…'`; 0 is none.
        r"(?<!terminal )\bError code: ?\\?['\"](?P<exit>-?[1-9]\d{0,4})\\?['\"]",
        r"(?<!terminal )\bError code: (?P<exit>[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])(?![\d.x])",
        r"\bStatus=error, Code=(?P<exit>-?[1-9]\d{0,4})\b",
        r"\bProvisioningState/failed/(?P<exit>-?[1-9]\d{0,4})(?![\w/])",
    )
)
_IN_STATUS_CODE = Pattern(r"^ProvisioningState/failed/(?P<exit>-?\d{1,5})$", re.IGNORECASE)
_OPERATION = Pattern(rf"\b(?P<operation>{_OPERATIONS}) failed\b|\s-(?P<argument>{_OPERATIONS})\b", re.IGNORECASE)


class HandlerReport(Struct, frozen=True):
    """Absent parts are None, an empty text and an empty tuple. `handler` is publisher and type."""

    handler: str = ""
    operation: str = ""
    exit_code: int | None = None
    version: tuple[int, ...] = ()


def read_report(evidence: Evidence, names: HandlerNames) -> HandlerReport:
    """Find what the handler said in the evidence's texts and status codes."""
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
