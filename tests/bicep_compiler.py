"""Bicep's compiler, where there is one: the one that BICEP names, `bicep` on the PATH, or that of the Azure CLI. Tests
that need it are marked with `needs_bicep`, and skipped without it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest


def _find_compiler() -> str | None:
    """As the checks do, of which the script is no module."""
    file = Path(__file__).parents[1] / "scripts" / "templates.py"
    spec = importlib.util.spec_from_file_location("templates", file)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found: str | None = script.find_compiler()
    return found


BICEP = _find_compiler()
needs_bicep = pytest.mark.skipif(BICEP is None, reason="needs bicep, which BICEP or the PATH names")


def compile_text(text: str) -> dict[str, Any]:
    """The text as ARM's JSON. Fails if the compiler or its linter says anything."""
    done = _run("build", text, "made.bicep")
    assert (done.returncode, done.stderr) == (0, ""), text
    compiled: dict[str, Any] = json.loads(done.stdout)
    return compiled


def decompile(text: str) -> str:
    """ARM's JSON as Bicep."""
    done = _run("decompile", text, "made.json")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(command: str, text: str, name: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory(prefix="bicep-") as folder:
        file = Path(folder) / name
        file.write_text(text)
        return subprocess.run([str(BICEP), command, file, "--stdout"], capture_output=True, text=True, check=False)
