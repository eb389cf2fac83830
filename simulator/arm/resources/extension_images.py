"""The extensions that can be installed, by publisher, type and version, as the image lists of a region show them."""

from __future__ import annotations

from typing import Any

from simulator.arm.compute.artifacts import Artifacts
from simulator.arm.http.errors import ArmError


class ExtensionImages:
    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def publishers(self, subscription: str, region: str) -> list[dict[str, Any]]:
        names = sorted({handler.publisher for handler in self._artifacts.handlers})
        scope = _scope(subscription, region)
        return [{"id": f"{scope}/Publishers/{name}", "location": region, "name": name} for name in names]

    def types(self, subscription: str, region: str, publisher: str) -> list[dict[str, Any]]:
        """Raises ARM's 404 for a publisher without extensions."""
        found = [each for each in self._artifacts.handlers if each.publisher.lower() == publisher.lower()]
        if not found:
            raise _not_found(f"The publisher '{publisher}' was not found in location '{region}'.")
        scope = f"{_scope(subscription, region)}/Publishers/{found[0].publisher}/ArtifactTypes/VMExtension/Types"
        return [{"id": f"{scope}/{each.type}", "location": region, "name": each.type} for each in found]

    def versions(self, subscription: str, region: str, publisher: str, type_: str) -> list[dict[str, Any]]:
        """Raises ARM's 404 for an extension that does not exist."""
        handler = self._artifacts.find(publisher, type_)
        if handler is None:
            message = f"Artifact: VMExtension was not found. Publisher '{publisher}', type '{type_}'."
            raise _not_found(message)
        scope = f"{_scope(subscription, region)}/Publishers/{handler.publisher}/ArtifactTypes/VMExtension"
        return [
            {"id": f"{scope}/Types/{handler.type}/Versions/{version}", "location": region, "name": version}
            for version in self._artifacts.published(handler)
        ]


def _scope(subscription: str, region: str) -> str:
    return f"/Subscriptions/{subscription}/Providers/Microsoft.Compute/Locations/{region}"


# Invented words; only the code is documented.
def _not_found(message: str) -> ArmError:
    return ArmError(404, "NotFound", message)
