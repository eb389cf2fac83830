"""The parser of the command line. What it refuses, the command says that refuses it, with the name that was meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from onboarding.domain.errors import as_written, did_you_mean


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors name what exists. Parsers of commands are of this class, too."""

    def parse_known_args(  # type: ignore[override]  # the overloads differ in the kind of namespace, which is passed on
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Every argument has to be known: argparse would have the outermost parser refuse the others, whose usage says
        nothing of the command."""
        known, others = super().parse_known_args(args, namespace)
        if others:
            # A value stays unsaid, since it may be a secret.
            option = next((each.partition("=")[0] for each in others if each.startswith("-")), "")
            close = did_you_mean(self._option_string_actions, option)
            fix = f"did you mean {close}?" if close else f"`{self.prog} --help` shows those that there are"
            self.error(
                f"unknown option {option}; {fix}" if option else f"{as_written(others[0])} is one too many; {fix}"
            )
        return known, others

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(each) for each in action.choices]
        close = did_you_mean(names, value)
        hint = f"; did you mean {close}?" if close else ""
        raise argparse.ArgumentError(
            action, f"invalid choice: {as_written(value)} (choose from {', '.join(names)}){hint}"
        )
