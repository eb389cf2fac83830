"""Functions on address ranges and on dates: the policy language's own `ipRangeContains` and `addDays`, and the CIDR
functions of ARM templates. Wrong arguments raise built-in exceptions; the caller makes them an undecided condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

type Address = IPv4Address | IPv6Address


def ip_range_contains(outer: Any, inner: Any) -> bool:
    """Whether the first range contains all of the second; both are an address, a CIDR range or `first-last`."""
    low, high = _ends(outer)
    first, last = _ends(inner)
    if low.version != first.version:
        raise ValueError("IPv4 and IPv6 are mixed")
    return int(low) <= int(first) and int(last) <= int(high)


def _ends(text: Any) -> tuple[Address, Address]:
    if not isinstance(text, str) or not text.strip():
        raise ValueError("an address range is needed")
    start, dash, end = (part.strip() for part in text.partition("-"))
    if dash:
        low, high = ip_address(start), ip_address(end)
        if low.version != high.version or int(low) > int(high):
            raise ValueError(f"'{text}' is not a range")
        return low, high
    network = ip_network(start, strict=False)
    return network[0], network[-1]


def parse_cidr(text: Any) -> dict[str, Any]:
    network = ip_network(text, strict=False)
    usable = network.num_addresses > 2 and network.version == 4
    return {
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "broadcast": str(network.broadcast_address) if network.version == 4 else None,
        "firstUsable": str(network[1] if usable else network[0]),
        "lastUsable": str(network[-2] if usable else network[-1]),
        "cidr": network.prefixlen,
    }


def cidr_subnet(text: Any, prefix: Any, index: Any) -> str:
    network = ip_network(text, strict=False)
    if prefix < network.prefixlen or prefix > network.max_prefixlen or index >> (prefix - network.prefixlen):
        raise ValueError("no such subnet")
    start = int(network.network_address) + (index << (network.max_prefixlen - prefix))
    return f"{ip_address(start) if network.version == 4 else IPv6Address(start)}/{prefix}"


def cidr_host(text: Any, index: Any) -> str:
    return str(ip_network(text, strict=False)[index + 1])


def add_days(moment: Any, days: Any) -> str:
    if isinstance(days, bool) or not isinstance(days, int):
        raise TypeError("a whole number of days is needed")
    return written(datetime.fromisoformat(moment) + timedelta(days=days))


def written(moment: datetime) -> str:
    """`yyyy-MM-ddTHH:mm:ss.fffffffZ`, the universal ISO form of the policy language."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond:06d}0Z"


NETWORK_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "addDays": add_days,
    "cidrHost": cidr_host,
    "cidrSubnet": cidr_subnet,
    "ipRangeContains": ip_range_contains,
    "parseCidr": parse_cidr,
}
