"""`onboard extension schema`: update the JSON Schema of catalogue files, for editors.

Exit codes: 0 the file is up to date, 1 with --check if it is out of date.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import Commands
from onboarding.cli.policy.schema import add_schema_file, update_schema
from onboarding.export.entry_schema import entry_schema

_FILE = "docs/schemas/extension.schema.json"


def add(actions: Commands) -> None:
    parser = add_command(actions, "schema", EXTENSION_ACTIONS)
    add_schema_file(parser, _FILE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return update_schema(args, Path(_FILE), entry_schema())
