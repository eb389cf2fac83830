"""Token buckets: headers show the remaining tokens; too many requests are answered 429 in one of Azure's forms."""

from __future__ import annotations

import json

import pytest

from simulator.arm import ExtensionSpec, ThrottleWait
from tests.simulator.conftest import MakeScene, Reply, Scene


async def _exhaust(scene: Scene) -> Reply:
    """Read one VM until compute refuses."""
    machine = scene.add()
    for _ in range(36):
        assert (await scene.call("GET", machine.id)).status == 200
    return await scene.call("GET", machine.id)


async def test_headers_have_the_remaining_tokens_per_resource_and_per_subscription(scene: Scene) -> None:
    reply = await scene.call("GET", scene.add().id)
    remaining = reply.headers["x-ms-ratelimit-remaining-resource"]
    assert remaining == "Microsoft.Compute/LowCostGetSubscriptionMaximum;23999,Microsoft.Compute/LowCostGetResource;35"
    assert reply.headers["x-ms-ratelimit-remaining-subscription-reads"] == "249"
    written = await scene.put_oms(scene.add("other"))
    assert "Microsoft.Compute/UpdateVMResource;11" in written.headers["x-ms-ratelimit-remaining-resource"]
    assert written.headers["x-ms-ratelimit-remaining-subscription-writes"] == "199"


async def test_the_37th_read_of_one_vm_is_429_and_so_is_an_early_retry(scene: Scene) -> None:
    refused = await _exhaust(scene)
    assert (refused.status, refused.code) == (429, "OperationNotAllowed")
    assert refused.headers["Retry-After"] == "5"
    detail = refused.body["error"]["details"][0]
    assert (detail["code"], detail["target"]) == ("TooManyRequests", "LowCostGetResource")
    assert json.loads(detail["message"])["allowedRequestCount"] == 36
    machine = next(iter(scene.arm.machines))
    await scene.clock.advance(3)
    assert (await scene.call("GET", machine.id)).status == 429
    await scene.clock.advance(3)
    assert (await scene.call("GET", machine.id)).status == 200


@pytest.mark.parametrize(
    ("wait", "header", "has_end"),
    [
        (ThrottleWait.RETRY_AFTER, "5", True),
        (ThrottleWait.ZERO, "0", True),
        (ThrottleWait.END_TIME, None, True),
        (ThrottleWait.UNSAID, None, False),
    ],
)
async def test_a_429_has_the_wait_in_any_of_azures_forms(
    make_scene: MakeScene, wait: ThrottleWait, header: str | None, has_end: bool
) -> None:
    refused = await _exhaust(await make_scene(throttle_wait=wait))
    assert refused.headers.get("Retry-After") == header
    assert ("endTime" in json.loads(refused.body["error"]["details"][0]["message"])) is has_end


async def test_all_writes_to_a_vm_share_the_same_small_bucket(scene: Scene) -> None:
    machine = scene.add()
    script = ExtensionSpec(name="s", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")
    scene.arm.put_extension_as_other_deployer(machine.id, script)
    scene.arm.drain(machine.id, "UpdateVM", 11)
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.headers["Retry-After"]) == (429, "15")


async def test_arm_itself_counts_per_subscription_and_principal(scene: Scene) -> None:
    scene.add()
    path = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-fleet"
    for _ in range(250):
        assert (await scene.call("GET", path)).status == 200
    refused = await scene.call("GET", path)
    assert (refused.status, refused.code) == (429, "SubscriptionRequestsThrottled")
    assert "Please try again after '1' seconds after additional tokens are available." in refused.message
    other = scene.arm.tokens.issue("https://management.azure.com", "somebody-else").value
    assert (await scene.call("GET", path, headers={"Authorization": f"Bearer {other}"})).status == 200


async def test_polls_cost_tokens_of_the_vm(scene: Scene) -> None:
    accepted = await scene.put_oms(scene.add())
    left = (await scene.poll(accepted)).headers["x-ms-ratelimit-remaining-resource"]
    assert "Microsoft.Compute/GetOperationResource;44" in left


async def test_limits_can_be_switched_off(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(limits=False)
    assert (await _exhaust(scene)).status == 200
