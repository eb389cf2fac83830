"""Every command that takes a file, a text or standard input, with wrong content: it ends with exit code 0, 1 or 2 and a
readable text, never with a traceback or bytes.

The inputs are found in the parser, so a new command or argument is tried without a change here. A command with a
required argument for which this module has no value fails a test that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboarding.cli.main import build_parser, main
from tests.flow.world import POLICY, vm_body
from tests.unit.loading.test_reading import ALIASES

pytestmark = pytest.mark.timeout(240)  # some thousand commands in one process

ROOT = Path(__file__).parents[3]
NASTY: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t\r\n ",
    "binary": b"\x7fELF\x02\x01\x01\0\0\0\0\0\x03\0>\0\x01\0\0\0\xff\xfe\xfd\x80",
    "nul": b'{"a": "\0"}\0\0',
    "latin-1": "Größe: é".encode("latin-1"),
    "half a mark": b"\xef\xbb",
    "utf-16 mark": b"\xff\xfe",
    "utf-16, odd": b"\xff\xfe{\0}",
    "utf-16, surrogate": b"\xff\xfe\x00\xd8[\0]\0",
    "utf-32, bad": b"\xff\xfe\0\0\xff\xff\xff\xff",
    "utf-8, surrogate": b'["\xed\xa0\x80"]',
    "surrogate": (
        b'{"id": "\\ud800", "name": "\\udfff", "properties": {"vmId": "\\ud83d"}, "tags": {"\\ud800": "\\ud800"}}'
    ),
    "digits": b'{"a": ' + b"9" * 5000 + b"}",
    "exponent": b'[1e999, -1e999, NaN, Infinity, -Infinity, 1E-999, {"code": 1e999}]',
    "duplicates": b'{"properties": 1, "properties": {"vmId": 2}, "id": 3, "name": [], "name": {}}',
    "brackets": b"[" * 20_000,
    "objects": b'{"a":' * 2000 + b"1" + b"}" * 2000,
    "deep": b'{"properties": {"storageProfile": ' + b'{"a": [' * 45 + b"1" + b"]}" * 45 + b"}}",
    "wrong types": json.dumps(
        {
            "id": 1,
            "name": [],
            "type": {},
            "location": 5,
            "tags": [1],
            "plan": 7,
            "resources": {"a": 1},
            "properties": {"storageProfile": [], "vmId": {}, "instanceView": 3, "osProfile": "x"},
        }
    ).encode(),
    "wrong types in a definition": (
        b'{"properties": {"policyRule": {"if": [1], "then": {"effect": 3, "details": []}}, "parameters": 1}}'
    ),
    "wrong types in a policy": (
        b'{"name": 1, "extension": [], "scope": {}, "rule": "x", "settings": 3, "exemptions": [1]}'
    ),
    "wrong types in cases": b'{"policy": 7, "definition": [1], "cases": [{"vm": 1, "expect": {}}, 3]}',
    "wrong parameters of cases": b'{"definition": "d.json", "parameters": [1], "cases": []}',
    "cases of nothing": b'{"policy": "none.yaml", "cases": []}',
    "cases of a folder": b'{"definition": ".", "cases": []}',
    "wrong types in images": b'{"images": [{"match": 3}, 7, {"match": "[", "version": 8.10}]}',
    "wrong types in settings": b'{"Values": {"A": 1, "": "x"}}',
    "odd settings": b'{"Values": {"A=B": "x\\u0000", "": ""}}',
    "wrong types in an event": (
        b'{"specversion": [], "type": {}, "data": {"operationName": [], "resourceUri": {}}, "subject": 1}'
    ),
    "values": b"7\n",
    "null": b"null",
    "text": b'"text"',
    "list of lists": b"[[[[]]], [[1]], [null]]",
    "list without an end": b'[{"id": "a"}, ',
    "wrappers": b'{"value": {"value": [{"value": [1]}]}, "data": {"columns": 3, "rows": [[1]]}, "count": []}',
    "content": b'{"StatusCode": 200, "Content": "[[[[{\\"value\\": [1, {}]}"}',
    "deep content": json.dumps({"StatusCode": 200, "Content": "[" * 50_000 + "]" * 50_000}).encode(),
    "lines": b'{"a": 1}\n{"a": 2\n{"a": 3}\n',
    "tags": b"!!python/object/apply:os.system ['true']\n",
    "yaml tags": b"name: !!binary '====='\nextension: !foo {a: 1}\nrule: !!timestamp 2027-13-45\n",
    "aliases": b"name: p\nextension: oms-agent-linux\nparameters:\n  x: 1\n" + ALIASES.encode(),
    "loop": b"a: &a [*a]\n",
    "merge": b"a: {<<: 1}\nb: {<<: [1, 2]}\n? [complex, key]\n: 1\n? {a: b}\n: 2\n1: 2\nnull: 3\n2026-01-01: 4\n",
    "documents": b"---\na: 1\n---\nb: 2\n...\n",
    "directives": b"%YAML 9.9\n---\na: 1\n",
    "sixty": b"a: 1" + b":1" * 5000,
    "tabs": b"a:\n\t- b\n",
    "bomb": b'Publisher,Offer,Sku\n=cmd|"/C calc"!A0,@SUM(1),-1\n"' + b"x" * 200_000,
    "csv, ragged": b"publisher,offer,sku\na\nb,c,d,e,f\n,,\n\0,\0,\0\n",
    "csv, heads": b",,,urn,urn,,\n1,2,3,4,5\n",
    "steering": "\x1b]0;x\x07\x9b2J\u202e\u2028 exit code 52 \x1b[31m".encode(),
    "html": b"<html><body><h1>503 Service Unavailable</h1></body></html>",
    "one long line": b"a:" * 100_000,
    "status": (
        b'[{"version": 1, "status": {"code": "x", "formattedMessage": {"message": 5}}, "headers": [], "statuses": [1]}]'
    ),
    "errors": (
        b'{"error": {"code": [], "message": {}, "details": [[1], {"error": 3}], '
        b'"innererror": "x"}, "status": "99999999999"}'
    ),
}
UNREADABLE = frozenset(
    [
        *("empty", "blank", "nul", "latin-1", "half a mark", "utf-16 mark", "utf-16, odd", "utf-16, surrogate"),
        *("utf-32, bad", "utf-8, surrogate", "digits", "brackets", "objects", "list without an end", "tags", "aliases"),
        *("loop", "documents", "directives", "sixty", "tabs", "html", "lines", "deep content", "one long line"),
    ]
)
# Values of required arguments; the fixture makes files of these names.
GOOD: dict[str, str] = {
    "definition": "d.json",
    "vm": "vm.json",
    "labels": "labels.json",
    "file": "d.json",
    "files": "policies",
    "entry": "oms-agent-linux",
    "policy": "linux-monitoring",
}
_RUN = """
import contextlib, io, json, os, resource, sys, traceback
from onboarding.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (3 * 1024**3,) * 2)
os.chdir(sys.argv[1])
opened = set()
sys.addaudithook(lambda event, args: opened.add(os.path.abspath(str(args[0]))) if event == "open" else None)
for command, path, content, piped in json.load(sys.stdin):
    if path:
        with open(path, "wb") as file:
            file.write(bytes.fromhex(content))
    raw, out, err = io.BytesIO(bytes.fromhex(piped or "")), io.StringIO(), io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw))
    if not isinstance(piped, str):
        sys.stdin.close()
    opened.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            traceback.print_exc()
            code = 99
    reads = [bool(path) and os.path.abspath(path) in opened, piped is not None and raw.tell() > 0]
    print(json.dumps([command, code, out.getvalue(), err.getvalue(), reads]))
