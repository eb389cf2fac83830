"""Replaces management groups in scopes by their subscriptions.

The subscriptions of a group are unknown until they are read. Until then the policy selects less: a VM that an unknown
group might include is not selected, and neither is one that it might exclude.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import replace

from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.scope import Scope

type Members = Mapping[str, frozenset[str]]  # subscription ids by the group's name, both in lower case

_EVERYTHING = (Scope(()),)
NOWHERE = Scope(("subscriptions", "", ""))  # contains no VM, while a policy without scopes selects every VM


def groups_named(policies: PolicySet) -> frozenset[str]:
    """The management groups that any active policy names."""
    active = [policy for policy in policies.policies if not policy.inactive]
    return frozenset(scope.management_group for policy in active for scope in _scopes(policy)) - {""}


def resolve(policies: PolicySet, members: Members) -> PolicySet:
    """The same policies with subscriptions instead of management groups."""
    return replace(policies, policies=tuple(_resolved(policy, members) for policy in policies.policies))


def problems(policies: PolicySet, members: Members) -> tuple[str, ...]:
    """A problem for each management group in a policy that cannot be read or has no subscription."""
    return tuple(
        f"policy {policy.name}: management group {group!r} holds no subscription that this app's identity can see;"
        " give the identity the Reader role on the group, or list its subscriptions"
        for policy in policies.policies
        if not policy.inactive
        for group in sorted({scope.management_group for scope in _scopes(policy)} - {""})
        if not members.get(group)
    )


def _scopes(policy: Policy) -> Iterator[Scope]:
    yield from (*policy.scopes, *policy.not_scopes, *(exemption.scope for exemption in policy.exemptions))


def _resolved(policy: Policy, members: Members) -> Policy:
    if not any(scope.management_group for scope in _scopes(policy)):
        return policy
    exemptions = (
        replace(exemption, scope=scope)
        for exemption in policy.exemptions
        for scope in _spread((exemption.scope,), members, _EVERYTHING)
    )
    return replace(
        policy,
        scopes=tuple(_spread(policy.scopes, members, (NOWHERE,))),
        not_scopes=tuple(_spread(policy.not_scopes, members, _EVERYTHING)),
        exemptions=tuple(exemptions),
    )


def _spread(scopes: Iterable[Scope], members: Members, unknown: tuple[Scope, ...]) -> Iterator[Scope]:
    for scope in scopes:
        if not scope.management_group:
            yield scope
        elif inside := members.get(scope.management_group):
            yield from (Scope(("subscriptions", subscription)) for subscription in sorted(inside))
        else:
            yield from unknown
