"""The client of one queue: it sends, receives and deletes messages, whose text is stored as it is.

It raises azure-core's errors, and ValueError for an answer that is not that of a queue. A queue that does not exist is
created by the first message that is sent, and holds nothing until then.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from azure.core.exceptions import ResourceNotFoundError
from msgspec import Struct

from onboarding.azure.storage.storage_requests import StorageRequests, error_code, raise_for_status

LARGEST_PAGE = 32  # messages; the service's maximum
_XML = {"Content-Type": "application/xml"}


class ReceivedMessage(Struct, frozen=True):
    """A message that was received, and that others do not see for a while."""

    id: str
    receipt: str
    """Proves that it was received by us; without it, it cannot be deleted."""
    text: str


class QueueClient:
    """Sends requests about one queue of the account."""

    def __init__(self, requests: StorageRequests) -> None:
        """`requests` sends to the queue's URL."""
        self.requests = requests

    async def send(self, text: str, hidden_s: int = 0) -> None:
        """Send a message that never expires and that is hidden for so many seconds; create the queue if it does not
        exist. A message whose result is unknown is sent again, so it may arrive twice."""
        try:
            await self._send(text, hidden_s)
        except ResourceNotFoundError:
            await self.create()
            await self._send(text, hidden_s)

    async def receive(self, most: int, hidden_s: int) -> list[ReceivedMessage]:
        """At most so many messages (`LARGEST_PAGE` at the most), which are hidden from then on for so many seconds."""
        query = f"numofmessages={most}&visibilitytimeout={hidden_s}"
        answer = await self.requests.send_unchecked("GET", "/messages", query, headers={})
        return [] if answer.status == 404 else _messages(raise_for_status(answer).content)

    async def delete(self, message: ReceivedMessage) -> None:
        """Delete a message that was received. One that is not there any more is no error."""
        path, query = f"/messages/{quote(message.id, safe='')}", f"popreceipt={quote(message.receipt, safe='')}"
        answer = await self.requests.send_unchecked("DELETE", path, query, headers={}, repeatable=True)
        if answer.status != 404:
            raise_for_status(answer)

    async def count(self) -> int:
        """How many messages there are, about, hidden ones included."""
        answer = await self.requests.send_unchecked("GET", "", "comp=metadata", headers={})
        if answer.status == 404:
            return 0
        return int(raise_for_status(answer).headers.get("x-ms-approximate-messages-count", "0"))

    async def create(self) -> None:
        """Create the queue, unless it exists."""
        answer = await self.requests.send_unchecked("PUT", "", headers=_XML)
        if error_code(answer) != "QueueAlreadyExists":
            raise_for_status(answer)

    async def close(self) -> None:
        await self.requests.close()

    async def _send(self, text: str, hidden_s: int) -> None:
        escaped = escape(text, quote=False).replace("\r", "&#13;")  # XML would turn a plain one into "\n"
        content = f"<QueueMessage><MessageText>{escaped}</MessageText></QueueMessage>"
        query = f"visibilitytimeout={hidden_s}&messagettl=-1"
        await self.requests.send("POST", "/messages", query, headers=_XML, content=content.encode(), repeatable=True)


def _messages(content: bytes) -> list[ReceivedMessage]:
    # Imported here: no event receives messages.
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        raise ValueError("not a list of messages") from None
    if root.tag != "QueueMessagesList":
        raise ValueError("not a list of messages")
    return [
        ReceivedMessage(*(message.findtext(name, "") for name in ("MessageId", "PopReceipt", "MessageText")))
        for message in root.iter("QueueMessage")
    ]
