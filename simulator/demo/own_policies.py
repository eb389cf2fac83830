"""A folder of somebody's own policies, made ready for the demo.

In the demo a minute of the cloud takes a second, but the product works in real time. So the files are copied, and a
file without `waits` of its own gets those of the demo's policies; nothing else is changed.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

import yaml

_SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class NoPolicies(Exception):
    """The folder has no policy file."""


def copy_policies(folder: Path, target: Path, waits_of: Path) -> list[str]:
    """Copy the folder to `target`, which must not exist, with the waits of the policy file `waits_of`.

    Returns the names of the files that got them. A file that is not a YAML mapping is copied as it is: what is wrong
    with it is the product's to say. Raises NoPolicies."""
    if not folder.is_dir():
        raise NoPolicies(f"--policies {folder}: there is no such folder")
    files = [file for file in folder.iterdir() if file.suffix in (*_SUFFIXES, ".json")]
    if not files:
        raise NoPolicies(f"--policies {folder}: the folder has no policy file (*.yaml, *.yml or *.json)")
    shutil.copytree(folder, target)
    block = yaml.safe_dump({"waits": yaml.safe_load(waits_of.read_text("utf-8"))["waits"]}, default_flow_style=None)
    changed = []
    for file in sorted(target.iterdir()):
        if file.suffix in _SUFFIXES and _lacks_waits(text := file.read_text("utf-8")):
            file.write_text(f"{text.rstrip()}\n{block}", "utf-8")
            changed.append(file.name)
    return changed


def secret_settings(folder: Path) -> set[str]:
    """The names of the app settings that the policies of a folder put into protected settings."""
    names: set[str] = set()
    for file in folder.iterdir():
        if file.suffix in (*_SUFFIXES, ".json"):
            with suppress(OSError, ValueError, yaml.YAMLError):
                names |= set(_NAME.findall(repr(_protected(yaml.safe_load(file.read_text("utf-8"))))))
    return names


def _protected(policy: object) -> list[object]:
    """The protected settings of a policy, and of its workspaces."""
    if not isinstance(policy, dict):
        return []
    listed = policy.get("workspaces")
    workspaces = listed if isinstance(listed, list) else []
    return [each.get("protectedSettings") for each in (policy, *workspaces) if isinstance(each, dict)]


def _lacks_waits(text: str) -> bool:
    """Whether a text is a policy in block style, to which a key can be added at the end, without the key `waits`."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(value, dict) and "name" in value and "waits" not in value and not text.lstrip().startswith("{")
