"""`onboard extension show`: print a catalogue entry in the present format, also one whose file has the former format.

What has its default is left out, and so are the comments of the file. Exit codes: 0, 2 bad input.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec
import yaml

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import Commands, as_json
from onboarding.cli.output import Form, add_output
from onboarding.cli.policy.policy_input import policy_folder
from onboarding.loading.policy_folder import find_entry_file, load_entry_file


def add(actions: Commands) -> None:
    parser = add_command(actions, "show", EXTENSION_ACTIONS)
    parser.add_argument("entry", metavar="NAME|FILE", help="the name of an extension, or a file of one")
    add_output(parser, (Form.YAML, Form.JSON))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    path = Path(args.entry)
    is_file = os.path.isfile(path)
    file = load_entry_file(path, args.entry) if is_file else find_entry_file(args.entry, policy_folder(os.environ))
    entry = msgspec.to_builtins(file)
    if args.output is Form.JSON:
        print(as_json(entry, indent=2))
    else:
        text = yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=120)
        if not text.replace("\n", "").isprintable():
            text = yaml.safe_dump(entry, sort_keys=False, width=120)  # escapes what is not ASCII
        print(text, end="")
    return 0
