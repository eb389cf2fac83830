"""`onboard extension`: list, make, validate, try and show catalogue entries, and write the JSON Schema of their files.

Each action has a module. Exit codes: 0 no problem; 1 a problem was found (an error of `validate`, a `test` that did not
end as installed, an out-of-date schema with --check); 2 bad input.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import Commands


def add(commands: Commands, only: str | None = None) -> None:
    """Add the command with its actions; with `only`, the arguments of that action alone are defined."""
    parser = add_command(commands, "extension")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    for name, entry in EXTENSION_ACTIONS.items():
        if only in (None, name):
            importlib.import_module(f"onboarding.cli.{entry.module}").add(actions)
        else:
            add_command(actions, name, EXTENSION_ACTIONS)

    def without_action(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(run=without_action)
