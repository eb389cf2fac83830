"""Failures of accepted operations: the `error` object of a poll that answers HTTP 200."""

from __future__ import annotations

from typing import Any

HELP = "More information on troubleshooting is available at https://aka.ms/vmextensionlinuxtroubleshoot"


def failure(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def handler_failed(extension: str, handler: str, message: str) -> dict[str, Any]:
    return failure(
        "VMExtensionHandlerNonTransientError",
        f"The handler for VM extension type '{handler}' has reported terminal failure for VM extension '{extension}' "
        f"with error message: '{message}'.\r\n    \r\n'Install handler failed for the extension. {HELP}'",
    )


def extension_failed(extension: str, message: str) -> dict[str, Any]:
    return failure(
        "VMExtensionProvisioningError",
        f"VM has reported a failure when processing extension '{extension}'. Error message: \"{message}\". {HELP}",
    )


def agent_silent(vm: str) -> dict[str, Any]:
    return failure(
        "VMAgentStatusCommunicationError",
        f"VM '{vm}' has not reported status for VM agent or extensions. Verify that the OS is up and healthy, the VM "
        "has a running VM agent, and that it can establish outbound connections to Azure storage.",
    )


def extension_silent(extension: str) -> dict[str, Any]:
    return failure(
        "VMExtensionProvisioningTimeout",
        f"Provisioning of VM extension {extension} has timed out. Extension provisioning has taken too long to "
        f"complete. The extension did not report a message.\r\n\r\n{HELP}",
    )


def preempted() -> dict[str, Any]:
    return failure("OperationPreempted", "Operation execution has been preempted by a more recent operation.")


def version_not_found(version: str, publisher: str, type_: str) -> dict[str, Any]:
    return failure(
        "ArtifactVersionNotFound",
        "No version found in the artifact repository that satisfies the requested version "
        f"'{version}' for VM extension with publisher '{publisher}' and type '{type_}'.",
    )
