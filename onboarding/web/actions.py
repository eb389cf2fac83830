"""What a person can do on the page. Each is written down with the object id of whoever did it: in the rows and the
history of the machines, in the pause, and in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from onboarding.application.operator_requests import Paused
from onboarding.application.pause_requests import PauseRequests
from onboarding.application.row_queries import found_rows
from onboarding.domain.errors import ArmError
from onboarding.domain.limits.pause import Pause
from onboarding.domain.masking import mask
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.logging import logger
from onboarding.web.access import Person
from onboarding.web.site import BadQuery, Data, Query, Site, vm_of
from onboarding.web.views.limits import rollout_record
from onboarding.web.views.machine import preview_record
from onboarding.web.views.machines import read_query

_log = logger(__name__)

MOST_AT_ONCE = 50  # machines of one retry: each is read from ARM, twice with its preview
_CONCURRENT = 8
LASTS: Mapping[str, timedelta | None] = {
    "1 hour": timedelta(hours=1),
    "4 hours": timedelta(hours=4),
    "1 day": timedelta(days=1),
    "7 days": timedelta(days=7),
    "until it is resumed": None,
}
"""How long a pause may last."""


async def actor(site: Site, person: Person) -> str:
    """The object id that is written down; on a laptop that of whoever is signed in there, as for a command."""
    return person.object_id or await site.application.requests.caller()


async def retry_preview(site: Site) -> Data:
    """What a retry of a machine, or of the next of a selection, would send now. ARM is only read."""
    vms, following = await _chosen(site)
    requests = site.application.requests
    request = OperatorRequest(policy=_policy_of(site))

    async def preview(vm: VmId) -> Data:
        shown = {"id": str(vm), "name": vm.name, "resourceGroup": vm.resource_group, "subscription": vm.subscription}
        try:
            return {**shown, "problem": "", "targets": [preview_record(p) for p in await requests.preview(vm, request)]}
        except ArmError as error:
            return {**shown, "problem": mask(f"ARM said {error}"), "targets": []}

    found = await _each(vms, preview)
    names = {
        target["policy"] for each in found for target in each["targets"] if target["would"] in ("install", "remove")
    }
    return {
        "machines": found,
        "following": site.query.with_values(at=following) if following else "",
        "most": MOST_AT_ONCE,
        "policy": _policy_of(site),
        "limits": await _limits(site, names),
        "paused": await _paused(site, vms, request),
    }


async def retry(site: Site, person: Person) -> Data:
    """Retry the machines of the form. Each goes through the same pass as for an event, under rollout limits."""
    vms = [vm_of(each) for each in site.query.many("id")]
    if not 0 < len(vms) <= MOST_AT_ONCE:
        raise BadQuery(f"choose between one and {MOST_AT_ONCE} machines; the preview does")
    requests = site.application.requests
    request = OperatorRequest(policy=_policy_of(site), by=await actor(site, person))

    async def send(vm: VmId) -> Data:
        shown = {"id": str(vm), "name": vm.name, "resourceGroup": vm.resource_group, "rows": [], "problem": ""}
        try:
            await requests.check_pauses([vm], request)
            rows = await requests.handle(vm, request)
        except Paused as paused:
            return {**shown, "problem": str(paused.pause)}
        except ArmError as error:
            return {**shown, "problem": mask(f"ARM said {error}")}
        said = [{"extension": name, "outcome": row.outcome.value, "reason": row.reason} for name, row in rows.items()]
        return {**shown, "rows": said}

    _log.info("retry of %d machines, asked for on the page by %s", len(vms), request.by or "somebody unknown")
    following = Query.read(site.query.one("following")).with_values()
    return {"machines": await _each(vms, send), "following": following}


async def check(site: Site, person: Person) -> str:
    """Reconcile the machine of the form now; returns what went wrong, empty if nothing did."""
    vm, by = vm_of(site.query.one("id")), await actor(site, person)
    _log.bind(machine=str(vm)).info("check now, asked for on the page by %s", by or "somebody unknown")
    try:
        await site.application.requests.check(vm, by)
    except ArmError as error:
        return mask(f"ARM said {error}")
    return ""


async def pause(site: Site, person: Person) -> str:
    """Begin the pause of the form; returns what it is, in words."""
    scope = await _scope(site)
    reason, lasts = site.query.one("reason"), site.query.one("lasts")
    if not reason:
        raise BadQuery("a pause needs a reason: everybody who looks at a row reads it")
    if lasts not in LASTS:
        raise BadQuery(f"a pause lasts one of {', '.join(LASTS)}")
    span, by = LASTS[lasts], await actor(site, person)
    begun = Pause(
        reason=reason,
        since=site.now,
        until=site.now + span if span else None,
        subscription=scope[0],
        policy=scope[1],
        by=by,
    )
    await PauseRequests(site.ports.pauses, site.ports.clock).begin(begun)
    _log.warning("%s (on the page, by %s)", mask(str(begun)), by or "somebody unknown")
    return begun.place


async def resume(site: Site, person: Person) -> str:
    """End the pause of exactly the form's scope, and make its machines due; returns what came of it."""
    scope = await _scope(site)
    requests = PauseRequests(site.ports.pauses, site.ports.clock)
    ended = await requests.end(scope)
    by = await actor(site, person)
    _log.warning("%d pauses ended on the page by %s", len(ended), by or "somebody unknown")
    if not ended:
        return "That is not paused any more."
    per_minute = site.application.budget.per_minute
    due = await requests.make_due(ended, site.ports.ledger, site.ports.schedule_queue, per_minute=per_minute)
    return f"{ended[0].place} goes on: {due:,} machines are reconciled, {per_minute} a minute in each subscription."


