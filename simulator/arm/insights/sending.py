"""Which agents of each machine send data, at each moment, and the gaps in which none does.

A gap begins when the last agent of a running machine stops sending, and ends when one sends again, or the machine stops
or is deleted. It names the write that began it, so that a test can tell the product's removals from other people's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import replace
from dataclasses import dataclass, field
from datetime import datetime

from simulator.arm.compute.machines import Machine
from simulator.arm.compute.spec import Power
from simulator.arm.events import Change
from simulator.arm.insights.agent_settings import CATEGORIES, NEW_AGENT
from simulator.arm.platform import Platform

type Senders = Mapping[str, frozenset[str]]  # the workspaces by the agent's category


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no agent of a machine sent, although one had before."""

    vm: str
    """The VM's id in lower case."""
    began: datetime
    principal: str
    """Who sent the write that began it; empty: nobody, such as a network fault."""
    operation: str
    """What it was, in the words of role definitions, or `network`; empty if nothing announced it."""
    resource: str
    """What it was about."""
    ended: datetime | None = None
    """None: it has not ended."""
    reason: str = ""
    """Why the Azure Monitor Agent did not send when it began."""
    silenced_at: datetime | None = None
    """When the Azure Monitor Agent had stopped sending; None: it had never sent."""
    silenced_by: str = ""
    """Who sent the write that had stopped it; empty: nobody."""
    reason_before: str = ""
    """Why it did not send before that reason was added; empty: it sent, or the reason was there from the beginning."""
    reason_since: datetime | None = None
    """When the reason had replaced the one before."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one agent sent; `began` and `ended` are seconds of the clock."""

    vm: str
    category: str
    workspaces: frozenset[str]
    began: float
    ended: float | None = None


@dataclass(slots=True)
class _State:
    machine: Machine
    senders: dict[str, Stretch] = field(default_factory=dict)
    sent: bool = False
    gap: int | None = None  # its place in the list of gaps
    silenced: tuple[datetime, str] | None = None  # when and by whom the new agent was stopped
    reason: str = ""  # why the new agent does not send; empty: it sends
    replaced: tuple[str, datetime] | None = None  # the reason before that one, and when it ended


class Sending:
    def __init__(
        self, platform: Platform, senders: Callable[[Machine], Senders], obstacle: Callable[[Machine], str]
    ) -> None:
        """`obstacle` says why the Azure Monitor Agent of a machine does not send."""
        self._platform = platform
        self._senders = senders
        self._obstacle = obstacle
        self._states: dict[str, _State] = {}
        self._ended: list[Stretch] = []
        self._gaps: list[Gap] = []
        platform.watchers.append(self.note)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """All gaps so far, in the order in which they began."""
        self.refresh()
        return tuple(self._gaps)

    def stretches(self) -> Iterator[Stretch]:
        """All times in which an agent sent; those of deleted machines, too."""
        self.refresh()
        yield from self._ended
        for state in self._states.values():
            yield from state.senders.values()

    def now(self, machine: Machine) -> Senders:
        """The agents of the machine that send now, and the workspaces that they send to."""
        return self._senders(machine)

    def refresh(self) -> None:
        """Notice what nobody announced, such as the deletion of an identity."""
        for machine in self._platform.machines:
            self._compare(machine, None)

    def note(self, change: Change) -> None:
        """Something about a machine is different since that change, or may be."""
        key = "/".join(change.resource_id.lower().split("/")[:9])
        machine, state = self._platform.machines.find(key), self._states.get(key)
        if state is not None and state.machine is not machine:
            self._forget(key, state)
        if machine is not None:
            self._compare(machine, change)

    def _compare(self, machine: Machine, change: Change | None) -> None:
        state = self._states.get(machine.key)
        if state is None and not any(each.handler.lower() in CATEGORIES for each in machine.extensions.values()):
            return
        if state is None:
            state = self._states[machine.key] = _State(machine)
        before, sent_new = bool(state.senders), NEW_AGENT in state.senders
        self._take_over(state, self._senders(machine))
        state.sent = state.sent or before or bool(state.senders)
        if NEW_AGENT in state.senders:
            state.silenced = None
        elif sent_new:
            state.silenced = self._platform.clock.now(), change.caller.principal if change is not None else ""
        self._note_reason(state)
        silent = not state.senders and machine.power is Power.RUNNING
        if not silent:
            self._end_gap(state)
        elif state.sent and state.gap is None:
            self._begin_gap(state, change)

    def _note_reason(self, state: _State) -> None:
        reason = "" if NEW_AGENT in state.senders else self._obstacle(state.machine)
        if reason != state.reason:
            state.replaced = (state.reason, self._platform.clock.now()) if state.reason and reason else None
            state.reason = reason

    def _take_over(self, state: _State, senders: Senders) -> None:
        now = self._platform.clock.seconds()
        for category, stretch in list(state.senders.items()):
            if senders.get(category) != stretch.workspaces:
                self._ended.append(replace(state.senders.pop(category), ended=now))
        for category in senders.keys() - state.senders.keys():
            state.senders[category] = Stretch(state.machine.key, category, senders[category], now)

    def _begin_gap(self, state: _State, change: Change | None) -> None:
        principal, operation, resource = "", "", state.machine.id
        if change is not None:
            principal, operation, resource = change.caller.principal, change.operation, change.resource_id
        state.gap = len(self._gaps)
        at, by = state.silenced or (None, "")
        before, since = state.replaced or ("", None)
        now = self._platform.clock.now()
        gap = Gap(state.machine.key, now, principal, operation, resource, None, state.reason, at, by, before, since)
        self._gaps.append(gap)

    def _end_gap(self, state: _State) -> None:
        if state.gap is not None:
            self._gaps[state.gap] = replace(self._gaps[state.gap], ended=self._platform.clock.now())
            state.gap = None

    def _forget(self, key: str, state: _State) -> None:
        self._end_gap(state)
        self._take_over(state, {})
        del self._states[key]
