"""The body of a VM as ARM returns it, read into typed values.

Every field of the body is optional and may have any type: bodies come from many API versions, from lists that
leave half of it out, and from people's files. What cannot be read counts as absent and never raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from msgspec import Struct, field

from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.json_access import flag, items, mapping, text, time
from onboarding.domain.machine.machine_identity import MachineIdentity, read_identity
from onboarding.domain.machine.resource_containers import UNREAD, ResourceContainers
from onboarding.domain.resource_id import ExtensionId, VmId, name_in, parse_id

NEW_FOR = timedelta(hours=1)
"""How long a machine counts as new after its creation."""


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


class ImageReference(Struct, frozen=True):
    """`imageReference` as ARM returns it; absent parts are empty."""

    publisher: str = ""
    offer: str = ""
    sku: str = ""
    version: str = ""  # the requested one, often `latest`
    exact_version: str = ""  # the one that the VM was created from
    id: str = ""  # of the image, or of the image in a gallery, shared gallery or community gallery
    kind: ImageKind = ImageKind.NONE


class Plan(Struct, frozen=True):
    """The purchase plan of a marketplace image, which a VM keeps when the image was copied to a gallery."""

    publisher: str = ""
    product: str = ""
    name: str = ""


class Status(Struct, frozen=True):
    """One entry of an instance view's `statuses[]`; absent parts are empty."""

    code: str = ""
    level: str = ""
    display: str = ""
    message: str = ""


class InstalledExtension(Struct, frozen=True):
    """An extension resource of the VM, joined with its instance view where there is one; absent parts are empty."""

    name: str  # of the resource, which may be any
    publisher: str = ""  # of the handler
    type: str = ""  # of the handler
    version: str = ""  # the requested one, major.minor
    handler_version: str = ""  # the full version that runs
    provisioning_state: str = ""  # ARM's word, such as `Succeeded`
    settings: Mapping[str, Any] = field(default_factory=dict)  # the public ones
    statuses: tuple[Status, ...] = ()  # what the handler reported
    auto_upgrade_minor_version: bool | None = None  # None if the body does not say
    enable_automatic_upgrade: bool | None = None  # the same


class MachineFacts(HidingStruct, frozen=True):
    """One VM as ARM reported it; texts that the body lacks are empty."""

    hidden: ClassVar[frozenset[str]] = frozenset({"body"})

    id: VmId  # the resource id
    vm_id: str  # ARM's id of this very VM, which another VM of the same name does not have
    location: str  # the region
    tags: Mapping[str, str]
    os_type: OsType
    image: ImageReference
    plan: Plan | None  # None if the image has no purchase plan
    power: PowerState
    agent: AgentState
    guest_os_name: str  # as the guest agent reports it, in any case
    guest_os_version: str  # as the guest agent reports it
    os_provisioning: bool  # the first boot has not ended
    provisioning_state: str  # ARM's word for the VM, such as `Succeeded` or `Updating`
    time_created: datetime | None  # UTC; None if the body does not say
    provision_vm_agent: bool | None  # whether the VM was made with the guest agent; None if the body does not say
    extension_operations_allowed: bool | None  # None if the body does not say
    managed_by: str  # the id of the resource that manages the VM
    scale_set: str  # the id of its flexible scale set
    extensions: tuple[InstalledExtension, ...]
    handlers: tuple[str, ...]  # every handler on the VM, as `Publisher.Type`
    body: Mapping[str, Any]  # ARM's answer, for rules that read any alias
    around: ResourceContainers = UNREAD  # its resource group and subscription, as far as they were read
    identity: MachineIdentity = field(default_factory=MachineIdentity)
    etag: str = ""  # of the machine as it was read; empty if the body has none

    @property
    def being_deleted(self) -> bool:
        return self.provisioning_state.lower() == "deleting"

    @property
    def being_written(self) -> bool:
        """Whether ARM is creating or changing the VM itself, and refuses another write."""
        return self.provisioning_state.lower() in ("creating", "updating")

    def find_extension(self, publisher: str, type_: str) -> InstalledExtension | None:
        """The extension with this handler, whatever its resource is called (one handler per VM)."""
        wanted = (publisher.lower(), type_.lower())
        return next((e for e in self.extensions if (e.publisher.lower(), e.type.lower()) == wanted), None)


