"""The help of every command, its examples, the completion of a shell, and how little the start of a command loads."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from onboarding.cli.command_list import ACTIONS, COMMANDS, EXTENSION_ACTIONS
from onboarding.cli.main import build_parser, main

_EXAMPLE = re.compile(r"onboard ([^|)>]+)")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


EVERY = {parser.prog: parser for parser in parsers(build_parser())}
GROUPS = (COMMANDS, ACTIONS, EXTENSION_ACTIONS)
EXAMPLES = [example for group in GROUPS for entry in group.values() for example in entry.examples]


def test_every_command_is_in_the_list() -> None:
    assert {prog.removeprefix("onboard").strip() for prog in EVERY} == {
        *("", *COMMANDS),
        *(f"policy {name}" for name in ACTIONS),
        *(f"extension {name}" for name in EXTENSION_ACTIONS),
    }


@pytest.mark.parametrize("prog", EVERY)
def test_the_help_fits_80_columns(prog: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = EVERY[prog].format_help().splitlines()

    assert max(map(len, lines)) <= 80
    assert prog == "onboard" or "examples:" in lines
    for example in lines[lines.index("examples:") + 1 :] if prog != "onboard" else ():
        assert "onboard " in example  # an example that was wrapped has lines without


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_command_that_exists(example: str) -> None:
    (arguments,) = _EXAMPLE.findall(example)
    words = shlex.split(arguments.partition(" < ")[0])

    args = build_parser(words).parse_args(words)
    assert args.command == words[0]


@pytest.mark.parametrize("words", [["check"], ["policy"], ["policy", "plan"], ["status"]])
def test_a_parser_for_one_command_shows_the_same_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for parser in (build_parser(), build_parser(words)):
        for arguments in (["--help"], [*words, "--help"]):
            with pytest.raises(SystemExit):
                parser.parse_args(arguments)
    full, own, full_again, own_again = re.split(r"(?=^usage: )", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    assert (full, own) == (full_again, own_again)


def test_no_command_shows_the_help_and_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--debug"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("usage: onboard [-h]")
    assert shown.out == ""
    assert main(["policy"]) == 2
    assert capsys.readouterr().err.startswith("usage: onboard policy [-h]")


def test_a_command_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["stats"], ["policy", "plans"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert f"invalid choice: '{arguments[-1]}'" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"onboard {version('vm-onboarding')}\n"


def loaded(*arguments: str) -> set[str]:
    """The modules that a process of this command has loaded at its end."""
    code = (
        "import sys\nfrom onboarding.cli.main import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit: pass\nprint('modules', *sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


def test_the_help_loads_no_module_of_a_command() -> None:
    found = loaded("--help")
    assert not {f"onboarding.cli.{entry.module}" for entry in COMMANDS.values()} & found
    assert not found & {"asyncio", "azure", "onboarding.app", "onboarding.application", "rich"}


def test_a_check_loads_nothing_of_azure_and_of_other_commands() -> None:
    found = loaded("check", "--image", "Canonical:UbuntuServer:16.04-LTS")
    assert "onboarding.cli.images.check" in found
    assert not found & {"aiohttp", "asyncio", "azure", "onboarding.app", "onboarding.cli.machines", "rich"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["onboard", "st"], {"status"}),
        (["onboard", "policy", "va"], {"validate"}),
        (["onboard", "policy", "plan", "--ag"], {"--against"}),
        (["onboard", "status", "--outcome", "Failed", "--wat"], {"--watch"}),
        (["onboard", "status", "-o", "js"], {"json", "jsonl"}),
        (["onboard", "--debug", "check", "--output", "c"], {"csv"}),
        (["onboard", "completion", ""], {"bash", "zsh", "fish", "-h", "--help"}),
        (["onboard", "status", "--form"], set()),
    ],
)
def test_bash_completes_commands_options_and_choices(
    words: list[str], found: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert script.endswith("complete -o default -F _onboard onboard\n")
    given = (
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _onboard; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    ended = subprocess.run(["bash", "-c", f"{script}\n{given}"], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) == found
    assert ended.stderr == ""


def test_the_other_shells_know_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "zsh"])
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit && bashcompinit\n")
    main(["completion", "fish"])
    lines = capsys.readouterr().out.splitlines()
    assert "complete -c onboard -n '__fish_seen_subcommand_from status' -l output -x -a 'table json jsonl csv'" in lines
    assert any("__fish_use_subcommand" in line and " status " in line for line in lines)
    plan = "__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from plan"
    assert f"complete -c onboard -n '{plan}' -l against" in lines
