"""What each failure is taken for; the cases are in `failure_cases.yaml`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.failures.classification import (
    Cause,
    ErrorTable,
    ExtensionState,
    Failure,
    FailureClass,
    classify,
    read_extension_state,
)
from onboarding.domain.failures.evidence import Detail, Evidence
from onboarding.domain.machine.machine_facts import InstalledExtension, Status
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import parse_errors

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OMS: ErrorTable = load_catalogue()["oms-agent-linux"].errors
SHARED = parse_errors({})
CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (Path(__file__).parent / "failure_cases.yaml").read_text(encoding="utf-8")
)
SHIPPED: dict[str, Any] = json.loads((Path(__file__).parents[3] / "infra" / "roles.json").read_text())
# The operations on VMs and the roles that ship with them; the first role that has one is the one to give.
ON_VMS = {
    action: SHIPPED[key]["roleName"]
    for key in ("logs", "removals", "identities", "associations", "machines")
    for action in SHIPPED[key]["actions"]
    if action.startswith(("Microsoft.Compute/virtualMachines/", "Microsoft.Insights/dataCollectionRuleAssociations/"))
}


def refused(http_status: int | None, code: str, message: str = "", **more: object) -> Failure:
    return classify(Evidence.from_body(http_status, {"error": {"code": code, "message": message, **more}}), OMS, NOW)


def classified(text: str, table: ErrorTable = OMS) -> Failure:
    return classify(Evidence.from_text(text), table, NOW)


@pytest.mark.parametrize("case", CASES["refusals"], ids=lambda case: f"{case['status']}-{case['code']}-{case['cause']}")
def test_refusals_of_arm(case: dict[str, Any]) -> None:
    failure = refused(case["status"], case["code"], case.get("message", ""))
    assert (failure.kind, failure.cause) == (case["class"], case["cause"])


@pytest.mark.parametrize("case", CASES["reports"], ids=lambda case: f"{case['cause']}-{case['exitCode']}")
def test_reports_of_handlers(case: dict[str, Any]) -> None:
    failure = classified(case["text"])
    assert (failure.cause, failure.exit_code) == (case["cause"], case["exitCode"])


def test_a_wrapper_in_any_language_is_seen_through() -> None:
    failure = classified(
        "El controlador del tipo 'Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux' notificó un error terminal:"
        " '[ExtensionOperationError] Non-zero exit code: 17, /x/omsagent_shim.sh -install'"
    )
    assert (failure.cause, failure.exit_code) == (Cause.PACKAGE_INSTALL_FAILED, 17)


def test_an_old_handler_is_read_by_the_table_of_its_time() -> None:
    line = (
        "Non-zero exit code: 60, /var/lib/waagent/Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux-{}/x -install"
    )
    assert "OpenSSL" in classified(line.format("1.3.127.7")).meaning
    assert "Python" in classified(line.format("1.14.19")).meaning
    assert "Python" in classified("Install failed with exit code 60").meaning


def test_a_code_of_another_extension_is_not_read_by_this_ones_table() -> None:
    assert classified("Install failed with exit code 17", SHARED).cause is Cause.UNKNOWN


def test_meaning_and_advice_quote_what_the_message_names_without_its_secrets() -> None:
    failure = refused(
        403,
        "AuthorizationFailed",
        "The client 'c' with object id 'o' does not have authorization to perform action 'A/write' over scope"
        " '/subscriptions/0?sig=abcdef' or the scope is invalid.",
    )
    assert (
        failure.meaning
        == "The identity may not perform A/write on /subscriptions/0?sig=***, or that scope does not exist."
    )
    assert "Microsoft.Web" in refused(409, "MissingSubscriptionRegistration", "use namespace 'Microsoft.Web'").advice


def test_the_inner_code_decides_where_the_text_says_nothing() -> None:
    inner = {"internalErrorCode": "CannotModifyExtensionsWhenVMNotRunning"}
    assert refused(409, "OperationNotAllowed", "…", innererror=inner).kind is FailureClass.WAITING


def test_the_innermost_error_of_a_deployment_decides() -> None:
    failure = refused(
        409,
        "DeploymentFailed",
        "At least one …",
        details=[{"code": "Conflict", "message": '{"error": {"code": "ScopeLocked"}}'}],
    )
    assert failure.cause is Cause.RESOURCE_LOCKED


@pytest.mark.parametrize(
    "cause", ["not-authorized", "blocked-by-policy", "resource-locked", "subscription-not-registered"]
)
def test_trouble_of_the_scope_says_so(cause: str) -> None:
    assert OMS.causes[Cause(cause)].scope_wide


def test_a_wrong_workspace_key_concerns_the_whole_scope_and_a_spent_token_does_not() -> None:
    assert classified("Reason: InvalidWorkspaceKey").scope_wide
    assert not refused(401, "ExpiredAuthenticationToken").scope_wide


STATUSES = st.builds(Status, st.text(), st.text(), st.text(), st.text())
DETAILS = st.builds(Detail, st.text(), st.text(), st.text())
EVIDENCE = st.builds(
    Evidence,
    st.none() | st.integers(),
    st.text(),
    st.text(),
    st.text(),
    st.lists(DETAILS, max_size=3).map(tuple),
    st.text(),
    st.dictionaries(st.sampled_from(["retry-after", "x-ms-retry-after-ms", "date"]), st.text()),
)


@given(EVIDENCE | st.text().map(Evidence.from_text) | st.lists(STATUSES).map(Evidence.from_status))
def test_every_evidence_has_a_failure_and_no_transient_one_is_without_end(evidence: Evidence) -> None:
    failure = classify(evidence, OMS, NOW)
    assert failure.meaning
    assert failure.advice
    assert (failure.max_attempts is not None) == (failure.kind is FailureClass.TRANSIENT)
    assert failure.retry_after is None or failure.retry_after >= 0


@given(st.text(max_size=200))
def test_no_words_in_front_of_the_guest_agents_line_hide_the_exit_code(noise: str) -> None:
    assert classified(f"{noise}\n[ExtensionOperationError] Non-zero exit code: 51, x -install").exit_code is not None


STATES = [
    ("Succeeded", [], ExtensionState.SUCCEEDED),
    ("Creating", [], ExtensionState.IN_PROGRESS),
    ("Failed", [], ExtensionState.FAILED),
    ("Canceled", [], ExtensionState.FAILED),
    ("", [], ExtensionState.IN_PROGRESS),
    ("", [("ProvisioningState/succeeded", "")], ExtensionState.SUCCEEDED),
    ("Succeeded", [("ProvisioningState/succeeded", "Enable succeeded")], ExtensionState.SUCCEEDED),
    ("Succeeded", [("ProvisioningState/failed/51", "Unsupported operating system")], ExtensionState.FAILED),
    ("Creating", [("ProvisioningState/failed/0", "")], ExtensionState.FAILED),
    ("Updating", [("ProvisioningState/failed/55", "of the try before")], ExtensionState.IN_PROGRESS),
    ("Creating", [("ProvisioningState/transitioning", "Plugin enabled")], ExtensionState.IN_PROGRESS),
    (
        "Creating",
        [("ProvisioningState/transitioning", "Install,failed,51,Unsupported operating system: x 1")],
        ExtensionState.FAILED,
    ),
    (
        "Creating",
        [("ProvisioningState/transitioning", "[ExtensionOperationError] Non-zero exit code: 1, x")],
        ExtensionState.FAILED,
    ),
    ("Deleting", [("ProvisioningState/succeeded", "")], ExtensionState.IN_PROGRESS),
]


@pytest.mark.parametrize(("arm", "statuses", "state"), STATES)
def test_how_an_extension_stands(arm: str, statuses: list[tuple[str, str]], state: ExtensionState) -> None:
    view = tuple(Status(code=code, message=message) for code, message in statuses)
    assert read_extension_state(InstalledExtension("e", provisioning_state=arm, statuses=view)) is state


NO_ROLE_HELPS = {
    "a deny assignment": (
        403,
        "DenyAssignmentAuthorizationFailed",
        "The client 'c' with object id 'o' has permission to perform action 'A/write'"
        " on scope '/subscriptions/0/x'; however, the access is denied because of the deny assignment with name"
        " 'managed by a service' and Id 'i' at scope '/subscriptions/0/resourceGroups/g'.",
        ("managed by a service", "/subscriptions/0/resourceGroups/g", "deny assignment"),
    ),
    "a deny assignment without words": (403, "DenyAssignmentAuthorizationFailed", "no", ("deny assignment",)),
    "a linked scope": (
        403,
        "LinkedAuthorizationFailed",
        "The client 'c' has permission to perform action 'A/write' on scope '/subscriptions/0/vm'; however, it does not"
        " have permission to perform action(s) 'B/read' on the linked scope(s) '/subscriptions/1/rule' (respectively)"
        " or the linked scope(s) are invalid.",
        ("B/read", "/subscriptions/1/rule"),
    ),
    "a linked scope without words": (403, "LinkedAuthorizationFailed", "no", ("points to",)),
    "a linked subscription of another tenant": (
        403,
        "LinkedAuthorizationFailed",
        "The client has permission to perform action 'A/write' on scope '/s'; however the current tenant 't1' is not"
        " authorized to access linked subscription 's2'.",
        ("s2", "another tenant"),
    ),
    "a claims challenge": (
        401,
        "InvalidAuthenticationToken",
        "Continuous access evaluation resulted in claims challenge with result: InteractionRequired",
        ("conditional access",),
    ),
    "another tenant": (401, "InvalidAuthenticationTokenTenant", "wrong issuer", ("tenant",)),
    "another audience": (401, "InvalidAuthenticationTokenAudience", "wrong audience", ("token",)),
    "no token": (401, "AuthenticationFailed", "The 'Authorization' header is missing.", ("Authorization",)),
    "something new": (401, "SomethingNew", "", ("does not accept",)),
    "a sign-in that fails": (None, "", "AADSTS7000222: The provided client secret keys are expired.", ("identity",)),
    "Azure itself": (403, "RequestDisallowedByAzure", "Resource 'x' was disallowed by Azure.", ("support",)),
    "no identity": (None, "IdentityUnusable", "no token", ("Assign the managed identity",)),
    "a busy identity": (None, "TokenUnavailable", "429 too many requests have been received", ("no right is missing",)),
    "another action": (
        403,
        "AuthorizationFailed",
        "does not have authorization to perform action 'Microsoft.Compute/galleries/images/read' over scope '/s' or",
        ("this action",),
    ),
}


@pytest.mark.parametrize(("status", "code", "message", "says"), NO_ROLE_HELPS.values(), ids=NO_ROLE_HELPS)
def test_no_role_is_advised_where_it_cannot_help(
    status: int | None, code: str, message: str, says: tuple[str, ...]
) -> None:
    failure = refused(status, code, message)
    classified = f"{failure.meaning} {failure.advice}"
    assert all(words in classified for words in says), classified
    assert "VM Onboarding" not in classified


def test_trouble_of_our_own_identity_is_no_scope_s() -> None:
    for code in ("TokenUnavailable", "IdentityUnusable", "invalid_client", "CredentialUnavailableError"):
        assert not refused(None, code, "no token: too many requests").scope_wide


@pytest.mark.parametrize(("action", "role"), ON_VMS.items())
def test_a_right_that_is_missing_on_the_vm_names_the_shipped_role_that_has_it(action: str, role: str) -> None:
    failure = refused(
        403,
        "AuthorizationFailed",
        f"does not have authorization to perform action '{action}' over scope '/subscriptions/0' or the scope is"
        " invalid.",
    )
    assert f"the role {role} (" in failure.advice
    assert "`scripts/subscribe`" in failure.advice
    assert "30 minutes" in failure.advice
    assert failure.scope_wide


def test_a_refusal_that_names_no_action_names_the_role_that_the_app_always_has() -> None:
    assert (
        f"the role {SHIPPED['machines']['roleName']} on the scope" in refused(403, "AuthorizationFailed", "no").advice
    )
