"""The extensions that only the storm's policy folders describe: their secrets, and the folder with five extensions."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from simulator.laptop import ROOT

POLICIES = ROOT / "samples" / "policies"
# The policies and entries that a storm has, and those that one with five extensions has besides.
STORM, MORE = POLICIES / "storm", POLICIES / "storm-extensions"

# The protected settings of their entries, by app setting: new in every run, so that a search finds none by chance.
SECRETS = {name: secrets.token_urlsafe(32) for name in ("INVENTORY_TOKEN", "SHIPPER_KEY", "ASSETS_PASSWORD")}


def copy_policies(folder: Path) -> Path:
    """Copy the policies and entries of a storm with five extensions into a new folder; returns that folder."""
    for source in (STORM, MORE):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    return folder
