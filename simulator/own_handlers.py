"""The handlers of somebody's own extensions: those that the entries in a policy folder's `extensions/` name.

Azure has an extension before anybody writes an entry of it, so the simulated artifact repository takes each publisher
and type from the files themselves, in every version. What is wrong with a file is the product's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from simulator.arm.compute.artifacts import Handler

_SUFFIXES = (".yaml", ".yml", ".json")
_COMMANDS = {"windows": "enable.cmd", "linux": "shim.sh"}


def own_handlers(policies: Path) -> Iterator[Handler]:
    """A handler for each file that names one; it runs on the operating system of its entry and succeeds."""
    folder = policies / "extensions"
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix.lower() in _SUFFIXES and (entry := _read(file)):
            system = str(entry.get("os") or entry.get("osType") or "").lower()
            command = _COMMANDS.get(system, "shim.sh")
            runs_on = system if system in _COMMANDS else ""
            yield Handler(str(entry["publisher"]), str(entry["type"]), command, "", (), runs_on, generic=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        value = yaml.safe_load(file.read_text("utf-8").replace("\t", "  "))  # JSON may be indented with tabs
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return value if isinstance(value, dict) and value.get("publisher") and value.get("type") else None
