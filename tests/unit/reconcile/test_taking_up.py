"""Which machines a policy may act on: their age, and the column that says who took them up."""

from __future__ import annotations

from copy import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, OperatorRequest, Satisfied, Stop, Wait
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import claim_of, closed, row_of
from onboarding.domain.reconcile.taking_up import (
    NOT_TAKEN_UP,
    ExistingMachine,
    TakenUpBy,
    depends_on_first_seen,
    existing_machine,
    is_taken_up,
    taken_up,
)
from tests.reference import parse_policy
from tests.unit.reconcile.contexts import ENTRY, OPENING, START, context, extension, row

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
OLD = ExistingMachine(START, START - timedelta(days=700))
MARK = f"{START.isoformat()} person"


def facts_of(created: datetime | None) -> Any:
    return context(created=created.isoformat() if created else None).facts


def policy(**changes: Any) -> Policy:
    return parse_policy({"name": "linux", "extension": ENTRY.name, **changes}, "linux.yaml", compile_rule)


@pytest.mark.parametrize(
    ("created", "is_existing"),
    [
        (START - HOUR - SECOND, True),
        (START - HOUR, False),
        (START, False),
        (START + timedelta(days=1), False),
        (None, True),
    ],
    ids=["a second more than an hour", "an hour", "at the same time", "later", "unknown"],
)
def test_a_machine_is_existing_if_it_is_more_than_an_hour_older(created: datetime | None, is_existing: bool) -> None:
    found = existing_machine(facts_of(created), START)
    assert found == (ExistingMachine(START, created) if is_existing else None)


@pytest.mark.parametrize(("age", "depends"), [(HOUR, False), (HOUR + SECOND, True), (-HOUR, False), (None, True)])
def test_a_machine_of_the_last_hour_is_new_whenever_the_policy_was_first_seen(
    age: timedelta | None, depends: bool
) -> None:
    facts = facts_of(START - age if age is not None else None)
    assert depends_on_first_seen(policy(), facts, None, START) is depends


@given(age=st.timedeltas(timedelta(days=-1), timedelta(days=3)), before=st.timedeltas(timedelta(0), timedelta(days=2)))
def test_what_needs_no_first_seen_is_new_for_any(age: timedelta, before: timedelta) -> None:
    """A policy is never first seen later than now, so the short cut decides as the time itself would."""
    facts = facts_of(START - age)
    if not depends_on_first_seen(policy(), facts, None, START):
        assert existing_machine(facts, START - before) is None


@pytest.mark.parametrize("changes", [{"existing": "enforce"}, {"effect": "auditIfNotExists"}, {"effect": "disabled"}])
def test_a_policy_that_spares_nothing_asks_for_no_time(changes: dict[str, Any]) -> None:
    assert not depends_on_first_seen(policy(**changes), facts_of(None), None, START)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_rows_of_the_version_before_count_as_taken_up_except_those_out_of_scope(outcome: Outcome) -> None:
    last = row(outcome)
    assert is_taken_up(last) is (outcome is not Outcome.OUT_OF_SCOPE)
    column = taken_up(last, START)
    assert column == (NOT_TAKEN_UP if outcome is Outcome.OUT_OF_SCOPE else f"{START.isoformat()} version-before")


@pytest.mark.parametrize("values", [{"attempt": 1}, {"requested_at": START}])
def test_a_request_that_the_version_before_sent_beside_us_takes_up(values: dict[str, Any]) -> None:
    """It keeps the columns that it does not know."""
    assert is_taken_up(row(taken_up=NOT_TAKEN_UP, **values))
    assert taken_up(row(taken_up=NOT_TAKEN_UP, **values), START) == f"{START.isoformat()} request"
    assert not is_taken_up(row(taken_up=NOT_TAKEN_UP))


@given(
    outcome=st.sampled_from(Outcome), column=st.sampled_from(["", NOT_TAKEN_UP, MARK]), by=st.sampled_from(TakenUpBy)
)
def test_the_column_stays_once_it_is_set(outcome: Outcome, column: str, by: TakenUpBy) -> None:
    last = row(outcome, taken_up=column)
    once = taken_up(last, START + HOUR, by)
    for later in Outcome:
        following = row(later, taken_up=once)
        assert is_taken_up(following)
        assert taken_up(following, START + 2 * HOUR) == once
    if column == MARK:
        assert once == MARK


