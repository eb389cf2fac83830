"""Counts the events that Event Grid could not deliver, or that the app gave up, in their container. Only people ask for
this, so no event loads this module."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from onboarding.application.ports import LetterCount
from onboarding.azure.storage.storage_requests import StorageRequests
from onboarding.domain.errors import StorageError
from onboarding.settings import DEAD_LETTERS

MOST = 1000  # files that one answer may name; the service's own limit is 5,000


async def count_dead_letters(container: StorageRequests) -> LetterCount | str:
    """How many files the container has, or why that is not known: it does not exist, or may not be listed. Raises
    StorageError if it cannot be reached."""
    try:
        answer = await container.send("GET", "", f"restype=container&comp=list&maxresults={MOST}", headers={})
        return _counted(answer.content)
    except ResourceNotFoundError:
        return f"there is no container {DEAD_LETTERS!r} in the storage account, as on a laptop"
    except HttpResponseError as error:
        if error.status_code not in (401, 403):
            raise StorageError(f"the dead letters cannot be counted: {error.message}") from None
        role = "Storage Blob Data Reader"
        return f"the container {DEAD_LETTERS!r} may not be listed: that needs the role {role} on it ({error.message})"
    except (AzureError, ValueError, TimeoutError) as error:
        raise StorageError(f"the dead letters cannot be counted: {type(error).__name__}") from None


def _counted(content: bytes) -> LetterCount:
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        raise ValueError("not a list of files") from None
    times = [_time(found.findtext("Properties/Last-Modified", "")) for found in root.iter("Blob")]
    newest = max((time for time in times if time is not None), default=None)
    return LetterCount(len(times), bool(root.findtext("NextMarker")), newest)


def _time(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
