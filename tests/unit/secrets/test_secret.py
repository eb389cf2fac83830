"""A secret shows nowhere but where it is asked for."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass

import pytest

from onboarding.domain.secret import Secret

VALUE = "bm90IGEgcmVhbCBrZXk="
SECRET = Secret(VALUE)


@dataclass(frozen=True)
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        lambda s: f"{s} {s!r} {s!s} {s:>40}",
        lambda s: f"{s}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031  # logging formats so
        lambda s: repr([s, {"key": s}, (s,)]),
        lambda s: repr(Holder(s)),
        ascii,
        dir,
        lambda s: format(s, "s"),
    ],
)
def test_no_text_shows_it(show: Callable[[Secret], object]) -> None:
    assert VALUE not in str(show(SECRET))


@pytest.mark.parametrize(
    "serialise", [json.dumps, pickle.dumps, copy.copy, copy.deepcopy, vars, lambda s: asdict(Holder(s))]
)
def test_it_cannot_be_serialised(serialise: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError) as raised:
        serialise(SECRET)
    assert VALUE not in "".join(traceback.format_exception(raised.value))


def test_no_log_line_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("onboarding").warning("key %s in %r", SECRET, Holder(SECRET))
    assert "key Secret(***) in" in caplog.text
    assert VALUE not in caplog.text


def test_it_is_revealed_by_one_word() -> None:
    assert SECRET.reveal() == VALUE
    assert SECRET
    assert not Secret("")


def test_comparing_does_not_tell_it() -> None:
    assert Secret(VALUE) != Secret(VALUE)
