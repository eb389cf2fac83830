"""Finds the failures in a JSON value that shows the states of extensions, whatever tool wrote it.

It reads instance views of VMs, scale sets and extensions, lists of extensions, Arc's extensions, the guest agent's
status files and status blob; as ARM and `az` write them, as the SDKs print them (snake_case), and as PowerShell does
(capitals, numbers for levels, `@{…}` below its depth). An extension that succeeded or is at work is not a failure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

from onboarding.domain.failures.classification import reports_failure
from onboarding.domain.failures.evidence import Detail, Evidence
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.machine.machine_facts import Status

_DEPTH = 12
_MOST = 2_000
_LEVELS = {"0": "Info", "1": "Warning", "2": "Error"}
_GOOD = frozenset(
    ("succeeded", "success", "powerstate", "osstate", "healthstate", "maintenancestate", "enabled", "ready")
)
_BAD = frozenset(("failed", "failure", "error", "canceled", "cancelled"))
_AT_WORK = frozenset(
    ("transitioning", "creating", "updating", "deleting", "accepted", "running", "inprogress", "started", "installing")
)
_AGENT_DOWN = frozenset(("notready", "unresponsive", "unavailable"))
_STOPPED = frozenset(("deallocated", "deallocating", "stopped", "stopping"))
_OPERATIONS = frozenset(("install", "enable", "disable", "uninstall", "update"))
_CUT = re.compile(
    r"(?:System\.(?:Object|String|Collections\.[\w.]{1,80})|Microsoft\.Azure\.(?:Management|Commands)\.[\w.]{1,160})"
    r"[`\[][^\n]{0,400}|Microsoft\.Azure\.(?:Management|Commands)\.[\w. ]{1,800}|System\.Collections\.Hashtable"
)
_KEYS = (
    "Code|Level|DisplayStatus|Time|Message|Name|Type|TypeHandlerVersion|Statuses|SubStatuses|Status|Publisher|Id|Location"
    "|ExtensionType|ProvisioningState|InstanceView|VmAgentVersion|ExtensionHandlers|Value"
)
_PAIR = re.compile(rf"(?:^@\{{|;\s?)(?P<key>{_KEYS})=", re.IGNORECASE)
_ARM_CODE = re.compile(r"/failed/(?P<code>[A-Za-z]\w{3,79})$", re.IGNORECASE)
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,9}){1,3}")


class ExtensionStatus(StrEnum):
    FAILED = "failed"
    AT_WORK = "at work"
    FINE = "fine"


def read_views(value: object, names: HandlerNames) -> Sequence[Evidence] | None:
    """Every failed extension, handler and agent in a JSON value, in its order; None if it is not a view."""
    reader = _Reader(names)
    reader.read(value, _DEPTH)
    return reader.failures if reader.found else None


def folded(value: object) -> dict[str, Any]:
    """The mapping with its keys in lower case and without `_`, `-` and blanks, the same for every tool."""
    if isinstance(value, str) and value.startswith("@{"):
        return _from_powershell(value)
    if not isinstance(value, Mapping):
        return {}
    return {re.sub(r"[_\-\s]", "", str(key)[:80]).lower(): inner for key, inner in value.items()}


class _Reader:
    def __init__(self, names: HandlerNames) -> None:
        self._names = names
        self.failures: list[Evidence] = []
        self.found = False
        self._left = _MOST
        self._seen: set[tuple[str, str]] = set()

    def read(self, value: object, depth: int) -> None:
        self._left -= 1
        if depth == 0 or self._left < 0:
            return
        if isinstance(value, list | tuple):
            self._list(value, depth)
            return
        raw = folded(value)
        if not raw:
            return
        raw = _with_texts(raw)
        if reader := self._reader_of(raw):
            self.found = True
            reader(raw)
            return
        for inner in raw.values():
            if isinstance(inner, list | Mapping):
                self.read(inner, depth - 1)

    def _list(self, values: Sequence[object], depth: int) -> None:
        if values and all(is_status(folded(value)) for value in values):
            self.found = True
            self._extension({"statuses": list(values)})
            return
        for value in values:
            self.read(value, depth - 1)

    def _reader_of(self, raw: Mapping[str, Any]) -> Any:
        if isinstance(raw.get("status"), Mapping) and _is_status_file(folded(raw["status"])):
            return self._status_file
        if "aggregatestatus" in raw or "handleraggregatestatus" in raw:
            return self._blob
        if _is_vm(raw) or _is_vm(_view_of(raw)):
            return self._vm
        if _is_extension(raw):
            return self._extension
        if _is_heartbeat(raw):
            return self._heartbeat
        return None

    # One reader for each form.

    def _vm(self, raw: Mapping[str, Any]) -> None:
        view = raw if _is_vm(raw) else _view_of(raw)
        agent = folded(view.get("vmagent"))
        handlers = [folded(handler) for handler in _list_of(agent.get("extensionhandlers"))]
        before = len(self.failures)
        nested = [*_list_of(view.get("extensions")), *_list_of(raw.get("resources")), *_list_of(raw.get("extensions"))]
        for extension in nested:
            inner = _with_texts(folded(extension))
            if _is_extension(inner) or "statuses" in inner or "statusessummary" in inner:
                self._extension(inner)
        for handler in handlers:
            self._handler(handler, but_not_after=before)
        statuses = [_status(s) for s in _list_of(view.get("statuses"))]
        if len(self.failures) == before:
            self._own(statuses)
        if len(self.failures) > before:
            return
        if down := [s for s in map(_status, _list_of(agent.get("statuses"))) if _agent_is_down(s)]:
            self._add("", "vm-agent", _of_agent(down))
        elif any(_is_stopped(s) for s in statuses):
            self._add("", "vm", Evidence(code="VMNotRunning", message="The VM is not running."))
        elif view.get("vmagent", "") is None and any(s.code.lower() == "powerstate/running" for s in statuses):
            self._add("", "vm-agent", _of_agent([Status(message="The VM runs, and no VM agent has reported.")]))

    def _own(self, statuses: Sequence[Status]) -> None:
        failed = [s for s in statuses if state_of(s) is ExtensionStatus.FAILED]
        if failed:
            self._add("", "", _evidence(failed, ""))

    def _handler(self, raw: Mapping[str, Any], but_not_after: int) -> None:
        """Read a handler's status, which counts unless one of its extensions reports a failure."""
        status = _status(raw.get("status"))
        if state_of(status) is not ExtensionStatus.FAILED:
            return
        name = _text(raw.get("type"))
        later = self.failures[but_not_after:]
        if not any(not each.handler or each.handler.lower().startswith(name.lower()) for each in later):
            self._add(name, name, _evidence([status], self._handler_name(raw)))

    def _extension(self, raw: Mapping[str, Any]) -> None:
        properties = folded(raw.get("properties"))
        view = _view_of(raw)
        every = {**properties, **{key: held for key, held in raw.items() if held is not None and key != "properties"}}
        listed = _list_of(view.get("statuses")) or _list_of(every.get("statuses"))
        listed = listed or _list_of(every.get("statusessummary"))
        single = view.get("status", every.get("status"))
        if not listed and isinstance(single, Mapping):
            listed = [single]
        statuses = [_status(status) for status in listed]
        parts = [_status(s) for s in (*_list_of(view.get("substatuses")), *_list_of(every.get("substatuses")))]
        state = _word(every.get("provisioningstate"))
        failed = [s for s in statuses if state_of(s) is ExtensionStatus.FAILED]
        if failed or state in _BAD:
            bad = failed or [s for s in statuses if state_of(s) is not ExtensionStatus.FINE]
            bad += [s for s in parts if state_of(s) is ExtensionStatus.FAILED and s.message]
            handler = self._handler_name({**every, **view})
            name = _text(raw.get("name")) or handler
            if not bad:
                bad = [Status("ProvisioningState/failed", "Error", "", f"The extension {name} is in a failed state.")]
            self._add(handler, name, _evidence(bad, handler))

    def _status_file(self, raw: Mapping[str, Any]) -> None:
        status = folded(raw["status"])
        state = _word(status.get("status"))
        name, operation = _text(status.get("name")), _text(status.get("operation"))
        words = _message_of(status)
        code = _text(status.get("code"))
        own = Status(f"ProvisioningState/{'failed' if state in _BAD else state}/{code}", "", "", words)
        if state_of(own) is not ExtensionStatus.FAILED:
            return
        statuses = [own]
        for part in map(folded, _list_of(status.get("substatus"))):
            if _word(part.get("status")) in _BAD:
                statuses.append(Status("", "Error", "", _message_of(part)))
        if operation.lower() in _OPERATIONS and "failed" not in words[:200].lower():
            statuses.append(Status("", "Error", "", f"{operation} failed"))
        handler = _text(raw.get("handler")) or (name if name.count(".") > 1 else self._names.named_after(name))
        self._add(handler, name, _evidence(statuses, handler))

    def _blob(self, raw: Mapping[str, Any]) -> None:
        whole = folded(raw.get("aggregatestatus")) or raw
        agent = folded(whole.get("guestagentstatus"))
        if _word(agent.get("status")) in _AGENT_DOWN:
            self._add("", "vm-agent", _of_agent([Status("", "Error", "", _message_of(agent))]))
        for handler in map(folded, _list_of(whole.get("handleraggregatestatus"))):
            name = _text(handler.get("handlername"))
            full = "-".join(filter(None, (name, _text(handler.get("handlerversion")))))
            before = len(self.failures)
            settings = folded(handler.get("runtimesettingsstatus"))
            status = folded(settings.get("settingsstatus")).get("status")
            if isinstance(status, Mapping) and _is_status_file(folded(status)):
                self._status_file({"status": status, "handler": full})
            if len(self.failures) == before:
                self._heartbeat({**handler, "name": full})

    def _heartbeat(self, raw: Mapping[str, Any]) -> None:
        """Read what the guest agent reports about a handler:
        `{"name", "version", "status": "NotReady", "code", "message"}`."""
        state = _word(raw.get("status"))
        words = _message_of(raw) or _text(raw.get("message"))
        if state in _AGENT_DOWN or state in _BAD:
            name = "-".join(filter(None, (_text(raw.get("name")), _text(raw.get("version")))))
            status = Status(f"ProvisioningState/failed/{_text(raw.get('code')) or 0}", "Error", "Not ready", words)
            self._add(name, name, _evidence([status], name))

    def _handler_name(self, raw: Mapping[str, Any]) -> str:
        """Publisher, type and version as far as they are known; in a view, `type` holds publisher and type."""
        publisher = _text(raw.get("publisher"))
        kinds = ("typepropertiestype", "virtualmachineextensiontype", "extensiontype", "machineextensiontype", "type")
        types = [kind for kind in (_text(raw.get(key)) for key in kinds) if kind and "/" not in kind]
        if isinstance(raw.get("properties"), Mapping):
            types += [_text(folded(raw["properties"]).get("type"))]
        kind = next(filter(None, types), "") or self._names.named_after(_text(raw.get("name")))
        if "." not in kind and not publisher:
            kind = self._names.named_after(kind) or kind
        if publisher and kind and not kind.lower().startswith(f"{publisher.lower()}."):
            kind = f"{publisher}.{kind}"
        version = _text(raw.get("typehandlerversion"))
        return f"{kind}-{version}" if kind and _VERSION.fullmatch(version) else kind

    def _add(self, handler: str, name: str, evidence: Evidence) -> None:
        """Add a failure once: a resource and its instance view report the same one."""
        key = (name.lower() or handler.lower(), evidence.message)
        if key not in self._seen:
            self._seen.add(key)
            self.failures.append(evidence)


