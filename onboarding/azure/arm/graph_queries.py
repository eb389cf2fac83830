"""All Resource Graph queries of the product.

Names enter a query only through `literal`. A paged query must project `id` and be ordered; otherwise Resource Graph
returns no $skipToken, or returns rows twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"[-\w.() ]+")

# Each VM with its extensions as one row, in the shape of a GET if possible, since policy rules may ask for any alias.
# The extensions are summarized before the join, so that a VM without extensions keeps its row.
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

# The associations of VMs, with one row for each; those of other kinds of machine are left out.
ASSOCIATIONS = """\
insightsresources
| where type =~ 'microsoft.insights/datacollectionruleassociations'
| where id contains '/providers/Microsoft.Compute/virtualMachines/'
| extend machine = substring(tolower(id), 0, indexof(tolower(id), '/providers/microsoft.insights/'))
| extend rule = tolower(tostring(properties.dataCollectionRuleId))
| extend endpoint = tolower(tostring(properties.dataCollectionEndpointId))
| project id, machine, rule, endpoint
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
    """A name as a string literal. Raises ValueError for characters that no name in Azure has: they might end the
    literal."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} has characters that a name cannot have")
    return f"'{text}'"
