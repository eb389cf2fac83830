"""Run commands: a script run in the VM through its guest agent, and its output as the operation's result.

No shell and no PowerShell runs. A script that prints the end of files (`tail`, or `Get-Content -Tail` on Windows) gets
the logs of the VM's extension handlers, which follow from their runs. Any other script prints nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from simulator.arm.compute import failures
from simulator.arm.compute.artifacts import Handler
from simulator.arm.compute.handler import plugin_folder
from simulator.arm.compute.machines import Extension, Machine
from simulator.arm.compute.operations import Operation
from simulator.arm.compute.spec import Power
from simulator.arm.events import Caller
from simulator.arm.http import errors
from simulator.arm.http.errors import ArmError
from simulator.arm.platform import Platform, acted

_MOST_BYTES = 4_096  # of the end of standard output
_COMMANDS = {"Linux": "runshellscript", "Windows": "runpowershellscript"}
_PATH = {"Linux": re.compile(r"(/[-\w./*]+)"), "Windows": re.compile(r"'([A-Za-z]:[\\/][^']+)'")}
_LINES = {"Linux": re.compile(r"\btail\b.*?-n\s*(\d+)"), "Windows": re.compile(r"\bGet-Content\b.*?-Tail\s+(\d+)")}


class RunCommands:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def run(self, machine: Machine, body: Mapping[str, Any], caller: Caller) -> Operation:
        """Begin to run a script; raises ARM's immediate refusals."""
        script = _script(machine, body)
        self._refuse(machine)
        platform = self._platform
        operation = platform.start(machine, acted(machine.id, "runCommand", caller))

        def ended() -> None:
            if not machine.agent_ready(platform.clock.seconds()):
                platform.end(operation, failures.agent_silent(machine.name))
                return
            operation.result = _result(machine, _printed(machine, script, self._files(machine)))
            platform.end(operation)

        platform.clock.call_later(platform.durations.draw("run-command", machine.key, operation.id), ended)
        return operation

    def _refuse(self, machine: Machine) -> None:
        if machine.deleting:
            raise errors.vm_marked_for_deletion("Run command", machine.name)
        if not machine.extensions_allowed:
            raise errors.extensions_disallowed()
        if machine.power is not Power.RUNNING:
            message = "The operation requires the VM to be running (or set to run)."
            raise ArmError(409, "OperationNotAllowed", message)
        running = self._platform.operations.under_way(machine.id)
        if any(operation.change.action == "runCommand" for operation in running):
            message = (
                "Run command extension execution is in progress. Please wait for completion before invoking a run "
                "command."
            )
            raise ArmError(409, "Conflict", message)

    def _files(self, machine: Machine) -> dict[str, str]:
        """The logs that the handlers on this VM have written."""
        files: dict[str, str] = {}
        for extension in machine.extensions.values():
            handler = self._platform.artifacts.find(extension.publisher, extension.type)
            if handler is not None and extension.handler_version:
                files |= _logs(machine, handler, extension)
        return files


def _script(machine: Machine, body: Mapping[str, Any]) -> str:
    # Inferred: the words of the refusal of the other system's shell.
    if str(body.get("commandId", "")).lower() != _COMMANDS[machine.os_type]:
        raise errors.invalid_parameter("commandId")
    script = body.get("script")
    if not isinstance(script, list) or not script:
        raise errors.invalid_parameter("script")
    return "\n".join(map(str, script))


def _printed(machine: Machine, script: str, files: Mapping[str, str]) -> str:
    """The output for the files that the script names, each below its name."""
    wanted = _PATH[machine.os_type].findall(script)
    lines = _LINES[machine.os_type].search(script)
    if lines is None and machine.os_type == "Windows":
        return ""
    count = int(lines[1]) if lines else 10
    fold = str.lower if machine.os_type == "Windows" else str
    parts = []
    for pattern in wanted:
        for path, text in files.items():
            if _depth(path) == _depth(pattern) and fnmatchcase(fold(path), fold(pattern)):
                tail = "\n".join(text.splitlines()[-count:])
                parts.append(f"==> {path} <==\n{tail}\n")
    return "\n".join(parts)


def _depth(path: str) -> int:
    return path.count("/") + path.count("\\")


def _result(machine: Machine, output: str) -> dict[str, Any]:
    kept = output.encode()[-_MOST_BYTES:].decode(errors="ignore")
    if machine.os_type == "Windows":
        return {"value": [_component("StdOut", kept), _component("StdErr", "")]}
    status = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": f"Enable succeeded: \n[stdout]\n{kept}\n[stderr]\n",
    }
    return {"value": [status]}


def _component(stream: str, text: str) -> dict[str, str]:
    code = f"ComponentStatus/{stream}/succeeded"
    return {"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": text}


def _logs(machine: Machine, handler: Handler, extension: Extension) -> dict[str, str]:
    times = (str(status["time"]) for status in extension.statuses if "time" in status)
    moment = next(times, "")[:19].replace("-", "/").replace("T", " ")
    stamp = f"{moment} [{handler.name}-{extension.handler_version}]"
    log = "\n".join(f"{stamp} {line}" for line in _handler_lines(machine, handler, extension))
    if machine.os_type == "Windows":
        folder = f"C:\\WindowsAzure\\Logs\\Plugins\\{handler.name}\\{extension.handler_version}"
        return {f"{folder}\\CommandExecution.log": f"{log}\n"}
    files = {f"/var/log/azure/{handler.name}/extension.log": f"{log}\n"}
    if handler.wants_workspace:
        files["/opt/microsoft/omsagent/bin/stdout"] = "\n".join(_bundle_lines(extension)) + "\n"
    return files


def _handler_lines(machine: Machine, handler: Handler, extension: Extension) -> Iterator[str]:
    yield f"cwd is {plugin_folder(machine.guest, handler, extension.handler_version)}"
    yield f"{handler.command} -install"
    yield from _words(extension)


def _bundle_lines(extension: Extension) -> Iterator[str]:
    """The log of the agent's installer, which quotes its own command line, as the real one did."""
    yield "Extracting..."
    yield "Installing OMS agent for Linux"
    workspace = extension.properties.get("settings", {}).get("workspaceId", "")
    key = extension.protected_settings.get("workspaceKey", "")
    yield f"/opt/microsoft/omsagent/bin/omsadmin.sh -w {workspace} -s {key}"
    yield from _words(extension)


def _words(extension: Extension) -> Iterator[str]:
    for status in extension.statuses:
        for line in str(status.get("message", "")).splitlines():
            if line.strip():
                yield line