_NOWHERE = VmId("", "", "")


def read_facts(body: object) -> MachineFacts:
    """Read a VM body (`GET …/virtualMachines/{vm}`, with or without `$expand=instanceView`, or a list's item)."""
    vm = mapping(body)
    properties = mapping(vm.get("properties"))
    storage = mapping(properties.get("storageProfile"))
    view = mapping(properties.get("instanceView"))
    linux = mapping(mapping(properties.get("osProfile")).get("linuxConfiguration"))
    windows = mapping(mapping(properties.get("osProfile")).get("windowsConfiguration"))
    agent = mapping(view.get("vmAgent"))
    extensions = tuple(_extensions(vm, view))
    statuses = _statuses(view.get("statuses"))
    identity = parse_id(text(vm.get("id")))
    if isinstance(identity, ExtensionId):
        identity = None
    return MachineFacts(
        id=identity or _NOWHERE,
        vm_id=text(properties.get("vmId")),
        location=text(vm.get("location")),
        tags={k: text(v) for k, v in mapping(vm.get("tags")).items()},
        os_type=_os_type(mapping(storage.get("osDisk")).get("osType"), linux, windows, text(view.get("osName"))),
        image=read_image(storage.get("imageReference")),
        plan=read_plan(vm.get("plan")),
        power=_power(statuses),
        # In a body without the instance view it is absent, or null as the CLI prints it.
        agent=_agent(isinstance(properties.get("instanceView"), Mapping), agent),
        guest_os_name=text(view.get("osName")),
        guest_os_version=text(view.get("osVersion")),
        os_provisioning=any("osprovisioninginprogress" in s.code.lower() for s in statuses),
        provisioning_state=text(properties.get("provisioningState")),
        time_created=time(properties.get("timeCreated")),
        provision_vm_agent=_provision_vm_agent(linux, windows),
        extension_operations_allowed=flag(mapping(properties.get("osProfile")).get("allowExtensionOperations")),
        managed_by=text(vm.get("managedBy")),
        scale_set=text(mapping(properties.get("virtualMachineScaleSet")).get("id")),
        extensions=extensions,
        handlers=_handlers(agent, extensions),
        body=vm,
        identity=read_identity(vm.get("identity")),
        etag=text(vm.get("etag")),
    )


def read_extension(body: object) -> InstalledExtension:
    """Read an extension's body (`GET …/extensions/{name}`, with or without `$expand=instanceView`)."""
    raw = mapping(body)
    return _extension(text(raw.get("name")).rpartition("/")[2] or name_in(text(raw.get("id"))), raw, {})


def read_image(value: object) -> ImageReference:
    """Read an `imageReference` object of any of its five forms."""
    raw = mapping(value)
    community = text(raw.get("communityGalleryImageId"))
    shared = text(raw.get("sharedGalleryImageId"))
    path = community or shared or text(raw.get("id"))
    publisher, offer = text(raw.get("publisher")), text(raw.get("offer"))
    return ImageReference(
        publisher=publisher,
        offer=offer,
        sku=text(raw.get("sku")),
        version=text(raw.get("version")),
        exact_version=text(raw.get("exactVersion")),
        id=path,
        kind=_image_kind(path.lower(), community=bool(community), shared=bool(shared), named=bool(publisher or offer)),
    )


def read_plan(value: object) -> Plan | None:
    """Read a `plan` (VM) or `purchasePlan` (gallery image definition)."""
    raw = mapping(value)
    if not raw:
        return None
    return Plan(text(raw.get("publisher")), text(raw.get("product")), text(raw.get("name")))