def state_of(status: Status) -> ExtensionStatus:
    """The state that one status reports. A handler may report a final error as "transitioning"."""
    parts = status.code.lower().split("/")
    level, display = status.level.lower(), status.display.lower()
    if _BAD.intersection(parts) or reports_failure(status):
        return ExtensionStatus.FAILED
    if parts[0] in ("powerstate", "osstate", "healthstate") or "succeeded" in parts or "success" in parts:
        return ExtensionStatus.FINE
    if level == "error" or _AGENT_DOWN.intersection(parts) or display.replace(" ", "") in _AGENT_DOWN:
        return ExtensionStatus.FAILED
    if _AT_WORK.intersection(parts):
        return ExtensionStatus.AT_WORK
    if level in ("info", "information") or _GOOD.intersection(parts) or "warning" in parts:
        return ExtensionStatus.FINE
    return ExtensionStatus.FAILED if status.message or status.code else ExtensionStatus.FINE


def _evidence(statuses: Sequence[Status], handler: str) -> Evidence:
    details = [Detail(s.code, s.message or s.display) for s in statuses]
    # `ProvisioningState/failed/VMExtensionProvisioningError` ends in ARM's code.
    details += [Detail(found["code"]) for s in statuses if (found := _ARM_CODE.search(s.code))]
    return Evidence(code=details[0].code, message=details[0].message, details=tuple(details[1:]), handler=handler)


