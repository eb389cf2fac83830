"""The function app, as a host indexes it: nothing can fail at import, whatever is set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIST = """
import json, function_app
print(json.dumps({f.get_function_name(): f.get_trigger().type for f in function_app.app.get_functions()}))
"""


@pytest.mark.parametrize(
    "environment",
    [{}, {"AZURE_CLOUD": "x", "ARM_ENDPOINT": "https://[", "AzureWebJobsStorage": "x", "ONBOARDING_POLICIES": "/none"}],
    ids=["empty", "nonsense"],
)
def test_it_imports_and_lists_its_functions(environment: dict[str, str]) -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIST], cwd=root, env=environment, capture_output=True, text=True
    )
    assert run.stderr == ""
    functions = json.loads(run.stdout)
    assert {
        "on_resource_event": "eventGridTrigger",
        "on_deferral": "queueTrigger",
        "sweep": "timerTrigger",
        "get_health": "httpTrigger",
    }.items() <= functions.items()
