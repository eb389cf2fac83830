"""The deployment's description fits the product: its settings, its events, its names. So does scripts/subscribe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
import yaml

from onboarding.application import notifications
from onboarding.settings import CLOUDS, QUEUE, TABLE, read_settings
from tests.unit.infra.deployed import PROFILES, ROOT, app_settings, compiled, of_type, one, snapshot

HOST_SETTINGS = {
    *(f"AzureWebJobsStorage__{part}" for part in ("credential", "clientId")),
    *(f"AzureWebJobsStorage__{service}ServiceUri" for service in ("blob", "queue", "table")),
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID",
    "WEBSITE_AUTH_AAD_ALLOWED_TENANTS",
}
# In the README and not in the templates: what has a default (`settings` takes it), or is another way to the same end.
LEFT_TO_THE_READER = {
    "ONBOARDING_DIGEST_KEY",
    "HISTORY_DAYS",
    "ONBOARDING_LOG",
    "SWEEP_PATIENCE",
    "SWEEP_VISITS",
    "SWEEP_VISITS_PER_MINUTE",
    "AzureWebJobsStorage",
    "ONBOARDING_STORAGE",
    "ONBOARDING_POLICIES",
    "ARM_ENDPOINT",
    "LOG_ANALYTICS_ENDPOINT",
    "SWEEP_SCHEDULE",
    "OUTCOME_TOPIC_KEY",
}

SUBSCRIPTION = "/subscriptions/00000000-0000-4000-8000-000000000001"
VM = f"{SUBSCRIPTION}/resourceGroups/app/providers/Microsoft.Compute/virtualMachines/web01"
EVENT_TYPES = [
    *(
        f"Microsoft.Resources.Resource{operation}{end}"
        for operation, end in product(("Write", "Delete", "Action"), ("Success", "Failure", "Cancel"))
    ),
    *(f"Microsoft.PolicyInsights.PolicyState{end}" for end in ("Created", "Changed", "Deleted")),
]
OPERATIONS = [
    f"Microsoft.Compute/virtualMachines/{operation}"
    for operation in (
        *("write", "delete", "start/action", "powerOff/action", "deallocate/action", "restart/action"),
        *("redeploy/action", "reimage/action", "runCommand/action", "runCommands/write", "updateState/write"),
        *("extensions/write", "extensions/delete"),
    )
] + [
    "Microsoft.Resources/tags/write",
    "Microsoft.Compute/virtualMachineScaleSets/write",
    "Microsoft.Insights/dataCollectionRuleAssociations/write",
    "Microsoft.Insights/dataCollectionRuleAssociations/delete",
]


def subscribed(name: str, profile: str = "subscription-public") -> tuple[set[str], dict[str, set[str]]]:
    """The event types and the filters' values of one event subscription."""
    found = one(snapshot(profile), "Microsoft.EventGrid/systemTopics/eventSubscriptions", f"/{name}")
    wanted = found["properties"]["filter"]
    filters = {each["key"] + each["operatorType"]: set(each["values"]) for each in wanted["advancedFilters"]}
    return set(wanted["includedEventTypes"]), filters


def acted_on(kind: str, operation: str, compliance: str) -> bool:
    below = f"{VM}/extensions/agent" if "extensions" in operation else VM
    resource_id = f"{VM}/providers/{operation.rpartition('/')[0]}/ours" if "Insights" in operation else below
    data = {"operationName": operation, "resourceUri": resource_id, "complianceState": compliance}
    text = json.dumps({"id": "1", "subject": resource_id, "eventType": kind, "data": data})
    match notifications.parse(text, datetime.now(UTC)):
        case notifications.Ignored():
            return False
        case notifications.PolicyStateChanged(compliant=compliant):
            return not compliant  # a compliant VM gives no reason to do anything
        case _:
            return True


def product_settings() -> set[str]:
    """The settings of some profile, without those of the host and without one that a policy of the profile uses."""
    return set[str]().union(*(app_settings(each) for each in PROFILES)) - HOST_SETTINGS - {"PROXY_PASSWORD"}


def test_the_settings_are_those_of_the_readme() -> None:
    section = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row[1])}
    assert product_settings() == documented - LEFT_TO_THE_READER


