"""Scopes, and which VMs are in them."""

from __future__ import annotations

import pytest

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.scope import Scope
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import read_as


def parse_scope(text: object, place: str) -> Scope:
    return read_as(text, Scope, place)


VM = VmId("11112222-3333-4444-5555-666677778888", "App-RG", "web01")
SUBSCRIPTION = f"/subscriptions/{VM.subscription}"


@pytest.mark.parametrize(
    ("scope", "inside"),
    [
        ("/", True),
        (SUBSCRIPTION, True),
        (SUBSCRIPTION.upper(), True),
        ("/subscriptions/11112222-*", True),
        ("/subscriptions/99992222-*", False),
        (SUBSCRIPTION[:-1], False),
        (f"{SUBSCRIPTION}/resourceGroups/app-rg", True),
        (f"{SUBSCRIPTION}/resourcegroups/APP-*", True),
        (f"{SUBSCRIPTION}/resourceGroups/app-r?", True),
        (f"{SUBSCRIPTION}/resourceGroups/app", False),
        (f"{SUBSCRIPTION}/resourceGroups/aks-*", False),
        ("/subscriptions/*/resourceGroups/app-rg", True),
        (f"{VM}", True),
        (str(VM).replace("web01", "web*"), True),
        (str(VM).replace("web01", "db*"), False),
    ],
)
def test_what_is_inside(scope: str, inside: bool) -> None:
    assert parse_scope(scope, "p.yaml: scope").contains(VM) is inside


def test_a_star_stays_within_its_segment() -> None:
    assert not parse_scope(f"{SUBSCRIPTION}/resourceGroups/*-rg", "p").contains(VmId(VM.subscription, "x", "a-rg"))


@pytest.mark.parametrize(
    ("scope", "subscription"),
    [("/", ""), (SUBSCRIPTION, VM.subscription), (str(VM), VM.subscription), ("/subscriptions/1*", "")],
)
def test_the_one_subscription_that_it_is_in(scope: str, subscription: str) -> None:
    assert parse_scope(scope, "p").subscription == subscription


@pytest.mark.parametrize(
    "scope",
    [
        None,
        "",
        5,
        [],
        "subscriptions/x",
        VM.subscription,
        "/resourceGroups/x",
        f"{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Network",
        f"{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.HybridCompute/virtualMachines/x",
        f"{SUBSCRIPTION}/resourceGroups/g/virtualMachines/x",
        f"{VM}/extensions/x",
    ],
)
def test_what_is_no_scope_is_an_error_that_names_its_place(scope: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r" is not a scope.* \(p\.yaml: scope\[0\]\); write /subscriptions/<id>"
    ):
        parse_scope(scope, "p.yaml: scope[0]")


def test_a_management_group_is_a_scope_that_no_id_is_in() -> None:
    scope = parse_scope("/providers/Microsoft.Management/managementGroups/Corp_1", "p.yaml: scope[0]")
    assert (scope.management_group, scope.subscription) == ("corp_1", "")
    assert not scope.contains(VM)


@pytest.mark.parametrize("name", ["", "a/b", "a'b", "a*", "a b", "x" * 91])
def test_what_cannot_be_a_management_group_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a scope"):
        parse_scope(f"/providers/Microsoft.Management/managementGroups/{name}", "p.yaml: scope[0]")


def test_a_scope_prints_as_it_is_compared() -> None:
    assert str(parse_scope("/subscriptions/A/resourceGroups/B*", "p")) == "/subscriptions/a/resourcegroups/b*"


GROUP_ID = f"{SUBSCRIPTION}/resourceGroups/{VM.resource_group}"
WHOLE = (SUBSCRIPTION, GROUP_ID, str(VM))


@pytest.mark.parametrize("end", range(2, str(VM).count("/") + 1))
@pytest.mark.parametrize("tail", ["", "/", "//", "/ ", "/\t"])
def test_an_id_that_breaks_off_is_no_scope(end: int, tail: str) -> None:
    """Not the subscription in place of a group whose name is empty, nor everything in place of a subscription."""
    scope = "/".join(str(VM).split("/")[:end]) + tail
    if scope in WHOLE:
        assert parse_scope(scope, "p.yaml: scope[0]").contains(VM)
        return
    with pytest.raises(
        ConfigurationError, match=r" is not a scope.* \(p\.yaml: scope\[0\]\); write /subscriptions/<id>"
    ):
        parse_scope(scope, "p.yaml: scope[0]")


@pytest.mark.parametrize("number", range(1, str(VM).count("/") + 1))
@pytest.mark.parametrize("name", ["", " ", "{GROUP}", "${group}", "<group>", "a b", "[ab]", "a\nb"])
def test_a_part_that_no_name_can_be_is_no_scope(number: int, name: str) -> None:
    """A variable that nobody filled in names nothing; as `notScopes` it would leave nothing out."""
    parts = str(VM).split("/")
    parts[number] = name
    with pytest.raises(ConfigurationError, match="is not a scope"):
        parse_scope("/".join(parts), "p.yaml: notScopes[0]")


def test_the_empty_part_is_named() -> None:
    with pytest.raises(ConfigurationError, match="it has an empty part after '/subscriptions/1/resourceGroups/'"):
        parse_scope("/subscriptions/1/resourceGroups/", "p")
    with pytest.raises(ConfigurationError, match="no name follows 'resourcegroups'"):
        parse_scope("/subscriptions/1/resourceGroups", "p")
    with pytest.raises(ConfigurationError, match=r"it has the invalid name '\{group\}' after"):
        parse_scope("/subscriptions/1/resourceGroups/{GROUP}", "p")
