"""A record of all HTTP requests, so that a test can assert "exactly two calls for this VM".

It keeps no tokens and no bodies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch

from simulator.arm.http.targets import Kind


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """`vm` is the VM's id in lower case, empty if the request is not about a VM. Status 0: the connection was cut."""

    at: datetime
    method: str
    kind: Kind
    vm: str
    path: str
    status: int
    principal: str
    user_agent: str
    correlation: str
    client_request_id: str = ""
    """What the caller calls the request (`x-ms-client-request-id`)."""


class Requests:
    """The record. The argument `vm` is an id in any spelling, or a pattern of the VM's name."""

    def __init__(self) -> None:
        self._recorded: list[RecordedRequest] = []
        self._by_vm: dict[str, list[RecordedRequest]] = {}  # a storm asks for those of each VM, again and again

    def __iter__(self) -> Iterator[RecordedRequest]:
        return iter(tuple(self._recorded))

    def __len__(self) -> int:
        return len(self._recorded)

    def add(self, request: RecordedRequest) -> None:
        self._recorded.append(request)
        self._by_vm.setdefault(request.vm, []).append(request)

    def clear(self) -> None:
        self._recorded.clear()
        self._by_vm.clear()

    def select(self, *, vm: str = "*", kind: str = "*", principal: str = "*") -> list[RecordedRequest]:
        return [r for r in self._about(vm.lower()) if fnmatch(r.kind, kind) and fnmatch(r.principal, principal)]

    def count(self, *, vm: str = "*", kind: str = "*", principal: str = "*") -> int:
        return len(self.select(vm=vm, kind=kind, principal=principal))

    def kinds(self, *, vm: str = "*") -> Counter[str]:
        """The number of requests of each kind."""
        return Counter(str(r.kind) for r in self.select(vm=vm))

    def _about(self, vm: str) -> Iterable[RecordedRequest]:
        if vm == "*":
            return self._recorded
        if "/" in vm:
            return self._by_vm.get(vm, ())
        return (r for r in self._recorded if fnmatch(r.vm.rpartition("/")[2], vm))
