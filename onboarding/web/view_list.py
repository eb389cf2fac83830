"""The views: name in the address, title, and the command that shows the same."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from msgspec import Struct

from onboarding.web.site import Data, Site


class View(Struct, frozen=True):
    """One view. Its module in `views` has the data, its template in `templates` the page."""

    name: str
    """The last part of its address; empty: the first page."""
    title: str
    module: str
    command: str
    """The `onboard` command that shows the same, or the most of it, without filters."""
    in_menu: bool = True

    async def data(self, site: Site) -> Data:
        """What it shows now. Raises BadQuery, NotFound and StorageError."""
        module = importlib.import_module(f"onboarding.web.views.{self.module}")
        return cast(Data, await module.data(site))


VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        View("", "Overview", "overview", "onboard status --totals"),
        View("machines", "Machines", "machines", "onboard status"),
        View("machine", "Machine", "machine", "onboard status", in_menu=False),
        View("causes", "Causes", "causes", "onboard status --attention"),
        View("limits", "Pauses and limits", "limits", "onboard pause --list"),
        View("events", "Events", "events", "onboard events"),
        View("images", "Unknown images", "images", "onboard status --outcome Undetermined"),
        View("policies", "Policies", "policies", "onboard policy validate"),
        View("migration", "Migration", "migration", "onboard migration"),
    )
}
