"""The refusals of ARM and of its compute provider, word for word as they were recorded, reported or documented.

`gateway` marks those of ARM itself (authorization, policy, lock, a missing parent), which carry the header
`x-ms-failure-cause: gateway`; the others come from compute. Texts that no source gave are marked invented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ArmError(Exception):
    """An error answer; `body` is the JSON of its body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        gateway: bool = False,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if gateway:
            self.headers["x-ms-failure-cause"] = "gateway"
        self._members = {name: value for name, value in members.items() if value is not None}

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, **self._members}}


def resource_not_found(type_and_name: str, group: str) -> ArmError:
    message = (
        f"The Resource '{type_and_name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return ArmError(404, "ResourceNotFound", message, gateway=True)


def group_not_found(group: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.", gateway=True)


def parent_not_found(parent: str) -> ArmError:
    message = f"Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
    return ArmError(404, "ParentResourceNotFound", message, gateway=True)


def subscription_not_found(subscription: str) -> ArmError:
    message = f"The subscription '{subscription}' could not be found."
    return ArmError(404, "SubscriptionNotFound", message, gateway=True)


def entity_not_found() -> ArmError:
    return ArmError(404, "NotFound", "The entity was not found in this Azure location.")


def invalid_content(reason: str) -> ArmError:
    message = f"The request content was invalid and could not be deserialized: '{reason}'."
    return ArmError(400, "InvalidRequestContent", message, gateway=True)


# Invented: sources only agree that such a body does not work.
def unknown_member(member: str, kind: str) -> ArmError:
    return ArmError(400, "BadRequest", f"Could not find member '{member}' on object of type '{kind}'.", target=member)


def location_required() -> ArmError:
    message = "The location property is required for this definition."
    return ArmError(400, "LocationRequired", message, gateway=True)


# No source has the words for an extension whose location differs from its VM's; these are the words for any resource.
def location_conflict(name: str, stored: str, group: str, location: str) -> ArmError:
    message = (
        f"The resource '{name}' already exists in location '{stored}' in resource group '{group}'. "
        f"A resource with the same name cannot be created in location '{location}'. Please select a new resource name."
    )
    return ArmError(409, "InvalidResourceLocation", message, gateway=True)


def invalid_parameter(name: str) -> ArmError:
    return ArmError(400, "InvalidParameter", f"The value of parameter {name} is invalid.", target=name)


def property_change(name: str) -> ArmError:
    return ArmError(409, "PropertyChangeNotAllowed", f"Changing property '{name}' is not allowed.", target=name)


def vm_not_running() -> ArmError:
    return ArmError(
        409,
        "OperationNotAllowed",
        "Cannot modify extensions in the VM when the VM is not running.",
        innererror={"internalErrorCode": "CannotModifyExtensionsWhenVMNotRunning"},
    )


def changing_power(vm: str, state: str) -> ArmError:
    message = (
        f"An ongoing operation is changing power state of Virtual Machine {vm} to {state}. "
        "Please perform operation Update VM after some time."
    )
    return ArmError(409, "OperationNotAllowed", message)


def extensions_disallowed() -> ArmError:
    message = (
        "This operation cannot be performed when extension operations are disallowed. To allow, please ensure VM Agent "
        "is installed on the VM and the osProfile.allowExtensionOperations property is true."
    )
    return ArmError(409, "OperationNotAllowed", message)


def vm_marked_for_deletion(operation: str, vm: str) -> ArmError:
    message = (
        f"Operation '{operation}' is not allowed on VM '{vm}' since the VM is marked for deletion. "
        "You can only retry the Delete operation (or wait for an ongoing one to complete)."
    )
    return ArmError(409, "OperationNotAllowed", message)


def extension_marked_for_deletion(extension: str) -> ArmError:
    message = (
        f"Operation 'PUT Extension' is not allowed on VM extension '{extension}' since it is marked for deletion. "
        "You can only retry the Delete operation (or wait for an ongoing one to complete)."
    )
    return ArmError(409, "OperationNotAllowed", message)


# The documented template of similar errors, with its own reason.
def vm_generalized(operation: str, vm: str) -> ArmError:
    message = f"Operation '{operation}' is not allowed on VM '{vm}' since the VM is generalized."
    return ArmError(409, "OperationNotAllowed", message)


def one_handler_per_vm(name: str, handler: str) -> ArmError:
    message = (
        "Multiple VMExtensions per handler not supported for OS type 'Linux'. "
        f"VMExtension '{name}' with handler '{handler}' already added or specified in input."
    )
    return ArmError(400, "BadRequest", message)


def handler_version_conflict(name: str, handler: str, version: str, auto_upgrade: bool) -> ArmError:
    message = (
        f"Cannot update handlerVersion or autoUpgradeMinorVersion for VM extension '{name}'. "
        f"Change is in conflict with other extensions under handler '{handler}', "
        f"with typeHandler version '{version}' and autoUpgradeMinorVersion '{auto_upgrade}'."
    )
    return ArmError(409, "OperationNotAllowed", message)


def artifact_not_found(publisher: str, type_: str, location: str) -> ArmError:
    message = (
        f"The VM extension with publisher '{publisher}' and type '{type_}' could not be found in the extension "
        f"repository in location '{location}'."
    )
    return ArmError(404, "ArtifactNotFound", message)


def concurrent_request() -> ArmError:
    message = (
        "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
        "https://aka.ms/activitylog to get more details on the conflicting requests."
    )
    return ArmError(409, "Conflict", message)
