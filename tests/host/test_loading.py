"""Apps and configurations that a host cannot serve, and how a host ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from simulator.host.configuration import BadConfiguration, QueueOptions, apply_settings, read_host_options
from simulator.host_process import FunctionsHost
from simulator.process import StartFailed
from tests.host.conftest import Client, eventually

ROOT = Path(__file__).parents[2]
HEADER = "import azure.functions as func\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"


def app(folder: Path, body: str, host_json: str = '{"version": "2.0"}') -> Path:
    (folder / "function_app.py").write_text(HEADER + body)
    (folder / "host.json").write_text(host_json)
    return folder


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os\nos.environ['NOT_THERE']", "KeyError: 'NOT_THERE'"),
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
        ("", "registers no functions"),
        ("other = func.FunctionApp()", "More than one"),
    ],
)
def test_an_app_that_does_not_load_says_why(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(StartFailed, match="exit code 1") as failure, FunctionsHost(app(tmp_path, body)):
        pass
    assert message in str(failure.value)


def test_a_folder_without_an_app_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"has no function_app\.py"), FunctionsHost(tmp_path):
        pass


def test_a_bad_host_json_stops_the_host(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r'host\.json: version is "1\.0"'):
        FunctionsHost(app(tmp_path, "", '{"version": "1.0"}')).__enter__()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    folder = app(tmp_path, '@app.route(route="x")\ndef x(req: func.HttpRequest) -> str: ...\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"cannot listen on 127.0.0.1:{port}"):
            FunctionsHost(folder, arguments=["--port", str(port)]).__enter__()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ("{}", 'version is nothing; it must be "2.0"'),
        ('{"version": "2.0", "functionTimeout": "soon"}', "functionTimeout is"),
        ('{"version": "2.0", "extensions": []}', "extensions is"),
        ('{"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}', r"extensions\.queues\.batchSize is 33"),
        ('{"version": "2.0", "extensions": {"queues": {"batchSize": true}}}', r"extensions\.queues\.batchSize is true"),
        ('{"version": "2.0", "extensions": {"queues": {"messageEncoding": "hex"}}}', "messageEncoding"),
        ('{"version": "2.0", "extensions": {"queues": {"maxPollingInterval": 5}}}', "maxPollingInterval is 5"),
        ('{"version": "2.0", "logging": {"logLevel": {"default": "Loud"}}}', r"logging\.logLevel\.default"),
    ],
)
def test_a_bad_host_json_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "host.json").write_text(text)
    with pytest.raises(BadConfiguration, match=message):
        read_host_options(tmp_path, {})


def test_host_json_is_read(tmp_path: Path) -> None:
    queues = {"batchSize": 4, "maxDequeueCount": 7, "visibilityTimeout": "00:00:30", "messageEncoding": "none"}
    text = {
        "version": "2.0",
        "functionTimeout": "00:05:00",
        "extensions": {"queues": queues, "http": {"routePrefix": ""}, "durableTask": {"unknown": 1}},
        "logging": {"logLevel": {"default": "Warning", "Function.sweep": "Debug"}},
    }
    (tmp_path / "host.json").write_text(json.dumps(text))
    options = read_host_options(tmp_path, {})
    assert options.function_timeout == 300
    assert options.route_prefix == ""
    assert options.queues == QueueOptions(4, 2, 7, 60.0, 30.0, base64=False)
    assert options.log_levels == {"default": 30, "Function.sweep": 10}


def test_settings_override_host_json(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0", "extensions": {"queues": {"batchSize": 4}}}')
    environment = {
        "AzureFunctionsJobHost__extensions__queues__maxPollingInterval": "00:00:00.500",
        "AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "2",
        "AzureFunctionsJobHost__logging__logLevel__default": "Error",
        "AzureFunctionsJobHost__": "nothing",
        "AzureFunctionsJobHost__version__more": "nothing",
    }
    options = read_host_options(tmp_path, environment)
    assert options.queues == QueueOptions(4, 2, 2, 0.5)
    assert options.log_levels == {"default": 40}


def test_a_settings_file_does_not_override_the_environment(tmp_path: Path) -> None:
    environment = {"SET_ALREADY": "mine"}
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": {"SET_ALREADY": "other", "FROM_THE_FILE": "yes"}}))
    apply_settings(file, environment)
    assert environment == {"SET_ALREADY": "mine", "FROM_THE_FILE": "yes"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"IsEncrypted": true, "Values": {}}', "cannot decrypt"),
        ('{"Values": {"PORT": 7071}}', r"Values\.PORT is 7071; it must be a string"),
    ],
)
def test_a_bad_settings_file_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "local.settings.json").write_text(text)
    with pytest.raises(BadConfiguration, match=message):
        apply_settings(tmp_path / "local.settings.json", {})


PARTIAL = """
import asyncio, os

@app.timer_trigger(arg_name="timer", schedule="every day")
def no_schedule(timer: func.TimerRequest) -> None: ...

@app.timer_trigger(arg_name="timer", schedule="%NO_SUCH_SETTING%")
def no_setting(timer: func.TimerRequest) -> None: ...

@app.queue_trigger(arg_name="message", queue_name="q", connection="Nowhere")
def no_connection(message: func.QueueMessage) -> None: ...

@app.blob_trigger(arg_name="blob", path="p", connection="AzureWebJobsStorage")
def no_binding(blob: func.InputStream) -> None: ...

@app.route(route="{a}-{b}")
def no_route(req: func.HttpRequest) -> str: ...

@app.route(route="slow")
async def slow(req: func.HttpRequest) -> str:
    print("began", os.environ["GREETING"], flush=True)
    await asyncio.sleep(0.3)
    return "finished"
"""


async def test_functions_in_error_are_named_and_the_others_run_to_their_end(tmp_path: Path) -> None:
    settings = tmp_path / "local.settings.json"
    settings.write_text('{"Values": {"GREETING": "from the file"}}')
    with FunctionsHost(app(tmp_path, PARTIAL), arguments=["--settings", str(settings)]) as host:
        assert set(host.errors) == {"no_schedule", "no_setting", "no_connection", "no_binding", "no_route"}
        assert "NO_SUCH_SETTING" in host.errors["no_setting"]
        assert "Nowhere" in host.errors["no_connection"]
        assert "blobTrigger" in host.errors["no_binding"]
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(Client(host, session).send("GET", "/api/slow"))

            async def began() -> bool:
                return "began from the file" in host.output()

            await eventually(began)
            os.kill(host.pid, signal.SIGTERM)
            assert await request == (200, "finished")

        async def ended() -> bool:
            return host.exit_code is not None

        await eventually(ended)
        assert host.exit_code == 0


PARENT = """
import sys, time
from pathlib import Path
from simulator.host_process import FunctionsHost
host = FunctionsHost(Path(sys.argv[1])).start()
host.wait_ready()
print(host.url, flush=True)
time.sleep(600)
"""


def test_the_host_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    folder = app(tmp_path, '@app.route(route="x")\ndef x(req: func.HttpRequest) -> str: ...\n')
    with subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        url = urlsplit(parent.stdout.readline().decode().strip())
        parent.kill()

    async def unreachable() -> bool:
        try:
            _, writer = await asyncio.open_connection(url.hostname, url.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    asyncio.run(eventually(unreachable))
