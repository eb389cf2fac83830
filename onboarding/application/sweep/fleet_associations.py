"""What Resource Graph says of the associations of VMs: which VMs lack one that a policy wants, and which have rules
beside those of their policies.

Resource Graph is asked only if a policy wants associations. Only those of VMs with rows are kept, and VMs with the same
associations share one value, so a large fleet takes little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onboarding.application.ports import Inventory
from onboarding.application.sweep.machine_summaries import MachineSummaries, Summaries, place_of
from onboarding.application.sweep.sweep_queue import SweepQueue
from onboarding.domain.errors import ArmError
from onboarding.domain.policy.policy import Assignment, Policy, PolicySet
from onboarding.domain.policy.step_needs import step_needs
from onboarding.domain.reconcile.steps.association_step import Associations
from onboarding.domain.resource_id import VmId, fold_id, parse_id


class FleetAssociations:
    """The associations of one batch of subscriptions at a time."""

    def __init__(
        self, inventory: Inventory, policies: PolicySet, app_settings: Mapping[str, str], sweep_queue: SweepQueue
    ) -> None:
        self._inventory = inventory
        self._sweep_queue = sweep_queue
        needs = {p.name: step_needs(p, app_settings).associations for p in policies.policies if not p.off}
        self._needs = {name: need for name, need in needs.items() if need.subjects}
        self._rules = {name: frozenset(map(fold_id, need.rules)) for name, need in self._needs.items()}
        self._none = Associations(sweep_queue.started, True)
        self._shared: dict[Associations, Associations] = {}
        self._read = False
        self._seen: set[str] = set()  # the subscriptions of which the inventory has an association
        self._tried: dict[str, str] = {}  # the VM that is tried, in each subscription of which it has none

    async def read(self, subscriptions: Sequence[str], known: Mapping[str, Summaries]) -> None:
        """Read those of these subscriptions, and note them in `known`. After a failure or a part of the answer, no
        association counts as missing. Raises Stopped if the run has used up its time."""
        self._read = False
        if not self._needs:
            return
        try:
            async for found in self._inventory.associations(subscriptions):
                self._sweep_queue.check()
                vm = parse_id(found.machine)
                if not isinstance(vm, VmId):
                    continue
                subscription = vm.subscription.lower()
                self._seen.add(subscription)
                machine = known.get(subscription, {}).get(place_of(vm))
                if machine is not None:
                    machine.associations = self._with(machine.associations, found.rule, found.endpoint)
        except ArmError as error:
            what = f"the associations of {len(subscriptions)} subscriptions from {subscriptions[0]} ({error})"
            self._sweep_queue.report.could_not_read(what)
        else:
            self._read = True

    def lacks(self, machine: MachineSummaries, subscription: str, policy: Policy) -> bool:
        """Whether the VM lacks an association that the policy wants.

        Resource Graph leaves out what our identity may not read, without an error. So in a subscription of which it has
        no association at all, only one VM counts: if its reconciliation writes one, the next run sees it."""
        need = self._needs.get(policy.name)
        if need is None or not self._read or not (machine.associations or self._none).lacks(need):
            return False
        place = place_of(machine.vm)
        return subscription in self._seen or self._tried.setdefault(subscription, place) == place

    def count_beside(self, machine: MachineSummaries, assignments: Iterable[Assignment]) -> None:
        """Count the rules that the VM has beside those of the policies that select it: both may send the same data."""
        if not self._read or machine.associations is None:
            return
        own = {each.policy.name for each in assignments if each.selected} & self._rules.keys()
        wanted = frozenset().union(*(self._rules[name] for name in own))
        there = machine.associations.rules
        others = there - wanted
        for rule in wanted & there if others else ():
            self._sweep_queue.report.count_beside(rule, others)

    def _with(self, before: Associations | None, rule: str, endpoint: str) -> Associations:
        after = before or self._none
        if rule:
            after = after.with_one(rule)
        if endpoint:
            after = after.with_one(endpoint, endpoint=True)
        return self._shared.setdefault(after, after)
