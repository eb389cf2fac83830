"""Which associations a machine gets, and when they have to be listed first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onboarding.domain.reconcile.steps.association_step import (
    ENDPOINT_NAME,
    AssociationNeed,
    Associations,
    association_request,
    conflicting_endpoint,
    from_column,
    needs_list,
    read_associations,
    to_column,
)
from onboarding.domain.resource_id import VmId

VM = VmId("22222222-0000-4000-8000-000000000001", "app", "web-1")
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
_INSIGHTS = "/subscriptions/s/resourceGroups/monitor/providers/Microsoft.Insights"
RULE, SECOND = f"{_INSIGHTS}/dataCollectionRules/linux", f"{_INSIGHTS}/dataCollectionRules/security"
ENDPOINT, ELSEWHERE = f"{_INSIGHTS}/dataCollectionEndpoints/weu", f"{_INSIGHTS}/dataCollectionEndpoints/neu"


def _listed(*rules: str, endpoint: str = "", at: datetime = NOW) -> Associations:
    bodies: list[Any] = [{"name": f"a{n}", "properties": {"dataCollectionRuleId": r}} for n, r in enumerate(rules)]
    if endpoint:
        bodies.append({"name": ENDPOINT_NAME, "properties": {"dataCollectionEndpointId": endpoint}})
    return read_associations([*bodies, None, {"properties": 3}], at)


def test_an_association_to_the_same_rule_counts_whatever_its_name_and_spelling() -> None:
    known = _listed(RULE.upper())
    assert known.has(RULE)
    assert not known.has(SECOND)


@pytest.mark.parametrize(
    ("need", "known", "new", "listed"),
    [
        (AssociationNeed((RULE,)), None, True, False),
        (AssociationNeed((RULE,)), None, False, True),
        (AssociationNeed((RULE,), ENDPOINT), None, True, True),
        (AssociationNeed((RULE, SECOND)), _listed(RULE), False, False),
        (AssociationNeed((RULE,)), _listed(RULE, at=NOW - timedelta(hours=24)), False, True),
        (AssociationNeed((RULE,)), Associations(NOW, False).with_one(RULE), False, False),
        (AssociationNeed((RULE, SECOND)), Associations(NOW, False).with_one(RULE), False, True),
        (AssociationNeed((), ENDPOINT), _listed(), False, False),
        (AssociationNeed((), ENDPOINT), Associations(NOW, False).with_one(RULE), True, True),
        (AssociationNeed(), None, False, False),
    ],
)
def test_they_are_listed_only_where_nothing_recent_tells(
    need: AssociationNeed, known: Associations | None, new: bool, listed: bool
) -> None:
    assert needs_list([need], known, new=new, now=NOW) is listed


@pytest.mark.parametrize(
    ("need", "lacks"),
    [
        (AssociationNeed(), False),
        (AssociationNeed((RULE.upper(),), ENDPOINT), False),
        (AssociationNeed((RULE, SECOND)), True),
        (AssociationNeed((RULE,), ELSEWHERE), True),
    ],
)
def test_a_machine_lacks_what_is_not_there_in_any_spelling(need: AssociationNeed, lacks: bool) -> None:
    assert _listed(RULE, endpoint=ENDPOINT).lacks(need) is lacks


def test_another_endpoint_is_never_replaced() -> None:
    need = AssociationNeed((), ENDPOINT)
    assert conflicting_endpoint(need, _listed(endpoint=ELSEWHERE)) == ELSEWHERE.lower()
    assert conflicting_endpoint(need, _listed(endpoint=ENDPOINT.upper())) == ""
    assert conflicting_endpoint(need, _listed()) == ""


def test_the_same_rule_has_the_same_name_in_any_spelling_and_two_rules_have_two() -> None:
    names = {association_request(VM, rule).path.rpartition("/")[2] for rule in (RULE, RULE.upper(), f"{RULE}/")}
    assert len(names) == 1
    assert names != {association_request(VM, SECOND).path.rpartition("/")[2]}


def test_an_endpoint_has_the_name_that_azure_asks_for() -> None:
    request = association_request(VM, ENDPOINT, endpoint=True)
    assert request.path.endswith(f"/dataCollectionRuleAssociations/{ENDPOINT_NAME}")
    assert request.body == {"properties": {"dataCollectionEndpointId": ENDPOINT}}


@pytest.mark.parametrize("known", [None, _listed(RULE, SECOND, endpoint=ENDPOINT), Associations(NOW, False)])
def test_what_the_row_keeps_is_read_back(known: Associations | None) -> None:
    assert from_column(to_column(known)) == known


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 3}', '{"complete": true}'])
def test_a_column_that_cannot_be_read_counts_as_unknown(text: str) -> None:
    assert from_column(text) is None
