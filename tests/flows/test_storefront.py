"""The command of the storefront, without a browser."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from flows.commands.storefront import new_keys
from infra.keys.recorded_api_keys import list_keys
from infra.services import ports

if TYPE_CHECKING:
    from conftest import Shop

    from infra.installation import Installation


PAGES = ("/", "/sign-in", "/search")


def test_the_keys_of_the_shop_end_with_it(installation: Installation) -> None:
    with new_keys(installation.engine, "ann") as keys:
        rows = list_keys(installation.engine)
        assert [(row["name"], row["scopes"], row["state"]) for row in rows] == [
            ("shop", ["read", "write"], "valid"),
            ("storefront", ["collect"], "valid"),
        ]
        assert [row["key_id"] in key for row, key in zip(rows, keys, strict=True)] == [True] * 2
    assert [(row["state"], row["revoked_by"]) for row in list_keys(installation.engine)] == [("revoked", "ann")] * 2


def test_the_command_opens_a_shop_with_the_lists_of_the_installation_until_it_is_stopped(stocked: Shop) -> None:
    port = ports.free(stocked.ports + 500)
    command = stocked.start("shop", "--port", str(port), "--actor", "shop test")
    pages: dict[str, str] = {}
    until = time.monotonic() + 60
    while not pages:
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < until
        with suppress(httpx.TransportError):
            pages = {path: httpx.get(f"http://127.0.0.1:{port}{path}").text for path in PAGES}
        time.sleep(0.05)
    assert 'class="shelf"' in pages["/"]
    assert "Household household-0001" in pages["/sign-in"], pages["/sign-in"]
    desk = httpx.get(f"http://127.0.0.1:{port}/operator/history", follow_redirects=True)
    assert desk.url.port != port
    assert "Sign in as an operator" in desk.text
    assert pages["/search"].count("data-item=") == 24
    is_started_by_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    command.send_signal(signal.SIGTERM if is_started_by_nohup else signal.SIGHUP)  # the latter becomes the former
    _, messages = command.communicate(timeout=30)
    assert command.returncode == 0, messages
    assert f"The shop is open at http://127.0.0.1:{port}" in messages
    revoked = stocked.sql("SELECT revoked_at IS NOT NULL FROM api_keys WHERE created_by = 'shop test'")
    assert revoked == [["t"]] * 2
