"""Which identities a machine gets, and the PATCH that adds them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.machine.machine_identity import SYSTEM, MachineIdentity, read_identity
from onboarding.domain.reconcile.steps.identity_step import (
    Fit,
    IdentityNeed,
    IdentityUse,
    identity_request,
    named_identity,
    plan_identity,
)
from onboarding.domain.resource_id import VmId, fold_id

VM = VmId("22222222-0000-4000-8000-000000000001", "app", "web-1")
_IDS = "/subscriptions/s/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
OURS, FOREIGN, OTHER = f"{_IDS}/ama", f"{_IDS}/app", f"{_IDS}/backup"
ADDED, SOLE = IdentityUse.ADDED, IdentityUse.SOLE


def _has(*names: str) -> MachineIdentity:
    return MachineIdentity(SYSTEM in names, {fold_id(name): name for name in names if name != SYSTEM})


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (None, set()),
        ({"type": "None"}, set()),
        ({"type": "SystemAssigned", "principalId": "p"}, {SYSTEM}),
        ({"type": "SystemAssigned"}, set()),  # it does not exist until it has a principal
        ({"type": "UserAssigned", "userAssignedIdentities": {OURS: {}}}, {fold_id(OURS)}),
        (
            {"type": "SystemAssigned,UserAssigned", "principalId": "p", "userAssignedIdentities": {OURS.upper(): {}}},
            {SYSTEM, fold_id(OURS)},
        ),
        ({"type": 3, "userAssignedIdentities": [OURS]}, set()),
    ],
)
def test_the_identities_of_a_body_are_read(body: Any, names: set[str]) -> None:
    assert read_identity(body).names == names


@pytest.mark.parametrize(
    ("has", "need", "fit", "added"),
    [
        ((), IdentityNeed(), Fit(SYSTEM), (SYSTEM,)),
        ((), IdentityNeed(add=OURS), Fit(OURS), (OURS,)),
        ((SYSTEM,), IdentityNeed(add=OURS), Fit(SYSTEM, there=True), ()),
        ((FOREIGN,), IdentityNeed(add=OURS), Fit(FOREIGN, there=True), ()),
        ((FOREIGN, OTHER), IdentityNeed(add=OTHER), Fit(OTHER, there=True, named=True), ()),
        ((SYSTEM, FOREIGN), IdentityNeed(add=""), Fit(SYSTEM, there=True), ()),
        ((OURS.upper(),), IdentityNeed(ADDED, OURS), Fit(OURS.upper(), there=True, named=True), ()),
        ((FOREIGN,), IdentityNeed(ADDED, OURS, True), Fit(OURS, named=True), (OURS,)),
        ((SYSTEM,), IdentityNeed(ADDED, OURS, True), Fit(OURS, named=True), (OURS,)),
        ((FOREIGN,), IdentityNeed(ADDED, SYSTEM, True), Fit(SYSTEM), (SYSTEM,)),
        ((), IdentityNeed(SOLE, OURS, True), Fit(OURS), (OURS,)),
        ((FOREIGN,), IdentityNeed(SOLE, OURS, True), Fit(FOREIGN, there=True), ()),
        ((SYSTEM,), IdentityNeed(SOLE, OURS, True), Fit(OURS, named=True), (OURS,)),
        ((FOREIGN, OTHER), IdentityNeed(SOLE, OURS, True), Fit(OURS, named=True), (OURS,)),
        ((FOREIGN, OURS), IdentityNeed(SOLE, OURS, True), Fit(OURS, there=True, named=True), ()),
    ],
)
def test_the_fitting_identity_is_used_and_only_a_missing_one_is_added(
    has: tuple[str, ...], need: IdentityNeed, fit: Fit, added: tuple[str, ...]
) -> None:
    plan = plan_identity(_has(*has), [need])
    assert plan.fits == (fit,)
    assert plan.added == added


@pytest.mark.parametrize(
    ("has", "need", "why"),
    [
        ((FOREIGN,), IdentityNeed(ADDED, OURS), "it has the identity app"),
        ((SYSTEM,), IdentityNeed(ADDED, OURS), "it has the system-assigned identity"),
        ((), IdentityNeed(add=""), "the policy adds none"),
    ],
)
def test_nothing_is_added_beside_another_identity_unasked(has: tuple[str, ...], need: IdentityNeed, why: str) -> None:
    plan = plan_identity(_has(*has), [need])
    assert plan.added == ()
    assert why in plan.fits[0].conflict


def test_each_identity_beside_another_needs_its_own_policys_switch() -> None:
    plan = plan_identity(_has(), [IdentityNeed(ADDED, OURS), IdentityNeed(ADDED, OTHER)])
    assert plan.added == (OURS,)
    assert plan.fits[1].conflict
    both = plan_identity(_has(), [IdentityNeed(ADDED, OURS), IdentityNeed(ADDED, OTHER, True)])
    assert both.added == (OURS, OTHER)
    assert all(fit.named for fit in both.fits)


def test_a_policy_that_takes_any_identity_shares_the_one_that_another_insists_on() -> None:
    plan = plan_identity(_has(), [IdentityNeed(add=SYSTEM), IdentityNeed(ADDED, OURS)])
    assert plan.added == (OURS,)
    assert [fit.identity for fit in plan.fits] == [OURS, OURS]


def test_an_identity_that_arm_refused_is_left_out_and_the_others_are_added() -> None:
    needs = [IdentityNeed(ADDED, OURS, True), IdentityNeed(ADDED, OTHER, True)]
    plan = plan_identity(_has(), needs, refused=frozenset({fold_id(OURS)}))
    assert plan.added == (OTHER,)
    assert "refused to add the identity ama" in plan.fits[0].conflict


def test_an_identity_that_our_patch_lost_stops_all_identity_writes() -> None:
    plan = plan_identity(_has(), [IdentityNeed(ADDED, OURS)], seen=frozenset({fold_id(FOREIGN)}))
    assert plan.lost == {fold_id(FOREIGN)}
    assert plan.added == ()


@pytest.mark.parametrize(
    ("has", "added", "identity"),
    [
        ((), (SYSTEM,), {"type": "SystemAssigned"}),
        ((), (OURS,), {"type": "UserAssigned", "userAssignedIdentities": {OURS: {}}}),
        ((FOREIGN,), (SYSTEM,), {"type": "SystemAssigned, UserAssigned"}),
        ((SYSTEM,), (OURS,), {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {OURS: {}}}),
        ((FOREIGN,), (OURS,), {"type": "UserAssigned", "userAssignedIdentities": {OURS: {}}}),
    ],
)
def test_the_patch_keeps_what_is_there(has: tuple[str, ...], added: tuple[str, ...], identity: Any) -> None:
    request = identity_request(VM, _has(*has), added, 'W/"1"')
    assert (request.method, request.path, request.etag) == ("PATCH", str(VM), 'W/"1"')
    assert request.body == {"identity": identity}


def test_only_an_agent_that_could_not_know_its_identity_gets_its_name() -> None:
    assert named_identity(Fit(OURS, named=True)) == OURS
    assert named_identity(Fit(OURS)) == named_identity(Fit(SYSTEM)) == ""


_names = st.sampled_from([SYSTEM, OURS, FOREIGN, OTHER])
_needs = st.one_of(
    st.builds(IdentityNeed, st.just(IdentityUse.ANY), _names | st.just("none"), st.booleans()),
    st.builds(IdentityNeed, st.sampled_from((ADDED, SOLE)), _names, st.booleans()),
)


@given(st.sets(_names), st.lists(_needs, max_size=4), st.sets(_names))
def test_after_the_patch_every_fit_is_there_and_nothing_else_was_added(
    has: set[str], needs: list[IdentityNeed], refused: set[str]
) -> None:
    folded = frozenset(map(fold_id, refused))
    plan = plan_identity(_has(*has), needs, refused=folded)
    assert not set(map(fold_id, plan.added)) & ({fold_id(name) for name in has} | folded)
    after = plan_identity(_has(*has, *plan.added), needs, refused=folded)
    for first, then in zip(plan.fits, after.fits, strict=True):
        assert bool(first.identity) != bool(first.conflict)
        if first.identity:
            assert then.there
    wanted = {fold_id(fit.identity) for fit in plan.fits if fit.identity}
    assert set(map(fold_id, plan.added)) <= wanted
