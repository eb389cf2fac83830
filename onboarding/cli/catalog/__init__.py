"""`onboard extension`: show catalogue entries, and write the JSON Schema of their files.

Each action has a module. Exit codes: 0 no problem; 1 with --check if the schema is out of date; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys

from onboarding.cli.catalog import extension_schema, show
from onboarding.cli.command_list import add_command
from onboarding.cli.io import Commands


def add(commands: Commands) -> None:
    parser = add_command(commands, "extension")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show.add(actions)
    extension_schema.add(actions)

    def without_action(_: argparse.Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(run=without_action)
