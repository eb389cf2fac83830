"""Operation URLs are signed and long, have to be used unchanged, and expire."""

from __future__ import annotations

from tests.simulator.conftest import MakeScene, Scene


async def test_the_url_is_signed_and_long_and_has_its_own_api_version(scene: Scene) -> None:
    accepted = await scene.call("PUT", f"{scene.add().id}/extensions/X", _script_body(), version="2017-12-01")
    url = accepted.headers["Azure-AsyncOperation"]
    assert 4_000 < len(url) < 6_000
    assert "/locations/westeurope/operations/" in url
    assert "api-version=2024-11-01" in url
    assert all(f"{name}=" in url for name in ("p", "t", "c", "s", "h"))


async def test_an_altered_url_is_rejected(scene: Scene) -> None:
    url = (await scene.put_oms(scene.add())).headers["Azure-AsyncOperation"]
    for altered in (url[:-1], url.replace("&c=", "&c=A"), url.partition("?")[0] + "?api-version=2024-11-01"):
        assert (await scene.call("GET", altered)).status == 403


async def test_the_body_has_an_end_only_when_it_is_over(scene: Scene) -> None:
    accepted = await scene.put_oms(scene.add())
    running = await scene.poll(accepted)
    assert set(running.body) == {"startTime", "status", "name"}
    assert running.body["name"] == accepted.headers["x-ms-request-id"]
    await scene.clock.advance(1_000)
    assert set((await scene.poll(accepted)).body) == {"startTime", "endTime", "status", "name"}


async def test_an_old_operation_is_404(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(operation_lifetime=3_600.0)
    accepted = await scene.put_oms(scene.add())
    await scene.clock.advance(1_000)
    assert (await scene.poll(accepted)).status == 200
    await scene.clock.advance(3_600)
    assert (await scene.poll(accepted)).status == 404


def _script_body() -> dict[str, object]:
    properties = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    return {"location": "westeurope", "properties": properties}
