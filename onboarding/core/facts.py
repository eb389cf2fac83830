"""What one read of a VM tells: the ARM body of a GET, seen as typed values.

Every field of the body is optional and may be of any type: bodies come from many API versions, from lists that
leave half of it out, and from people's files. What cannot be read is absent, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from onboarding.core.resource_id import ExtensionId, VmId, parse_id


class OsType(StrEnum):
    LINUX = "Linux"
    WINDOWS = "Windows"
    UNKNOWN = "unknown"


class PowerState(StrEnum):
    """`PowerState/*` of the instance view; `UNKNOWN` when the body was read without it."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    UNKNOWN = "unknown"


class AgentState(StrEnum):
    """What ARM knows of the guest agent (`instanceView.vmAgent`)."""

    READY = "ready"
    NOT_READY = "not_ready"
    ABSENT = "absent"
    NOT_EXPANDED = "not_expanded"


class ImageKind(StrEnum):
    """The form of `storageProfile.imageReference`."""

    MARKETPLACE = "marketplace"
    MANAGED_IMAGE = "managed_image"
    GALLERY = "gallery"
    SHARED_GALLERY = "shared_gallery"
    COMMUNITY_GALLERY = "community_gallery"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`imageReference` as ARM gives it; absent parts are empty strings. `id` is the image, gallery image,
    shared or community gallery id, whichever there is."""

    publisher: str = ""
    offer: str = ""
    sku: str = ""
    version: str = ""
    exact_version: str = ""
    id: str = ""
    kind: ImageKind = ImageKind.NONE


@dataclass(frozen=True, slots=True)
class Plan:
    """The purchase plan of a marketplace image, which a VM keeps when the image was copied to a gallery."""

    publisher: str = ""
    product: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """One entry of an instance view's `statuses[]`."""

    code: str = ""
    level: str = ""
    display: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class InstalledExtension:
    """An extension resource of the VM, joined with its instance view where there is one.

    `version` is what was asked for (major.minor); `handler_version` is what runs (full)."""

    name: str
    publisher: str = ""
    type: str = ""
    version: str = ""
    handler_version: str = ""
    provisioning_state: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    statuses: tuple[Status, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One VM as ARM reported it. `body` is the untouched answer, for policy rules that look at any alias."""

    id: VmId
    vm_id: str
    location: str
    tags: Mapping[str, str]
    os_type: OsType
    image: ImageReference
    plan: Plan | None
    power: PowerState
    agent: AgentState
    guest_os_name: str
    guest_os_version: str
    os_provisioning: bool
    provisioning_state: str
    time_created: datetime | None
    provision_vm_agent: bool | None
    extension_operations_allowed: bool | None
    managed_by: str
    scale_set: str
    extensions: tuple[InstalledExtension, ...]
    handlers: tuple[str, ...]
    body: Mapping[str, Any] = field(repr=False, compare=False)

    def find_extension(self, publisher: str, type_: str) -> InstalledExtension | None:
        """The extension with this handler, whatever its resource is called (one handler per VM)."""
        wanted = (publisher.lower(), type_.lower())
        return next((e for e in self.extensions if (e.publisher.lower(), e.type.lower()) == wanted), None)


_NOWHERE = VmId("", "", "")


def read_facts(body: object) -> MachineFacts:
    """Read a VM body (`GET …/virtualMachines/{vm}`, with or without `$expand=instanceView`, or a list's item)."""
    vm = _mapping(body)
    properties = _mapping(vm.get("properties"))
    storage = _mapping(properties.get("storageProfile"))
    view = _mapping(properties.get("instanceView"))
    linux = _mapping(_mapping(properties.get("osProfile")).get("linuxConfiguration"))
    windows = _mapping(_mapping(properties.get("osProfile")).get("windowsConfiguration"))
    agent = _mapping(view.get("vmAgent"))
    extensions = tuple(_extensions(vm, view))
    statuses = _statuses(view.get("statuses"))
    identity = parse_id(_text(vm.get("id")))
    if isinstance(identity, ExtensionId):
        identity = None
    return MachineFacts(
        id=identity or _NOWHERE,
        vm_id=_text(properties.get("vmId")),
        location=_text(vm.get("location")),
        tags={k: _text(v) for k, v in _mapping(vm.get("tags")).items()},
        os_type=_os_type(_mapping(storage.get("osDisk")).get("osType"), linux, windows),
        image=read_image(storage.get("imageReference")),
        plan=read_plan(vm.get("plan")),
        power=_power(statuses),
        # A body read without the view has none, or null as the CLI prints it.
        agent=_agent(isinstance(properties.get("instanceView"), Mapping), agent),
        guest_os_name=_text(view.get("osName")),
        guest_os_version=_text(view.get("osVersion")),
        os_provisioning=any("osprovisioninginprogress" in s.code.lower() for s in statuses),
        provisioning_state=_text(properties.get("provisioningState")),
        time_created=_time(properties.get("timeCreated")),
        provision_vm_agent=_flag(linux.get("provisionVMAgent")),
        extension_operations_allowed=_flag(_mapping(properties.get("osProfile")).get("allowExtensionOperations")),
        managed_by=_text(vm.get("managedBy")),
        scale_set=_text(_mapping(properties.get("virtualMachineScaleSet")).get("id")),
        extensions=extensions,
        handlers=_handlers(agent, extensions),
        body=vm,
    )


def read_image(value: object) -> ImageReference:
    """Read an `imageReference` object of any of its five forms."""
    raw = _mapping(value)
    community = _text(raw.get("communityGalleryImageId"))
    shared = _text(raw.get("sharedGalleryImageId"))
    own = _text(raw.get("id"))
    reference = ImageReference(
        publisher=_text(raw.get("publisher")),
        offer=_text(raw.get("offer")),
        sku=_text(raw.get("sku")),
        version=_text(raw.get("version")),
        exact_version=_text(raw.get("exactVersion")),
        id=community or shared or own,
    )
    return replace(reference, kind=_image_kind(reference, community=bool(community), shared=bool(shared)))


def read_plan(value: object) -> Plan | None:
    """Read a `plan` (VM) or `purchasePlan` (gallery image definition)."""
    raw = _mapping(value)
    if not raw:
        return None
    return Plan(_text(raw.get("publisher")), _text(raw.get("product")), _text(raw.get("name")))


def _image_kind(reference: ImageReference, *, community: bool, shared: bool) -> ImageKind:
    path = reference.id.lower()
    if community or path.startswith("/communitygalleries/"):
        return ImageKind.COMMUNITY_GALLERY
    if shared or path.startswith("/sharedgalleries/"):
        return ImageKind.SHARED_GALLERY
    if "/microsoft.compute/galleries/" in path:
        return ImageKind.GALLERY
    if path:
        return ImageKind.MANAGED_IMAGE
    return ImageKind.MARKETPLACE if reference.publisher or reference.offer else ImageKind.NONE


def _os_type(value: object, linux: Mapping[str, Any], windows: Mapping[str, Any]) -> OsType:
    name = _text(value).lower()
    if name == "linux" or (not name and linux):
        return OsType.LINUX
    if name == "windows" or (not name and windows):
        return OsType.WINDOWS
    return OsType.UNKNOWN


def _power(statuses: Iterable[Status]) -> PowerState:
    for status in statuses:
        prefix, _, state = status.code.lower().partition("/")
        if prefix == "powerstate" and state in PowerState:
            return PowerState(state)
    return PowerState.UNKNOWN


def _agent(expanded: bool, agent: Mapping[str, Any]) -> AgentState:
    if not expanded:
        return AgentState.NOT_EXPANDED
    if not agent:
        return AgentState.ABSENT
    statuses = _statuses(agent.get("statuses"))
    ready = any(s.code.lower() == "provisioningstate/succeeded" or s.display.lower() == "ready" for s in statuses)
    return AgentState.READY if ready else AgentState.NOT_READY


def _extensions(vm: Mapping[str, Any], view: Mapping[str, Any]) -> Iterator[InstalledExtension]:
    seen_by_agent = {_text(e.get("name")).lower(): e for e in _items(view.get("extensions"))}
    for raw in _items(vm.get("resources")):
        name = _text(raw.get("name")).rpartition("/")[2] or _name_of(raw.get("id"))
        if name and _is_extension(raw):
            yield _extension(name, raw, seen_by_agent.pop(name.lower(), {}))
    for entry in seen_by_agent.values():
        # The agent names extensions that the model does not (yet, or any more) list.
        if name := _text(entry.get("name")):
            yield _extension(name, {}, entry)


def _handlers(agent: Mapping[str, Any], extensions: Iterable[InstalledExtension]) -> tuple[str, ...]:
    """Every handler on the VM, as `Publisher.Type`; a silent agent names none, but the model knows what was asked."""
    told = (_text(entry.get("type")) for entry in _items(agent.get("extensionHandlers")))
    asked = (f"{extension.publisher}.{extension.type}" for extension in extensions if extension.type)
    by_key: dict[str, str] = {}
    for handler in filter(None, (*told, *asked)):
        by_key.setdefault(handler.lower(), handler)
    return tuple(by_key.values())


def _extension(name: str, resource: Mapping[str, Any], seen: Mapping[str, Any]) -> InstalledExtension:
    properties = _mapping(resource.get("properties"))
    view = seen or _mapping(properties.get("instanceView"))
    handler_publisher, _, handler_type = _text(view.get("type")).rpartition(".")
    return InstalledExtension(
        name=name,
        publisher=_text(properties.get("publisher")) or handler_publisher,
        type=_text(properties.get("type")) or handler_type,
        version=_text(properties.get("typeHandlerVersion")),
        handler_version=_text(view.get("typeHandlerVersion")),
        provisioning_state=_text(properties.get("provisioningState")),
        settings=_mapping(properties.get("settings")),
        statuses=_statuses(view.get("statuses")),
    )


def _is_extension(raw: Mapping[str, Any]) -> bool:
    type_ = _text(raw.get("type"))
    return f"/{type_}".lower().endswith("/extensions") if type_ else "/extensions/" in _text(raw.get("id")).lower()


def _name_of(resource_id: object) -> str:
    return _text(resource_id).rstrip("/").rpartition("/")[2]


def _statuses(value: object) -> tuple[Status, ...]:
    return tuple(
        Status(
            _text(s.get("code")),
            _text(s.get("level")),
            _text(s.get("displayStatus")),
            _text(s.get("message")),
        )
        for s in _items(value)
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, Mapping))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
