"""The app settings, read once and checked; what is wrong is listed, never raised.

A bad setting is named at `/api/health` and in the outcome of the VM that it keeps from being onboarded. Values that
are secret are held as `Secret`s, and no problem quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

from msgspec import Struct

from onboarding.domain.catalog.extension_settings import UNRESOLVED_FIX, UNRESOLVED_WHY, is_unresolved
from onboarding.domain.errors import ConfigurationError, known_names
from onboarding.domain.reconcile.drift import GRACE_PERIOD
from onboarding.domain.reconcile.wait_schedule import parse_duration
from onboarding.domain.secret import KNOWN, Secret, secret_parts

_EVERY_TEN_MINUTES = "0 */10 * * * *"
TABLE = "onboarding"
QUEUE = "deferrals"

# What this module reads, and what the host reads for it. Settings of other names are the policies' business.
_OURS = re.compile(
    r"AZURE_\w+|ARM_ENDPOINT|OUTCOME_TOPIC_\w+|SWEEP_\w+|(?:ONBOARDING|AzureWebJobs|APPLICATIONINSIGHTS)_?\w+"
)
# What the process is given besides: its texts may end in a log, whoever uses them.
_SECRET_NAMES = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "IDENTITY_HEADER", "MSI_SECRET")
_NAMES_WITH_SECRETS = re.compile(r"(?:https?|all)_proxy|AzureWebJobs\w+|ONBOARDING_STORAGE", re.IGNORECASE)


class Cloud(Struct, frozen=True):
    """One Azure cloud: where ARM, the identity provider and storage live."""

    name: str
    arm_endpoint: str
    authority: str
    storage_suffix: str

    @property
    def arm_scope(self) -> str:
        """The token scope for ARM; it stays the cloud's own where `ARM_ENDPOINT` points elsewhere."""
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

# The emulator's account name and key are public and the same everywhere.
_EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR = (
    f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_EMULATOR_KEY};"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"
)


class Storage(Struct, frozen=True):
    """The storage account: a connection string, or endpoints that the app's identity may use."""

    connection_string: Secret | None = None
    table_endpoint: str = ""
    queue_endpoint: str = ""
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every app setting that the product itself reads; policies may name more (`{NAME}`)."""

    cloud: Cloud
    arm_endpoint: str
    client_id: str
    storage: Storage
    policies: str
    topic_endpoint: str
    topic_key: Secret | None
    sweep_visits: int | None
    sweep_visits_per_minute: int | None
    sweep_patience: timedelta
    problems: tuple[str, ...]
    values: Mapping[str, str] = field(repr=False)


def storage_connection(environment: Mapping[str, str]) -> str:
    """The name of the connection that holds the table and the queue, as triggers name it."""
    own = any(value and name.partition("__")[0] == "ONBOARDING_STORAGE" for name, value in environment.items())
    return "ONBOARDING_STORAGE" if own else "AzureWebJobsStorage"


def sweep_schedule(environment: Mapping[str, str]) -> str:
    """When the sweep runs, as its trigger is told: six-field NCRONTAB. What Key Vault did not give is no schedule."""
    schedule = environment.get("SWEEP_SCHEDULE", "")
    return schedule if schedule and not is_unresolved(schedule) else _EVERY_TEN_MINUTES


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check the app settings."""
    _remember_secrets(environment)
    unresolved = [name for name in environment if _OURS.fullmatch(name) and is_unresolved(environment[name])]
    problems = [_problem(name, f"the value {UNRESOLVED_WHY}", UNRESOLVED_FIX) for name in unresolved]
    usable = {name: value for name, value in environment.items() if name not in unresolved}
    cloud = CLOUDS.get(usable.get("AZURE_CLOUD") or "AzurePublicCloud")
    if cloud is None:
        name = usable["AZURE_CLOUD"]
        problems.append(_problem("AZURE_CLOUD", "the value is not a known cloud", known_names("clouds", CLOUDS, name)))
        cloud = CLOUDS["AzurePublicCloud"]
    arm_endpoint = usable.get("ARM_ENDPOINT", "").rstrip("/") or cloud.arm_endpoint
    problems += _https("ARM_ENDPOINT", arm_endpoint)
    topic_endpoint = usable.get("OUTCOME_TOPIC_ENDPOINT", "")
    problems += _https("OUTCOME_TOPIC_ENDPOINT", topic_endpoint) if topic_endpoint else []
    key = usable.get("OUTCOME_TOPIC_KEY", "")
    storage = storage_connection(environment)
    return Settings(
        cloud=cloud,
        arm_endpoint=arm_endpoint,
        client_id=usable.get("AZURE_CLIENT_ID", ""),
        # Another account than the one that is meant would be worse than none.
        storage=Storage() if _of(storage, unresolved) else _storage(storage, usable, cloud, problems),
        # Other policies than those that are meant, too: the folder of that name is not there.
        policies=environment.get("ONBOARDING_POLICIES") or "policies",
        topic_endpoint=topic_endpoint,
        topic_key=Secret(key) if key else None,
        sweep_visits=_count("SWEEP_VISITS", usable, problems),
        sweep_visits_per_minute=_count("SWEEP_VISITS_PER_MINUTE", usable, problems),
        sweep_patience=_duration("SWEEP_PATIENCE", usable, GRACE_PERIOD, problems),
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


def _of(connection: str, names: list[str]) -> bool:
    return any(name.partition("__")[0] == connection for name in names)


def _count(name: str, environment: Mapping[str, str], problems: list[str]) -> int | None:
    """A number from 1 on; None leaves it to the default."""
    text = environment.get(name, "").strip()
    if not text:
        return None
    if re.fullmatch("[1-9][0-9]{0,8}", text):
        return int(text)
    problem = "the value is not a whole number above 0"
    problems.append(_problem(name, problem, "write a number such as 1000, or remove the setting"))
    return None


def _storage(name: str, environment: Mapping[str, str], cloud: Cloud, problems: list[str]) -> Storage:
    if environment.get(name):
        return _storage_by_key(name, environment[name], problems)
    account = environment.get(f"{name}__accountName", "")
    endpoints = {
        service: environment.get(f"{name}__{service}ServiceUri")
        or (f"https://{account}.{service}.{cloud.storage_suffix}" if account else "")
        for service in ("table", "queue")
    }
    for service, endpoint in endpoints.items():
        if not endpoint:
            fix = f"set it, or {name}__accountName, or {name}__{service}ServiceUri"
            problems.append(_problem(name, "missing storage account", fix))
        else:
            problems += _https(f"{name}__{service}ServiceUri", endpoint)
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


def _https(name: str, endpoint: str) -> list[str]:
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
