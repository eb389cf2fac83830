"""Reads and checks the app settings. Problems are listed, never raised.

A bad setting is named at `/api/health` and in the outcome of the VM that it keeps from being onboarded. Secret values
are held as `Secret`, and no problem quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from msgspec import Struct

from onboarding.domain.catalog.extension_settings import UNRESOLVED_FIX, UNRESOLVED_WHY
from onboarding.domain.catalog.setting_templates import is_unresolved
from onboarding.domain.errors import ConfigurationError, known_names
from onboarding.domain.reconcile.drift import GRACE_PERIOD
from onboarding.domain.reconcile.wait_schedule import parse_duration
from onboarding.domain.secret import KNOWN, Secret, secret_parts
from onboarding.logging import FORM, FORMS

_EVERY_TEN_MINUTES = "0 */10 * * * *"
HISTORY_DAYS = 90
TABLE = "onboarding"
QUEUE = "deferrals"

# The settings that this module and the functions host read. Policies may use settings of any other name.
_OWN_NAMES = re.compile(
    r"AZURE_\w+|ARM_ENDPOINT|OUTCOME_TOPIC_\w+|SWEEP_\w+|HISTORY_DAYS|(?:ONBOARDING|AzureWebJobs|APPLICATIONINSIGHTS)_?\w+"
)
# Other environment variables with secrets. They are masked everywhere: an error text of any library may hold them.
_SECRET_NAMES = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET")
_NAMES_WITH_SECRETS = re.compile(r"(?:https?|all)_proxy|AzureWebJobs\w+|ONBOARDING_STORAGE", re.IGNORECASE)


class Cloud(Struct, frozen=True):
    """The addresses of one Azure cloud."""

    name: str
    """The name, as in `AZURE_CLOUD`."""
    arm_endpoint: str
    """The URL of ARM."""
    authority: str
    """The URL of Microsoft Entra ID."""
    storage_suffix: str
    """The end of the host names of storage accounts."""

    @property
    def arm_scope(self) -> str:
        """The token scope for ARM. It is the cloud's own even if `ARM_ENDPOINT` has another address."""
        return f"{self.arm_endpoint}/.default"


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            "AzurePublicCloud", "https://management.azure.com", "https://login.microsoftonline.com", "core.windows.net"
        ),
        Cloud(
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "core.usgovcloudapi.net",
        ),
        Cloud(
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "core.chinacloudapi.cn",
        ),
    )
}

_PLACE = "app setting "

# The storage emulator's account name and key are public and the same everywhere.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR = (
    f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_EMULATOR_KEY};"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


class Storage(Struct, frozen=True):
    """The storage account: a connection string, or endpoints to use with the app's identity."""

    connection_string: Secret | None = None
    """None: the identity is used, or the account is not set."""
    table_endpoint: str = ""
    """The URL of the table service; empty with a connection string, or if the account is not set."""
    queue_endpoint: str = ""
    """The URL of the queue service, likewise."""
    client_id: str = ""
    """The client id of the user-assigned identity for storage; empty: the system-assigned identity."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The app settings that the product itself reads. Policies may refer to more (`{NAME}`)."""

    cloud: Cloud
    """`AZURE_CLOUD`; the public cloud if it is not set."""
    arm_endpoint: str
    """`ARM_ENDPOINT`, a URL without a slash at its end; the cloud's own if it is not set."""
    client_id: str
    """`AZURE_CLIENT_ID`, of the app's user-assigned identity; empty: the system-assigned identity."""
    storage: Storage
    """`ONBOARDING_STORAGE`, or `AzureWebJobsStorage` if that is not set."""
    policies: str
    """`ONBOARDING_POLICIES`, the folder of the policy files; `policies` if it is not set."""
    topic_endpoint: str
    """`OUTCOME_TOPIC_ENDPOINT`, a URL; empty: outcome events are not published."""
    topic_key: Secret | None
    """`OUTCOME_TOPIC_KEY`; None: the app's identity publishes."""
    sweep_requests: int | None
    """`SWEEP_VISITS`: how many reconciliations one sweep may request; None: the default."""
    sweep_requests_per_minute: int | None
    """`SWEEP_VISITS_PER_MINUTE`: how many of them become due per minute and subscription; None: the default."""
    sweep_grace_period: timedelta
    """`SWEEP_PATIENCE`: how long events and scheduled checks have before the sweep does their work."""
    history_days: int
    """`HISTORY_DAYS`: how long history is kept, and the rows of machines that are gone; 90 if it is not set."""
    problems: tuple[str, ...]
    """What is wrong with the settings, each with its fix; empty: nothing is."""
    values: Mapping[str, str] = field(repr=False)
    """All environment variables, for policies that refer to them. Some are secrets."""


