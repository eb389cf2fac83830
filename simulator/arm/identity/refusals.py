"""The refusals of writes of identities and of conditional writes, in the words that users reported."""

from __future__ import annotations

import json
from collections.abc import Sequence

from simulator.arm.http.errors import ArmError

ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
_TARGET = "resourceIdentity.identityIds"


def identity_not_found(resource: str, identity: str) -> ArmError:
    detail = {"error": {"code": "BadRequest", "message": f"Resource '{identity}' was not found."}}
    response = json.dumps(detail, separators=(",", ":"))
    message = (
        f"Identity operation for resource '{resource}' failed with error 'Failed to perform resource identity "
        f"operation. Status: 'BadRequest'. Response: '{response}'.'."
    )
    return ArmError(400, "FailedIdentityOperation", message, gateway=True)


def ids_missing() -> ArmError:
    # The words are those of other resource types.
    message = "The identity ids must not be null or empty for 'UserAssigned' identity type."
    return ArmError(400, "MissingIdentityIds", message, gateway=True)


def ids_not_allowed(type_: str) -> ArmError:
    message = f'ResourceIdentity identityIds should not be provided if the type is "{type_}".'
    return ArmError(400, "InvalidParameter", message, target=_TARGET)


def id_duplicated(identity: str) -> ArmError:
    message = f"ResourceIdentity identityId '{identity}' cannot be duplicated in the provided identityIds list."
    return ArmError(400, "InvalidParameter", message, target=_TARGET)


def etag_differs(given: str, stored: str) -> ArmError:
    # The words are those of a scale set.
    message = f"Etag provided in if-match header {given} does not match etag {stored} of resource."
    return ArmError(412, "PreconditionFailed", message)


def link_not_authorized(principal: str, action: str, scope: str, linked: str, links: Sequence[str]) -> ArmError:
    message = (
        f"The client '{principal}' with object id '{principal}' has permission to perform action '{action}' on scope "
        f"'{scope}'; however, it does not have permission to perform action '{linked}' on the linked scope(s) "
        f"'{','.join(links)}' or the linked scope(s) are invalid."
    )
    return ArmError(403, "LinkedAuthorizationFailed", message, gateway=True)
