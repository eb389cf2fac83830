"""The cloud's own description (`GET /metadata/endpoints`), which needs no token: where to sign in, for which audience,
and where ARM is. `az cloud register` reads it. Services that the laptop does not have are left out.
"""

from __future__ import annotations

from typing import Any

from simulator.arm.options import Options

CLOUD_NAME = "Laptop"


def cloud_metadata(options: Options, arm: str, sign_in: str, logs: str) -> dict[str, Any]:
    """The body of the answer; the arguments are the addresses of the laptop's endpoints."""
    return {
        "name": CLOUD_NAME,
        "authentication": {
            "loginEndpoint": sign_in,
            "audiences": list(options.audiences),
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": arm,
        "logAnalyticsResourceId": options.logs_audience,
        "logAnalyticsEndpoint": logs,
        "suffixes": {},
    }
