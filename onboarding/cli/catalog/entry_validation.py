"""`onboard extension validate`: find the errors of catalogue entries, each with its line and its fix, and warn of
secrets that would be public. It works offline; `onboard policy validate` does the same, and validates policies too.

Exit codes: 0 no error, 1 at least one error, 2 there is nothing to validate.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from onboarding.cli.command_list import EXTENSION_ACTIONS, add_command
from onboarding.cli.io import BadInput, Commands
from onboarding.cli.output import add_output
from onboarding.cli.policy.policy_input import folder_or_file, policy_folder
from onboarding.cli.policy.validate import validate_files
from onboarding.loading.policy_folder import EXTENSIONS, extension_files

_FIX = "give files of entries, or make one with `onboard extension new`"


def add(actions: Commands) -> None:
    parser = add_command(actions, "validate", EXTENSION_ACTIONS)
    what = "files of entries, or folders of policies (default: all of extensions/ in the policy folder)"
    parser.add_argument("files", nargs="*", metavar="FILE", help=what)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    named = [folder_or_file(name) for name in args.files] or [Path(policy_folder(os.environ))]
    return validate_files([path for each in named for path in _entries(each)], args.output, entries=True)


def _entries(path: Path) -> list[Path]:
    if not os.path.exists(path):  # also False for a text that cannot be a path
        raise BadInput(str(path), "the file or folder is not there", _FIX)
    if not path.is_dir():
        return [path]
    folder = path.absolute().parent if path.absolute().name == EXTENSIONS else path
    if not (found := extension_files(folder)):
        raise BadInput(str(folder / EXTENSIONS), "the folder holds no entry", _FIX)
    return found