"""


@dataclass(frozen=True)
class Invocation:
    """A command, the content of its file, and of its standard input; None: standard input is closed."""

    command: list[str]
    path: str = ""
    content: bytes = b""
    piped: bytes | None = b""


@dataclass(frozen=True)
class InvocationResult:
    """The result of a command, and whether it read the file and standard input."""

    command: list[str]
    code: Any
    out: str
    err: str
    reads: tuple[bool, bool]

    @property
    def good(self) -> bool:
        words = (self.out + self.err).replace("\n", "")
        explained = bool(self.err.strip()) or self.code != 2
        return self.code in (0, 1, 2) and "Traceback" not in words and words.isprintable() and explained


def _leaves(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path, parser
    for action in below:
        for name, inner in action.choices.items():
            yield from _leaves(inner, (*path, name))


LEAVES = dict(_leaves(build_parser()))


def _texts(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments that take a text: the name of a file, or a text that a person may take for one."""
    return [
        action
        for action in parser._actions
        if action.nargs != 0 and not action.choices and getattr(action.type, "__name__", "") in ("NoneType", "Path", "")
    ]


def _given(action: argparse.Action, value: str) -> list[str]:
    return [f"{action.option_strings[-1]}={value}"] if action.option_strings else [value]


def _others(parser: argparse.ArgumentParser, besides: argparse.Action) -> list[str]:
    """The other required arguments of a command."""
    found = []
    for action in parser._actions:
        needed = action.required and action.nargs != "*"
        if needed and action is not besides and action.dest not in ("help",):
            assert action.dest in GOOD, f"tell a good value of {action.dest!r} in GOOD"
            found += _given(action, GOOD[action.dest])
    return found


