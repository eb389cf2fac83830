"""Reads and checks the app settings. Problems are listed, never raised.

A bad setting is named at `/api/health/details` and in the outcome of the VM that it keeps from being onboarded. Secret
values are held as `Secret`, and no problem quotes a value.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self, cast
from urllib.parse import urlsplit

from msgspec import Meta, Struct, ValidationError, convert, field

from onboarding.domain.catalog.extension_settings import UNRESOLVED_FIX, UNRESOLVED_WHY
from onboarding.domain.catalog.protected_settings import DIGEST_KEY, SHORTEST_KEY
from onboarding.domain.catalog.setting_templates import is_unresolved
from onboarding.domain.errors import ConfigurationError, known_names
from onboarding.domain.reconcile.drift import GRACE_PERIOD
from onboarding.domain.reconcile.wait_schedule import Duration
from onboarding.domain.secret import KNOWN, Secret, secret_parts
from onboarding.domain.typed_file import Refused, from_file
from onboarding.logging import FORM, FORMS

HISTORY_DAYS = 90
TABLE = "onboarding"
QUEUE = "deferrals"
DEAD_LETTERS = "dead-letters"  # the container of undeliverable events

# The settings that this module and the functions host read. Policies may use settings of any other name.
_OWN_NAMES = re.compile(
    r"AZURE_\w+|ARM_ENDPOINT|LOG_ANALYTICS_ENDPOINT|OUTCOME_TOPIC_\w+|SWEEP_\w+|HISTORY_DAYS|EVENTS_QUEUE|(?:ONBOARDING|AzureWebJobs|APPLICATIONINSIGHTS)_?\w+"
)
# Other environment variables with secrets. They are masked everywhere: an error text of any library may hold them.
_SECRET_NAMES = (
    DIGEST_KEY,
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
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
    logs_endpoint: str
    """The URL of Log Analytics' query API."""

    @property
    def arm_scope(self) -> str:
        """The token scope for ARM. It is the cloud's own even if `ARM_ENDPOINT` has another address."""
        return f"{self.arm_endpoint}/.default"

    @property
    def logs_scope(self) -> str:
        """The token scope for Log Analytics. It is the cloud's own even if `LOG_ANALYTICS_ENDPOINT` has another
        address."""
        return f"{self.logs_endpoint}/.default"


