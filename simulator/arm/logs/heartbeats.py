"""The rows of the table Heartbeat, which follow from the times in which agents sent."""

from __future__ import annotations

from datetime import datetime, timedelta

from simulator.arm.insights.sending import Sending
from simulator.arm.platform import Platform

_MINUTE = 60.0


class Heartbeats:
    """One row a simulated minute for each agent that sends. A query sees it `lag` simulated seconds later."""

    def __init__(self, platform: Platform, sending: Sending, lag: float) -> None:
        self._platform = platform
        self._sending = sending
        self._lag = lag

    def newest(self, workspace: str, since: datetime) -> dict[tuple[str, str], datetime]:
        """The time of the newest row after `since`, by the machine's id in lower case and the agent's category."""
        now, seconds = self._platform.clock.now(), self._platform.clock.seconds()
        found: dict[tuple[str, str], datetime] = {}
        for stretch in self._sending.stretches():
            end = min(seconds - self._lag, stretch.ended if stretch.ended is not None else seconds)
            if workspace not in stretch.workspaces or end < stretch.began:
                continue
            sent = stretch.began + (end - stretch.began) // _MINUTE * _MINUTE
            at = now - timedelta(seconds=self._platform.clock.real(seconds - sent))
            key = (stretch.vm, stretch.category)
            if at > since and (key not in found or at > found[key]):
                found[key] = at
        return found