def test_the_product_reads_the_settings_and_finds_nothing_wrong() -> None:
    environment = dict.fromkeys(app_settings("private"), "x") | {
        "AzureWebJobsStorage__queueServiceUri": "https://account.queue.core.windows.net/",
        "AzureWebJobsStorage__tableServiceUri": "https://account.table.core.windows.net/",
        "AzureWebJobsStorage__blobServiceUri": "https://account.blob.core.windows.net/",
        "AzureWebJobsStorage__clientId": "client",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLOUD": "AzurePublicCloud",
        "EVENTS_QUEUE": app_settings("private")["EVENTS_QUEUE"],
        "OUTCOME_TOPIC_ENDPOINT": "https://topic.westeurope-1.eventgrid.azure.net/api/events",
    }
    settings = read_settings(environment)
    assert settings.problems == ()
    assert settings.client_id == settings.storage.client_id == "client"
    assert settings.storage.table_endpoint.startswith("https://account.table.")
    assert settings.topic_endpoint


def test_the_public_cloud_is_called_by_its_name_here() -> None:
    assert "'AzureCloud'), 'AzurePublicCloud'" in app_settings("public")["AZURE_CLOUD"]
    assert CLOUDS.keys() - {"AzurePublicCloud"} == {"AzureUSGovernment", "AzureChinaCloud"}  # as Azure names them


@pytest.mark.parametrize("profile", PROFILES)
def test_table_and_queues_are_those_that_the_product_uses(profile: str) -> None:
    resources = snapshot(profile)
    assert one(resources, "Microsoft.Storage/storageAccounts/tableServices/tables")["name"].endswith(f"/{TABLE}")
    queues = {
        each["name"].rpartition("/")[2]
        for each in of_type(resources, "Microsoft.Storage/storageAccounts/queueServices/queues")
    }
    assert queues == {QUEUE, *filter(None, [app_settings(profile).get("EVENTS_QUEUE")])}


def test_the_events_that_arrive_are_those_that_the_product_acts_on() -> None:
    types, filters = subscribed("vm-onboarding")
    policy_types, policy_filters = subscribed("vm-onboarding-policy")
    acted = [
        (kind, operation, compliance)
        for kind, operation, compliance in product(EVENT_TYPES, OPERATIONS, ("Compliant", "NonCompliant"))
        if acted_on(kind, operation, compliance)
    ]
    resources = [event for event in acted if "PolicyInsights" not in event[0]]
    findings = [event for event in acted if "PolicyInsights" in event[0]]
    assert types == {kind for kind, _, _ in resources}
    assert filters.pop("subjectStringBeginsWith") == {
        f"/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/{group}/" for group in ("web", "db")
    }
    assert filters == {"data.operationNameStringIn": {operation for _, operation, _ in resources}}
    assert policy_types == {kind for kind, _, _ in findings}
    assert policy_filters.pop("data.complianceStateStringIn") == {compliance for _, _, compliance in findings}
    assert policy_filters.pop("subjectStringBeginsWith")
    assert all(part in VM for part in policy_filters.pop("subjectStringContains"))
    assert not policy_filters
    assert subscribed("vm-onboarding", "subscription-private")[1] == filters  # all groups


def test_event_grid_takes_the_filters_of_as_many_resource_groups_as_the_parameter_says() -> None:
    described = compiled("subscription")["parameters"]["resourceGroups"]["metadata"]["description"]
    groups = re.search(r"commas between, (\d+) at most", described)
    assert groups is not None
    _, filters = subscribed("vm-onboarding", "subscription-private")
    assert sum(map(len, filters.values())) + int(groups[1]) == 25