def test_a_row_of_the_version_before_that_ends_out_of_scope_stays_taken_up() -> None:
    ended = closed(row(Outcome.INSTALLED), Outcome.OUT_OF_SCOPE, "no policy names it any more", START)
    assert is_taken_up(ended)


def test_the_new_column_alone_is_no_reason_to_write_a_row_of_the_version_before() -> None:
    before, now = row(Outcome.INSTALLED), row(Outcome.INSTALLED, taken_up=MARK)
    assert not now.differs(before)
    assert now.differs(row(Outcome.INSTALLED, taken_up=NOT_TAKEN_UP))
    assert not now.belongs_in_history(row(Outcome.INSTALLED, taken_up=NOT_TAKEN_UP))


def existing(last: Row | None = None, **values: Any) -> Any:
    return replace(context(last=last, **values), existing=OLD)


def test_an_existing_machine_is_audited_and_the_reason_says_since_when_and_how_to_enforce() -> None:
    decision = decide(existing())
    assert isinstance(decision, Stop)
    assert decision.outcome is Outcome.AUDITED
    assert decision.problem is not None
    assert (decision.problem.cause, decision.problem.code) == ("existing-machine", "existing-machine")
    for part in ("created 2024-12-20", "policy linux", "first seen 2026-11-20 10:00 UTC", "would install OmsAgent"):
        assert part in decision.reason
    for how in ("onboard enforce", "onboard install"):
        assert how in decision.reason
        assert how in decision.problem.advice


@pytest.mark.parametrize(
    ("extensions", "would"),
    [
        ([extension("Failed")], "would update OmsAgentForLinux (its handler failed);"),
        ([], "would install OmsAgentForLinux;"),
    ],
)
def test_the_reason_says_what_would_be_done(extensions: list[Any], would: str) -> None:
    decision = decide(existing(extensions=extensions))
    assert isinstance(decision, Stop)
    assert would in decision.reason


def test_an_existing_machine_that_is_satisfied_or_unsupported_is_so() -> None:
    assert isinstance(decide(existing(extensions=[extension("Succeeded")])), Satisfied)
    assert isinstance(decide(existing(extensions=[extension("Creating")])), Wait)
    unsupported = decide(existing(image={"publisher": "x", "offer": "y", "sku": "z"}, os_type="Windows"))
    assert isinstance(unsupported, Stop)
    assert unsupported.outcome is Outcome.OUT_OF_SCOPE


@pytest.mark.parametrize(
    "vm", [{"power": "deallocated"}, {"agent": "silent"}, {"profile": {"allowExtensionOperations": False}}]
)
def test_an_existing_machine_is_audited_in_whatever_state_it_is(vm: dict[str, Any]) -> None:
    decision = decide(existing(**vm))
    assert isinstance(decision, Stop)
    assert decision.outcome is Outcome.AUDITED


def test_a_claim_and_a_persons_request_take_the_machine_up() -> None:
    install = decide(context())
    assert isinstance(install, Act)
    assert claim_of(context(), install, START + HOUR, OPENING).taken_up == f"{START.isoformat()} request"
    by_hand = replace(context(), request=OperatorRequest())
    assert claim_of(by_hand, install, START + HOUR, OPENING).taken_up == f"{START.isoformat()} person"
    there = replace(context(extensions=[extension("Succeeded")]), request=OperatorRequest())
    satisfied = decide(there)
    assert isinstance(satisfied, Satisfied)
    assert row_of(there, satisfied, OPENING).taken_up == f"{START.isoformat()} person"
    waiting = decide(context(power="deallocated"))
    assert isinstance(waiting, Wait)
    assert waiting.waiting_for is WaitingFor.VM_RUNNING
    assert row_of(context(), waiting, OPENING).taken_up == NOT_TAKEN_UP
