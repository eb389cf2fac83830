"""The versions of the product whose hosts run in a storm: this one, and on request another one, exported from git.

Both run from their own folder, with their own `host.json`, and with the packages of this one.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.laptop import ROOT

_POLICIES = "samples/policies/storm"
_STEPS = "onboarding/domain/reconcile/steps"
_EXPORTED = ("function_app.py", "host.json", "onboarding", _POLICIES)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the product, and the folder that its hosts run in."""

    name: str
    folder: Path

    @property
    def policies(self) -> Path:
        return self.folder / _POLICIES

    @property
    def knows_steps(self) -> bool:
        """Whether its policies can want identities and associations."""
        return (self.folder / _STEPS).is_dir()

    @property
    def knows_removals(self) -> bool:
        """Whether its policies can remove extensions."""
        return (self.folder / _STEPS / "removal_step.py").is_file()


THIS = Version("this", ROOT)


class NoSuchVersion(Exception):
    """Git cannot give us that version."""


def export(ref: str, folder: Path, repository: Path = ROOT) -> Version:
    """Write the product as it is at a git ref to a folder; its name is the short id of the commit."""
    commit = ["rev-parse", "--verify", "--short", "--end-of-options", f"{ref}^{{commit}}"]
    name = _git(ref, repository, commit).decode().strip()
    with tarfile.open(fileobj=io.BytesIO(_git(ref, repository, ["archive", name, "--", *_EXPORTED]))) as archive:
        archive.extractall(folder, filter="data")
    return Version(name, folder)


def _git(ref: str, repository: Path, arguments: Sequence[str]) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise NoSuchVersion(f"no git to export version '{ref}' with (--beside); install git") from None
    if done.returncode:
        says = done.stderr.decode(errors="replace").strip().replace("\n", " ")
        raise NoSuchVersion(
            f"git cannot export version '{ref}' of {repository} (--beside): {says}; name a commit, branch or tag that "
            "is there ('git fetch --unshallow' completes a shallow checkout)"
        )
    return done.stdout
