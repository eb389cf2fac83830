"""api-versions by resource type: one client sends several, and a type refuses versions that it does not know."""

from __future__ import annotations

import re

from simulator.arm.http.errors import ArmError

_COMPUTE = (
    "2015-06-15 2016-03-30 2016-04-30-preview 2017-03-30 2017-12-01 2018-04-01 2018-06-01 2018-10-01 2019-03-01 "
    "2019-07-01 2019-12-01 2020-06-01 2020-12-01 2021-03-01 2021-04-01 2021-07-01 2021-11-01 2022-03-01 2022-08-01 "
    "2022-11-01 2023-03-01 2023-07-01 2023-09-01 2024-03-01 2024-07-01 2024-11-01 2025-04-01 2025-11-01 "
    "2026-04-01"
)
_GALLERIES = (
    "2018-06-01 2019-03-01 2019-07-01 2019-12-01 2020-09-30 2021-07-01 2021-10-01 2022-01-03 2022-03-03 2022-08-03 "
    "2023-07-03 2024-03-03 2025-03-03 2026-03-03"
)
_RESOURCES = (
    "2015-11-01 2016-02-01 2016-06-01 2016-09-01 2017-05-10 2018-02-01 2018-05-01 2019-05-10 2019-10-01 2020-06-01 "
    "2021-04-01 2022-09-01 2022-12-01 2024-03-01 2024-07-01 2024-11-01 2025-04-01"
)
_COLLECTION = "2019-11-01-preview 2021-04-01 2021-09-01-preview 2022-06-01 2023-03-11 2024-03-11"
_IDENTITIES = (
    "2015-08-31-preview 2018-11-30 2021-09-30-preview 2022-01-31-preview 2023-01-31 2023-07-31-preview 2024-11-30"
)
_GRAPH = "2019-04-01 2020-04-01-preview 2021-03-01 2021-06-01-preview 2022-10-01 2024-04-01"
_NETWORK = (
    "2015-06-15 2017-10-01 2018-11-01 2019-11-01 2020-11-01 2021-08-01 2022-01-01 2022-11-01 2023-05-01 2023-11-01 "
    "2024-05-01 2024-07-01 2025-01-01 2025-09-01"
)
_METADATA = "2022-09-01 2023-11-01"
_BY_TYPE = {
    "resourceGraph": _GRAPH,
    "galleries/images": _GALLERIES,
    "dataCollectionRuleAssociations": _COLLECTION,
    "dataCollectionRules": _COLLECTION,
    "dataCollectionEndpoints": _COLLECTION,
    "userAssignedIdentities": _IDENTITIES,
    "resourceGroups": _RESOURCES,
    "deployments": _RESOURCES,
    "providers": _RESOURCES,
    "subscriptions": _RESOURCES,
    "tenants": _RESOURCES,
    "resources": _RESOURCES,
    "metadata": _METADATA,
    "networkInterfaces": _NETWORK,
    "publicIPAddresses": _NETWORK,
}
_FIRST_WITH_ETAG = "2023-09-01"
_FORM = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")


def supported(type_: str) -> list[str]:
    return _BY_TYPE.get(type_, _COMPUTE).split()


def has_etag(version: str) -> bool:
    """Whether a VM has an etag in that version."""
    return version >= _FIRST_WITH_ETAG


def check_version(type_: str, version: str | None) -> None:
    """Raise ARM's refusal of a missing, malformed or unknown api-version."""
    if not version:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message, gateway=True)
    versions = supported(type_)
    if version in versions:
        return
    if not _FORM.fullmatch(version):
        message = f"The api-version '{version}' is invalid. The supported versions are '{','.join(versions)}'."
        raise ArmError(400, "InvalidApiVersionParameter", message, gateway=True)
    message = (
        f"No registered resource provider found for location '' and API version '{version}' for type '{type_}'. "
        f"The supported api-versions are '{', '.join(versions)}'."
    )
    raise ArmError(400, "NoRegisteredProviderFound", message, gateway=True)
