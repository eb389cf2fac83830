"""One run of an extension handler inside the VM: its result follows from the VM's real operating system, the settings
and the VM's script, with the texts of real handlers.

The functions are pure. The order of the checks is the OMS handler's own: a bad workspace id fails at install, a bad key
only at enable.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from simulator.arm.compute import failures
from simulator.arm.compute.artifacts import Handler, Release
from simulator.arm.compute.spec import Ending, Guest, HandlerRun
from simulator.arm.insights.agent_settings import complaint

_TEXTS: Mapping[str, Mapping[int, str]] = yaml.safe_load(Path(__file__).with_name("handler_texts.yaml").read_text())
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Job:
    """The input of a run. It contains the protected settings, so its repr does not show them."""

    handler: Handler
    release: Release
    guest: Guest
    settings: Mapping[str, Any]
    protected_settings: Mapping[str, Any]
    workspaces: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Job({self.handler.name} {self.release.version})"


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: the extension's status, the handler's own status and the operation's error, if any."""

    status: Mapping[str, Any]
    handler_status: Mapping[str, Any]
    error: Mapping[str, Any] | None


def natural_run(job: Job) -> HandlerRun:
    """The run of this handler on this VM without a script."""
    guest = job.guest
    if not job.handler.runs_on(guest.os_name) or not job.release.installs_on(
        guest.os_name, guest.os_version, guest.architecture
    ):
        return HandlerRun(exit_code=51)
    if job.handler.settings == "agent":
        text = complaint(job.settings, job.protected_settings)
        return HandlerRun(exit_code=53, operation="Enable", text=text) if text else HandlerRun()
    return _workspace_run(job) if job.handler.wants_workspace else HandlerRun()


def _workspace_run(job: Job) -> HandlerRun:
    workspace, key = job.settings.get("workspaceId"), job.protected_settings.get("workspaceKey")
    if not isinstance(workspace, str) or not _GUID.fullmatch(workspace):
        return HandlerRun(exit_code=11)
    if not key:
        return HandlerRun(exit_code=11, operation="Enable")
    if not _survives_base64(key):
        return HandlerRun(exit_code=1, operation="Enable")
    elsewhere = job.guest.workspace not in ("", workspace)
    if elsewhere and job.settings.get("stopOnMultipleConnections") is True:
        return HandlerRun(exit_code=10, operation="Enable")
    if job.workspaces and job.workspaces.get(workspace) != key:
        return HandlerRun(exit_code=53, operation="Enable")
    return HandlerRun()


def report(job: Job, run: HandlerRun, extension: str, now: datetime) -> Result:
    """The report of that run to Azure."""
    if run.error is not None:
        message = str(run.error.get("message", ""))
        return Result(_status("failed/0", "Error", "Provisioning failed", message, now), _ready(), run.error)
    if run.ending is Ending.TIMEOUT:
        return _install_failure(job, run, extension, now, _timeout(job, run))
    if run.exit_code == 0:
        return Result(_status("succeeded", "Info", "Provisioning succeeded", "Enable succeeded", now), _ready(), None)
    if run.operation == "Install":
        return _install_failure(job, run, extension, now, _shell(job, run, now))
    words = _words(job, run)
    status = _status(f"failed/{run.exit_code}", "Error", "Provisioning failed", words, now)
    if run.ending is Ending.TRANSITIONING:
        status = _status("transitioning", "Info", "Transitioning", words, now)
    return Result(status, _ready(), failures.extension_failed(extension, words))


def _install_failure(job: Job, run: HandlerRun, extension: str, now: datetime, message: str) -> Result:
    code = "transitioning" if run.ending is Ending.TRANSITIONING else f"failed/{run.exit_code}"
    level, display = (
        ("Info", "Transitioning") if run.ending is Ending.TRANSITIONING else ("Error", "Provisioning failed")
    )
    handler = {  # inferred: the guest agent's own code for a failed install, in the place of its handler status
        "code": "ProvisioningState/failed/1007",
        "level": "Error",
        "displayStatus": "Not Ready",
        "message": message,
    }
    error = failures.handler_failed(extension, job.handler.name, message)
    return Result(_status(code, level, display, message, now), handler, error)


def _shell(job: Job, run: HandlerRun, now: datetime) -> str:
    stamp = f"{now:%Y/%m/%d %H:%M:%S} [{job.handler.name}-{job.release.version}]"
    return (
        f"[ExtensionOperationError] Non-zero exit code: {run.exit_code}, {_command(job, run)}\n[stdout]\n"
        f"{stamp} Install,failed,{run.exit_code},{_words(job, run)}\n\n\n[stderr]\n"
    )


def _timeout(job: Job, run: HandlerRun) -> str:
    return f"Timeout(900): {_command(job, run)}\n[stdout]\n{run.text}\n[stderr]\n"


def _command(job: Job, run: HandlerRun) -> str:
    folder = plugin_folder(job.guest, job.handler, job.release.version)
    return f"{folder}/{job.handler.command} -{run.operation.lower()}"


def plugin_folder(guest: Guest, handler: Handler, version: str) -> str:
    """The folder into which the guest agent unpacks that version of a handler."""
    if guest.os_name.lower().startswith("windows"):
        return f"C:\\Packages\\Plugins\\{handler.name}\\{version}"
    return f"/var/lib/waagent/{handler.name}-{version}"


def _words(job: Job, run: HandlerRun) -> str:
    if run.text:
        return run.text
    usual = f"{run.operation} failed with exit code {run.exit_code}"
    template = _TEXTS.get(run.operation, {}).get(run.exit_code, usual)
    guest = job.guest
    return template.format(os=f"{guest.os_name} {guest.os_version}", handler=job.handler.name)


def _status(code: str, level: str, display: str, message: str, now: datetime) -> dict[str, Any]:
    return {
        "code": f"ProvisioningState/{code}",
        "level": level,
        "displayStatus": display,
        "message": message,
        "time": now.isoformat(timespec="seconds"),
    }


def _ready() -> dict[str, Any]:
    return {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Ready",
        "message": "Plugin enabled",
    }


def _survives_base64(key: object) -> bool:
    try:
        decoded = base64.b64decode(str(key), validate=True)
    except (binascii.Error, ValueError):
        return False
    return base64.b64encode(decoded).decode() == key
