"""`onboard check`, from its arguments and files to its lines and exit code."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from onboarding.application.image_check import NotAnImage, UsedExtension
from onboarding.cli.main import main
from onboarding.domain.errors import ConfigurationError
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import check_query

GOOD = "Canonical:UbuntuServer:16.04-LTS:latest"
OLD = "Canonical:UbuntuServer:18.04-LTS:latest"
MUTE = "fortinet:fortigate:fg-vm:7.0.0"
FIELDS = [
    *("distribution", "version", "release", "architecture", "os_type", "verdict", "witness", "reason"),
    *("extension", "supportTable"),
]


def _json(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "images"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _image(urn: str) -> dict[str, str]:
    publisher, offer, sku, version = urn.split(":")
    return {"publisher": publisher, "offer": offer, "sku": sku, "version": version, "urn": urn}


@pytest.mark.parametrize(("urns", "code"), [([GOOD], 0), ([GOOD, OLD], 1), ([MUTE], 1)])
def test_the_exit_code_says_whether_all_are_supported(urns: list[str], code: int) -> None:
    assert main(["check", *(part for urn in urns for part in ("--image", urn))]) == code


def test_the_table_says_why_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--image", GOOD, "--image", OLD, "--image", MUTE])
    out = capsys.readouterr().out
    assert "which table 2017-04 (2017-04-26) lists in row ubuntu 16.04" in out
    assert "3 checked against table 2017-04 (2017-04-26): 1 supported, 1 unsupported, 1 unknown" in out
    assert "unknown by publisher: fortinet 1" in out
    assert "\x1b" not in out


def test_the_report_of_a_guest_agent_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--os-name", "centos", "--os-version", "7.9.2009", "--format", "json"]) == 0
    [answer] = _json(capsys)
    assert (answer["distribution"], answer["version"], answer["witness"]) == ("centos", "7.9", "guest agent")


def test_another_support_table_can_be_used() -> None:
    assert main(["check", "--image", OLD, "--support-table", "2023-11"]) == 0


_ITEMS = [_image(urn) for urn in (GOOD, OLD, MUTE)]
_CSV = "publisher,offer,sku,version\n" + "\n".join(urn.replace(":", ",") for urn in (GOOD, OLD, MUTE))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(_ITEMS),
        json.dumps(_ITEMS, indent=2),
        "\n".join(map(json.dumps, _ITEMS)),
        "\n".join([json.dumps(_ITEMS[0]), "", json.dumps(_ITEMS[1]), json.dumps(_ITEMS[2])]),
        "\n".join(json.dumps(item, indent=1) for item in _ITEMS),
        "\ufeff" + json.dumps(_ITEMS),
        json.dumps([GOOD, OLD, MUTE]),
        json.dumps([{"imageReference": _image(urn)} for urn in (GOOD, OLD, MUTE)]),
        json.dumps([{"properties": {"storageProfile": {"imageReference": _image(urn)}}} for urn in (GOOD, OLD, MUTE)]),
        json.dumps([{"name": "vm", "storageProfile": {"imageReference": _image(urn)}} for urn in (GOOD, OLD, MUTE)]),
        "\n".join([GOOD, OLD, MUTE]),
        f"\n{GOOD}\n\n{OLD}\r\n{MUTE}\n",
        _CSV,
        "Urn\n" + "\n".join([GOOD, OLD, MUTE]),
    ],
    ids=[
        "array",
        "pretty",
        "lines",
        "blank",
        "objects",
        "bom",
        "texts",
        "refs",
        "vms",
        "az",
        "urns",
        "crlf",
        "csv",
        "urn",
    ],
)
def test_every_form_of_input_gives_the_same_answers(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", _file(tmp_path, text), "--format", "json"]) == 1
    assert [answer["verdict"] for answer in _json(capsys)] == ["supported", "unsupported", "unknown"]


def test_standard_input_is_read() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onboarding", "check", "-", "--format", "csv"],
        input=GOOD,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.returncode == 0
    assert list(rows[0]) == ["image", *FIELDS]
    assert rows[0]["image"] == GOOD


def test_json_keeps_the_items_own_keys_and_the_images_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7.5", "version": "7.5.2018", "note": 1}
    main(["check", _file(tmp_path, json.dumps(item)), "--format", "json"])
    [answer] = _json(capsys)
    assert answer["note"] == 1
    assert answer["version"] == "7.5"
    assert answer["urn"] == "OpenLogic:CentOS:7.5:7.5.2018"
    assert set(FIELDS) <= set(answer)


@pytest.mark.parametrize(
    ("given", "architecture", "verdict"),
    [
        ("Arm64", "arm64", "unsupported"),
        ("x64", "x86_64", "supported"),
        (None, None, "supported"),
        (7, None, "supported"),
    ],
)
def test_an_image_lists_architecture_counts(
    given: object, architecture: str | None, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", _file(tmp_path, json.dumps({**_image(GOOD), "architecture": given})), "--format", "json"])
    [answer] = _json(capsys)
    assert (answer["architecture"], answer["verdict"]) == (architecture, verdict)


def test_a_whole_vm_uses_every_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vm = {
        "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web",
        "properties": {
            "storageProfile": {"imageReference": _image(GOOD), "osDisk": {"osType": "Linux"}},
            "instanceView": {"osName": "ubuntu", "osVersion": "18.04"},
        },
    }
    assert main(["check", _file(tmp_path, json.dumps(vm))]) == 1
    assert "Ubuntu 18.04" in capsys.readouterr().out


def test_an_override_file_names_the_os_of_an_image(tmp_path: Path) -> None:
    overrides = tmp_path / "mine.yaml"
    overrides.write_text('images: [{match: "fortinet:*", distribution: centos, version: "7"}]')
    assert main(["check", "--image", MUTE, "--overrides", str(overrides)]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the input is empty ("),
        ("nonsense\n", "'nonsense' is not an image ("),
        ("nonsense\nmore nonsense\n", "images:1); write publisher:offer:sku or"),
        ("so much prose\n" * 5000, "; the 999 items after it cannot be read either"),
        ('{"color": "red"}', "the item names no image: its keys are 'color' ("),
        ("[" * 100_000, "the text is not JSON: "),
    ],
)
def test_input_without_any_image_is_bad_input(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", _file(tmp_path, text)]) == 2
    assert message in capsys.readouterr().err


_GOOD, _OLD = json.dumps(_ITEMS[0]), json.dumps(_ITEMS[1])
_BAD_LINES = [
    (f"{GOOD}\nnonsense\n{OLD}\n", "'nonsense' is not an image", "2); write publisher:offer:sku"),
    (f"nonsense\n{GOOD}\n{OLD}\n", "'nonsense' is not an image", "1); write"),
    (f"nonsense\n{_GOOD}\n{_OLD}\n", "'nonsense' is not an image", "1); write"),
    (f'{_GOOD}\n{{"publisher": \n{_OLD}\n', "the line is not JSON: ", "2); give one object a line"),
    (f'{{"publisher": \n{_GOOD}\n{_OLD}\n', "the text is not JSON: ", "1); give an array or objects"),
    (
        f"{_GOOD}\n{'[' * 200}{']' * 200}\n{_OLD}\n",
        "the line is not JSON: the text is nested more than 100 deep",
        "2); give one object a line",
    ),
    (f"{_GOOD}\nnull\n{_OLD}\n", "null is not an image", "2); give publisher"),
    (f'{_GOOD}\n{{"color": "red"}}\n{_OLD}\n', "the item names no image: its keys are 'color'", "2); give publisher"),
    (json.dumps([_ITEMS[0], {"color": "red"}, _ITEMS[1]], indent=1), "its keys are 'color'", "9); give publisher"),
    (json.dumps([GOOD, 7, OLD]), "7 is not an image", "1); give publisher"),
    (f'[\n{_GOOD},\n{{"publisher": }},\n{_OLD}\n]', "the text is not JSON: ", "3); give an array or objects"),
    (
        f'[\n  {{\n    "publisher": "x",,\n  }},\n  {_GOOD},\n  {_OLD}\n]',
        "the text is not JSON: ",
        "2); give an array or objects",
    ),
    (
        f"{_CSV.splitlines()[0]}\n{GOOD.replace(':', ',')}\nnonsense\n{OLD.replace(':', ',')}\n",
        "the image has no",
        "3); give publisher",
    ),
    (
        f"urn\n{GOOD}\n{'1' * 200_000}\n{OLD}\n",
        "the line is not CSV: field larger than field limit",
        "3); close every quote",
    ),
    (f"urn\n{GOOD}\nnonsense\n{OLD}\n", "'nonsense' is not an image", "3); write publisher"),
]


@pytest.mark.parametrize(("text", "message", "place_and_fix"), _BAD_LINES)
def test_a_bad_line_gets_an_error_and_the_rest_is_read(
    text: str, message: str, place_and_fix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", _file(tmp_path, text), "--format", "json"]) == 1
    answers = _json(capsys)
    [failed] = [answer for answer in answers if "error" in answer]
    assert sorted(answer["verdict"] for answer in answers) == ["error", "supported", "unsupported"]
    assert message in failed["error"]
    assert f"images:{place_and_fix}" in failed["error"]
    assert failed["reason"] == failed["error"]
    assert set(FIELDS) <= set(failed)


def test_each_format_shows_the_error_in_the_place_of_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, f"{GOOD}\nnon\x1bsense\n=1+1\n{GOOD}\n")
    assert main(["check", path, "--format", "csv"]) == 1
    out = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["verdict"] for row in rows] == ["supported", "error", "error", "supported"]
    assert list(rows[1]) == ["image", *FIELDS]
    assert rows[2]["image"] == "'=1+1"
    assert rows[1]["reason"].startswith("'non\\x1bsense' is not an image (")
    assert ":2); write publisher:offer:sku" in rows[1]["reason"]
    assert main(["check", path]) == 1
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[:4]] == ["supported", "error", "error", "supported"]
    assert "2 supported, 0 unsupported, 0 unknown; 2 not read" in table
    assert "\x1b" not in out + table


def test_a_bad_image_among_arguments_leaves_the_others_their_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--image", "a:b", "--image", GOOD, "--format", "json"]) == 1
    failed, answer = _json(capsys)
    assert "'a:b' is not an image (--image a:b); write publisher:offer:sku" in failed["error"]
    assert answer["verdict"] == "supported"


def test_a_bad_line_on_standard_input_does_not_end_the_run() -> None:
    command = [sys.executable, "-m", "onboarding", "check", "-", "--format", "json"]
    done = subprocess.run(command, input=f"x\n{GOOD}\n", capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [answer["verdict"] for answer in answers] == ["error", "supported"]
    assert "'x' is not an image (standard input:1); write publisher:offer:sku" in answers[0]["error"]


@pytest.mark.parametrize("bad", [['{"a": ,'], ["[1,"], ["[1,", "{"], ['{"a": [', '"'], ["]"], [","], ["nul"]])
def test_many_bad_values_take_linear_time_and_come_to_an_end(
    bad: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, "[\n" + "".join(f"{_GOOD},\n{line}\n" for line in bad) + "\n".join(bad * 50_000))
    began = time.process_time()
    assert main(["check", path, "--format", "json"]) in (0, 1)
    assert time.process_time() - began < 30
    assert _json(capsys)[0]["verdict"] == "supported"


def test_the_id_of_an_own_image_is_read_and_shown_and_decides_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/xenial-golden"
    gallery = (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/AKSUbuntu/images/1804gen2containerd"
    )
    assert main(["check", _file(tmp_path, f"{image}\n{gallery}/versions/1.0.0\n"), "--format", "json"]) == 1
    answers = _json(capsys)
    assert [(answer["distribution"], answer["version"]) for answer in answers] == [
        ("ubuntu", "16.04"),
        ("ubuntu", "18.04"),
    ]
    assert {answer["verdict"] for answer in answers} == {"unknown"}
    assert (
        "xenial-golden says Ubuntu 16.04, but it is free text; to identify the OS, use the guest agent"
        in answers[0]["reason"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/file"], "the input cannot be read: No such file or directory (/no/such/file); give"),
        (["--image", "a:b"], "'a:b' is not an image (--image a:b); write publisher:offer:sku"),
        (["x", "--image", GOOD], "the file 'x' and --image or --os-name are given; give one of them"),
        (["--image", GOOD, "--extension", "nope"], "unknown extension 'nope' (--extension); known extensions: "),
        (
            ["--image", GOOD, "--support-table", "1999-01"],
            "no support table '1999-01' (supportTable); known tables: 2017-04, 2023-11",
        ),
        (
            ["--image", GOOD, "--overrides", "/no/such"],
            "the file cannot be read: No such file or directory (/no/such); put",
        ),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_control_characters_in_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--image", "a\x1b[31m:b:c"])
    assert "\x1b" not in capsys.readouterr().out


def test_the_http_endpoint_gives_the_same_answer() -> None:
    catalogue = load_catalogue()
    oms = UsedExtension(catalogue["oms-agent-linux"])
    body = check_query({"image": OLD, "supportTable": "2023-11"}, catalogue, oms)
    assert body["verdict"] == "supported"
    assert body["row"] == "ubuntu 18.04"
    assert body["supportTable"] == "2023-11"
    assert check_query({"osName": "ubuntu", "osVersion": "18.04"}, catalogue, oms)["verdict"] == "unsupported"
    with pytest.raises(NotAnImage):
        check_query({}, catalogue, oms)
    with pytest.raises(ConfigurationError):
        check_query({"image": OLD, "extension": "nope"}, catalogue)


def test_the_page_of_supported_images_is_current() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "supported-images.md"
    assert main(["document", str(page), "--check"]) == 0


def test_the_page_is_updated(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin: tables -->\nold\n<!-- end: tables -->\n")
    assert main(["document", str(page), "--check"]) == 1
    assert main(["document", str(page)]) == 0
    assert main(["document", str(page), "--check"]) == 0
    assert "oms-agent-linux" in page.read_text()


# The child reports its own peak: the value that the parent sees includes the size of the parent at the fork.
_MEASURED = """
import sys
from onboarding.cli.main import main
code = main(sys.argv[1:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("form", ["urns", "lines", "array"])
def test_a_hundred_thousand_images_take_little_memory(form: str, tmp_path: Path) -> None:
    urns = [f"Canonical:UbuntuServer:1{n % 8}.04-LTS:{n}" if n % 5 else f"maker{n}:offer:sku:1" for n in range(100_000)]
    texts = {
        "urns": lambda: "\n".join(urns),
        "lines": lambda: "\n".join(json.dumps(_image(urn)) for urn in urns),
        "array": lambda: json.dumps([_image(urn) for urn in urns], indent=2),
    }
    path = _file(tmp_path, texts[form]())
    command = [sys.executable, "-c", _MEASURED, "check", path, "--format", "json"]
    with (tmp_path / "out").open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert (tmp_path / "out").read_text().count("\n") == 100_000
    assert int(done.stderr) < 150 * 1024
