"""A handler's own log on the VM: the script that prints it, and what its lines mean.

The script only reads and prints no more than the requested lines. Lines are foreign text: they are masked before they
are shown, and diagnosed one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.failures.classification import Cause, ErrorTable, Failure, classify
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.masking import mask

# A log may contain these words too: the first and the last ones belong to the run command.
_STDOUT, _STDERR = "[stdout]\n", "[stderr]"
# Only lines with one of these words are diagnosed.
_BAD = re.compile(
    r"\bfail|\berror|exit(?:ing)?(?: with)? code|non-zero|cannot|can't|unable|unsupported|not supported|denied|locked"
    r"|missing|multiple connections|timeout",
    re.IGNORECASE,
)


class LogLine(Struct, frozen=True):
    """One line of a log."""

    text: str  # masked
    failure: Failure | None = None  # the failure that the line reports; None if it is unknown or explained above


def log_script(entry: CatalogueEntry, lines: int) -> str:
    """The script that prints the end of each of the handler's logs, for the shell of the entry's OS type. The catalogue
    allows no path that contains a command."""
    if entry.os_type is OsType.WINDOWS:
        paths = ",".join(f"'{path}'" for path in entry.logs)
        return (
            f"Get-ChildItem -Path {paths} -File -ErrorAction SilentlyContinue | ForEach-Object "
            '{ "==> $($_.FullName) <=="; '
            f"Get-Content -LiteralPath $_.FullName -Tail {lines:d} -ErrorAction SilentlyContinue; "
            '"" }'
        )
    return f"tail -v -n {lines:d} {' '.join(entry.logs)} 2>/dev/null; true"


def read_output(message: str, os_type: OsType = OsType.LINUX) -> str:
    """What the script printed, from the message of the run command's status; on Windows the message is the output."""
    if os_type is OsType.WINDOWS:
        return message.replace("\r\n", "\n").strip("\n")
    start, end = message.find(_STDOUT), message.rfind(_STDERR)
    return (message[start + len(_STDOUT) : end] if 0 <= start < end else message).strip("\n")


def diagnose_lines(text: str, errors: ErrorTable, now: datetime) -> Iterator[LogLine]:
    """Every line, masked; each failure is explained at the first line that reports it."""
    explained: set[str] = set()
    for line in mask(text).splitlines():
        failure = classify(Evidence(message=line), errors, now) if _BAD.search(line) else None
        if failure is None or failure.cause is Cause.UNKNOWN or failure.meaning in explained:
            yield LogLine(line)
        else:
            explained.add(failure.meaning)
            yield LogLine(line, failure)
