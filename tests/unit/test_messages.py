"""The text of timed messages, ours and foreign ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.core.resource_id import VmId
from onboarding.messages import decode_look, encode_look
from onboarding.ports import Look

names = st.from_regex(r"[-\w.()]{0,20}[-\w()]", fullmatch=True)
looks = st.builds(Look, st.builds(VmId, names, names, names), st.text(), st.datetimes(timezones=st.just(UTC)))
LOOK = Look(VmId("s", "g", "v"), "oms-agent-linux", datetime(2026, 11, 20, 10, 0, tzinfo=UTC))
ODD: tuple[object, ...] = (None, 5, [], {})
RAW = json.loads(encode_look(LOOK))


@given(looks)
def test_a_look_comes_back_as_it_went(look: Look) -> None:
    assert decode_look(encode_look(look)) == look


def test_the_message_is_as_documented() -> None:
    documented = {"vm": str(LOOK.vm), "extension": "oms-agent-linux", "due": "2026-11-20T10:00:00+00:00"}
    assert documented == RAW


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
        *(json.dumps({**RAW, key: "x"}) for key in ("vm", "due")),
        *(json.dumps({k: v for k, v in RAW.items() if k != missing}) for missing in RAW),
        json.dumps({**RAW, "due": "2026-11-20T10:00:00"}),
        json.dumps({**RAW, "vm": f"{LOOK.vm}/extensions/x"}),
    ],
)
def test_a_foreign_message_is_told_apart(text: str) -> None:
    with pytest.raises(ValueError, match="is no look"):
        decode_look(text)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="is no look"):
        decode_look(text)