def storage_connection(environment: Mapping[str, str]) -> str:
    """The name of the setting with the storage account of table and queue, as triggers need it."""
    own = any(value and name.partition("__")[0] == "ONBOARDING_STORAGE" for name, value in environment.items())
    return "ONBOARDING_STORAGE" if own else "AzureWebJobsStorage"


def sweep_schedule(environment: Mapping[str, str]) -> str:
    """The six-field NCRONTAB schedule of the sweep's trigger. An unresolved Key Vault reference counts as not set."""
    schedule = environment.get("SWEEP_SCHEDULE", "")
    return schedule if schedule and not is_unresolved(schedule) else _EVERY_TEN_MINUTES


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check the app settings."""
    _remember_secrets(environment)
    unresolved = [name for name in environment if _OWN_NAMES.fullmatch(name) and is_unresolved(environment[name])]
    problems = [_problem(name, f"the value {UNRESOLVED_WHY}", UNRESOLVED_FIX) for name in unresolved]
    usable = {name: value for name, value in environment.items() if name not in unresolved}
    cloud = CLOUDS.get(usable.get("AZURE_CLOUD") or "AzurePublicCloud")
    if cloud is None:
        name = usable["AZURE_CLOUD"]
        problems.append(_problem("AZURE_CLOUD", "the value is not a known cloud", known_names("clouds", CLOUDS, name)))
        cloud = CLOUDS["AzurePublicCloud"]
    arm_endpoint = usable.get("ARM_ENDPOINT", "").rstrip("/") or cloud.arm_endpoint
    problems += _https_problems("ARM_ENDPOINT", arm_endpoint)
    topic_endpoint = usable.get("OUTCOME_TOPIC_ENDPOINT", "")
    problems += _https_problems("OUTCOME_TOPIC_ENDPOINT", topic_endpoint) if topic_endpoint else []
    if (form := usable.get(FORM, "")) and form not in FORMS:
        problems.append(_problem(FORM, "the value is not a form of log lines", known_names("forms", FORMS, form)))
    key = usable.get("OUTCOME_TOPIC_KEY", "")
    storage = storage_connection(environment)
    return Settings(
        cloud=cloud,
        arm_endpoint=arm_endpoint,
        client_id=usable.get("AZURE_CLIENT_ID", ""),
        # If the setting is an unresolved reference, no account is used: falling back to another one would be worse.
        storage=Storage() if _names_connection(storage, unresolved) else _storage(storage, usable, cloud, problems),
        # An unresolved reference is kept as the folder's name: there is no such folder, so no other policies are used.
        policies=environment.get("ONBOARDING_POLICIES") or "policies",
        topic_endpoint=topic_endpoint,
        topic_key=Secret(key) if key else None,
        sweep_requests=_count("SWEEP_VISITS", usable, problems),
        sweep_requests_per_minute=_count("SWEEP_VISITS_PER_MINUTE", usable, problems),
        sweep_grace_period=_duration("SWEEP_PATIENCE", usable, GRACE_PERIOD, problems),
        history_days=_days("HISTORY_DAYS", usable, HISTORY_DAYS, problems),
        problems=tuple(problems),
        values=dict(environment),
    )


def _remember_secrets(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if name in _SECRET_NAMES and not is_unresolved(value):
            KNOWN.remember(value)
        elif _NAMES_WITH_SECRETS.fullmatch(name):
            for part in secret_parts(value):
                KNOWN.remember(part)


def _names_connection(connection: str, names: list[str]) -> bool:
    return any(name.partition("__")[0] == connection for name in names)


def _count(name: str, environment: Mapping[str, str], problems: list[str]) -> int | None:
    """A whole number from 1 on; None: the setting is not set, or has a problem."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    if re.fullmatch("[1-9][0-9]{0,8}", text):
        return int(text)
    problem = "the value is not a whole number above 0"
    problems.append(_problem(name, problem, "write a number such as 1000, or remove the setting"))
    return None


