"""Turns the raw JSON of one event into a notification, or into `Ignored` with the reason.

Both schemas are read (Event Grid and CloudEvents 1.0). Every field may be missing or of any type; nothing here raises,
does I/O or keeps `claims`, which hold personal data; of whoever caused an event only the kind is kept. The operation's
name decides: a tag write has the VM as its subject too.

Whoever has the function's key can send any event. An event whose topic names another subscription than its VM's is
ignored; a topic without a subscription (a management group's, a custom one) proves nothing. A time in the future is
replaced by the time of receipt: otherwise all later events would look stale.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from onboarding.domain.resource_id import ExtensionId, VmId, associated_vm, parse_id


class EventRef(Struct, frozen=True):
    """The event or queue message that caused a reconciliation."""

    id: str
    """The event's id, made safe for a row key; `look.<time>` or `sweep.<reason>.<time>` for a queue message."""
    time: datetime
    """When the event happened, or when the message was due (UTC)."""
    correlation_id: str = ""
    """ARM's correlation id; empty: the event has none."""
    caller: str = ""
    """What kind of caller wrote or deleted the extension, for people; empty: unknown, or no event of an extension."""


class VmWritten(Struct, frozen=True):
    """A VM was created or updated; events do not say which."""

    vm: VmId
    trigger: EventRef
    created: bool
    """False if it certainly was an update."""


class VmStarted(Struct, frozen=True):
    vm: VmId
    trigger: EventRef


class VmDeleted(Struct, frozen=True):
    vm: VmId
    trigger: EventRef


class ExtensionWritten(Struct, frozen=True):
    """An extension operation ended. The event carries no reason for a failure."""

    extension: ExtensionId
    trigger: EventRef
    succeeded: bool


class ExtensionDeleted(Struct, frozen=True):
    extension: ExtensionId
    trigger: EventRef


class AssociationDeleted(Struct, frozen=True):
    """A VM's association with a data collection rule or endpoint was removed. Nothing rests on this event: no source
    shows one, so it may never come."""

    vm: VmId
    trigger: EventRef


class PolicyStateChanged(Struct, frozen=True):
    """Azure Policy evaluated a VM."""

    vm: VmId
    trigger: EventRef
    """Its time is the time of the evaluation."""
    compliant: bool
    definition_id: str
    """The id of the policy definition, lower case."""
    assignment_id: str = ""
    """The id of the policy assignment, lower case; empty: the event has none."""


class Ignored(Struct, frozen=True):
    reason: str


type Notification = (
    VmWritten
    | VmStarted
    | VmDeleted
    | ExtensionWritten
    | ExtensionDeleted
    | AssociationDeleted
    | PolicyStateChanged
    | Ignored
)

_VM = "microsoft.compute/virtualmachines"
_EXTENSION = f"{_VM}/extensions"
_ASSOCIATION_DELETED = "microsoft.insights/datacollectionruleassociations/delete"
# A third type, PolicyStateDeleted, removes a finding; it has no compliance state of the VM.
_POLICY_EVENTS = ("microsoft.policyinsights.policystatecreated", "microsoft.policyinsights.policystatechanged")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TOPIC = re.compile(r"/subscriptions/([^/]+)(?:/.*)?", re.IGNORECASE | re.DOTALL)
# A role may be assigned to a group; then its member is unknown.
_CALLERS = {"user": "a person", "serviceprincipal": "an application, such as a pipeline or Azure Policy"}
_LONGEST_ID = 2048  # characters
_CLOCKS_DIFFER = timedelta(minutes=5)
# The earliest time that the table can store.
_FIRST_TIME = datetime(1601, 1, 1, tzinfo=UTC)


