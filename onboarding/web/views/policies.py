"""The policies: what each wants, of which machines, and how many it has."""

from __future__ import annotations

from collections.abc import Sequence

from onboarding.application.reports.fleet_views import Part, overview
from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.application.rules import Rules
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.conditions import Explanation
from onboarding.domain.policy.policy import Policy
from onboarding.web.site import Data, Site
from onboarding.web.views.overview import part_record


async def data(site: Site) -> Data:
    found = overview(await counts_of_subscriptions(site.reader, site.now))
    parts = {part.name: part for part in found.policies}
    named = [policy.name for policy in site.rules.policies.policies]
    return {
        "policies": [
            _policy(site, policy, parts.get(policy.name), found.existing.get(policy.name, 0))
            for policy in site.rules.policies.policies
        ],
        "others": [part_record(part) for name, part in parts.items() if name not in named],
    }


def _policy(site: Site, policy: Policy, part: Part | None, existing: int) -> Data:
    return {
        "name": policy.name,
        "effect": policy.effect.value,
        "off": policy.off,
        "extensions": list(policy.extensions),
        "retired": [entry for name in policy.extensions if (entry := _retired(site.rules, name))],
        "existing": policy.existing.value,
        "existingMachines": existing,
        "scopes": [str(scope) for scope in policy.scopes],
        "notScopes": [str(scope) for scope in policy.not_scopes],
        "exemptions": len(policy.exemptions),
        "onlyAfter": policy.only_after.policy if policy.only_after else "",
        "rule": _words(policy, site),
        "counts": part_record(part) if part else None,
    }


def _retired(rules: Rules, extension: str) -> str:
    entry = rules.catalogue.get(extension)
    return entry.retired if entry else ""


def _words(policy: Policy, site: Site) -> Data | None:
    """The rule as a tree of words; None: the policy wants every machine of its scope."""
    if policy.rule is None:
        return None
    return _node(policy.rule.explain(read_facts({}), site.now))


def _node(node: Explanation) -> Data:
    children: Sequence[Data] = [_node(child) for child in node.children]
    return {"text": node.text, "children": list(children)}