@pytest.mark.parametrize("name", ["subscription-public", "subscription-private", "subscription-existing"])
def test_events_go_to_the_function_or_the_queue_and_else_to_the_container(name: str) -> None:
    app = (ROOT / "function_app.py").read_text()
    private = name == "subscription-private"
    for each in of_type(snapshot(name), "Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        properties = each["properties"]
        sent = properties["deliveryWithResourceIdentity"]["destination"] if private else properties["destination"]
        if private:
            assert properties["destination"] is None
            assert sent["properties"]["queueName"] == app_settings("private")["EVENTS_QUEUE"]
            assert properties["deliveryWithResourceIdentity"]["identity"] == {"type": "SystemAssigned"}
        else:
            assert properties["deliveryWithResourceIdentity"] is None
            function = sent["properties"]["resourceId"].rpartition("/")[2]
            assert re.search(rf"@app\.event_grid_trigger.*\nasync def {function}\(", app)
        dead = properties["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]["blobContainerName"]
        assert dead in {
            container["name"].rpartition("/")[2]
            for container in of_type(snapshot("private"), "Microsoft.Storage/storageAccounts/blobServices/containers")
        }


def test_a_topic_that_is_there_already_is_used_and_none_is_made() -> None:
    resources = snapshot("subscription-existing")
    assert not of_type(resources, "Microsoft.EventGrid/systemTopics")
    found = one(resources, "Microsoft.EventGrid/systemTopics/eventSubscriptions")
    assert found["name"] == "company-events/vm-onboarding"
    assert "/resourceGroups/rg-platform/" in found["id"]


def test_azd_finds_the_app_and_subscribes_after_it_deployed() -> None:
    project = yaml.safe_load((ROOT / "azure.yaml").read_text())
    ((service, what),) = project["services"].items()
    assert what == {"project": ".", "language": "py", "host": "function"}
    assert one(snapshot("public"), "Microsoft.Web/sites")["tags"]["azd-service-name"] == service
    hooks = project["hooks"]["postdeploy"]
    assert hooks["posix"] == {"shell": "sh", "run": "bash scripts/subscribe"}
    assert hooks["windows"] == {"shell": "pwsh", "run": "./scripts/subscribe.ps1"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert project["metadata"]["template"] == f"vm-onboarding@{version}"
    assert f"azd {project['requiredVersions']['azd'].removeprefix('>= ')}".startswith("azd 1.18")
    assert (ROOT / project["infra"]["path"] / f"{project['infra']['module']}.bicep").is_file()


def test_what_azd_can_set_is_documented() -> None:
    """So that nobody has to read the templates."""
    documented = (ROOT / "docs" / "deploying.md").read_text()
    parameters = (ROOT / "infra" / "main.parameters.json").read_text()
    names = set(re.findall(r"\$\{(\w+)=", parameters)) - {"OMS_WORKSPACE_KEY"}
    assert len(names) > 25
    assert [name for name in sorted(names) if f"`{name} " not in documented] == []
    assert "azd env set-secret OMS_WORKSPACE_KEY" in documented


def test_the_page_names_the_operations_of_the_role_that_the_app_always_has() -> None:
    section = (ROOT / "docs" / "deploying.md").read_text().partition("## Rights")[2].partition("\n## ")[0]
    listed = section.partition("*VM Onboarding Machines* has\n\n```\n")[2].partition("\n```")[0].splitlines()
    assert listed == json.loads((ROOT / "infra" / "roles.json").read_text())["machines"]["actions"]


def test_both_scripts_hand_over_the_same() -> None:
    """There is no PowerShell here: the names of parameters and values are compared."""
    shell, powershell = ((ROOT / "scripts" / name).read_text() for name in ("subscribe", "subscribe.ps1"))
    parameter = re.compile(r'"(\w+)=\$')
    assert parameter.findall(shell) == parameter.findall(powershell)
    wanted = re.compile(r"(?:value|option|Get-Value|Get-Option) ([A-Z_]+)")
    assert set(wanted.findall(shell)) == set(wanted.findall(powershell))
    templates = re.compile(r"infra/[\w-]+\.bicep")
    assert templates.findall(shell) == templates.findall(powershell)


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def clis(tmp_path: Path) -> Path:
    """An `azd` that prints the name of the requested value, and an `az` that writes its arguments to a file."""
    known = "AZURE_[A-Z_]+|APP_PRINCIPAL_ID|EVENTS_IDENTITY_ID|FUNCTION_APP_ID|STORAGE_ACCOUNT_ID"
    executable(
        tmp_path / "azd",
        f'echo "$3" >> {tmp_path}/names; [[ "$3" =~ ^({known})$ ]] && echo "azd $3"',
    )
    executable(tmp_path / "az", f'printf "%s\\n" "$@" > {tmp_path}/arguments')
    return tmp_path


def subscribe(clis: Path, *arguments: str, **environment: str) -> list[str]:
    path = f"{clis}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", ROOT / "scripts" / "subscribe", *arguments],
        env={"PATH": path, **environment},
        capture_output=True,
        check=True,
    )
    return (clis / "arguments").read_text().splitlines()


def test_subscribing_hands_over_what_the_template_asks_for(clis: Path) -> None:
    arguments = subscribe(clis)
    given = dict(argument.split("=", 1) for argument in arguments[arguments.index("--parameters") + 1 :])
    declared = compiled("subscription")["parameters"]
    required = {parameter for parameter, what in declared.items() if "defaultValue" not in what}
    assert required <= set(given) <= set(declared)
    assert (given["resourceGroups"], given["policyStates"]) == ("", "false")
    names = set((clis / "names").read_text().split())
    from_main = {
        name
        for name in names
        if name.startswith(("AZURE_", "APP_", "EVENTS_I", "EVENTS_Q", "FUNCTION_", "STORAGE_", "LOG_W"))
    }
    assert from_main - {"AZURE_SUBSCRIPTION_ID", "AZURE_LOCATION"} <= set(compiled("main")["outputs"])
    documented = (ROOT / "docs" / "deploying.md").read_text()
    assert not [name for name in names - from_main if f"`{name} " not in documented]


def test_a_management_group_is_handed_what_its_template_asks_for(clis: Path) -> None:
    arguments = subscribe(clis, "--management-group", "company", EVENTS_QUEUE="events")
    assert arguments[arguments.index("--management-group-id") + 1] == "company"
    given = dict(argument.split("=", 1) for argument in arguments[arguments.index("--parameters") + 1 :])
    declared = compiled("management-group")["parameters"]
    required = {parameter for parameter, what in declared.items() if "defaultValue" not in what}
    assert required <= set(given) <= set(declared)
    assert given["eventsQueue"] == "events"


def test_subscribing_takes_another_subscription_and_heeds_the_environment(clis: Path) -> None:
    arguments = subscribe(clis, "another", ONBOARDED_RESOURCE_GROUPS="web,db", FUNCTION_APP_ID="/app", VM_ROLE_ID="1")
    assert arguments[arguments.index("--subscription") + 1] == "another"
    expected = {"resourceGroups=web,db", "roleId=1", "functionAppId=/app", "appPrincipalId=azd APP_PRINCIPAL_ID"}
    assert expected <= set(arguments)


def test_subscribing_asks_for_more_rights_only_on_request(clis: Path) -> None:
    rights = ("associations", "identities", "removals")
    assert {f"{each}=false" for each in rights} <= set(subscribe(clis))
    for right in rights:
        given = {f"{each}={'true' if each == right else 'false'}" for each in rights}
        assert given <= set(subscribe(clis, **{f"VM_{right.upper()}": "true"}))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("subscription-public", ["machines", "associations"]),
        ("subscription-private", ["machines", "associations", "identities", "removals", "logs"]),
        ("subscription-existing", []),
        ("management-group", ["machines", "associations", "identities", "subscriber", "destinations"]),
    ],
)
def test_the_custom_roles_are_those_of_the_file(name: str, keys: list[str]) -> None:
    shipped = json.loads((ROOT / "infra" / "roles.json").read_text())
    found = of_type(snapshot(name), "Microsoft.Authorization/roleDefinitions")
    made = [each["properties"]["permissions"] for each in found]
    assert made == [[{"actions": shipped[key]["actions"]}] for key in keys]


def test_roles_are_assigned_on_the_subscription_or_on_each_chosen_group() -> None:
    for name, places in (
        ("subscription-public", ["resourceGroups/web", "resourceGroups/db"]),
        ("subscription-private", [""]),
    ):
        roles = {each["id"] for each in of_type(snapshot(name), "Microsoft.Authorization/roleDefinitions")}
        assigned = [
            each
            for each in of_type(snapshot(name), "Microsoft.Authorization/roleAssignments")
            if each["properties"]["roleDefinitionId"] in roles
        ]
        assert len(assigned) == len(roles) * len(places)
        for place in places:
            assert sum(place in each["id"] for each in assigned) >= len(roles)


def test_a_company_may_bring_its_own_role() -> None:
    (assigned, *_) = of_type(snapshot("subscription-existing"), "Microsoft.Authorization/roleAssignments")
    assert assigned["properties"]["roleDefinitionId"].endswith("00000000eeee")


def test_subscribing_stops_where_something_is_not_known(clis: Path) -> None:
    executable(clis / "azd", "exit 1")
    with pytest.raises(subprocess.CalledProcessError):
        subscribe(clis)
    assert not (clis / "arguments").exists()
