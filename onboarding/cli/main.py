"""`onboard`: the command line. Each command has a module, which defines its arguments and documents its exit codes."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from onboarding.cli.environment import restored_environment
from onboarding.cli.io import CommandFailed
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.json_access import printable
from onboarding.domain.masking import mask
from onboarding.logging import OUTCOMES, configure, writes_json

# The module of each command, in the order of the help.
COMMANDS: Mapping[str, str] = {
    "check": "images.check",
    "compare": "images.compare",
    "diagnose": "failures.diagnose",
    "document": "export.document",
    "errors": "failures.errors",
    "extensions": "machines.extensions",
    "install": "machines.install",
    "logs": "machines.logs",
    "policy": "policy",
    "replay": "operations.replay",
    "retry": "machines.retry",
    "status": "machines.status",
    "sweep": "operations.sweep",
    "template": "export.template",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code of the process. 2 means bad input."""
    args = build_parser().parse_args(argv)
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


def build_parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    parser = argparse.ArgumentParser(prog="onboard", description="Onboard Azure VMs by hand, and see what was done.")
    parser.add_argument("--debug", action="store_true", help="log every step to standard error, secrets masked")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS.values():
        importlib.import_module(f"onboarding.cli.{module}").add(commands)
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
