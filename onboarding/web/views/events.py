"""Whether events arrive."""

from __future__ import annotations

from onboarding.application.reports.arrivals import arrivals
from onboarding.web.site import Data, Site


async def data(site: Site) -> Data:
    return await arrivals(site.ports, site.now)
