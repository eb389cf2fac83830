"""Policy files: the keys that a policy may have. A file is checked as a whole when it is read, and every error names
the place in it."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from msgspec import Meta, field

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.json_access import digest
from onboarding.domain.limits.rollout_limit import RolloutLimit
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.machine.managed_machines import ManagedKinds, included
from onboarding.domain.policy.active_when import ActiveWhen
from onboarding.domain.policy.change_window import ChangeWindow, ChangeWindows
from onboarding.domain.policy.conditions.external_values import is_call, places
from onboarding.domain.policy.exemption import Exemption
from onboarding.domain.policy.only_after import OnlyAfter
from onboarding.domain.policy.policy import Effect, Existing, Policy, Rule, RuleCompiler
from onboarding.domain.policy.scope import Scopes
from onboarding.domain.policy.workspaces import WorkspaceEntry, compile_workspaces
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.reconcile.steps.association_step import AssociationNeed
from onboarding.domain.reconcile.steps.identity_step import IdentityNeed
from onboarding.domain.reconcile.wait_schedule import Duration, ScheduleEntry, waits_of
from onboarding.domain.typed_file import FileMapping, OneOrMany, Refused, Text, read_as

_AZURE_POLICY = re.compile(r"/providers/microsoft\.authorization/policy(definitions|assignments)/[^/]+$", re.IGNORECASE)
_IN_A_KEY = re.compile(r"[^/\\#?|\x00-\x1f\x7f-\x9f]{1,80}")
# The keys that say what is installed and how.
_OF_INSTALLS = (
    "existence_condition",
    "settings",
    "protected_settings",
    "support_table",
    "identity",
    "data_collection_rules",
    "data_collection_endpoint",
    "settle_delay",
    "workspaces",
    "reconnect",
    "auto_upgrade_minor_version",
)
_SELECTING = ("scope", "notScopes", "machines", "includeManaged", "rule", "parameters")
_REFERENCE = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


class AzurePolicyId(str):
    """The id of a definition or an assignment of Azure Policy, in lower case."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"/providers/[Mm]icrosoft\.[Aa]uthorization/policy([Dd]efinitions|[Aa]ssignments)/[^/]+$",
    }

    @classmethod
    def from_file(cls, value: object) -> Self:
        if not isinstance(value, str) or not _AZURE_POLICY.search(value):
            problem = f"{as_written(value)} is not the id of an Azure Policy definition or assignment"
            fix = "write its id, …/providers/Microsoft.Authorization/policyDefinitions/…"
            raise ConfigurationError("", problem, fix)
        return cls(value.lower())


class AzurePolicyIds(OneOrMany[AzurePolicyId], item=AzurePolicyId):
    """One such id or a list of them."""

    __slots__ = ()