def _image_kind(path: str, *, community: bool, shared: bool, named: bool) -> ImageKind:
    if community or path.startswith("/communitygalleries/"):
        return ImageKind.COMMUNITY_GALLERY
    if shared or path.startswith("/sharedgalleries/"):
        return ImageKind.SHARED_GALLERY
    if "/microsoft.compute/galleries/" in path:
        return ImageKind.GALLERY
    if path:
        return ImageKind.MANAGED_IMAGE
    return ImageKind.MARKETPLACE if named else ImageKind.NONE


def _os_type(value: object, linux: Mapping[str, Any], windows: Mapping[str, Any], guest: str) -> OsType:
    """As the OS disk says, else the profile, else the guest agent's name of the system."""
    name = text(value).lower()
    if name == "linux" or (not name and linux):
        return OsType.LINUX
    if name == "windows" or (not name and windows):
        return OsType.WINDOWS
    if name or not guest:
        return OsType.UNKNOWN
    return OsType.WINDOWS if "windows" in guest.lower() else OsType.LINUX


def _provision_vm_agent(linux: Mapping[str, Any], windows: Mapping[str, Any]) -> bool | None:
    """Every Windows VM's profile says true, even if nobody chose it: for Windows only false is somebody's choice."""
    chosen = flag(linux.get("provisionVMAgent"))
    return False if chosen is None and flag(windows.get("provisionVMAgent")) is False else chosen


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
    seen_by_agent = {text(e.get("name")).lower(): e for e in items(view.get("extensions"))}
    for raw in items(vm.get("resources")):
        name = text(raw.get("name")).rpartition("/")[2] or name_in(text(raw.get("id")))
        if name and _is_extension(raw):
            yield _extension(name, raw, seen_by_agent.pop(name.lower(), {}))
    for entry in seen_by_agent.values():
        # The agent reports extensions that the model does not (yet, or any more) list.
        if name := text(entry.get("name")):
            yield _extension(name, {}, entry)


def _handlers(agent: Mapping[str, Any], extensions: Iterable[InstalledExtension]) -> tuple[str, ...]:
    """Every handler on the VM, as `Publisher.Type`: those that the agent reports, and those that the model lists, since
    an agent that does not report names none."""
    reported = (text(entry.get("type")) for entry in items(agent.get("extensionHandlers")))
    listed = (f"{extension.publisher}.{extension.type}" for extension in extensions if extension.type)
    by_key: dict[str, str] = {}
    for handler in filter(None, (*reported, *listed)):
        by_key.setdefault(handler.lower(), handler)
    return tuple(by_key.values())


def _extension(name: str, resource: Mapping[str, Any], seen: Mapping[str, Any]) -> InstalledExtension:
    properties = mapping(resource.get("properties"))
    view = seen or mapping(properties.get("instanceView"))
    handler_publisher, _, handler_type = text(view.get("type")).rpartition(".")
    return InstalledExtension(
        name=name,
        publisher=text(properties.get("publisher")) or handler_publisher,
        type=text(properties.get("type")) or handler_type,
        version=text(properties.get("typeHandlerVersion")),
        handler_version=text(view.get("typeHandlerVersion")),
        provisioning_state=text(properties.get("provisioningState")),
        settings=mapping(properties.get("settings")),
        statuses=_statuses(view.get("statuses")),
        auto_upgrade_minor_version=flag(properties.get("autoUpgradeMinorVersion")),
        enable_automatic_upgrade=flag(properties.get("enableAutomaticUpgrade")),
    )


def _is_extension(raw: Mapping[str, Any]) -> bool:
    type_ = text(raw.get("type"))
    return f"/{type_}".lower().endswith("/extensions") if type_ else "/extensions/" in text(raw.get("id")).lower()


def _statuses(value: object) -> tuple[Status, ...]:
    return tuple(
        Status(text(s.get("code")), text(s.get("level")), text(s.get("displayStatus")), text(s.get("message")))
        for s in items(value)
    )
