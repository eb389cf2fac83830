"""Our client of a queue beside the SDK's: each receives what the other sent, and the same messages are hidden."""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError

from onboarding.azure.storage.queue_client import ReceivedMessage
from tests.contract.backends import OnAzurite

TEXTS = {
    "json": '{"vm": "/subscriptions/s", "reason": "it\'s"}',
    "markup": "<b>&amp; ]]> & <![CDATA[x]]> &#13;",
    "spaces": "  a  \n b\t ",
    "line ends": "a\r\nb\rc\n",
    "other scripts": "üß漢字 \u202e\u0301",
    "emoji": "😀👩‍🔧",
    "base64": "eyJ2bSI6ICIvc3Vic2NyaXB0aW9ucy9zIn0=",
    "long": "é" * 30_000,
}
HIDDEN_S = 60


async def counted(wire: OnAzurite) -> int | None:
    return (await wire.queue.get_queue_properties()).approximate_message_count


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_the_sdk_receives_what_we_sent(wire: OnAzurite, text: str) -> None:
    await wire.queue_client.send(text)

    (peeked,) = await wire.queue.peek_messages()
    message = await wire.queue.receive_message()

    assert message is not None
    assert message.content == peeked.content == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_we_receive_what_the_sdk_sent(wire: OnAzurite, text: str) -> None:
    await wire.queue.create_queue()
    sent = await wire.queue.send_message(text)

    (message,) = await wire.queue_client.receive(32, HIDDEN_S)

    assert (message.id, message.text) == (sent.id, text)


async def test_a_message_that_we_hide_is_counted_and_not_received(wire: OnAzurite) -> None:
    await wire.queue_client.send("later", HIDDEN_S)
    await wire.queue_client.send("now")

    assert [message.text for message in await wire.queue_client.receive(32, HIDDEN_S)] == ["now"]
    assert await wire.queue.receive_message() is None
    assert await wire.queue_client.receive(32, HIDDEN_S) == []
    assert await counted(wire) == 2


async def test_no_more_messages_are_received_than_the_most(wire: OnAzurite) -> None:
    for number in range(40):
        await wire.queue_client.send(str(number))

    first = await wire.queue_client.receive(3, HIDDEN_S)
    second = await wire.queue_client.receive(32, HIDDEN_S)

    assert [len(first), len(second), await counted(wire)] == [3, 32, 40]
    assert len({message.id for message in first + second}) == 35


async def test_a_deleted_message_is_gone_for_both(wire: OnAzurite) -> None:
    for text in ("ours", "theirs", "stays"):
        await wire.queue_client.send(text)
    ours, theirs, _ = await wire.queue_client.receive(32, HIDDEN_S)

    await wire.queue_client.delete(ours)
    await wire.queue.delete_message(theirs.id, theirs.receipt)
    await wire.queue_client.delete(theirs)  # one that is not there any more is no error

    assert await counted(wire) == 1


async def test_a_message_that_another_has_received_since_then_stays(wire: OnAzurite) -> None:
    await wire.queue_client.send("x")
    (message,) = await wire.queue_client.receive(1, HIDDEN_S)
    await wire.queue.update_message(message.id, pop_receipt=message.receipt, visibility_timeout=0)
    assert await wire.queue.receive_message() is not None

    with pytest.raises(HttpResponseError, match="PopReceiptMismatch"):
        await wire.queue_client.delete(message)

    assert await counted(wire) == 1


async def test_a_missing_queue_holds_nothing_and_is_created_by_a_message(wire: OnAzurite) -> None:
    assert await wire.queue_client.receive(32, HIDDEN_S) == []
    await wire.queue_client.delete(ReceivedMessage("00000000-0000-4000-8000-000000000001", "cmVjZWlwdA==", "x"))

    await wire.queue_client.send("x")
    await wire.queue_client.create()  # it is there already

    assert [message.text for message in await wire.queue_client.receive(32, HIDDEN_S)] == ["x"]