def _of_agent(statuses: Sequence[Status]) -> Evidence:
    words = "\n".join(filter(None, (s.message or s.display for s in statuses)))
    return Evidence(code="VMAgentStatusCommunicationError", message=words)


def _agent_is_down(status: Status) -> bool:
    words = {part.replace(" ", "") for part in (*status.code.lower().split("/"), status.display.lower())}
    return bool(words & _AGENT_DOWN)


def _is_stopped(status: Status) -> bool:
    parts = status.code.lower().split("/")
    return parts[0] == "powerstate" and parts[-1] in _STOPPED


def is_status(raw: Mapping[str, Any]) -> bool:
    """Whether a mapping with folded keys is one status of a view."""
    code = raw.get("code")
    return isinstance(code, str) and ("displaystatus" in raw or code.lower().startswith("provisioningstate/"))


def _is_status_file(status: Mapping[str, Any]) -> bool:
    return isinstance(status.get("status"), str) and ("formattedmessage" in status or "operation" in status)


def _is_vm(raw: Mapping[str, Any]) -> bool:
    agent = folded(raw.get("vmagent"))
    return (
        "statuses" in agent
        or "extensionhandlers" in agent
        or (isinstance(raw.get("extensions"), list) and ("statuses" in raw or "vmagent" in raw))
        or (isinstance(raw.get("statuses"), list) and "powerstate/" in _codes(raw["statuses"]))
    )


