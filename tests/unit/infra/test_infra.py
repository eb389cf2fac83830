"""The deployment's description: each file parses, the files fit each other, and they keep to what Azure takes. Where
Bicep's compiler is on the PATH, it compiles the templates too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.unit.infra.bicep_files import FILES, INFRA, ROOT, body, literals, modules, own_settings, resource, template

# Azure's built-in roles. The first is the whole of what the app may do to a VM.
ROLES = {
    "roleId": "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",  # Virtual Machine Contributor
    "storageBlobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageQueueDataContributor": "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
    "storageTableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "monitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "eventGridDataSender": "d5a91429-5739-47e2-a06b-3470a27159e7",
}


def test_there_is_something_to_check() -> None:
    assert {"main.bicep", "subscription.bicep"} < set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_each_file_parses(name: str) -> None:
    assert set(template(name)) & {"resources", "modules"}


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_declared_for_nothing(name: str) -> None:
    text = re.sub(r"^\s*//.*$", "", (INFRA / name).read_text(), flags=re.MULTILINE)
    for declared in (*template(name).get("parameters", {}), *template(name).get("variables", {})):
        assert len(re.findall(rf"\b{declared}\b", text)) > 1, declared


@pytest.mark.parametrize("name", FILES)
def test_only_released_api_versions_are_used(name: str) -> None:
    for symbol, declaration in template(name).get("resources", {}).items():
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", declaration["api_version"]), symbol


def test_each_module_is_handed_what_it_asks_for() -> None:
    for name, symbol, given, target in modules():
        declared = template(target)["parameters"]
        required = {parameter for parameter, what in declared.items() if what.get("default") is None}
        assert required <= set(given) <= set(declared), f"{symbol} in {name}"


def test_what_is_taken_from_a_module_is_what_it_gives() -> None:
    targets = {(name, symbol): target for name, symbol, _, target in modules()}
    taken = [
        (name, symbol, output)
        for name in FILES
        for symbol, output in re.findall(r"\b(\w+)!?\.outputs\.(\w+)", (INFRA / name).read_text())
    ]
    assert taken
    for name, symbol, output in taken:
        assert output in template(targets[name, symbol])["outputs"], f"{symbol}.outputs.{output} in {name}"


@pytest.mark.skipif(shutil.which("bicep") is None, reason="needs bicep on the PATH")
@pytest.mark.parametrize("name", ["main.bicep", "subscription.bicep"])
def test_the_templates_compile(name: str) -> None:
    done = subprocess.run(["bicep", "build", INFRA / name, "--stdout"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_parameters_for_azd_are_those_of_the_template() -> None:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(parameters) == set(template("main.bicep")["parameters"])


def test_each_role_is_the_one_that_its_name_says() -> None:
    found = {
        symbol: guid
        for name in FILES
        for symbol, guid in re.findall(r"(\w+)(?: string =|:| =) '([0-9a-f-]{36})'", (INFRA / name).read_text())
    }
    assert found == ROLES
    assert {guid for name in FILES for guid in literals(template(name)) if re.fullmatch(r"[0-9a-f-]{36}", guid)} == set(
        ROLES.values()
    )


@pytest.mark.parametrize("name", FILES)
def test_roles_go_to_identities_alone(name: str) -> None:
    for declaration in template(name).get("resources", {}).values():
        if declaration["type"] == "Microsoft.Authorization/roleAssignments":
            assert body(declaration)["properties"]["principalType"] == "ServicePrincipal"


def test_no_key_opens_anything() -> None:
    assert resource("modules/storage.bicep", "account")["properties"]["allowSharedKeyAccess"] is False
    assert resource("modules/topic.bicep", "topic")["properties"]["disableLocalAuth"] is True
    assert resource("modules/monitoring.bicep", "insights")["properties"]["DisableLocalAuth"] is True
    for name in FILES:
        assert "listkeys" not in (INFRA / name).read_text().lower(), name


def test_the_workspace_key_is_secure_wherever_it_goes() -> None:
    holders = {name for name in FILES if "omsWorkspaceKey" in template(name).get("parameters", {})}
    assert holders == {"main.bicep", "modules/vault.bicep"}
    for name in holders:
        assert {"type": "secure"} in template(name)["parameters"]["omsWorkspaceKey"]["decorators"]
        assert "omsWorkspaceKey" not in list(literals([o["value"] for o in template(name)["outputs"].values()]))
    assert list(template("modules/vault.bicep")["outputs"]) == ["omsWorkspaceKeyReference"]


def test_the_app_is_what_flex_consumption_takes() -> None:
    assert resource("modules/app.bicep", "plan")["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    app = resource("modules/app.bicep", "app")["properties"]
    assert app["functionAppConfig"]["runtime"] == {
        "name": "python",
        "version": (ROOT / ".python-version").read_text().strip(),
    }
    assert set(app["siteConfig"]) == {"minTlsVersion", "ftpsState"}
    refused = ("FUNCTIONS_", "WEBSITE_", "SCM_", "ENABLE_ORYX", "AzureWebJobsDashboard")
    assert not [name for name in own_settings() if name.startswith(refused)]
    assert "AzureWebJobsStorage" not in own_settings()  # a connection string, which has a key


def test_the_app_may_read_heartbeats_and_no_other_table_of_a_workspace_that_is_named() -> None:
    """The actions are those that the simulated query API needs, and the documented one to see the workspace."""
    (permissions,) = resource("modules/heartbeats.bicep", "role")["properties"]["permissions"]
    of_workspaces = "Microsoft.OperationalInsights/workspaces"
    assert set(literals(permissions["actions"])) == {
        f"{of_workspaces}/read",
        f"{of_workspaces}/query/read",
        f"{of_workspaces}/query/Heartbeat/read",
    }
    access = resource("modules/heartbeats.bicep", "access")
    assert "workspace" in str(access["scope"])
    assert template("main.bicep")["parameters"]["heartbeatWorkspaceId"]["default"] == ""
    assert "condition" in template("main.bicep")["modules"]["heartbeats"]["config"]
