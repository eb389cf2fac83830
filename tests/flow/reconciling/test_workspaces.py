"""Several workspaces in one policy: by region, by subscription, by tag; and errors in such a policy."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.row import Outcome
from tests.flow.world import POLICY, SUBSCRIPTION, WORKSPACE_ID, WORKSPACE_KEY, World
from tests.reference import parse_policy

EU, US, LAB = (f"{number * 8}-1111-2222-3333-444444444444" for number in "abc")
KEYS = {"EU_KEY": "ZXUta2V5", "US_KEY": "dXMta2V5", "LAB_KEY": "bGFiLWtleQ=="}
SETTINGS = {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY, **KEYS}


def workspace(name: str, id_: str, when: Any = None) -> dict[str, Any]:
    settings = {"settings": {"workspaceId": id_}, "protectedSettings": {"workspaceKey": f"{{{name.upper()}_KEY}}"}}
    return {"name": name, **settings, **({"when": when} if when else {})}


LAB_TAG = workspace("lab", LAB, {"field": "tags['env']", "equals": "lab"})
IN_EUROPE = workspace("eu", EU, {"field": "location", "in": ["westeurope", "northeurope"]})
SUBSCRIBED = workspace("us", US, {"field": "id", "like": f"/subscriptions/{SUBSCRIPTION}/*"})


def world(*workspaces: dict[str, Any], **policy: Any) -> World:
    return World(policies=[{**POLICY, "workspaces": list(workspaces), **policy}], app_settings=SETTINGS)


@pytest.mark.parametrize(
    ("workspaces", "changes", "id_", "key"),
    [
        ((LAB_TAG, IN_EUROPE), {"tags": {"env": "lab"}}, LAB, "LAB_KEY"),
        ((LAB_TAG, IN_EUROPE), {}, EU, "EU_KEY"),
        ((LAB_TAG, SUBSCRIBED), {}, US, "US_KEY"),
        ((LAB_TAG, workspace("us", US)), {}, US, "US_KEY"),
        ((LAB_TAG,), {}, WORKSPACE_ID, "OMS_WORKSPACE_KEY"),
    ],
)
async def test_the_first_workspace_that_matches_is_used(workspaces: Any, changes: Any, id_: str, key: str) -> None:
    here = world(*workspaces)
    await here.created(here.add(**changes))
    (body,) = here.arm.bodies
    assert body["properties"]["settings"] == {"workspaceId": id_}
    assert body["properties"]["protectedSettings"] == {"workspaceKey": SETTINGS[key]}


async def test_a_vm_that_no_workspace_matches_is_not_onboarded() -> None:
    here = world(LAB_TAG, settings={}, protectedSettings={})
    vm = here.add()
    await here.created(vm)
    row = here.row(vm)
    assert row.outcome is Outcome.FAILED
    assert "no workspace of policy linux-monitoring matches this VM" in row.reason
    assert here.arm.calls == ["GET"]


@pytest.mark.parametrize("upgrade", [True, False])
async def test_a_policy_may_set_the_upgrade_of_minor_versions(upgrade: bool) -> None:
    here = world(autoUpgradeMinorVersion=upgrade, workspaces=None)
    await here.created(here.add())
    assert here.arm.bodies[0]["properties"]["autoUpgradeMinorVersion"] is upgrade


async def test_every_setting_of_the_extension_can_be_given() -> None:
    settings = {"workspaceId": EU, "stopOnMultipleConnections": True, "skipDockerProviderInstall": True}
    protected = {"workspaceKey": "{EU_KEY}", "proxy": "user:hush@proxy:80"}
    here = world(settings=settings, protectedSettings=protected, workspaces=None)
    vm = here.add()
    await here.created(vm)
    assert here.arm.bodies[0]["properties"]["settings"] == settings
    assert here.arm.bodies[0]["properties"]["protectedSettings"]["proxy"] == "user:hush@proxy:80"
    assert "hush" not in str(here.row(vm))


@pytest.mark.parametrize("name", ["stopOnMultipleConnections", "skipDockerProviderInstall"])
async def test_a_boolean_given_as_text_is_refused_with_the_reason(name: str) -> None:
    here = world(settings={"workspaceId": EU, name: "true"}, workspaces=None)
    vm = here.add()
    await here.created(vm)
    assert here.row(vm).outcome is Outcome.FAILED
    assert f"settings.{name} must be the JSON boolean true or false, not a string" in here.row(vm).reason
    assert here.arm.calls == ["GET"]


@pytest.mark.parametrize(
    ("changes", "place", "says"),
    [
        ({"workspaces": {}}, "workspaces", "list"),
        (
            {"workspaces": [{"name": "a"}, {"name": "b"}]},
            "workspaces[1]",
            "'a' above it has no `when` and takes every VM",
        ),
        ({"workspaces": [{"settings": {}}]}, "workspaces[0].name", "missing"),
        ({"workspaces": [LAB_TAG, LAB_TAG]}, "workspaces[1].name", "two workspaces have the name"),
        ({"workspaces": [{"name": "a", "wenn": {}}]}, "workspaces[0].wenn", "unknown key 'wenn' in a workspace"),
        ({"workspaces": [workspace("a", EU, {"field": "locatoin", "equals": "x"})]}, "workspaces[0].when", "locatoin"),
        ({"reconnect": "true"}, "reconnect", " is not true or false"),
        ({"autoUpgradeMinorVersion": 1}, "autoUpgradeMinorVersion", " is not true or false"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(changes: dict[str, Any], place: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_policy({**POLICY, **changes}, "linux.yaml", compile_rule)
    assert error.value.place.startswith(f"linux.yaml: {place}")
    assert says in str(error.value)
