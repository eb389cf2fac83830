"""`onboard replay` against a running host: which events arrive, and the errors if they do not."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from azure.storage.queue import QueueClient

from onboarding.cli.main import main
from simulator.azurite import Azurite
from simulator.host_process import FunctionsHost

SAMPLES = Path(__file__).parent.parent.parent / "samples" / "events"


def replay(host: FunctionsHost, file: Path, *arguments: str) -> int:
    return main(["replay", str(file), "--to", host.url, "--function", "on_event", *arguments])


def seen(host: FunctionsHost, identity: str) -> list[dict[str, Any]]:
    """The event with that id, as the function received it."""
    with urlopen(f"{host.url}/api/seen") as response:
        entries = json.load(response)
    events = [entry["event"] for entry in entries if entry["function"] == "on_event"]
    return [event for event in events if event["id"] == identity]


def event(identity: str, **data: Any) -> dict[str, Any]:
    return {"id": identity, "eventType": "Test", "eventTime": "2026-11-20T10:00:00Z", "subject": "/", "data": data}


@pytest.mark.parametrize("schema", ["keep", "eventgrid", "cloudevents"])
@pytest.mark.parametrize("form", ["one", "array", "lines"])
def test_every_form_of_file_arrives_event_by_event_in_the_requested_schema(
    host: FunctionsHost, tmp_path: Path, schema: str, form: str
) -> None:
    names = [f"{schema}-{form}-{number}" for number in range(1 if form == "one" else 3)]
    events = [event(name, a=[1, None]) for name in names]
    file = tmp_path / "events.json"
    texts = {"one": json.dumps(events[0], indent=1), "array": json.dumps(events, indent=1)}
    file.write_text(texts.get(form) or "\n".join(map(json.dumps, events)) + "\n")

    assert replay(host, file, "--schema", schema) == 0

    for name in names:
        (arrived,) = seen(host, name)
        assert arrived["data"] == {"a": [1, None]}
        assert ("specversion" in arrived) == (schema == "cloudevents")
        assert arrived["time" if schema == "cloudevents" else "eventTime"] == "2026-11-20T10:00:00Z"


def test_properties_that_dead_lettering_added_are_not_sent(host: FunctionsHost) -> None:
    assert replay(host, SAMPLES / "dead-lettered.json") == 0

    (grid,) = seen(host, "e7e27000-0000-4000-8000-000000000009")
    (cloud,) = seen(host, "e7e27000-0000-4000-8000-000000000010")
    assert not {name for name in (*grid, *cloud) if "deliver" in name.lower() or "dead" in name.lower()}
    assert set(grid) == {"id", "topic", "subject", "eventType", "eventTime", "dataVersion", "metadataVersion", "data"}
    assert set(cloud) == {"id", "source", "subject", "type", "time", "specversion", "data"}


def test_an_event_that_fails_is_shown_with_the_host_s_words_and_the_others_go_on(
    host: FunctionsHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(json.dumps(e) for e in (event("bad-1", fail=True), event("good-1"))))

    assert replay(host, file) == 1

    out = capsys.readouterr().out
    assert out.startswith("500 ")
    assert "cannot take bad-1" in out
    assert f"2 sent to {host.url}: 1 accepted, 1 refused" in out
    assert seen(host, "good-1")


def test_a_function_that_the_host_does_not_have_is_a_404(
    host: FunctionsHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event("lost-1")))

    assert main(["replay", str(file), "--to", host.url, "--function", "ON_EVENT", "--format", "json"]) == 1

    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert (answer["line"], answer["id"], answer["status"]) == (1, "lost-1", 404)
    assert "ON_EVENT" in answer["message"]


@pytest.mark.parametrize(
    ("file", "read_as"),
    [
        ("vm-created.json", ["VmWritten shop-prod/web-01"]),
        ("vm-created.cloudevent.json", ["VmWritten shop-prod/web-02"]),
        ("vm-updated.json", ["VmWritten shop-prod/web-01"]),
        ("vm-started.json", ["VmStarted shop-prod/web-01"]),
        ("vm-deleted.json", ["VmDeleted shop-prod/web-01"]),
        ("extension-succeeded.json", ["ExtensionWritten shop-prod/web-01/OMSExtension"]),
        ("extension-failed.cloudevent.json", ["ExtensionWritten shop-prod/web-02/OMSExtension"]),
        ("policy-state.json", ["PolicyStateChanged shop-prod/web-01"]),
        ("tag-write.json", ["Ignored"]),
        ("dead-lettered.json", ["VmWritten etl/batch-17", "VmDeleted etl/batch-09"]),
        ("odd.jsonl", ["VmWritten ops/legacy-db", "Ignored", "VmWritten shop-prod/build-4", *["Ignored"] * 3]),
    ],
)
def test_the_samples_are_read_as_their_page_says(
    host: FunctionsHost, capsys: pytest.CaptureFixture[str], file: str, read_as: list[str]
) -> None:
    replay(host, SAMPLES / file, "--format", "json")

    read = [json.loads(line)["readAs"].partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert read == read_as
    assert f"`{file}`" in (SAMPLES / "README.md").read_text()


def test_every_sample_is_in_the_table_of_its_page() -> None:
    files = {path.name for path in SAMPLES.iterdir()} - {"README.md"}
    page = (SAMPLES / "README.md").read_text()
    assert {name for name in files if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("", "is empty", ""),
        ("  \n", "is empty", ""),
        ('[\n{"eventType": "x"},\n{"eventType": }\n]', "the text is not JSON", ":3); give"),
        ('{"eventType": "x"}\n\n{"a": 1}\n', "the object is not an event", ":3); give"),
        ("17", "a text is not an event", ":1); give"),
        ("hello", "a text is not an event", ":1); give"),
        ("[[]]", "a list is not an event", ":1); give"),
    ],
)
def test_a_line_without_an_event_is_named_before_anything_is_sent(
    host: FunctionsHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str, line: str
) -> None:
    file = tmp_path / "events.json"
    file.write_text(text)

    assert replay(host, file) == 2

    captured = capsys.readouterr()
    assert f"{file}{line}" in captured.err
    assert problem in captured.err
    assert captured.out == ""


def test_without_a_host_the_error_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:key@127.0.0.1:{free.getsockname()[1]}/?code=key"

        assert main(["replay", str(SAMPLES / "vm-created.json"), "--to", url]) == 2

    error = capsys.readouterr().err
    assert "func start" in error
    assert "key" not in error


@pytest.mark.parametrize("url", ["localhost:7071", "ftp://localhost", "http://", "http://localhost:port", "/"])
def test_a_malformed_url_is_bad_input(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(SAMPLES / "vm-created.json"), "--to", url]) == 2
    assert "--to" in capsys.readouterr().err


def test_dead_letters_are_sent_once_each_and_filed_away(host: FunctionsHost, tmp_path: Path) -> None:
    folder = tmp_path / "SUBSCRIPTION" / "2026" / "11" / "20" / "10"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        letter = event(f"letter-{name}") | {"deadLetterReason": "MaxDeliveryAttemptsExceeded", "deliveryAttempts": 30}
        (folder / f"{name}.json").write_text(json.dumps([letter]))

    arguments = ["replay", "--dead-letter", str(tmp_path), "--to", host.url, "--function", "on_event"]
    assert main(arguments) == 0
    assert main(arguments) == 0

    assert len(seen(host, "letter-one")) == len(seen(host, "letter-two")) == 1
    assert not list(folder.iterdir())
    kept = tmp_path / "sent" / folder.relative_to(tmp_path) / "one.json"
    assert json.loads(kept.read_text())[0]["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"


def test_a_dead_letter_that_is_refused_stays(host: FunctionsHost, tmp_path: Path) -> None:
    letters = [event("letter-good"), event("letter-bad", fail=True)]
    (tmp_path / "letters.json").write_text(json.dumps(letters))

    arguments = ["replay", "--dead-letter", str(tmp_path), "--to", host.url, "--function", "on_event"]
    assert main(arguments) == 1

    assert [each["id"] for each in json.loads((tmp_path / "letters.json").read_text())] == ["letter-bad"]
    assert [each["id"] for each in json.loads((tmp_path / "sent" / "letters.json").read_text())] == ["letter-good"]


def test_a_container_is_to_be_downloaded_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--dead-letter", "https://a.blob.core.windows.net/dead-letters"]) == 2
    assert "az storage blob download-batch" in capsys.readouterr().err


def test_poison_messages_are_requeued_and_foreign_messages_stay(
    azurite: Azurite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vm = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
    check = json.dumps({"vm": vm, "extension": "oms-agent-linux", "due": "2026-11-20T09:14:07+00:00"})
    settings = tmp_path / "local.settings.json"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": azurite.connection_string}}))
    arguments = ["replay", "--poison", "--settings", str(settings)]
    assert main(arguments) == 0  # no queue yet

    with (
        QueueClient.from_connection_string(azurite.connection_string, "deferrals") as queue,
        QueueClient.from_connection_string(azurite.connection_string, "deferrals-poison") as poison,
    ):
        queue.create_queue()
        poison.create_queue()
        poison.send_message(check)
        poison.send_message("somebody else's")
        assert main(arguments) == 1
        assert [message.content for message in queue.receive_messages()] == [check]
        assert poison.get_queue_properties().approximate_message_count == 1
        queue.delete_queue()
        poison.delete_queue()
    assert "1 messages put back" in capsys.readouterr().out
