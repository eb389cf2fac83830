"""The Resource Graph queries, all of them: nothing else is sent.

Foreign text enters a query only through `literal`. A query that is paged has to project `id` and to be ordered, else
Resource Graph gives no $skipToken or gives rows twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"[-\w.() ]+")

# Each VM with its extensions as one row, in the shape of a GET where that is possible: policy rules look at any alias.
# The extensions are gathered before they are joined, so that a VM without any keeps its row.
MACHINES = """\
resources
| where type =~ 'microsoft.compute/virtualmachines'
| extend vm = tolower(id)
| join kind=leftouter (
    resources
    | where type =~ 'microsoft.compute/virtualmachines/extensions'
    | extend vm = substring(tolower(id), 0, indexof(tolower(id), '/extensions/'))
    | extend extension = bag_pack('id', id, 'name', name, 'type', type, 'properties', properties)
    | summarize extensions = make_list(extension) by vm
) on vm
| project id, name, type, location, tags, zones, identity, plan, managedBy, properties, extensions
| order by id asc
"""

_MEMBERS = """\
resourcecontainers
| where type =~ 'microsoft.resources/subscriptions'
| mv-expand ancestor = properties.managementGroupAncestorsChain
| extend managementGroup = tolower(tostring(ancestor.name))
| where managementGroup in ({groups})
| project id, managementGroup, subscriptionId
| order by id asc, managementGroup asc
"""


def members(groups: Iterable[str]) -> str:
    """The subscriptions in each of these management groups, at any depth."""
    return _MEMBERS.format(groups=", ".join(literal(group.lower()) for group in sorted(groups)))


def literal(text: str) -> str:
    """A name as a string literal. Raises ValueError for what no name of Azure's has: it might end the literal."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name")
    return f"'{text}'"
