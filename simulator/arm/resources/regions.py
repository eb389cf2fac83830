"""The regions of a subscription, as `GET /subscriptions/{id}/locations` shows them: a selection of Azure's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Region:
    name: str
    display_name: str
    geography: str
    geography_group: str

    def body(self, subscription: str) -> dict[str, Any]:
        return {
            "id": f"/subscriptions/{subscription}/locations/{self.name}",
            "name": self.name,
            "type": "Region",
            "displayName": self.display_name,
            "regionalDisplayName": f"({self.geography_group}) {self.display_name}",
            "metadata": {
                "regionType": "Physical",
                "regionCategory": "Recommended",
                "geography": self.geography,
                "geographyGroup": self.geography_group,
            },
        }


REGIONS = (
    Region("eastus", "East US", "United States", "US"),
    Region("eastus2", "East US 2", "United States", "US"),
    Region("westus2", "West US 2", "United States", "US"),
    Region("northeurope", "North Europe", "Europe", "Europe"),
    Region("westeurope", "West Europe", "Europe", "Europe"),
    Region("uksouth", "UK South", "United Kingdom", "Europe"),
    Region("germanywestcentral", "Germany West Central", "Germany", "Europe"),
    Region("swedencentral", "Sweden Central", "Sweden", "Europe"),
    Region("southeastasia", "Southeast Asia", "Asia Pacific", "Asia Pacific"),
)
