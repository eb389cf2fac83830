"""`onboard policy`: evaluate, explain, validate, test and import policies, offline.

Each action is a module of its own, loaded when it is used. Exit codes: 0 fine; 1 the answer is bad news (an error found
by `validate`, a failed case of `test`); 2 bad input.
"""

from __future__ import annotations

import importlib

from onboarding.cli.io import Commands

_ACTIONS = ("evaluate", "explain", "plan", "validate", "test", "import", "schema", "resume")


def add(commands: Commands) -> None:
    parser = commands.add_parser("policy", help="evaluate, explain, validate, test and import policies")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name in _ACTIONS:
        importlib.import_module(f"onboarding.cli.policy_{name}").add(actions)