def _days(name: str, environment: Mapping[str, str], default: int, problems: list[str]) -> int:
    """A whole number of days from 1 to 9999; the default if the setting is not set, or has a problem."""
    text = environment.get(name, "").strip()
    if not text:
        return default
    if re.fullmatch("[1-9][0-9]{0,3}", text):
        return int(text)
    problem = "the value is not a whole number of days from 1 to 9999"
    problems.append(_problem(name, problem, f"write a number such as {default}, or remove the setting"))
    return default


def _storage(name: str, environment: Mapping[str, str], cloud: Cloud, problems: list[str]) -> Storage:
    if environment.get(name):
        return _storage_by_key(name, environment[name], problems)
    account = environment.get(f"{name}__accountName", "")
    endpoints = {
        service: environment.get(f"{name}__{service}ServiceUri")
        or (f"https://{account}.{service}.{cloud.storage_suffix}" if account else "")
        for service in ("table", "queue")
    }
    if missing := [f"{name}__{service}ServiceUri" for service, endpoint in endpoints.items() if not endpoint]:
        fix = f"set it, or {name}__accountName, or {' and '.join(missing)}"
        problems.append(_problem(name, "missing storage account", fix))
    for service, endpoint in endpoints.items():
        if endpoint:
            problems += _https_problems(f"{name}__{service}ServiceUri", endpoint)
    client_id = environment.get(f"{name}__clientId") or environment.get("AZURE_CLIENT_ID", "")
    return Storage(table_endpoint=endpoints["table"], queue_endpoint=endpoints["queue"], client_id=client_id)


def _storage_by_key(name: str, connection: str, problems: list[str]) -> Storage:
    if "usedevelopmentstorage=true" in connection.lower():
        return Storage(connection_string=Secret(_EMULATOR, secret_parts(_EMULATOR)))
    keys = {part.partition("=")[0].strip().lower() for part in connection.split(";") if "=" in part}
    if {"accountname", "accountkey"} <= keys or "sharedaccesssignature" in keys:
        return Storage(connection_string=Secret(connection, secret_parts(connection)))
    problem = "the value is not the connection string of a storage account"
    problems.append(_problem(name, problem, "copy it from the account's access keys"))
    return Storage()


def _duration(name: str, environment: Mapping[str, str], default: timedelta, problems: list[str]) -> timedelta:
    if not environment.get(name):
        return default
    try:
        return timedelta(seconds=parse_duration(environment[name], name))
    except ConfigurationError as error:
        problems.append(_problem(name, "the value is not a duration", error.fix))
        return default


def _https_problems(name: str, endpoint: str) -> list[str]:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        usable = False
    return [] if usable else [_problem(name, "the value is not an https URL", "write https://…")]


def _problem(name: str, problem: str, fix: str) -> str:
    """A problem never quotes the value: many of them are secrets, or hold one by mistake."""
    return str(ConfigurationError(_PLACE + name, problem, fix))


def problems_of(settings: Settings, *names: str) -> tuple[str, ...]:
    """What is wrong with some of the app settings."""
    return tuple(each for each in settings.problems if any(f"({_PLACE}{name})" in each for name in names))