class RuleId(str):
    """The id of a data collection rule, or `{NAME}` of the app setting that holds it."""

    __slots__ = ()
    _resource: ClassVar[str] = "dataCollectionRules"
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^(/subscriptions/|\{)"}

    @classmethod
    def from_file(cls, value: object) -> Self:
        text = value if isinstance(value, str) else ""
        if not (
            _REFERENCE.fullmatch(text) or f"/providers/microsoft.insights/{cls._resource}/".lower() in text.lower()
        ):
            problem = f"{as_written(value)} is not the id of one of Microsoft.Insights/{cls._resource}"
            fix = f"write its id, …/providers/Microsoft.Insights/{cls._resource}/…, or {{AN_APP_SETTING}} that holds it"
            raise ConfigurationError("", problem, fix)
        return cls(text)


class EndpointId(RuleId):
    """The id of a data collection endpoint, or `{NAME}` of the app setting that holds it."""

    __slots__ = ()
    _resource: ClassVar[str] = "dataCollectionEndpoints"


class RuleIds(OneOrMany[RuleId], item=RuleId):
    """One such id or a list of them."""

    __slots__ = ()


class SettleDelay(Duration):
    """A duration, or 0 for no delay."""

    __slots__ = ()

    @classmethod
    def from_file(cls, text: object) -> Self:
        return cls(Duration.from_file(text) if text else 0)


class PolicyFile(FileMapping, frozen=True, kw_only=True):
    """A policy as it is written. A key without a value counts as left out, except `scope` and `notScopes`."""

    what: ClassVar[str] = "a policy"

    name: Annotated[str, Meta(min_length=1, description="The policy's name in rows, logs and commands.")]
    effect: Annotated[
        Effect,
        Meta(
            description="Install, only say what would be installed, remove, or nothing.",
            extra={"one": "effect", "many": "effects"},
        ),
    ] = Effect.DEPLOY
    active_when: Annotated[
        ActiveWhen | None, Meta(description="The app settings that make the policy active; without it, it always is.")
    ] = None
    existing: Annotated[
        Existing,
        Meta(
            description="Machines that are older than the policy: only say what would be done, or treat them as new.",
            extra={"one": "choice", "many": "choices"},
        ),
    ] = Existing.AUDIT
    extension: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[tuple[str, ...], Meta(min_length=1)],
        Meta(
            description="What is installed or removed; of a list of two, the one for the machine's operating system.",
            extra={"is": "the name of an extension or a list of names", "fix": "write the name of an extension"},
        ),
    ]
    scope: Annotated[Scopes, Meta(description="Where it applies; everywhere without a scope.")] = field(
        default_factory=Scopes
    )
    not_scopes: Annotated[Scopes, Meta(description="Where it does not apply, within its scope.")] = field(
        default_factory=Scopes
    )
    include_managed: Annotated[
        bool | str | tuple[str, ...] | None,
        Meta(
            description="Which kinds of managed and short-lived VMs are included: true for all, or their names.",
            extra={"is": "true, false or a list of kinds", "fix": "write true, false or a list of kinds"},
        ),
    ] = None
    rule: Annotated[dict[str, Any] | None, Meta(description="Which VMs: a condition of Azure Policy.")] = None
    parameters: Annotated[
        dict[str, Any] | None, Meta(description="Values of the parameters that the conditions name.")
    ] = None
    existence_condition: Annotated[
        dict[str, Any] | None, Meta(description="When an installed extension meets the policy.")
    ] = None
    azure_policy: Annotated[
        AzurePolicyIds | None,
        Meta(description="Definitions or assignments of Azure Policy whose findings this policy handles."),
    ] = None
    rollout_limit: Annotated[
        RolloutLimit | None,
        Meta(description="The rollout limit: installs an hour, failures in a row that stop the policy, a canary."),
    ] = field(default=None, name="brake")
    change_window: Annotated[
        ChangeWindow | Annotated[tuple[ChangeWindow, ...], Meta(min_length=1)] | None,
        Meta(
            description="When what is on a machine may be changed; at any time without one.",
            extra={"is": "a change window or a list of them", "fix": 'write {from: "02:00", to: "06:00"}'},
        ),
    ] = None
    change_window_tag: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        Meta(description="The tag in which a machine has a window of its own, instead of the policy's."),
    ] = None
    source: Annotated[Any, Meta(description="Where an imported policy comes from; for people.")] = None
    settings: Annotated[
        dict[str, Any] | None,
        Meta(description="The extension's public settings; {NAME} stands for an app setting."),
    ] = None
    protected_settings: Annotated[
        dict[str, Any] | None,
        Meta(description="Its protected settings; name app settings here, never secrets."),
    ] = None
    support_table: Annotated[
        Text | None, Meta(description="The name of the dated table of supported operating systems to use.")
    ] = None
    exemptions: Annotated[
        tuple[Exemption, ...] | None, Meta(description="Scopes that are not selected, why, and until when.")
    ] = None
    waits: Annotated[
        Annotated[
            dict[WaitingFor, ScheduleEntry], Meta(extra_json_schema={"propertyNames": {"enum": list(WaitingFor)}})
        ]
        | None,
        Meta(description="For each kind of waiting, the time between two checks, and when to give up."),
    ] = None
    identity: Annotated[
        IdentityNeed | None, Meta(description="The managed identity that the agent needs on the machine.")
    ] = None
    data_collection_rules: Annotated[
        RuleIds | None, Meta(description="The data collection rules that the machine is associated with.")
    ] = None
    data_collection_endpoint: Annotated[
        EndpointId | None,
        Meta(description="The data collection endpoint that the machine takes its configuration from."),
    ] = None
    only_after: Annotated[
        OnlyAfter | None,
        Meta(description="Of removeIfExists: the policy that must have been satisfied on the machine before."),
    ] = None
    settle_delay: Annotated[
        SettleDelay | None, Meta(description="How long a new VM has for its owner's first-boot installs.")
    ] = None
    workspaces: Annotated[
        Annotated[tuple[WorkspaceEntry, ...], Meta(min_length=1)] | None,
        Meta(description="Several workspaces: a VM reports to the first whose condition holds."),
    ] = None
    reconnect: Annotated[
        bool | None, Meta(description="Whether a VM that reports to another workspace is moved to this one.")
    ] = None
    auto_upgrade_minor_version: Annotated[
        bool | None, Meta(description="Whether minor versions are upgraded, instead of the catalogue's choice.")
    ] = None

    @classmethod
    def called(cls, mapping: Mapping[str, Any]) -> str:
        """Its name, if it has one that can be shown."""
        name = mapping.get("name")
        return f"policy {name[:80]}" if isinstance(name, str) and name and name.isprintable() else cls.what

    @property
    def change_windows(self) -> ChangeWindows:
        given = self.change_window
        return ChangeWindows((given,) if isinstance(given, ChangeWindow) else given or ())

    @property
    def extensions(self) -> tuple[str, ...]:
        return (self.extension,) if isinstance(self.extension, str) else self.extension

    def __post_init__(self) -> None:
        """A parameter is a value that is not computed: an expression would be compared as its text. The name of a
        policy with several extensions becomes part of the key of a row."""
        for index, name in enumerate(self.extensions):
            if not name:
                raise Refused(f"extension[{index}]", "the name of an extension is empty", "write its name")
            if name in self.extensions[:index]:
                raise Refused(f"extension[{index}]", f"{as_written(name)} is named twice", "name each extension once")
        if len(self.extensions) > 1 and not _IN_A_KEY.fullmatch(self.name):
            problem = f"the name {as_written(self.name)} cannot be that of a policy with several extensions"
            raise Refused("name", problem, "use at most 80 characters, and none of / \\ # ? |")
        self._check_removal()
        for where, text in places(self.parameters or {}, "parameters"):
            if is_call(text):
                problem = f"{as_written(text, 200)} is an expression, and a parameter is a plain value"
                raise Refused(where, problem, "write the expression in the rule")

    def _check_removal(self) -> None:
        """A removal sends nothing but the name of the extension, so it takes no key about an install."""
        if self.effect is not Effect.REMOVE:
            if self.only_after is not None:
                fix = f"remove it, or write effect: {Effect.REMOVE}"
                raise Refused("onlyAfter", f"a policy with effect {self.effect} removes nothing", fix)
            return
        given = dict(zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True))
        for name in _OF_INSTALLS:
            if getattr(self, name) is not None:
                raise Refused(given[name], f"a policy with effect {Effect.REMOVE} installs nothing", "remove the key")
        if self.only_after is not None and self.only_after.policy == self.name:
            raise Refused("onlyAfter.policy", "the policy names itself", "name the policy of the other agent")


