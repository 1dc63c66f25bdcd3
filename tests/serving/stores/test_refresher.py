"""Callers that wait for what a refresh reads."""

import asyncio
from time import monotonic

import pytest

from serving.stores.refresher import Refresher

pytestmark = pytest.mark.anyio


async def test_a_caller_gets_what_was_there_when_it_asked_though_a_refresh_was_running() -> None:
    stored, read, running = 1, 0, asyncio.Event()

    async def refresh() -> None:
        nonlocal read
        found = stored
        running.set()
        await asyncio.sleep(0.05)
        read = found

    refresher = Refresher(refresh, 60)
    task = asyncio.create_task(refresher.run())
    await running.wait()
    stored = 2
    await refresher.refreshed()
    assert read == 2
    task.cancel()


async def test_callers_wait_a_second_at_most_and_only_some_of_them_while_the_source_hangs() -> None:
    refresher = Refresher(asyncio.Event().wait, 60)
    task = asyncio.create_task(refresher.run())
    began = monotonic()

    async def seconds() -> float:
        await refresher.refreshed()
        return monotonic() - began

    waited = sorted(await asyncio.gather(*(seconds() for _ in range(1000))))
    assert waited[-17] < 0.9 < waited[-16]
    assert waited[-1] < 5
    task.cancel()


async def test_a_refresh_that_fails_lets_callers_go_on() -> None:
    async def refresh() -> None:
        raise ValueError("damaged")

    refresher = Refresher(refresh, 60)
    task = asyncio.create_task(refresher.run())
    began = monotonic()
    await refresher.refreshed()
    assert monotonic() - began < 0.9
    task.cancel()