def commands(value: str) -> Iterator[list[str]]:
    """Every command, with this value for each of its arguments, one at a time."""
    for path, parser in LEAVES.items():
        for action in _texts(parser):
            yield [*path, *_given(action, value), *_others(parser, action)]
            if action.dest == "parameters":
                yield [*path, *_given(action, f"@{value}"), *_others(parser, action)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("doors")
    rule = {"if": {"field": "name", "equals": "x"}, "then": {"effect": "audit"}}
    (root / "policies").mkdir()
    (root / "policies" / "p.json").write_text(json.dumps(POLICY))
    (root / "d.json").write_text(json.dumps({"properties": {"policyRule": rule}}))
    (root / "vm.json").write_text(json.dumps(vm_body()))
    label = {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "16.04-LTS", "distro": "ubuntu"}
    (root / "labels.json").write_text(json.dumps([label]))
    return root


def _run_all(folder: Path, invocations: Iterable[Invocation]) -> list[InvocationResult]:
    given_ = [
        (each.command, each.path, each.content.hex(), None if each.piped is None else each.piped.hex())
        for each in invocations
    ]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(folder)],
        input=json.dumps(given_),
        capture_output=True,
        text=True,
        timeout=230,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(given_)
    return [InvocationResult(command, code, out, err, tuple(reads)) for command, code, out, err, reads in answers]


def _judge(answers: Iterable[InvocationResult]) -> None:
    bad = [each for each in answers if not each.good]
    shown = "\n".join(f"{each.command} ended with {each.code}: {(each.out + each.err)[-300:]!r}" for each in bad[:8])
    assert not bad, f"{len(bad)} commands\n{shown}"


FILE = "nasty.cases.yaml"  # with this name, `policy validate` and `policy test` read it


@pytest.fixture(scope="module")
def reading_commands(folder: Path) -> dict[tuple[str, ...], tuple[bool, bool]]:
    """Every command that was seen to read the file FILE, or standard input for `-`."""
    content = NASTY["binary"]
    by_file = _run_all(folder, [Invocation(command, FILE, content) for command in commands(FILE)])
    by_pipe = _run_all(folder, [Invocation(command, piped=content) for command in commands("-")])
    _judge([*by_file, *by_pipe])
    return {
        tuple(one.command): (one.reads[0], other.reads[1])
        for one, other in zip(by_file, by_pipe, strict=True)
        if one.reads[0] or other.reads[1]
    }


def test_every_input_of_the_parser_is_tried(reading_commands: dict[tuple[str, ...], tuple[bool, bool]]) -> None:
    assert NASTY.keys() > UNREADABLE
    readers = {command[0] if command[0] != "policy" else " ".join(command[:2]) for command in reading_commands}
    assert readers >= {"check", "compare", "diagnose", "document", "replay", "install", "template", "status"}
    assert readers >= {f"policy {name}" for name in ("evaluate", "explain", "plan", "validate", "test", "import")}