def parse_policy(raw: object, place: str, compile_rule: RuleCompiler, kinds: ManagedKinds) -> Policy:
    """Read one policy file; `place` is its name, for errors."""
    file = read_as(raw, PolicyFile, place)
    parameters = file.parameters or {}

    def condition(source: Mapping[str, Any] | None, key: str) -> Rule | None:
        return None if source is None else compile_rule(source, f"{place}: {key}", parameters)

    return Policy(
        name=file.name,
        effect=file.effect,
        existing=file.existing,
        extension=file.extensions[0] if len(file.extensions) == 1 else f"policy:{file.name}",
        one_of={} if len(file.extensions) == 1 else dict.fromkeys(file.extensions, OsType.UNKNOWN),
        scopes=file.scope,
        not_scopes=file.not_scopes,
        kinds=kinds,
        include_managed=included(
            () if file.include_managed is None else file.include_managed, kinds, f"{place}: includeManaged"
        ),
        rule=condition(file.rule, "rule"),
        existence=condition(file.existence_condition, "existenceCondition"),
        settings=file.settings or {},
        protected_settings=file.protected_settings or {},
        support_table=str(file.support_table or ""),
        exemptions=file.exemptions or (),
        waits=waits_of(file.waits or {}),
        identity=file.identity,
        associations=AssociationNeed(tuple(file.data_collection_rules or ()), file.data_collection_endpoint or ""),
        only_after=file.only_after,
        settle_delay=timedelta(seconds=file.settle_delay or 0),
        workspaces=compile_workspaces(
            file.workspaces or (),
            f"{place}: workspaces",
            lambda source, here: compile_rule(source, here, parameters),
        ),
        rollout_limit=file.rollout_limit,
        change_windows=file.change_windows,
        change_window_tag=file.change_window_tag or "",
        azure_policy=frozenset(file.azure_policy or ()),
        reconnect=file.reconnect or False,
        auto_upgrade_minor_version=file.auto_upgrade_minor_version,
        active_when=file.active_when,
        digest=_digest(raw, file.existing),
        selection_digest=_selection_digest(raw, file.effect),
    )


def _digest(raw: object, existing: Existing) -> str:
    """A digest of the content, the same for any order of keys, any comments and any format. The default of `existing`
    is no content: a file that begins to say it changes nothing, so no row may open again. Neither is `activeWhen`: it
    does not change what an active policy does."""
    left_out = {"activeWhen", *(("existing",) if existing is Existing.AUDIT else ())}
    if isinstance(raw, Mapping):
        raw = {key: value for key, value in raw.items() if key not in left_out}
    return digest(_canonical(raw))


def _selection_digest(raw: object, effect: Effect) -> str:
    """A digest of what decides which machines the policy is about, and whether it acts. A rule means another thing with
    other parameters."""
    source = raw if isinstance(raw, Mapping) else {}
    selects = {key: source[key] for key in _SELECTING if key in source}
    return digest(_canonical({**selects, "effect": effect.value}))


def _canonical(value: object, *, secret: bool = False) -> Any:
    """The value as JSON. A secret setting counts only by its name and the app setting that it refers to."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(each, secret=secret or key == "protectedSettings") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(each, secret=secret) for each in value]
    if secret:
        return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else "***"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
