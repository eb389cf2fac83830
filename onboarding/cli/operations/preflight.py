"""What a command checks before it writes: its settings, its storage, its login.

Settings or a login that differ from those of the function app would write a problem of the laptop into the shared
table, as if it were a problem of the VM. So a command ends with exit code 2 before it writes anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from onboarding.app import Configuration, storage_problem
from onboarding.application.operator_requests import NoAccess, no_token
from onboarding.cli.io import BadInput, CommandFailed
from onboarding.domain.errors import ArmError, StorageError, as_written, known_names
from onboarding.domain.masking import cut, mask
from onboarding.settings import storage_connection

SIGN_IN = "sign in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET of an application"
_LONGEST = 300
_TENANT = re.compile(r"must match.{0,80}?https://sts\.windows\.net/([0-9A-Za-z-]{1,64})/")


def check_policy(configuration: Configuration, name: str, place: str = "--policy") -> None:
    """Raise BadInput unless there is a policy, and one of that name if a name is given; `place` names the argument."""
    names = [policy.name for policy in configuration.rules.policies.policies]
    if not names:
        raise CommandFailed("\n".join(configuration.problems) or str(BadInput("", "no policy is there", "write one")))
    if name not in ("", *names):
        raise BadInput(place, f"unknown policy {as_written(name)}", known_names("policies", names, name))
    for policy in configuration.rules.policies.policies:
        if name == policy.name and policy.inactive:
            raise BadInput(place, policy.off, "correct the app settings, or name another policy")


def check_configuration(configuration: Configuration, policy: str) -> None:
    """Raise BadInput if settings or files are wrong; with `policy`, the settings of other policies are not checked."""
    others = [each.name for each in configuration.rules.policies.policies if policy not in ("", each.name)]
    found = [
        problem for problem in configuration.problems if not any(f"(policy {other}); " in problem for other in others)
    ]
    if found:
        listed = "".join(f"\n  {problem}" for problem in found)
        raise CommandFailed(
            f"settings or files are missing or wrong, so nothing was written:{listed}\ngive them as the function app"
            " has them, in the environment or in a file with --settings; --policy NAME needs those of that policy alone"
        )


def access_problem(refused: NoAccess, configuration: Configuration) -> str:
    """Why ARM refuses the person who is signed in, and what to do."""
    return f"{describe_refusal(refused, configuration.settings.arm_endpoint)}; nothing was written"


def describe_refusal(refused: NoAccess, endpoint: str) -> str:
    """The same, for a command that never writes."""
    error, subscription = refused.error, refused.subscription
    if error is None:
        return (
            "whoever is signed in sees no subscription at all; sign in to their tenant with `az login --tenant TENANT`"
        )
    evidence = error.evidence
    place = f"subscription {subscription}: " if subscription else ""
    if (problem := login_problem(error)) is not None:
        return f"{place}{problem}"
    if evidence.http_status is None:
        return (
            f"ARM at {endpoint} does not answer ({evidence.code}: {_short(evidence.message)}); check the network, the"
            " proxy (HTTPS_PROXY) and the certificate authorities (SSL_CERT_FILE)"
        )
    if evidence.http_status == 403:
        return (
            f"you may see nothing of subscription {subscription} ({error}); ask for the role VM Onboarding"
            " Machines, which the deployment made, or for Virtual Machine Contributor, on it, on the group or on the VM"
            " (a new grant needs some minutes), or sign in as somebody who has one of them"
        )
    if evidence.http_status == 404:
        return (
            f"whoever is signed in sees no subscription {subscription} ({error}); check the id, see `az account list`,"
            " or sign in to its tenant with `az login --tenant TENANT`"
        )
    return f"{place}ARM said {error}: {_short(evidence.message)}"


def login_problem(error: ArmError) -> str | None:
    """The text of an error about the login; None for any other error."""
    evidence = error.evidence
    if no_token(error):
        return f"you are not signed in to Azure ({_short(evidence.message)}); {SIGN_IN}"
    if evidence.code == "InvalidAuthenticationTokenTenant":
        found = _TENANT.search(evidence.message)
        tenant = found[1] if found else "TENANT"
        return (
            f"you are signed in to another tenant than that of the subscription ({error}); use"
            f" `az login --tenant {tenant}`, or `az account set --subscription ID` for a login that you have already"
        )
    if evidence.http_status == 401:
        return f"ARM does not take your login ({error}); sign in again with `az login`"
    return None


def with_setting(error: StorageError, environment: Mapping[str, str]) -> str:
    """The text of a storage error, with the setting that names the storage."""
    text, name = str(error), storage_connection(environment)
    return text if name in text else f"{text} (app setting {name})"


async def diagnose_storage(error: StorageError, environment: Mapping[str, str]) -> CommandFailed:
    """The error, with the result of a new test of table and queue: the address, the reason, what to do."""
    found = await storage_problem(environment)
    return CommandFailed(with_setting(error, environment) + (f"\n{found}" if found and found != str(error) else ""))


def _short(text: str) -> str:
    """The first line only: azure-identity writes a page about the credentials that it tried."""
    lines = text.strip().splitlines() or [""]
    return cut(mask(lines[0]), _LONGEST)
