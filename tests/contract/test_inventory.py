"""The inventory port, in memory and over the simulator: the associations of VMs."""

from __future__ import annotations

from onboarding.application.ports import FoundAssociation
from tests.contract.arms import ArmBackend


async def found(arm: ArmBackend, *subscriptions: str) -> list[FoundAssociation]:
    return sorted([each async for each in arm.inventory.associations(subscriptions)], key=str)


async def test_each_association_is_found_in_lower_case(arm: ArmBackend) -> None:
    first, second, _ = arm.add("Web01"), arm.add("web02"), arm.add("web03")
    insights = f"/subscriptions/{first.subscription}/resourceGroups/Monitor/providers/Microsoft.Insights"
    linux, security = (f"{insights}/dataCollectionRules/{name}" for name in ("Linux", "security"))
    endpoint = f"{insights}/dataCollectionEndpoints/weu"
    for vm, rule in ((first, linux), (first, security), (second, linux)):
        await arm.associate(vm, rule)
    await arm.associate(second, endpoint, endpoint=True)

    expected = [
        FoundAssociation(first.key, linux.lower()),
        FoundAssociation(first.key, security.lower()),
        FoundAssociation(second.key, linux.lower()),
        FoundAssociation(second.key, endpoint=endpoint.lower()),
    ]
    assert await found(arm, *arm.subscriptions) == sorted(expected, key=str)
    assert await found(arm, arm.subscriptions[0]) == sorted(expected, key=str)
    assert await found(arm, arm.subscriptions[1]) == []
