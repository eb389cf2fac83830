"""ARM ids: which are ours, and that every spelling of one is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.resource_id import ExtensionId, VmId, parse_id

GROUP = "/subscriptions/11112222-3333-4444-5555-666677778888/resourceGroups/App-RG"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web01"
ID = VmId("11112222-3333-4444-5555-666677778888", "App-RG", "web01")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (VM, ID),
        (f"{VM}/", ID),
        (f" {VM}\n", ID),
        (f"{VM}/extensions/OMSExtension", ExtensionId(ID, "OMSExtension")),
        (f"{VM}/extensions/OMSExtension/", ExtensionId(ID, "OMSExtension")),
        (VM.replace("App-RG", "rg_(é).1"), VmId(ID.subscription, "rg_(é).1", "web01")),
    ],
)
def test_an_id_of_ours_is_read(text: str, found: VmId | ExtensionId) -> None:
    assert parse_id(text) == found
    assert str(found) in text


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.swapcase])
def test_every_spelling_is_the_same_vm(spell: type[str]) -> None:
    found = parse_id(spell(VM))
    assert isinstance(found, VmId)
    assert found.key == ID.key


SET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "web01",
        VM.removeprefix("/"),
        VM.removesuffix("/web01"),
        f"{VM}/start",
        f"{VM}/extensions",
        f"{VM}/extensions/a/b",
        f"{VM}//",
        VM.replace("Compute", "HybridCompute"),
        VM.replace("virtualMachines", "machines"),
        VM.replace("App-RG", "a/b"),
        VM.replace("web01", ""),
        VM.replace("web01", "we b"),
        VM.replace("web01", "we#b"),
        VM.replace("web01", "we?b"),
        VM.replace("web01", "we\\b"),
        VM.replace("web01", "we|b"),
        VM.replace("web01", "we%2Fb"),
        VM.replace("web01", "{vm-name}"),
        VM.replace("web01", ".."),
        VM.replace("App-RG", ".."),
        VM.replace("web01", "w" * 81),
        f"{VM}/extensions/{'e' * 81}",
        VM.replace("App-RG", "g" * 91),
        VM.replace(ID.subscription, "..x"),
        VM.replace(ID.subscription, "a.b"),
        VM.replace(ID.subscription, "s" * 65),
        VM.replace("App-RG", "g" * 1_000_000),
        f"{SET}/virtualMachines/0",
        f"{SET}/virtualmachines/0/extensions/OMSExtension",
        f"/providers/Microsoft.Management/managementGroups/m{VM}",
    ],
)
def test_any_other_id_is_none(text: str) -> None:
    assert parse_id(text) is None


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    parse_id(text)
    parse_id(VM.replace("web01", text))


@given(st.from_regex(r"[-\w.()]{0,20}[-\w()]", fullmatch=True))
def test_what_is_read_prints_as_it_came_and_can_stand_in_a_row_key(name: str) -> None:
    text = VM.replace("web01", name)
    found = parse_id(text)
    assert isinstance(found, VmId)
    assert str(found) == text
    assert not set(found.name) & set("/\\#?|%\t\n\r")
