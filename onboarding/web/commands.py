"""The `onboard` command that shows the same as a view, with the filters of its address: what the footer names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from msgspec import Struct

from onboarding.application.row_queries import RowQuery
from onboarding.web.site import Query
from onboarding.web.view_list import View
from onboarding.web.views.machines import read_query

_PLACE = "it begins at the start of the list"


class Command(Struct, frozen=True):
    """A command to copy into a shell."""

    text: str
    differs: str = ""
    """In which way it does not show the same, in words; empty: it does."""


def command_of(view: View, query: Query) -> Command:
    """The command for a view of that query, which the view could read. Raises BadQuery."""
    words = [view.command]
    if view.name == "machine":
        vm = shlex.quote(query.one("id"))
        words = [f"onboard policy explain --vm {vm}" if query.one("explain") else f"onboard status {vm} --history"]
    elif view.name == "machines":
        words += map(shlex.quote, _options(read_query(query)))
    return Command(" ".join(words), _PLACE if query.one("at") else "")


def _options(query: RowQuery) -> Iterator[str]:
    """What `onboard status` calls the fields of a query."""
    chosen = query.selection
    named = (
        ("--subscription", (chosen.subscription,)),
        ("--resource-group", (chosen.resource_group,)),
        ("--begins", (chosen.vm_prefix,)),
        ("--outcome", chosen.outcomes),
        ("--cause", query.causes),
        ("--waiting-for", query.waiting_for),
        ("--policy", query.policies),
        ("--extension", query.extensions),
        ("--text", (query.text,)),
    )
    for option, values in named:
        for value in filter(None, values):
            # A value that begins with a hyphen would be read as an option.
            yield from (f"{option}={value}",) if value.startswith("-") else (option, value)
    if query.attention:
        yield "--attention"