def parse(text: str, received: datetime) -> Notification:
    """Parse one event. `received` is used if the event has no time, or one in the future."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return Ignored("not JSON")
    if not isinstance(raw, Mapping):
        return Ignored("not a JSON object")
    kind = _text(raw.get("type") if "specversion" in raw else raw.get("eventType")).lower()
    data = raw.get("data")
    if not isinstance(data, Mapping):
        return Ignored("the event has no data")
    if kind in _POLICY_EVENTS:
        return _policy_state(raw, data, received)
    if not kind.startswith("microsoft.resources.resource"):
        return Ignored(f"event type {kind[:80]!r} is not handled")
    return _resource(kind.removeprefix("microsoft.resources.resource"), raw, data, received)


def _resource(kind: str, raw: Mapping[str, Any], data: Mapping[str, Any], received: datetime) -> Notification:
    operation = _operation(data)
    named = [_unquoted(_text(data.get("resourceUri"))), _unquoted(_text(raw.get("subject")))]
    operation = operation or next(filter(None, map(_action, named if kind.startswith("action") else ())), "")
    texts = (*named, *(_without_verb(text, operation) for text in named))
    ids: Iterable[VmId | ExtensionId | None]
    ids = map(_associated if operation == _ASSOCIATION_DELETED else _target, texts)
    target = next((each for each in ids if each is not None), None)
    if target is not None and (mismatch := _from_another_subscription(raw, target)):
        return mismatch
    trigger = _trigger(raw, data, _time(raw, received))
    match (kind, operation, target):
        case ("writesuccess", "microsoft.compute/virtualmachines/write", VmId()):
            return VmWritten(target, trigger, created=not data.get("httpRequest"))
        case ("actionsuccess", "microsoft.compute/virtualmachines/start/action", VmId()):
            return VmStarted(target, trigger)
        case ("deletesuccess", "microsoft.compute/virtualmachines/delete", VmId()):
            return VmDeleted(target, trigger)
        case (
            "writesuccess" | "writefailure" | "writecancel",
            "microsoft.compute/virtualmachines/extensions/write",
            ExtensionId(),
        ):
            return ExtensionWritten(target, _with_caller(trigger, data), succeeded=kind == "writesuccess")
        case ("deletesuccess", "microsoft.compute/virtualmachines/extensions/delete", ExtensionId()):
            return ExtensionDeleted(target, _with_caller(trigger, data))
        case ("deletesuccess", "microsoft.insights/datacollectionruleassociations/delete", VmId()):
            return AssociationDeleted(target, trigger)
        case (_, _, None) if operation.startswith((f"{_VM}/", f"{_EXTENSION}/", _ASSOCIATION_DELETED)):
            return Ignored(f"operation {operation[:80]!r} names no virtual machine")
        case _:
            return Ignored(f"operation {operation[:80]!r} ({kind[:20]}) is not handled")


def _policy_state(raw: Mapping[str, Any], data: Mapping[str, Any], received: datetime) -> Notification:
    target = _target(_unquoted(_text(raw.get("subject"))))
    if not isinstance(target, VmId):
        return Ignored("the policy state is not about a virtual machine")
    if mismatch := _from_another_subscription(raw, target):
        return mismatch
    found = _not_in_future(_parse_time(data.get("timestamp")), received) or _time(raw, received)
    return PolicyStateChanged(
        vm=target,
        trigger=_trigger(raw, data, found),
        compliant=_text(data.get("complianceState")).lower() != "noncompliant",
        definition_id=_text(data.get("policyDefinitionId")).lower(),
        assignment_id=_text(data.get("policyAssignmentId")).lower(),
    )


def _operation(data: Mapping[str, Any]) -> str:
    """The operation's name, lower case: from `operationName`, which may be an object, or from `authorization`."""
    name = data.get("operationName")
    if isinstance(name, Mapping):
        name = name.get("value")
    authorized = data.get("authorization")
    if not _text(name) and isinstance(authorized, Mapping):
        name = authorized.get("action")
    return _text(name).strip().lower()


def _unquoted(text: str) -> str:
    """The id without percent-encoding, which some writers of events use."""
    return unquote(text) if "%" in text and len(text) <= _LONGEST_ID else text


def _target(text: str) -> VmId | ExtensionId | None:
    target = parse_id(text)
    vm = target.vm if isinstance(target, ExtensionId) else target
    return target if vm is not None and _GUID.fullmatch(vm.subscription) else None


def _associated(text: str) -> VmId | None:
    vm = associated_vm(text)
    return vm if vm is not None and _GUID.fullmatch(vm.subscription) else None


def _without_verb(text: str, operation: str) -> str:
    """The subject of an action ends with its verb: `…/virtualMachines/web01/start`, some write `…/start/action`."""
    path, _, last = _without_action(text).rpartition("/")
    return path if last and operation.endswith(f"/{last.lower()}/action") else ""


def _action(text: str) -> str:
    """The operation that a subject with a verb names."""
    path, _, verb = _without_action(text).rpartition("/")
    return f"{_VM}/{verb.lower()}/action" if isinstance(_target(path), VmId) else ""


def _without_action(text: str) -> str:
    text = text.strip().rstrip("/")
    return text[: -len("/action")] if text.lower().endswith("/action") else text


def _from_another_subscription(raw: Mapping[str, Any], target: VmId | ExtensionId) -> Ignored | None:
    """The event's topic names another subscription than its target's; None if it does not."""
    vm = target.vm if isinstance(target, ExtensionId) else target
    named = _TOPIC.fullmatch(_text(raw.get("source") if "specversion" in raw else raw.get("topic")).strip())
    if named is None or named[1].lower() == vm.subscription.lower():
        return None
    return Ignored(f"the event comes from subscription {named[1][:40]!r}, its VM is in {vm.subscription}")


def _trigger(raw: Mapping[str, Any], data: Mapping[str, Any], time: datetime) -> EventRef:
    identity = _text(raw.get("id")) or hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:32]
    return EventRef(_key_safe(identity), time, _text(data.get("correlationId"))[:128])


def _with_caller(trigger: EventRef, data: Mapping[str, Any]) -> EventRef:
    """The event with the kind of its caller, by the role assignment that allowed the operation."""
    authorized = data.get("authorization")
    evidence = authorized.get("evidence") if isinstance(authorized, Mapping) else None
    kind = _text(evidence.get("principalType")).lower() if isinstance(evidence, Mapping) else ""
    return replace(trigger, caller=_CALLERS.get(kind, ""))


def _key_safe(identity: str) -> str:
    """The id in characters that a row key may have; a changed id gets a hash, so that two ids stay different."""
    key = re.sub(r"[^a-z0-9._:-]", "-", identity.lower())[:80]
    if key == identity.lower():
        return key
    difference = hashlib.sha256(identity.lower().encode(errors="backslashreplace")).hexdigest()[:12]
    return f"{key}.{difference}"


def _time(raw: Mapping[str, Any], received: datetime) -> datetime:
    name = _parse_time(raw.get("time")) or _parse_time(raw.get("eventTime"))
    return _not_in_future(name, received) or received


def _not_in_future(moment: datetime | None, received: datetime) -> datetime | None:
    return received if moment is not None and moment > received + _CLOCKS_DIFFER else moment


def _parse_time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value))
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= _FIRST_TIME else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
