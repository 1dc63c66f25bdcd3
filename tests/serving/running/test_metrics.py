"""The monitor's report on a server under traffic."""

from dataclasses import replace

import pytest

from tasks.monitoring.drift.evaluate_window import serving_readings
from tasks.monitoring.serving_metrics import read
from tests.serving.running.open_loop import OpenLoop, Request
from tests.serving.running.shop import USERS, RunningShop

pytestmark = pytest.mark.anyio


async def test_the_report_has_the_latency_and_the_errors_of_all_workers(shop: RunningShop) -> None:
    address = f"{shop.server.address}/metrics"
    settings = shop.installation.settings.model_copy(update={"metrics_url": address})
    before = read(settings, address)[0]
    client = OpenLoop(shop.server.address, shop.key)
    requests = [*(Request(f"/v1/users/{user}/recommendations") for user in USERS), Request("/v1/unknown")]
    replies = await client.send(200, len(requests) / 200, requests.__getitem__)
    await client.close()
    counted = read(settings, address)[0].since(before)
    assert counted.count == len(replies) + 1  # and the first look at the metrics
    assert counted.error_share == sum(reply.status >= 500 for reply in replies) / counted.count
    latency, errors = serving_readings(replace(shop.installation, settings=settings))
    assert (latency.signal, errors.signal) == ("serving latency", "serving errors")
    assert latency.value is not None
    assert errors.value is not None
    assert latency.value > 0
    assert 0 <= errors.value < 1
    assert (latency.high, errors.high) == (settings.serving_p99_ms, settings.serving_error_share)
