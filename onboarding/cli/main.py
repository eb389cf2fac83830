"""`onboard`: the command line. Each command has a module, which defines its arguments and documents its exit codes."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from onboarding.cli.command_list import COMMANDS, WITH_ACTIONS, add_command
from onboarding.cli.environment import restored_environment
from onboarding.cli.io import CommandFailed
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask
from onboarding.logging import OUTCOMES, configure, writes_json


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process. 2 means bad input; also no command at all, which shows
    the help: a script whose variable is empty has to notice."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser([word for word in given if not word.startswith("-")])
    args = parser.parse_args(given)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    configure(os.environ)
    if args.debug:
        _log_everything()
    try:
        with restored_environment(), nullcontext() if args.debug else _without_results():
            code: int = args.run(args)
    except (CommandFailed, ConfigurationError) as error:
        print(printable(f"onboard {args.command}: {error}", lines=True), file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return code


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The arguments of every command. With the words of a command line, only those of the command that they begin with
    are defined, and no other command's module is loaded."""
    parser = argparse.ArgumentParser(
        prog="onboard",
        description="Onboard Azure VMs by hand, and see what was done.",
        epilog="`onboard COMMAND --help` shows the options and examples of a command.",
    )
    parser.add_argument("--debug", action="store_true", help="log every step to standard error, secrets masked")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = None if words is None else next(iter(words), "")
    for name, entry in COMMANDS.items():
        if chosen not in (None, name):
            add_command(commands, name)
            continue
        module = importlib.import_module(f"onboarding.cli.{entry.module}")
        if name in WITH_ACTIONS and words is not None:
            module.add(commands, next(iter(words[1:]), ""))
        else:
            module.add(commands)
    return parser


@contextmanager
def _without_results() -> Iterator[None]:
    """Leaves out log lines about what the command itself reports: the rows that it writes, and the page of warnings of
    azure-identity about each credential that it tries."""
    levels = {logging.getLogger(OUTCOMES): logging.CRITICAL, logging.getLogger("azure.identity"): logging.ERROR}
    before = {each: each.level for each in levels}
    for each, level in levels.items():
        each.setLevel(level)
    try:
        yield
    finally:
        for each, level in before.items():
            each.setLevel(level)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("vm-onboarding")
        except PackageNotFoundError:
            number = "(not installed as a package)"
        print(f"onboard {number}")
        parser.exit()


class _MaskingFormatter(logging.Formatter):
    """Masks secrets in every line: other libraries log too, and nobody knows what they quote."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(mask(super().format(record)), lines=True)


def _log_everything() -> None:
    handler = logging.StreamHandler()
    # A JSON line stands alone, so that a program can read it.
    form = "%(message)s" if writes_json() else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_MaskingFormatter(form))
    logging.basicConfig(level=logging.DEBUG, handlers=[handler], force=True)


if __name__ == "__main__":
    sys.exit(main())
