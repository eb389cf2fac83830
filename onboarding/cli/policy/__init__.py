"""`onboard policy`: evaluate, explain, validate, test and import policies, offline.

Each action is a module of its own. Exit codes: 0 fine; 1 the answer is bad news (an error found by `validate`, a failed
case of `test`); 2 bad input.
"""

from __future__ import annotations

import importlib

from onboarding.cli.io import Commands

# Where each action is, in the order of the help.
_ACTIONS = ("evaluate", "explain", "plan", "validate", "cases", "import_definition", "schema", "resume")


def add(commands: Commands) -> None:
    parser = commands.add_parser("policy", help="evaluate, explain, validate, test and import policies")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for module in _ACTIONS:
        importlib.import_module(f"onboarding.cli.policy.{module}").add(actions)
