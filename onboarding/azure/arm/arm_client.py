"""The adapter that reads VMs in ARM, and starts installs and removals.

Each call sends at most one HTTP request: no polling (an install takes minutes), and no request while the subscription's
rate limiter is closed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from onboarding.application.ports import ArmAnswer
from onboarding.azure.arm.arm_requests import (
    ASSOCIATIONS,
    GALLERY_IMAGES,
    IMAGES,
    SUBSCRIPTIONS,
    VIRTUAL_MACHINES,
    ArmRequests,
    decoded,
)
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import ExtensionId, VmId, parse_id

_ACCEPTED = (200, 201, 202)
_ABSENT = 204  # the answer to a DELETE of what is not there
_CREATED = 201
_INSTANCE_VIEW = "$expand=instanceView&"
_IMAGE = re.compile(r"/subscriptions/(?P<subscription>[^/]+)(?:/(?!\.\.?(?:/|$))[^/]+)+", re.IGNORECASE)


class ArmAdapter:
    """Implements `ports.Arm`."""

    def __init__(self, requests: ArmRequests) -> None:
        self._requests = requests

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        async with self._requests.sending(vm.subscription, vm.key, write=False, to_install=to_install):
            url = self._requests.url(VIRTUAL_MACHINES, _quoted(str(vm)), _INSTANCE_VIEW)
            body, at = await self._read(vm.subscription, url)
            return ArmAnswer(_machine(body), at)

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        async with self._requests.sending(vm.subscription, vm.key, write=False):
            url = self._requests.url(VIRTUAL_MACHINES, _extension_path(vm, name), _INSTANCE_VIEW)
            body, at = await self._read(vm.subscription, url)
            return ArmAnswer(_extension(body), at)

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        image = _IMAGE.fullmatch(image_id)
        if image is None:
            raise ArmError(Evidence(code="InvalidImageId", message="the image's id is not that of a resource"))
        kind = GALLERY_IMAGES if "/galleries/" in image_id.lower() else IMAGES
        body = await self._get(image["subscription"], self._requests.url(kind, _quoted(image_id)))
        return body if isinstance(body, Mapping) else {}

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        subscription = scope.split("/")[2]
        async with self._requests.sending(subscription, write=False):
            body, _ = await self._read(subscription, self._requests.url(SUBSCRIPTIONS, _quoted(scope)))
            return _scope(body)

    async def list_associations(self, vm: VmId) -> Sequence[Mapping[str, Any]]:
        url = self._requests.url(ASSOCIATIONS, f"{_quoted(str(vm))}/providers/{ASSOCIATIONS}")
        found: list[Mapping[str, Any]] = []
        while url:
            bodies, url = await self._page(vm.subscription, url, compute=False)
            found += bodies
        return found

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        compute = "/providers/microsoft.insights/" not in request.path.lower()
        async with self._requests.sending(vm.subscription, vm.key, write=True, compute=compute):
            url = self._requests.url(VIRTUAL_MACHINES if compute else ASSOCIATIONS, _quoted(request.path))
            response = await self._requests.send(
                request.method,
                url,
                None if request.method == "DELETE" else request.body,
                subscription=vm.subscription,
                accepted=(*_ACCEPTED, _ABSENT) if request.method == "DELETE" else _ACCEPTED,
                etag=request.etag,
            )
            return response.status_code == _CREATED

    async def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines"
        url = self._requests.url(VIRTUAL_MACHINES, path)
        while url:
            bodies, url = await self._page(subscription, url)
            for body in bodies:
                yield body

    async def list_subscriptions(self) -> tuple[str, ...]:
        found, _ = await self._page("", self._requests.url(SUBSCRIPTIONS, "/subscriptions"))
        return tuple(str(item.get("subscriptionId", "")) for item in found if item.get("state") != "Disabled")

    async def check_access(self, subscription: str) -> None:
        path = f"/subscriptions/{quote(subscription, safe='')}"
        await self._get(subscription, self._requests.url(SUBSCRIPTIONS, path))

    async def _page(self, subscription: str, url: str, *, compute: bool = True) -> tuple[list[Mapping[str, Any]], str]:
        """One page of a list and the link to the next."""
        async with self._requests.sending(subscription, write=False, compute=compute):
            body, _ = await self._read(subscription, url)
            return _items(body)

    async def _get(self, subscription: str, url: str) -> object:
        async with self._requests.sending(subscription, write=False):
            return (await self._read(subscription, url))[0]

    async def _read(self, subscription: str, url: str) -> tuple[object, datetime | None]:
        """The decoded JSON, and the time of the answer by ARM's clock (UTC)."""
        response = await self._requests.send("GET", url, subscription=subscription)
        return decoded(response), _date(response.headers.get("Date", ""))


def _quoted(resource_id: str) -> str:
    return quote(resource_id, safe="/()")


def _extension_path(vm: VmId, name: str) -> str:
    return f"{_quoted(str(vm))}/extensions/{quote(name, safe='')}"


def _machine(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not isinstance(parse_id(str(body.get("id"))), VmId):
        raise ValueError("not a virtual machine")
    return body


def _scope(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not str(body.get("id")).lower().startswith("/subscriptions/"):
        raise ValueError("neither a subscription nor a resource group")
    return body


def _extension(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not isinstance(parse_id(str(body.get("id"))), ExtensionId):
        raise ValueError("not an extension of a virtual machine")
    return body


def _date(text: str) -> datetime | None:
    """The time of a Date header; None for one that cannot be read."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _items(page: object) -> tuple[list[Mapping[str, Any]], str]:
    items = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError("not a list of resources")
    link = page.get("nextLink") if isinstance(page, Mapping) else None
    return items, link if isinstance(link, str) else ""