def _with_one_settings_command(
    reading_commands: dict[tuple[str, ...], tuple[bool, bool]], number: int
) -> list[tuple[str, ...]]:
    """The commands, but only one of those with a settings file, which all commands read with the same function."""
    settings_ = [command for command in reading_commands if any(each.startswith("--settings=") for each in command)]
    return [*(command for command in reading_commands if command not in settings_), settings_[number % len(settings_)]]


def test_no_content_breaks_an_input(folder: Path, reading_commands: dict[tuple[str, ...], tuple[bool, bool]]) -> None:
    """Each content for each input, in turn as a file and on standard input. Content that a few functions detect, such
    as invalid text, JSON or YAML, is tried for every third input."""
    invocations = []
    for number, (name, content) in enumerate(NASTY.items()):
        for turn, command in enumerate(_with_one_settings_command(reading_commands, number)):
            if name in UNREADABLE and (number + turn) % 3:
                continue
            takes_file, takes_input = reading_commands[command]
            if takes_file and (not takes_input or (number + turn) % 2):
                invocations.append(Invocation(list(command), FILE, content))
            else:
                invocations.append(Invocation([each.replace(FILE, "-") for each in command], piped=content))
    _judge(_run_all(folder, invocations))


def test_a_path_that_is_not_a_file_is_named(
    folder: Path, reading_commands: dict[tuple[str, ...], tuple[bool, bool]]
) -> None:
    """Folders, devices, files that are missing or unreadable, invalid names, a closed standard input."""
    (folder / "closed").write_text("x")
    (folder / "closed").chmod(0)
    (folder / "folder.yaml").mkdir(exist_ok=True)
    (folder / "loop").symlink_to("loop")
    names = ["folder.yaml", "none/such", "closed", "/dev/null", "loop", "x" * 300, "\udcff", "p.yaml/x", ""]
    invocations = [
        Invocation([each.replace(FILE, name) for each in command])
        for number, name in enumerate(names)
        for command in _with_one_settings_command(reading_commands, number)
    ]
    invocations += [
        Invocation([each.replace(FILE, "-") for each in command], piped=None)
        for command, (_, piped) in reading_commands.items()
        if piped
    ]
    _judge(_run_all(folder, invocations))


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--overrides", "bad", "--image", "a:b:c"],
        ["compare", "bad", "--definition", "bad"],
        ["policy", "validate", "bad"],
        ["policy", "import", "bad"],
        ["policy", "test", "bad"],
        ["template", "--settings", "bad"],
    ],
    ids=" ".join,
)
def test_content_that_is_not_text_is_refused_with_the_reason(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").write_bytes(NASTY["binary"])
    with contextlib.chdir(tmp_path):
        assert main(command) == (1 if "validate" in command else 2)
    captured = capsys.readouterr()
    (line, *_) = (captured.out + captured.err).splitlines()
    assert "bad" in line
    assert "the text is not UTF-8 at byte 20 (" in line


WORDS = st.sampled_from(
    [
        *("id", "name", "type", "tags", "properties", "storageProfile", "ImageReference", "value", "data", "Content"),
        *("policyRule", "if", "then", "effect", "details", "field", "equals", "allOf", "count", "parameters", "rule"),
        *("cases", "vm", "expect", "policy", "extension", "settings", "scope", "images", "match", "Values", "error"),
        *("code", "message", "statuses", "publisher", "offer", "sku", "urn", "eventType", "specversion", "distro"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=25,
)
TEXTS = st.lists(st.binary(max_size=6) | st.sampled_from(sorted(NASTY.values(), key=len)[:30]), max_size=5).map(
    b"".join
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES.map(lambda value: json.dumps(value).encode()) | TEXTS, min_size=4, max_size=4))
def test_no_random_content_breaks_an_input(
    folder: Path, reading_commands: dict[tuple[str, ...], tuple[bool, bool]], contents: list[bytes]
) -> None:
    for number, command in enumerate(_with_one_settings_command(reading_commands, len(contents[0]))):
        (folder / FILE).write_bytes(contents[number % len(contents)])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(command)
        _judge([InvocationResult(list(command), code, out.getvalue(), err.getvalue(), (True, False))])