async def replay_poison(site: Site, person: Person) -> str:
    """Put the messages of the poison queue back on their queue; returns what came of it."""
    if site.ports.poison is None:
        return "There is no poison queue here."
    moved = stayed = 0
    async for ours in site.ports.poison.requeue():
        moved, stayed = moved + ours, stayed + (not ours)
    by = await actor(site, person)
    _log.warning("%d poison messages replayed on the page by %s", moved, by or "somebody unknown")
    left = f" {stayed:,} stay, since they are not ours." if stayed else ""
    return f"{moved:,} messages are on their queue again.{left}"


async def _chosen(site: Site) -> tuple[Sequence[VmId], str]:
    """The machines that are named, else the next of the selection; and where the selection goes on, empty at its
    end."""
    if named := site.query.many("id"):
        return [vm_of(each) for each in named[:MOST_AT_ONCE]], ""
    query = read_query(site.query)
    if not any(outcome.needs_person for outcome in query.selection.outcomes or Outcome):
        raise BadQuery("a retry is for rows that need a person; choose the outcome Failed or Undetermined")
    try:
        found = await found_rows(site.reader, query, site.query.one("at"), MOST_AT_ONCE, no_more=True)
    except ValueError:
        raise BadQuery("the place in the list is not one of this list; begin at its start") from None
    vms = {vm.key: vm for row in found.rows if isinstance(vm := parse_id(row.resource_id), VmId)}
    return list(vms.values()), found.following


async def _each[T](vms: Sequence[VmId], work: Callable[[VmId], Awaitable[T]]) -> list[T]:
    slots = asyncio.Semaphore(_CONCURRENT)

    async def one(vm: VmId) -> T:
        async with slots:
            return await work(vm)

    return list(await asyncio.gather(*(one(vm) for vm in vms)))


async def _limits(site: Site, names: set[str]) -> list[Data]:
    """The rollout limits under which these policies send."""
    limited = [policy for policy in site.rules.policies.policies if policy.name in names and policy.rollout_limit]
    return [await _limit(site, policy) for policy in limited]


async def _limit(site: Site, policy: Policy) -> Data:
    stored = await site.ports.rollouts.read(policy.name)
    return rollout_record(policy, stored.state if stored else None, site.now)


async def _paused(site: Site, vms: Sequence[VmId], request: OperatorRequest) -> str:
    try:
        await site.application.requests.check_pauses(vms, request)
    except Paused as paused:
        return str(paused.pause)
    return ""


def _policy_of(site: Site) -> str:
    """The one policy to retry for; empty: all."""
    named = site.query.many("policy")
    return named[0] if len(named) == 1 else ""


async def _scope(site: Site) -> tuple[str, str]:
    """The subscription and the policy of the form; empty: all. Raises BadQuery."""
    subscription, policy = site.query.one("subscription").lower(), site.query.one("policy")
    if subscription:
        try:
            subscription = str(UUID(subscription))
        except ValueError:
            raise BadQuery("the subscription is not the id of one; copy it from `az account list -o table`") from None
    known = {each.name for each in site.rules.policies.policies}
    known |= {each.policy for each in await PauseRequests(site.ports.pauses, site.ports.clock).active()}
    if policy and policy not in known:
        raise BadQuery(f"there is no such policy; there are {', '.join(sorted(known))}")
    return subscription, policy
