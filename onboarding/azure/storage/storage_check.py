"""Checks that the table and the queue can be reached and read, before anything is written; the error says what to do.

A table or a queue that does not exist yet is fine: the first write creates it.
"""

from __future__ import annotations

from azure.core.exceptions import AzureError, ClientAuthenticationError

from onboarding.azure.storage.storage_requests import Answer, Service, StorageRequests, refusal
from onboarding.azure.storage.table_entities import entity_path
from onboarding.domain.errors import StorageError
from onboarding.domain.masking import cut, mask
from onboarding.settings import TABLE, Storage

_ACCEPT = {"Accept": "application/json;odata=nometadata", "DataServiceVersion": "3.0"}
_ONE = {"PartitionKey": "sweep", "RowKey": "state"}  # the cheapest read; the entity need not be there
_ROLES = (
    "ask for the roles Storage Table Data Contributor and Storage Queue Data Contributor on the account (a new grant"
    " needs some minutes), or sign in as somebody who has them"
)
_SIGN_IN = "sign in with `az login`, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET of an application"
_RENEW = "copy the connection string of the account as the portal shows it; a SAS may have ended"
_LONGEST = 200


async def check_storage(storage: Storage, *services: StorageRequests) -> None:
    """One request to each service. Raises StorageError with the address that was tried and what to do."""
    for service in services:
        try:
            answer = await _ask(service)
        except ClientAuthenticationError as error:
            raise _error(service, f"there is no token for storage ({_first_line(error)})", _SIGN_IN) from None
        except (AzureError, TimeoutError) as error:
            fix = "check the address and the network; an emulator has to be started first"
            raise _error(service, f"does not answer ({_first_line(error)})", fix) from None
        except ValueError:
            raise _error(service, "the account's key is not base64", _RENEW) from None
        if answer.status in (401, 403):
            refused = refusal(answer.status, answer.content.decode(errors="replace"), answer.reason)
            fix = _ROLES if storage.connection_string is None else _RENEW
            raise _error(service, f"refuses us ({answer.status} {_first_line(refused)})", fix)


async def _ask(service: StorageRequests) -> Answer:
    if service.kind is Service.TABLE:
        return await service.send_unchecked("GET", f"/{TABLE}{entity_path(_ONE)}", headers=_ACCEPT)
    return await service.send_unchecked("GET", "/messages", "peekonly=true", headers={})


def _error(service: StorageRequests, what: str, fix: str) -> StorageError:
    return StorageError(f"storage at {service.url}: {what}; {fix}")


def _first_line(error: Exception) -> str:
    """The first line of an error, masked: a credential's error has a page of what it tried."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return cut(mask(lines[0]), _LONGEST)