def _codes(statuses: Sequence[object]) -> str:
    return " ".join(_status(s).code.lower() for s in statuses[:50])


def _is_extension(raw: Mapping[str, Any]) -> bool:
    properties = folded(raw.get("properties"))
    of_arm = _text(raw.get("type")).lower().endswith("/extensions") or "/extensions/" in _text(raw.get("id")).lower()
    view = _view_of(raw)
    if isinstance(view.get("statuses"), list) or isinstance(properties.get("statuses"), list):
        return True
    if isinstance(view.get("status"), Mapping) and ("typehandlerversion" in view or is_status(folded(view["status"]))):
        return True
    if isinstance(raw.get("statuses"), list) or isinstance(raw.get("statusessummary"), list):
        return True
    if isinstance(raw.get("status"), Mapping) and "typehandlerversion" in raw and is_status(folded(raw["status"])):
        return True
    named = "provisioningstate" in raw or "provisioningstate" in properties
    return named and (of_arm or "typehandlerversion" in raw or "typehandlerversion" in properties)


def _is_heartbeat(raw: Mapping[str, Any]) -> bool:
    """Whether it is a `HandlerStatus` of the guest agent."""
    known = _AGENT_DOWN | {"ready", "installing"}
    return (
        _word(raw.get("status")) in known
        and ("name" in raw or "handlername" in raw)
        and ("version" in raw or "message" in raw or "handlerversion" in raw)
    )


def _view_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    return folded(raw.get("instanceview")) or folded(folded(raw.get("properties")).get("instanceview"))


def _status(value: object) -> Status:
    raw = folded(value)
    level = raw.get("level")
    level = folded(level).get("value", level) if isinstance(level, Mapping) else level
    code = _text(raw.get("code"))
    if code.lstrip("-").isdecimal():  # Arc's: `{"code": "51", "level": "Error"}`
        bad = _LEVELS.get(_text(level), _text(level)).lower() == "error" or int(code[:9]) != 0
        code = f"ProvisioningState/{'failed' if bad else 'succeeded'}/{code}"
    return Status(code, _LEVELS.get(_text(level), _text(level)), _text(raw.get("displaystatus")), _message_of(raw))


def _message_of(raw: Mapping[str, Any]) -> str:
    """The message of a status: `message`, or the guest agent's `{"formattedMessage": {"lang", "message"}}`."""
    inner = raw.get("formattedmessage")
    if isinstance(inner, str) and not inner.startswith("@{"):
        return inner
    return _text(folded(inner).get("message")) or _text(raw.get("message"))


def _word(value: object) -> str:
    return _text(value).lower().replace(" ", "").replace("_", "")


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    return str(value) if isinstance(value, str | int) else ""


def _list_of(value: object) -> list[Any]:
    """The items of a list, or of what PowerShell makes of one: a single value, `{"value": […]}`, or several `@{…}` in
    one text."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [f"@{{{part}" for part in value.split("@{")[1:]] if value.startswith("@{") else [value] if value else []
    if isinstance(value, Mapping):
        inner = folded(value).get("value")
        return inner if isinstance(inner, list) else [value]
    return []


def _from_powershell(text: str) -> dict[str, Any]:
    """Read `@{Code=ProvisioningState/failed/51; Level=Error; Message=…}`, which PowerShell writes below its depth."""
    pairs = list(_PAIR.finditer(text))
    ends = [*(pair.start() for pair in pairs[1:]), len(text)] if pairs else []
    found: dict[str, Any] = {}
    for pair, end in zip(pairs, ends, strict=True):
        found.setdefault(pair["key"].lower(), text[pair.end() : end].rstrip(" }"))
    return found


def _with_texts(raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping with the lists that PowerShell cut at its depth and repeats as JSON (`StatusesText`,
    `ExtensionsText`)."""
    found = dict(raw)
    for key, text in raw.items():
        name = key.removesuffix("text")
        if name != key and isinstance(text, str) and text.lstrip().startswith(("[", "{")):
            if isinstance(raw.get(name), list | Mapping) and not is_cut(raw[name]):
                continue
            with suppress(ValueError, RecursionError):
                found[name] = json.loads(text)
    return found


def is_cut(value: object) -> bool:
    """Whether PowerShell wrote the name of a type in place of a value below its depth."""
    return any(_CUT.fullmatch(text) for text in _texts(value))


def _texts(value: object) -> Iterator[str]:
    level = [value]
    for _ in range(_DEPTH):
        inside = [inner for found in level for inner in _values_of(found)]
        yield from (text for text in inside if isinstance(text, str))
        level = [inner for inner in inside if not isinstance(inner, str)][:_MOST]


def _values_of(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
