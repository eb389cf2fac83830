"""One form for all log lines: the same keys in each, as text or as one JSON object."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onboarding.domain.request_id import request_id
from onboarding.logging import Keys, bound, bound_keys, configure, logger, writes_json
from onboarding.settings import read_settings

ROOT = Path(__file__).parents[3]
MACHINE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
KEY = "c2VjcmV0IHdvcmtzcGFjZSBrZXkgdGhhdCBub2JvZHkgbWF5IHNlZSwgNjQgYnl0ZXMgb2YgaXQuLi4uLi4uLi4uLg=="
STORAGE = {"AzureWebJobsStorage": "UseDevelopmentStorage=true"}
LOG = logger("onboarding.tests")


@pytest.fixture(autouse=True)
def _form() -> Iterator[None]:
    yield
    configure({})


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "onboarding.tests"]


@pytest.mark.parametrize(
    ("environment", "json_lines"),
    [
        ({}, False),
        ({"ONBOARDING_LOG": "json"}, True),
        ({"WEBSITE_INSTANCE_ID": "x"}, True),
        ({"FUNCTIONS_WORKER_RUNTIME": "python", "WEBSITE_SITE_NAME": "func"}, True),
        ({"FUNCTIONS_WORKER_RUNTIME": "python"}, False),
        ({"WEBSITE_INSTANCE_ID": "x", "ONBOARDING_LOG": "text"}, False),
        ({"WEBSITE_INSTANCE_ID": "x", "ONBOARDING_LOG": "xml"}, True),
        ({"ONBOARDING_LOG": "xml"}, False),
    ],
)
def test_the_setting_decides_and_else_whether_it_runs_in_azure(environment: dict[str, str], json_lines: bool) -> None:
    configure(environment)
    assert writes_json() is json_lines


@pytest.mark.parametrize("value", ["", "json", "text"])
def test_a_known_form_is_no_problem(value: str) -> None:
    assert read_settings({**STORAGE, "ONBOARDING_LOG": value}).problems == ()


def test_a_wrong_form_is_a_named_problem() -> None:
    assert read_settings({**STORAGE, "ONBOARDING_LOG": "jsn"}).problems == (
        "the value is not a form of log lines (app setting ONBOARDING_LOG); "
        "known forms: json, text; did you mean 'json'?",
    )


def test_a_line_is_readable_on_a_console(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "onboarding")
    LOG.info("the sweep has begun")
    with bound(machine=MACHINE, event_id="e1"):
        LOG.info("100%")
        LOG.bind(target="oms", client_request_id="r1").warning("%s, %s", "Failed", "two\nlines")
    assert written(caplog) == [
        "the sweep has begun",
        "web01: 100% [event e1]",
        "web01 oms: Failed, two?lines [event e1, request r1]",
    ]


def test_a_json_line_has_every_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "onboarding")
    configure({"ONBOARDING_LOG": "json"})
    every: dict[str, Any] = {name: name for name in Keys.__struct_fields__} | {"ms": 0}
    LOG.info("no\nkeys \u2028")
    LOG.bind(**every).info("all")
    first, second = written(caplog)
    assert first.isascii()
    assert first.isprintable()
    assert json.loads(first) == {"text": "no\nkeys \u2028", **dict.fromkeys(every)}
    assert json.loads(second) == {"text": "all", **every}


def test_the_log_never_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "onboarding")
    LOG.bind(target="oms").info("bound")
    LOG.info("free")
    assert written(caplog) == ["oms: bound", "free"]


async def test_each_task_has_its_own_keys() -> None:
    async def handle(name: str) -> set[str]:
        with bound(machine=name):
            await asyncio.sleep(0)
            return {await read(), await asyncio.create_task(read())}

    async def read() -> str:
        return bound_keys().machine

    first, second = await asyncio.gather(handle("a"), handle("b"))
    assert (first, second) == ({"a"}, {"b"})
    assert bound_keys() == Keys()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_secret_is_masked(form: str, caplog: pytest.LogCaptureFixture) -> None:
    configure({"ONBOARDING_LOG": form})
    LOG.error("the request with %s failed", f'{{"workspaceKey": "{KEY}"}}')
    (line,) = written(caplog)
    assert "failed" in line
    assert KEY not in line
    assert KEY[:12] not in line


def test_what_is_not_logged_is_not_put_together(caplog: pytest.LogCaptureFixture) -> None:
    class Never:
        def __str__(self) -> str:
            raise AssertionError("nobody reads this")

    caplog.set_level("INFO", "onboarding")
    LOG.debug("%s", Never())
    assert written(caplog) == []


def test_the_id_of_a_request_is_derived() -> None:
    same = {request_id("e", MACHINE, "extension/oms/1"), request_id("e", MACHINE.upper(), "extension/oms/1")}
    assert same == {"ab34e393-b93d-5258-9d73-e609ef04ecc2"}
    others = {request_id("f", MACHINE, "extension/oms/1"), request_id("e", MACHINE, "extension/oms/2")}
    assert len(same | others) == 3


def test_no_other_module_writes_lines_of_another_form() -> None:
    allowed = {"onboarding/logging.py", "onboarding/cli/main.py"}
    own = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "onboarding").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(alias.name == "logging" for alias in node.names)
    }
    assert own == allowed


def test_python_finds_its_own_module_of_that_name() -> None:
    assert Path(str(logging.__file__)).parent.name == "logging"
