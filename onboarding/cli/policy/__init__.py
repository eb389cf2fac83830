"""`onboard policy`: evaluate, explain, plan, validate, test and import policies.

Each action has a module. Exit codes: 0 no problem; 1 a problem was found (an error of `validate`, a failed case of
`test`); 2 bad input.
"""

from __future__ import annotations

import importlib

from onboarding.cli.io import Commands

# The module of each action, in the order of the help.
_ACTIONS = ("evaluate", "explain", "plan", "validate", "cases", "import_definition", "schema", "resume")


def add(commands: Commands) -> None:
    parser = commands.add_parser("policy", help="evaluate, explain, plan, validate, test, import and resume policies")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for module in _ACTIONS:
        importlib.import_module(f"onboarding.cli.policy.{module}").add(actions)
