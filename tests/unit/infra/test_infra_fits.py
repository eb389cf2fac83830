"""The deployment's description fits the product: its settings, its events, its names. So does scripts/subscribe."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
import yaml

from onboarding.application import notifications
from onboarding.settings import CLOUDS, QUEUE, TABLE, read_settings
from tests.unit.infra.bicep_files import ROOT, body, literals, own_settings, resource, template

HOST_SETTINGS = {
    *(f"AzureWebJobsStorage__{part}" for part in ("credential", "clientId")),
    *(f"AzureWebJobsStorage__{service}ServiceUri" for service in ("blob", "queue", "table")),
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
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


def subscribed(symbol: str) -> tuple[set[str], dict[str, set[str]]]:
    """The event types and the filters' values of one event subscription."""
    params = body(template("subscription.bicep")["modules"][symbol])["params"]
    filters = params["advancedFilters"]["function"]["parameters"]["arg_1"]
    return set(params["eventTypes"]), {each["key"]: set(each["values"]) for each in filters}


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
    given = body(template("main.bicep")["modules"]["app"])["params"]["settings"]
    optional = {text for text in literals(given) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", text)}
    return (set(own_settings()) - HOST_SETTINGS) | optional


def test_the_settings_are_those_of_the_readme() -> None:
    section = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row[1])}
    assert product_settings() == documented - LEFT_TO_THE_READER


def test_the_product_reads_the_settings_and_finds_nothing_wrong() -> None:
    environment = dict.fromkeys(own_settings(), "x") | {
        "AzureWebJobsStorage__queueServiceUri": "https://account.queue.core.windows.net/",
        "AzureWebJobsStorage__tableServiceUri": "https://account.table.core.windows.net/",
        "AzureWebJobsStorage__clientId": "client",
        "AZURE_CLIENT_ID": "client",
        "AZURE_CLOUD": "AzurePublicCloud",
        "OUTCOME_TOPIC_ENDPOINT": "https://topic.westeurope-1.eventgrid.azure.net/api/events",
    }
    settings = read_settings(environment)
    assert settings.problems == ()
    assert settings.client_id == settings.storage.client_id == "client"
    assert settings.storage.table_endpoint.startswith("https://account.table.")
    assert settings.topic_endpoint


def test_the_public_cloud_is_called_by_its_name_here() -> None:
    names = set(literals(template("modules/app.bicep")["variables"]["cloud"]))
    assert {"AzureCloud", "AzurePublicCloud"} <= names
    assert CLOUDS.keys() - {"AzurePublicCloud"} == {"AzureUSGovernment", "AzureChinaCloud"}  # as Azure names them


def test_table_and_queue_are_those_that_the_product_uses() -> None:
    assert resource("modules/storage.bicep", "onboarding")["name"] == TABLE
    assert resource("modules/storage.bicep", "deferrals")["name"] == QUEUE


def test_the_events_that_arrive_are_those_that_the_product_acts_on() -> None:
    types, filters = subscribed("machines")
    policy_types, policy_filters = subscribed("findings")
    acted = [
        (kind, operation, compliance)
        for kind, operation, compliance in product(EVENT_TYPES, OPERATIONS, ("Compliant", "NonCompliant"))
        if acted_on(kind, operation, compliance)
    ]
    resources = [event for event in acted if "PolicyInsights" not in event[0]]
    findings = [event for event in acted if "PolicyInsights" in event[0]]
    assert types == {kind for kind, _, _ in resources}
    assert filters == {"data.operationName": {operation for _, operation, _ in resources}}
    assert policy_types == {kind for kind, _, _ in findings}
    assert policy_filters.pop("data.complianceState") == {compliance for _, _, compliance in findings}
    assert all(part in VM for part in policy_filters.pop("subject"))
    assert not policy_filters


def test_event_grid_takes_the_filters_of_as_many_resource_groups_as_the_parameter_says() -> None:
    groups = re.search(r"commas between, (\d+) at most", (ROOT / "infra" / "subscription.bicep").read_text())
    assert groups is not None
    _, filters = subscribed("machines")
    assert sum(map(len, filters.values())) + int(groups[1]) == 25


def test_events_go_to_the_function_and_else_to_the_container() -> None:
    properties = resource("modules/events.bicep", "events")["properties"]
    function = properties["destination"]["properties"]["resourceId"].rpartition("/")[2]
    assert re.search(rf"@app\.event_grid_trigger.*\nasync def {function}\(", (ROOT / "function_app.py").read_text())
    container = properties["deadLetterWithResourceIdentity"]["deadLetterDestination"]["properties"]["blobContainerName"]
    assert container == resource("modules/storage.bicep", "deadLetters")["name"]


def test_azd_finds_the_app_and_subscribes_after_it_deployed() -> None:
    project = yaml.safe_load((ROOT / "azure.yaml").read_text())
    ((service, what),) = project["services"].items()
    assert what == {"project": ".", "language": "py", "host": "function"}
    assert service in list(literals(resource("modules/app.bicep", "app")["tags"]))
    assert project["hooks"] == {"postdeploy": {"shell": "sh", "run": "bash scripts/subscribe"}}


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def clis(tmp_path: Path) -> Path:
    """An `azd` that prints the name of the requested value, and an `az` that writes its arguments to a file."""
    executable(tmp_path / "azd", f'echo "azd $3"; echo "$3" >> {tmp_path}/names')
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
    declared = template("subscription.bicep")["parameters"]
    required = {parameter for parameter, what in declared.items() if what.get("default") is None}
    assert required <= set(given) <= set(declared)
    assert (given["resourceGroups"], given["policyStates"]) == ("", "false")
    names = set((clis / "names").read_text().split())
    assert names - {"AZURE_SUBSCRIPTION_ID", "AZURE_LOCATION"} <= set(template("main.bicep")["outputs"])


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


def test_the_further_roles_are_assigned_where_the_first_one_is() -> None:
    """At the subscription, or at each chosen resource group."""
    infra = template("subscription.bicep")
    modules = {"association": "groupAssociations", "identity": "groupIdentities", "removal": "groupRemovals"}
    for what, groups in modules.items():
        role = f"{what}Role"
        assigned = resource("subscription.bicep", f"{what}Access")["properties"]
        assert role in str(assigned["roleDefinitionId"])
        assert role in str(body(infra["modules"][groups])["params"]["roleId"])


def test_subscribing_stops_where_something_is_not_known(clis: Path) -> None:
    executable(clis / "azd", "exit 1")
    with pytest.raises(subprocess.CalledProcessError):
        subscribe(clis)
    assert not (clis / "arguments").exists()
