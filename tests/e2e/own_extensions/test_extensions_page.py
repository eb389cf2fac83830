"""docs/extensions.md is true: its commands, run in their order in an empty folder, print what the page says, and its
files are those that the commands write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from onboarding.domain.json_access import mapping
from simulator.laptop import ROOT

PAGE = (ROOT / "docs" / "extensions.md").read_text("utf-8")
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
_TOOK = re.compile(r"^took \d+\.\d s$", re.MULTILINE)

pytestmark = pytest.mark.timeout(120)  # two of the commands start a functions host


def blocks(kind: str) -> list[str]:
    """The blocks of that kind, without their indentation."""
    return [
        re.sub(rf"^ {{{len(found['indent'])}}}", "", found["text"], flags=re.MULTILINE)
        for found in _BLOCK.finditer(PAGE)
        if found["kind"] == kind
    ]


def run(command: str, cwd: Path) -> str:
    """What a command of the page prints, in a shell whose `onboard` is this checkout's."""
    tools = cwd.parent / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "onboard").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onboarding "$@"\n')
    (tools / "onboard").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment.pop("ONBOARDING_POLICIES", None)
    done = subprocess.run(["sh", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def test_every_command_prints_what_the_page_says(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (body,) = blocks("json")
    (here / "antimalware.json").write_text(body, "utf-8")
    commands = [block.removeprefix("$ ").partition("\n") for block in blocks("console")]
    assert len(commands) == 6
    for command, _, shown in commands:
        printed = run(command, here)
        assert _TOOK.sub("", printed) == _TOOK.sub("", shown.rstrip("\n")), command
    entry, policy, *_ = blocks("yaml")
    for text, file in ((entry, "extensions/falcon-sensor-linux.yaml"), (policy, "falcon-sensor-linux.yaml")):
        assert yaml.safe_load((here / "policies" / file).read_text("utf-8")) == yaml.safe_load(text)


def test_the_sample_folder_is_the_result_of_both_examples() -> None:
    entry, policy, scan, *_ = map(yaml.safe_load, blocks("yaml"))
    sample = ROOT / "samples" / "policies" / "own-extensions"
    falcon = yaml.safe_load((sample / "extensions" / "falcon-sensor-linux.yaml").read_text("utf-8"))
    for key in ("name", "publisher", "type", "version", "resourceName", "os", "protectedSettings"):
        assert falcon[key] == entry[key]
    of_policy = yaml.safe_load((sample / "falcon-sensor-linux.yaml").read_text("utf-8"))
    assert of_policy["protectedSettings"] == policy["protectedSettings"]
    antimalware = yaml.safe_load((sample / "extensions" / "iaas-antimalware.yaml").read_text("utf-8"))
    properties = mapping(mapping(antimalware["settings"])["properties"])
    assert properties["ScheduledScanSettings"] == scan["ScheduledScanSettings"]
