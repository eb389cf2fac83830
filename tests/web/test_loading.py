"""An event loads nothing of the page: no template engine, no view, no file of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from simulator.laptop import ROOT, forget_settings
from tests.host.test_cold_start import EVENT, SCRIPT

RELEVANT = EVENT.replace("Microsoft.Compute/disks/data", "Microsoft.Compute/virtualMachines/vm1").replace(
    "Microsoft.Compute/disks/write", "Microsoft.Compute/virtualMachines/write"
)
OF_THE_PAGE = (
    "jinja2",
    "onboarding.web",
    "gzip",
    "csv",
    "html.parser",
    "onboarding.application.reports",
    "onboarding.azure.storage.dead_letters",
    "xml",
)


def modules_after(event: str) -> list[str]:
    own = dict(os.environ)
    forget_settings(own)
    own["AzureWebJobsStorage"] = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=c2VjcmV0;"
        "TableEndpoint=http://127.0.0.1:9/devstoreaccount1;QueueEndpoint=http://127.0.0.1:9/devstoreaccount1"
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=event, env=own, cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])[2]
    return modules


def test_an_ignored_event_loads_nothing_of_the_page() -> None:
    assert [name for name in modules_after(EVENT) if name.startswith(OF_THE_PAGE)] == []


def test_an_event_of_a_machine_loads_nothing_of_the_page() -> None:
    modules = modules_after(RELEVANT)
    assert "onboarding.azure.storage.table_client" in modules  # it got as far as storage, which does not answer here
    used = ("gzip", "csv", "html.parser", "xml")  # by storage and its clients
    assert [name for name in modules if name.startswith(OF_THE_PAGE) and not name.startswith(used)] == []
