"""The text of the queue's messages, ours and foreign ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.application.messages import decode, encode
from onboarding.application.ports import Message, ReconcileRequest, ScheduledCheck
from onboarding.domain.resource_id import VmId

names = st.from_regex(r"[-\w.()]{0,20}[-\w()]", fullmatch=True)
subscriptions = st.from_regex(r"[-0-9a-f]{1,36}", fullmatch=True)
vms, times = st.builds(VmId, subscriptions, names, names), st.datetimes(timezones=st.just(UTC))
messages = st.builds(ScheduledCheck, vms, times) | st.builds(ReconcileRequest, vms, st.text(), times)
CHECK = ScheduledCheck(VmId("s", "g", "v"), datetime(2026, 11, 20, 10, 0, tzinfo=UTC))
ODD: tuple[object, ...] = (None, 5, [], {})
REVISIT = ReconcileRequest(CHECK.vm, "missed", CHECK.due)
RAW = json.loads(encode(CHECK))


@given(messages)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode(encode(message)) == message


def test_the_messages_are_as_documented() -> None:
    vm_and_due = {"vm": str(CHECK.vm), "due": "2026-11-20T10:00:00+00:00"}
    assert {**vm_and_due, "check": "machine"} == RAW
    assert {**vm_and_due, "reason": "missed"} == json.loads(encode(REVISIT))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "{}",
        "null",
        "5",
        "[" * 100_000,
        *(json.dumps({**RAW, key: value}) for key in RAW for value in ODD),
        *(json.dumps({**json.loads(encode(REVISIT)), "reason": value}) for value in ODD),
        *(json.dumps({**RAW, key: "x"}) for key in ("vm", "due")),
        *(json.dumps({k: v for k, v in RAW.items() if k != missing}) for missing in ("vm", "due")),
        json.dumps({**RAW, "due": "2026-11-20T10:00:00"}),
    ],
)
def test_a_foreign_message_is_recognised(text: str) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(text)


def test_a_message_of_a_newer_version_is_a_reason_to_read_the_vm_again() -> None:
    newer = {name: value for name, value in RAW.items() if name != "check"} | {"traceparent": "00-1-2-01"}
    message = decode(json.dumps(newer))
    assert isinstance(message, ReconcileRequest)
    assert (message.vm, message.due) == (CHECK.vm, CHECK.due)


def test_a_check_of_one_row_as_the_version_before_sent_it_is_a_check_of_its_vm() -> None:
    before = {"vm": str(CHECK.vm), "extension": "oms-agent-linux", "due": "2026-11-20T10:00:00+00:00"}
    assert decode(json.dumps(before)) == CHECK
    for value in ODD:
        with pytest.raises(ValueError, match="not a message"):
            decode(json.dumps({**before, "extension": value}))


def test_the_version_before_takes_a_check_for_a_reconcile_request_and_so_does_not_lose_it() -> None:
    """It knew two keys: `extension`, and `reason`, without which a message is a reconcile request."""
    assert not {"extension", "reason"} & RAW.keys()


@pytest.mark.parametrize("provider", ["Microsoft.HybridCompute/machines", "Microsoft.Compute/virtualMachineScaleSets"])
def test_a_message_about_another_kind_of_resource_is_passed_over(provider: str) -> None:
    other = f"/subscriptions/{CHECK.vm.subscription}/resourceGroups/g/providers/{provider}/m"
    assert decode(json.dumps({**RAW, "vm": other})) is None


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(text)
