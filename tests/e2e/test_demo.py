"""The demo as a command: its output, its exit code, and that no process or file of it is left, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from simulator.demo.fleet import CROWDED, make_fleet
from simulator.demo.today import TODAY, make_today
from simulator.laptop import SUBSCRIPTIONS

ROOT = Path(__file__).parents[2]
VMS, SEED = 20, 4
MARK = "DEMO_RUN"

pytestmark = pytest.mark.timeout(120)  # the first test waits for a whole demo, which gets 90 seconds

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds child processes in /proc")


@dataclass(frozen=True)
class Demo:
    """One run of the command. Its child processes inherit an environment variable by which the test finds them."""

    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, errors: Path) -> subprocess.Popen[bytes]:
        with errors.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "simulator", "demo", *self.arguments],
                cwd=ROOT,
                env={**os.environ, **self.environment, MARK: self.mark},
                stdout=subprocess.PIPE,
                stderr=file,
            )

    def processes(self) -> list[str]:
        """The command lines of its processes that still run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # the process has just ended, or belongs to somebody else
        return found


@dataclass(frozen=True)
class Ended:
    code: int
    output: str
    errors: str
    report: dict[str, Any]
    left: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One complete run. The environment has settings of a real deployment, which the demo must not use."""
    errors = tmp_path_factory.mktemp("demo") / "errors.txt"
    real = {"ONBOARDING_STORAGE": "AccountName=real", "AZURE_CLOUD": "AzureChinaCloud", "OMS_WORKSPACE_KEY": "real"}
    demo = Demo(("--vms", str(VMS), "--seed", str(SEED), "--json"), real)
    with demo.start(errors) as process:
        output = process.communicate(timeout=90)[0].decode()
    return Ended(process.returncode, output, errors.read_text(), json.loads(output), demo.processes())


def test_every_row_is_what_the_simulator_knows_to_be_true(ended: Ended) -> None:
    assert ended.report["checks"]
    assert [check for check in ended.report["checks"] if not check["ok"]] == []
    assert ended.report["ok"]
    assert ended.code == 0


def test_the_counts_are_those_of_the_fleet(ended: Ended) -> None:
    fleet = (*make_fleet(VMS, SEED, tuple(SUBSCRIPTIONS)), *make_today(VMS))
    assert ended.report["counts"] == Counter(member.expected.outcome for member in fleet)
    assert {row["VmName"]: row["Outcome"] for row in ended.report["rows"]} == {
        member.spec.name: member.expected.outcome for member in fleet
    }


def test_both_schemas_and_every_kind_of_fault_were_at_work(ended: Ended) -> None:
    assert {row["ResourceId"].split("/")[2] for row in ended.report["rows"]} == {*SUBSCRIPTIONS, CROWDED, TODAY}
    assert ended.report["duplicates_delivered"] > 0
    assert ended.report["outcome_events"] >= VMS


def test_agents_that_are_installed_and_send_nothing_are_counted(ended: Ended) -> None:
    silent = ended.report["azure_monitor_agents_without_data"]
    assert silent == {"the network is blocked": 1, "the associated rules are for another operating system": 1}
    assert sum(silent.values()) / (VMS + len(make_today(VMS))) > 0.05
    assert ended.report["azure_monitor_agents"] == 9


def test_standard_output_is_one_json_object_and_progress_goes_to_standard_error(ended: Ended) -> None:
    assert len(ended.output.splitlines()) == 1
    assert f"of {VMS + len(make_today(VMS))} created" in ended.errors


def test_a_folder_of_own_policies_is_tried_on_the_same_fleet(tmp_path: Path) -> None:
    rule = "{field: type, equals: Microsoft.Compute/virtualMachines}"
    lines = ("name: mine", "effect: auditIfNotExists", "extension: oms-agent-linux", f"rule: {rule}")
    (tmp_path / "mine.yaml").write_text("\n".join((*lines, 'settings: {workspaceId: "{MINE}"}')))
    arguments = ("--vms", "4", "--json", "--policies", str(tmp_path), "--setting", f"MINE={uuid.uuid4()}")
    with Demo(arguments).start(tmp_path / "errors.txt") as process:
        report = json.loads(process.communicate(timeout=90)[0])
    assert process.returncode == 0
    assert "/api/health/details: healthy; policies: mine" in (tmp_path / "errors.txt").read_text()
    assert {row["Policy"] for row in report["rows"]} == {"mine"}
    assert "Installed" not in report["counts"]
    assert report["counts"]["Audited"]
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    assert (tmp_path / "mine.yaml").read_text().count("waits") == 0


@needs_proc
def test_the_demo_leaves_no_process_and_no_file(ended: Ended) -> None:
    assert ended.left == []


@needs_proc
@pytest.mark.parametrize(
    ("number", "code", "when"),
    [
        (signal.SIGINT, 130, "Starting the functions host"),
        (signal.SIGINT, 130, "of 80 created"),
        (signal.SIGTERM, 130, "of 80 created"),
        (signal.SIGKILL, -9, "of 80 created"),
    ],
)
def test_a_signal_ends_everything(number: signal.Signals, code: int, when: str, tmp_path: Path) -> None:
    errors = tmp_path / "errors.txt"
    demo = Demo(("--vms", "60", "--json"))  # and twenty with the agent of today
    with demo.start(errors) as process:
        wait_for(lambda: when in errors.read_text())
        assert len(demo.processes()) > 1
        process.send_signal(number)
        assert process.wait(20) == code
    wait_for(lambda: demo.processes() == [], 20 if number is signal.SIGKILL else 0.1)
    assert "Traceback" not in errors.read_text()


@needs_proc
def test_a_demo_that_is_kept_says_one_thing_on_its_page_and_in_its_table(tmp_path: Path) -> None:
    errors = tmp_path / "errors.txt"
    demo = Demo(("--vms", "1", "--json", "--keep"))
    with demo.start(errors) as process:
        try:
            wait_for(lambda: "the page" in errors.read_text(), 90)
            said = errors.read_text()
            page = re.search(r"the page +(\S+)", said)
            settings = re.search(r"onboard status --settings (\S+)", said)
            assert page
            assert settings
            with urlopen(f"{page[1]}/overview.json") as answer:
                shown = json.load(answer)
            totals = json.loads(onboard("--totals", "-o", "json", "--settings", settings[1]))["outcomes"]
            rows = json.loads(onboard("-o", "json", "--settings", settings[1]))
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert totals == shown["outcomes"] == Counter(row["Outcome"] for row in rows)
    trend = shown["trend"][-1]
    assert (trend["onboarded"], trend["inScope"]) == (shown["total"]["onboarded"], shown["total"]["inScope"])


def onboard(*arguments: str) -> str:
    """What `onboard status` prints."""
    command = [sys.executable, "-m", "onboarding", "status", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@needs_proc
def test_a_part_that_cannot_start_is_named(tmp_path: Path) -> None:
    errors = tmp_path / "errors.txt"
    demo = Demo(("--json",), {"AZURITE": str(tmp_path)})
    with demo.start(errors) as process:
        assert process.communicate(timeout=30)[0] == b""
    assert process.returncode == 1
    assert f"{tmp_path} is not azurite's package folder" in errors.read_text()
    assert demo.processes() == []


def wait_for(holds: Callable[[], bool], within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not in {within:.0f} s"
        time.sleep(0.02)
