"""The deployment's description: the compiler and its linter have nothing to say, the files that it writes are current,
and what is deployed keeps to what Azure takes and to least rights. Where there is no compiler, the files under version
control are looked at all the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bicep_compiler import BICEP, needs_bicep
from tests.unit.infra.deployed import (
    INFRA,
    PROFILES,
    ROOT,
    app_settings,
    assignments,
    compiled,
    of_type,
    one,
    snapshot,
    texts,
)
from tests.unit.infra.flows import (
    BLOB_CONTRIBUTOR,
    BLOB_OWNER,
    BLOB_READER,
    EVENT_SENDER,
    METRICS_PUBLISHER,
    QUEUE_CONTRIBUTOR,
    SECRETS_USER,
    TABLE_CONTRIBUTOR,
)

MONITORING_READER = "43d0d8ad-25c7-4714-9337-8ba259a9fe05"
IDENTITY_OPERATOR = "f1a07417-d97a-45cb-824c-7a7467783830"
# What each identity may do, by the end of the scope's id: nothing else is assigned.
ALWAYS = {
    ("id-app", METRICS_PUBLISHER, "components/appi"),
    ("id-app", TABLE_CONTRIBUTOR, "storageAccounts/st"),
    ("id-app", QUEUE_CONTRIBUTOR, "storageAccounts/st"),
    ("id-app", BLOB_OWNER, "containers/azure-webjobs-hosts"),
    ("id-app", BLOB_OWNER, "containers/azure-webjobs-secrets"),
    ("id-package", BLOB_CONTRIBUTOR, "containers/packages"),
    ("id-events", BLOB_CONTRIBUTOR, "containers/dead-letters"),
}
WITH_SECRETS_AND_TOPIC = {
    ("id-app", SECRETS_USER, "vaults/kv"),
    ("id-app", EVENT_SENDER, "topics/evgt"),
}
COUNTS_DEAD_LETTERS = {("id-app", BLOB_READER, "containers/dead-letters")}
ACCESS = {
    "public": ALWAYS | COUNTS_DEAD_LETTERS,
    "restricted": ALWAYS | COUNTS_DEAD_LETTERS | WITH_SECRETS_AND_TOPIC,
    "private": ALWAYS
    | WITH_SECRETS_AND_TOPIC
    | {
        ("id-app", BLOB_CONTRIBUTOR, "containers/dead-letters"),
        ("id-app", MONITORING_READER, "dataCollectionRules/dcr"),
        ("id-app", IDENTITY_OPERATOR, "userAssignedIdentities/id-machines"),
        ("id-app", "", "workspaces/machines"),  # the custom role that reads heartbeats
    },
}


@needs_bicep
@pytest.mark.timeout(300)  # each template and each profile is compiled
def test_the_templates_compile_without_a_warning_and_the_files_on_record_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "templates.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "skipped" in done.stdout) == (0, False), done.stdout + done.stderr


@needs_bicep
@pytest.mark.parametrize(
    ("profile", "without", "given", "says"),
    [
        ("private-hub", "SubnetId", "param appSubnetId = '/subscriptions/s'", "name both of your subnets, or neither"),
        ("private-hub", "SubnetId", "param endpointSubnetId = '/subscriptions/s'", "name both of your subnets, or"),
        ("subscription-private", "-", "param systemTopicName = 'topic'", "name the topic with its resource group, or"),
        ("restricted", "allowedRanges", "", "ALLOWED_RANGES: the profile restricted needs the ranges"),
    ],
)
def test_half_of_what_belongs_together_is_refused(
    tmp_path: Path, profile: str, without: str, given: str, says: str
) -> None:
    copy = shutil.copytree(INFRA, tmp_path / "infra")
    complete = (copy / "profiles" / f"{profile}.bicepparam").read_text()
    kept = [line for line in complete.splitlines() if f"{without} =" not in line]
    file = copy / "profiles" / "half.bicepparam"
    file.write_text("\n".join([*kept, given]))
    place = ("--subscription-id", "00000000-0000-4000-8000-000000000001", "--location", "westeurope")
    done = subprocess.run(
        [str(BICEP), "snapshot", file, "--mode", "overwrite", *place], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


def test_without_a_compiler_the_check_says_that_it_is_skipped() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "templates.py"],
        env={"BICEP": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "skipped, no Bicep compiler" in done.stdout


def test_each_profile_and_each_template_is_on_record() -> None:
    parameters = {path.name.removesuffix(".bicepparam") for path in INFRA.glob("profiles/*.bicepparam")}
    assert set(PROFILES) < parameters
    assert {path.name.removesuffix(".snapshot.json") for path in INFRA.glob("profiles/*.json")} == parameters
    assert {path.stem for path in INFRA.glob("compiled/*.json")} == {
        path.stem for path in INFRA.glob("*.bicep") if path.stem != "types"
    }


def test_the_parameters_for_azd_are_those_of_the_template() -> None:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    declared = compiled("main")["parameters"]
    assert set(parameters) == set(declared)
    for name, given in parameters.items():
        text = str(given["value"])
        required = re.fullmatch(r"\$\{\w+\}", text)
        assert not required or name in ("environmentName", "location"), f"azd would ask for {name}"


@pytest.mark.parametrize("profile", PROFILES)
def test_each_identity_may_do_what_it_needs_and_no_more(profile: str) -> None:
    found = {
        (who, "" if "'" in role or role.startswith("[") else role, re.sub(r"(?<=[a-z])-?[a-z0-9]{13}$", "", scope))
        for who, role, scope in assignments(snapshot(profile))
    }
    shortened = {(who, role if role in _built_in() else "", "/".join(at.split("/")[-2:])) for who, role, at in found}
    assert shortened == ACCESS[profile]


def _built_in() -> set[str]:
    return {role for access in ACCESS.values() for _, role, _ in access}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_apps_identity_cannot_write_its_own_package(profile: str) -> None:
    (package,) = {who for who, _, scope in assignments(snapshot(profile)) if scope.endswith("/containers/packages")}
    site = one(snapshot(profile), "Microsoft.Web/sites")
    loads = site["properties"]["functionAppConfig"]["deployment"]["storage"]["authentication"]
    assert package in loads["userAssignedIdentityResourceId"]
    assert package not in app_settings(profile)["AZURE_CLIENT_ID"]
    on_all = {
        role
        for who, role, at in assignments(snapshot(profile))
        if who == "id-app" and at.rpartition("/")[0].endswith("/storageAccounts")
    }
    assert on_all == {QUEUE_CONTRIBUTOR, TABLE_CONTRIBUTOR}


@pytest.mark.parametrize("name", [*PROFILES, "subscription-public", "subscription-existing", "management-group"])
def test_roles_go_to_identities_alone(name: str) -> None:
    found = of_type(snapshot(name), "Microsoft.Authorization/roleAssignments")
    assert found
    assert {each["properties"]["principalType"] for each in found} == {"ServicePrincipal"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_key_opens_anything(profile: str) -> None:
    resources = snapshot(profile)
    assert one(resources, "Microsoft.Storage/storageAccounts")["properties"]["allowSharedKeyAccess"] is False
    assert one(resources, "Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    workspace = one(resources, "Microsoft.OperationalInsights/workspaces")["properties"]
    assert workspace["features"]["disableLocalAuth"] is True
    for topic in of_type(resources, "Microsoft.EventGrid/topics"):
        assert topic["properties"]["disableLocalAuth"] is True
    allowed = of_type(resources, "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {each["name"].rpartition("/")[2]: each["properties"]["allow"] for each in allowed} == {
        "ftp": False,
        "scm": False,
    }
    assert not [text for text in texts(compiled("main")) if "listkeys" in text.lower()]


def test_the_workspace_key_is_secure_wherever_it_goes() -> None:
    main = compiled("main")
    (vault,) = [each for each in main["resources"].values() if each.get("name") == "vault"]
    inner = vault["properties"]["template"]
    for template in (main, inner):
        assert template["parameters"]["omsWorkspaceKey"]["type"] == "securestring"
        assert not [text for text in texts(template["outputs"]) if "omsWorkspaceKey" in text]
    holders = [each["name"] for each in main["resources"].values() if "omsWorkspaceKey" in str(each.get("properties"))]
    assert holders == ["vault"]


def test_every_secret_setting_is_a_reference_to_the_vault() -> None:
    settings = app_settings("restricted")
    for name, secret in {"OMS_WORKSPACE_KEY": "oms-workspace-key", "PROXY_PASSWORD": "proxy-password"}.items():
        assert "@Microsoft.KeyVault(SecretUri=" in settings[name]
        assert f"'{secret}'" in settings[name] or f"secrets/{secret}" in settings[name], settings[name]
    assert not of_type(snapshot("public"), "Microsoft.KeyVault/vaults")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_app_is_what_flex_consumption_takes(profile: str) -> None:
    plan = one(snapshot(profile), "Microsoft.Web/serverfarms")
    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    app = one(snapshot(profile), "Microsoft.Web/sites")["properties"]
    assert app["functionAppConfig"]["runtime"] == {
        "name": "python",
        "version": (ROOT / ".python-version").read_text().strip(),
    }
    refused = ("FUNCTIONS_", "SCM_", "ENABLE_ORYX", "AzureWebJobsDashboard", "WEBSITE_")
    signs_in = "WEBSITE_AUTH_AAD_ALLOWED_TENANTS"
    assert {name for name in app_settings(profile) if name.startswith(refused)} <= {signs_in}
    assert "AzureWebJobsStorage" not in app_settings(profile)  # a connection string, which has a key


@pytest.mark.parametrize("profile", ["restricted", "private"])
def test_sign_in_lets_the_app_decide_and_has_no_client_secret(profile: str) -> None:
    """A sign-in that refused requests itself would refuse Event Grid's deliveries and the health page too."""
    properties = one(snapshot(profile), "Microsoft.Web/sites/config", "/authsettingsV2")["properties"]
    assert properties["globalValidation"]["unauthenticatedClientAction"] == "AllowAnonymous"
    registration = properties["identityProviders"]["azureActiveDirectory"]["registration"]
    assert registration["clientSecretSettingName"] in app_settings(profile)
    assert "userAssignedIdentities/id-app" in app_settings(profile)[registration["clientSecretSettingName"]]


