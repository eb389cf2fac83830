"""`onboard errors`: the table of exit codes of the document, and the changes of later editions."""

from __future__ import annotations

import json

import pytest

from onboarding.cli.main import main

# The table of the document, word for word. It gives no action for some codes.
DOCUMENT = {
    2: ("Invalid option provided to the shell bundle", None),
    3: ("No option provided to the shell bundle", None),
    4: ("Invalid package type", None),
    5: ("The shell bundle must be executed as root", None),
    6: ("Invalid package architecture", None),
    10: (
        "VM is already connected to an OMS workspace",
        "To connect the VM to the workspace specified in the extension schema, set stopOnMultipleConnections to false"
        " in public settings or remove this property. This VM gets billed once for each workspace it is connected to.",
    ),
    11: (
        "Invalid config provided to the extension",
        "Follow the preceding examples to set all property values necessary for deployment.",
    ),
    20: ("Installation of SCX/OMI failed", None),
    21: ("Installation of SCX/Provider kits failed", None),
    22: ("Installation of bundled package failed", None),
    23: ("SCX or OMI package already installed", None),
    30: ("Internal bundle error", None),
    51: ("This extension is not supported on the VM's operation system", None),
    60: (
        "Unsupported version of OpenSSL",
        "Install a version of OpenSSL meeting our package requirements (https://github.com/Microsoft/"
        "OMS-Agent-for-Linux/blob/master/docs/OMS-Agent-for-Linux.md#package-requirements).",
    ),
    61: ("Missing Python ctypes library", "Install the Python ctypes library or package (python-ctypes)."),
    62: ("Missing tar program", "Install tar."),
    63: ("Missing sed program", "Install sed."),
}


@pytest.mark.parametrize("code", DOCUMENT)
def test_the_documents_meaning_and_action_come_first(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", str(code), "--format", "json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    first = json.loads(line)["editions"][0]
    assert (first["date"], first["handlerVersion"], first["operation"]) == ("2017-04-26", None, [])
    assert (first["meaning"], first["action"]) == DOCUMENT[code]


def test_the_document_has_no_other_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "--format", "json"]) == 0
    output = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["code"] for item in output if item["editions"][0]["date"] == "2017-04-26"] == list(DOCUMENT)
    assert [item["code"] for item in output] == sorted(item["code"] for item in output)


def test_later_editions_are_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", "60"]) == 0
    out = capsys.readouterr().out
    assert out.index("Unsupported version of OpenSSL") < out.index("2024-03-01, from 1.13") < out.index("Python is mis")


def test_the_whole_table_is_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-6])) <= 120
    assert "Missing tar program → Install tar." in out


@pytest.mark.parametrize("arguments", [["7000"], ["10", "--extension", "nobody"]])
def test_an_unknown_code_is_reported(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", *arguments]) == 2
    output = capsys.readouterr()
    assert arguments[-1] in output.err
    assert not output.out