CLOUDS = {
    cloud.name: cloud
    for cloud in (
        Cloud(
            "AzurePublicCloud",
            "https://management.azure.com",
            "https://login.microsoftonline.com",
            "core.windows.net",
            "https://api.loganalytics.io",
        ),
        Cloud(
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "core.usgovcloudapi.net",
            "https://api.loganalytics.us",
        ),
        Cloud(
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "core.chinacloudapi.cn",
            "https://api.loganalytics.azure.cn",
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
    blob_endpoint: str = ""
    """The URL of the blob service, likewise; empty too where the settings have none, as events by a queue alone need
    it."""
    client_id: str = ""
    """The client id of the user-assigned identity for storage; empty: the system-assigned identity."""

    @property
    def named(self) -> bool:
        """Whether the settings name an account."""
        return self.connection_string is not None or bool(self.table_endpoint)


class CloudName(str):
    """The name of a cloud that the product knows."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: str) -> Self:
        if text not in CLOUDS:
            raise ConfigurationError("", "the value is not a known cloud", known_names("clouds", CLOUDS, text))
        return cls(text)


class HttpsUrl(str):
    """A URL without a slash at its end."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: str) -> Self:
        try:
            parts = urlsplit(text)
            usable = parts.scheme == "https" and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError("", "the value is not an https URL", "write https://…")
        return cls(text.rstrip("/"))


class Count(int):
    """A whole number from 1 on."""

    @classmethod
    def from_file(cls, text: str) -> Self:
        if not re.fullmatch("[1-9][0-9]{0,8}", text.strip()):
            fix = "write a number such as 1000, or remove the setting"
            raise ConfigurationError("", "the value is not a whole number above 0", fix)
        return cls(text)


class Days(int):
    """A whole number of days from 1 to 9999."""

    @classmethod
    def from_file(cls, text: str) -> Self:
        if not re.fullmatch("[1-9][0-9]{0,3}", text.strip()):
            fix = f"write a number such as {HISTORY_DAYS}, or remove the setting"
            raise ConfigurationError("", "the value is not a whole number of days from 1 to 9999", fix)
        return cls(text)


class Period(Duration):
    """A duration of at least a millisecond."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: object) -> Self:
        try:
            return cls(Duration.from_file(text))
        except ConfigurationError as error:  # it quotes the value
            raise ConfigurationError("", "the value is not a duration", error.fix) from None


class QueueName(str):
    """The name of a storage queue."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: str) -> Self:
        if not re.fullmatch("(?=.{3,56}$)[a-z0-9]+(-[a-z0-9]+)*", text):  # `-poison` is added to it
            fix = "write lower-case letters, digits and single hyphens, such as events"
            raise ConfigurationError("", "the value is not the name of a queue", fix)
        return cls(text)


class DigestKey(str):
    """A key that is long enough."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: str) -> Self:
        if len(text.strip()) < SHORTEST_KEY:
            problem = f"the key has fewer than {SHORTEST_KEY} characters, so changed secrets are not recognised"
            raise ConfigurationError("", problem, "write a long random text, such as that of `openssl rand -hex 32`")
        return cls(text)


class LogForm(str):
    """A form of log lines."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: str) -> Self:
        if text not in FORMS:
            problem = "the value is not a form of log lines"
            raise ConfigurationError("", problem, known_names("forms", FORMS, text))
        return cls(text)


class AppSettings(Struct, frozen=True, kw_only=True):
    """Every app setting that the product reads, with its type, what it is, and its default. An empty value counts as
    not set. The two accounts may be given in several settings, such as `AzureWebJobsStorage__accountName`."""

    host_storage: Annotated[str, Meta(description="the storage account of the functions host")] = field(
        default="", name="AzureWebJobsStorage"
    )
    own_storage: Annotated[str, Meta(description="another storage account for table and queue")] = field(
        default="", name="ONBOARDING_STORAGE"
    )
    policies: Annotated[str, Meta(description="folder of the policy files")] = field(
        default="policies", name="ONBOARDING_POLICIES"
    )
    cloud: Annotated[CloudName, Meta(description="the Azure cloud")] = field(
        default=CloudName("AzurePublicCloud"), name="AZURE_CLOUD"
    )
    arm_endpoint: Annotated[HttpsUrl | None, Meta(description="overrides the cloud's ARM endpoint")] = field(
        default=None, name="ARM_ENDPOINT"
    )
    logs_endpoint: Annotated[HttpsUrl | None, Meta(description="overrides the cloud's Log Analytics endpoint")] = field(
        default=None, name="LOG_ANALYTICS_ENDPOINT"
    )
    client_id: Annotated[str, Meta(description="client id of a user-assigned identity")] = field(
        default="", name="AZURE_CLIENT_ID"
    )
    sweep_schedule: Annotated[str, Meta(description="six-field NCRONTAB of the sweep")] = field(
        default="0 */10 * * * *", name="SWEEP_SCHEDULE"
    )
    sweep_requests: Annotated[Count | None, Meta(description="how many reconciliations one sweep may request")] = field(
        default=None, name="SWEEP_VISITS"
    )
    sweep_requests_per_minute: Annotated[
        Count | None, Meta(description="how many of them become due per minute and subscription")
    ] = field(default=None, name="SWEEP_VISITS_PER_MINUTE")
    sweep_grace_period: Annotated[
        Period, Meta(description="how long events and scheduled checks have before the sweep does their work")
    ] = field(default=Period(GRACE_PERIOD.total_seconds()), name="SWEEP_PATIENCE")
    events_queue: Annotated[
        QueueName | None, Meta(description="the storage queue that events come by, instead of Event Grid's deliveries")
    ] = field(default=None, name="EVENTS_QUEUE")
    history_days: Annotated[
        Days, Meta(description="how long history is kept, and the rows of machines that are gone")
    ] = field(default=Days(HISTORY_DAYS), name="HISTORY_DAYS")
    log_form: Annotated[LogForm | None, Meta(description="the form of log lines")] = field(default=None, name=FORM)
    topic_endpoint: Annotated[HttpsUrl | None, Meta(description="Event Grid topic for outcome events")] = field(
        default=None, name="OUTCOME_TOPIC_ENDPOINT"
    )
    digest_key: Annotated[DigestKey | None, Meta(description="the key by which changed secrets are recognised")] = (
        field(default=None, name=DIGEST_KEY)
    )
    topic_key: Annotated[str, Meta(description="the topic's key, if the identity may not publish")] = field(
        default="", name="OUTCOME_TOPIC_KEY"
    )


class Settings(Struct, frozen=True, kw_only=True):
    """The app settings as the product uses them (`AppSettings`). Policies may refer to more (`{NAME}`)."""

    cloud: Cloud
    arm_endpoint: str
    """A URL without a slash at its end."""
    logs_endpoint: str
    """Likewise, of Log Analytics' query API."""
    client_id: str
    """Empty: the system-assigned identity."""
    storage: Storage
    policies: str
    events_queue: str
    """Empty: events come by Event Grid's deliveries."""
    topic_endpoint: str
    """Empty: outcome events are not published."""
    topic_key: Secret | None
    """None: the app's identity publishes."""
    sweep_requests: int | None
    """None: the default of the sweep."""
    sweep_requests_per_minute: int | None
    sweep_grace_period: timedelta
    history_days: int
    problems: tuple[str, ...]
    """What is wrong with the settings, each with its fix; empty: nothing is."""
    values: Mapping[str, str]
    """All environment variables, for policies that refer to them. Some are secrets."""

    def __repr__(self) -> str:
        return f"Settings({self.problems!r})"


def storage_connection(environment: Mapping[str, str]) -> str:
    """The name of the setting with the storage account of table and queue, as triggers need it."""
    own = any(value and name.partition("__")[0] == "ONBOARDING_STORAGE" for name, value in environment.items())
    return "ONBOARDING_STORAGE" if own else "AzureWebJobsStorage"


def sweep_schedule(environment: Mapping[str, str]) -> str:
    """The six-field NCRONTAB schedule of the sweep's trigger. An unresolved Key Vault reference counts as not set."""
    schedule = environment.get("SWEEP_SCHEDULE", "")
    return schedule if schedule and not is_unresolved(schedule) else AppSettings().sweep_schedule


def events_queue(environment: Mapping[str, str]) -> str:
    """The queue of the events' trigger; empty: there is no such trigger. A bad name counts as not set, as in
    `read_settings`."""
    name = environment.get("EVENTS_QUEUE", "")
    try:
        return QueueName.from_file(name) if name else ""
    except ConfigurationError:
        return ""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check the app settings."""
    _remember_secrets(environment)
    unresolved = [name for name in environment if _OWN_NAMES.fullmatch(name) and is_unresolved(environment[name])]
    problems = [_problem(name, f"the value {UNRESOLVED_WHY}", UNRESOLVED_FIX) for name in unresolved]
    usable = {name: value for name, value in environment.items() if name not in unresolved}
    given = _app_settings(usable, problems)
    cloud, storage = CLOUDS[given.cloud], storage_connection(environment)
    # If the setting is an unresolved reference, no account is used: falling back to another one would be worse.
    unnamed = _names_connection(storage, unresolved)
    account = Storage() if unnamed else _storage(storage, usable, cloud, problems)
    if given.events_queue and account.table_endpoint and not account.blob_endpoint:
        fix = "set it, so that undeliverable events can be stored, or remove EVENTS_QUEUE"
        problems.append(_problem(f"{storage}__blobServiceUri", "missing blob endpoint", fix))
    return Settings(
        cloud=cloud,
        arm_endpoint=given.arm_endpoint or cloud.arm_endpoint,
        logs_endpoint=given.logs_endpoint or cloud.logs_endpoint,
        client_id=given.client_id,
        storage=account,
        # An unresolved reference is kept as the folder's name: there is no such folder, so no other policies are used.
        policies=environment.get("ONBOARDING_POLICIES") or given.policies,
        events_queue=given.events_queue or "",
        topic_endpoint=given.topic_endpoint or "",
        topic_key=Secret(given.topic_key) if given.topic_key else None,
        sweep_requests=given.sweep_requests,
        sweep_requests_per_minute=given.sweep_requests_per_minute,
        sweep_grace_period=timedelta(seconds=given.sweep_grace_period),
        history_days=given.history_days,
        problems=tuple(problems),
        values=dict(environment),
    )


def _app_settings(environment: Mapping[str, str], problems: list[str]) -> AppSettings:
    """The settings as their types; one that its type refuses is a problem, and counts as not set."""
    given = {name: text for name in AppSettings.__struct_encode_fields__ if (text := environment.get(name, "")).strip()}
    while True:
        try:
            return convert(given, AppSettings, dec_hook=from_file)
        except ValidationError as error:
            name = str(error).rpartition("$.")[2].removesuffix("`")
            refused = cast("Refused", error.__cause__).error  # every other setting is any text
            problems.append(_problem(name, refused.problem, refused.fix))
            del given[name]


def _remember_secrets(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if name in _SECRET_NAMES and not is_unresolved(value):
            KNOWN.remember(value)
        elif _NAMES_WITH_SECRETS.fullmatch(name):
            for part in secret_parts(value):
                KNOWN.remember(part)


def _names_connection(connection: str, names: list[str]) -> bool:
    return any(name.partition("__")[0] == connection for name in names)


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
            try:
                HttpsUrl.from_file(endpoint)
            except ConfigurationError as error:
                problems.append(_problem(f"{name}__{service}ServiceUri", error.problem, error.fix))
    client_id = environment.get(f"{name}__clientId") or environment.get("AZURE_CLIENT_ID", "")
    blobs = environment.get(f"{name}__blobServiceUri") or (
        f"https://{account}.blob.{cloud.storage_suffix}" if account else ""
    )
    return Storage(
        table_endpoint=endpoints["table"],
        queue_endpoint=endpoints["queue"],
        blob_endpoint=blobs,
        client_id=client_id,
    )


def _storage_by_key(name: str, connection: str, problems: list[str]) -> Storage:
    if "usedevelopmentstorage=true" in connection.lower():
        return Storage(connection_string=Secret(_EMULATOR, secret_parts(_EMULATOR)))
    keys = {part.partition("=")[0].strip().lower() for part in connection.split(";") if "=" in part}
    if {"accountname", "accountkey"} <= keys or "sharedaccesssignature" in keys:
        return Storage(connection_string=Secret(connection, secret_parts(connection)))
    problem = "the value is not the connection string of a storage account"
    problems.append(_problem(name, problem, "copy it from the account's access keys"))
    return Storage()


def _problem(name: str, problem: str, fix: str) -> str:
    """A problem never quotes the value: many of them are secrets, or hold one by mistake."""
    return str(ConfigurationError(_PLACE + name, problem, fix))


def problems_of(settings: Settings, *names: str) -> tuple[str, ...]:
    """What is wrong with some of the app settings."""
    return tuple(each for each in settings.problems if any(f"({_PLACE}{name})" in each for name in names))