def test_the_roles_of_people_who_sign_in_are_on_record() -> None:
    roles = json.loads((INFRA / "app-roles.json").read_text())
    assert [role["value"] for role in roles] == ["Onboarding.Reader", "Onboarding.Operator"]
    assert {tuple(role["allowedMemberTypes"]) for role in roles} == {("User",)}
    assert len({role["id"] for role in roles}) == 2


def test_the_app_may_read_heartbeats_and_no_other_table_of_a_workspace_that_is_named() -> None:
    """The actions are those that the simulated query API needs, and the documented one to see the workspace."""
    definition = one(snapshot("private"), "Microsoft.Authorization/roleDefinitions")
    (permissions,) = definition["properties"]["permissions"]
    of_workspaces = "Microsoft.OperationalInsights/workspaces"
    assert set(permissions["actions"]) == {
        f"{of_workspaces}/read",
        f"{of_workspaces}/query/read",
        f"{of_workspaces}/query/Heartbeat/read",
    }
    assert not of_type(snapshot("public"), "Microsoft.Authorization/roleDefinitions")


def test_what_a_company_asks_for_is_a_parameter() -> None:
    private = snapshot("private")
    assert {each["properties"]["level"] for each in of_type(private, "Microsoft.Authorization/locks")} == {
        "CanNotDelete"
    }
    assert one(private, "Microsoft.Web/serverfarms")["properties"]["zoneRedundant"] is True
    assert one(private, "Microsoft.Storage/storageAccounts")["sku"]["name"] == "Standard_GZRS"
    assert one(private, "Microsoft.KeyVault/vaults")["properties"]["enablePurgeProtection"] is True
    untagged = [each["name"] for each in private if "tags" in each and each["tags"].get("cost-center") != "4711"]
    assert not untagged
    (rule,) = one(snapshot("public"), "Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"][
        "rules"
    ]
    assert rule["definition"]["filters"]["prefixMatch"] == ["dead-letters/"]
    logged = of_type(private, "Microsoft.Insights/diagnosticSettings")
    assert len(logged) == 5  # blobs, queues, tables, the vault, the topic
