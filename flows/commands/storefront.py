"""The command of the storefront."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.commands import running
from flows.commands.reviewing import Actor

if TYPE_CHECKING:
    from infra.database.engine import Engine
    from infra.keys.api_keys import Scope
    from serving.shop.config import ShopConfig

app = running.group()
_EXAMPLES: Final = 8
_KEYS: Final[tuple[tuple[str, list["Scope"]], ...]] = (
    ("shop", ["read", "write", "privacy"]),
    ("storefront", ["collect"]),
)
"""The shop sends events from its server, which knows who has signed in."""


@app.command()
def shop(
    actor: Actor,
    port: Annotated[
        int | None, typer.Option(help="The port of the shop; by default 8080 or the next free one.", min=1, max=65535)
    ] = None,
    pictures_from: Annotated[list[str] | None, typer.Option(help="Fetch pictures below this address.")] = None,
) -> None:
    """Open a shop over the catalogue, to see the recommendations in a browser. Ctrl-C ends it.

    The shop is a client of the public API and of the collector, with two keys of its own that end with it.
    Operators see reports and change rules on a page of the API; `tailorbird logins` prints its address and password.
    """
    import signal

    from uvicorn import Config, Server

    from infra.services import ports
    from models.errors import TailorbirdError
    from serving.shop.app import shop_app
    from serving.shop.config import PORT

    if port is not None and not ports.is_free(port):
        raise TailorbirdError(f"Port {port} is in use by another program. Choose another with --port.")
    chosen = port or ports.free(PORT)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the keys end then, too
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # the terminal is closed; under nohup the shop stays open
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with _config(actor) as config, suppress(KeyboardInterrupt):
        address = f"http://127.0.0.1:{chosen}"
        running.print_message(f"The shop is open at {address} for browsers on this machine; Ctrl-C closes it.")
        running.print_message(f"Operators sign in at {config.api}/operator; `tailorbird logins` prints the password.")
        Server(
            Config(
                shop_app(replace(config, pictures_from=tuple(f"{one.rstrip('/')}/" for one in pictures_from or ()))),
                host="127.0.0.1",
                port=chosen,
                loop="uvloop",
                access_log=False,
                server_header=False,
                log_level="warning",
                timeout_graceful_shutdown=5,
            )
        ).run()


@contextmanager
def _config(actor: str) -> Iterator["ShopConfig"]:
    """Yield the settings of the shop, with new keys, which are revoked at the end."""
    from infra.keys.credentials import secret
    from infra.services.endpoints import endpoints
    from infra.supervisor.probes import ensure
    from models.errors import TailorbirdError
    from serving.queries.user_recommendations import example_users
    from serving.shop.config import ShopConfig

    settings = running.current_settings()
    api = endpoints(settings).api_page
    if not api:
        raise TailorbirdError(
            "The shop needs the API. Start it with: tailorbird up (TAILORBIRD_API_PORT must not be 0)"
        )
    ensure(settings, ["postgres", "api"])
    database = running.database("operator")
    households = tuple(example_users(database, _EXAMPLES))
    with new_keys(database, actor) as (key, collect_key):
        yield ShopConfig(api, key, collect_key, secret(settings, "shop-cookies").encode(), households)


@contextmanager
def new_keys(database: "Engine", actor: str) -> Iterator[tuple[str, str]]:
    """Yield a key for the API and one for the collector, which are revoked at the end."""
    from infra.keys.recorded_api_keys import NewKey, create_key, revoke_key

    made = [create_key(database, NewKey(name, scopes, kind="server"), actor) for name, scopes in _KEYS]
    try:
        yield str(made[0]["key"]), str(made[1]["key"])
    finally:
        for one in made:
            with suppress(Exception):  # the database may be gone by now
                revoke_key(database, str(one["key_id"]), actor)
