"""Commands of keys: those that stored data depend on, and those of callers of the API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import api_keys, running
from flows.commands.reviewing import Actor, Reason
from flows.commands.running import Json

if TYPE_CHECKING:
    from infra.database.engine import Engine

app = running.group("The keys that stored data depend on, and the keys of callers of the API.")
rotate = running.group("Replace a key.")
app.add_typer(rotate, name="rotate")
app.add_typer(api_keys.app)
rotate.command(name="api")(api_keys.rotate)


@app.command()
def show(as_json: Json = False) -> None:
    """Show the fingerprint of each key, its first use, and the reason. Keys themselves are not shown."""
    from infra.bundles.signing_key_rotation import list_keys

    running.finish("keys", list_keys(running.database("owner")), as_json)


@app.command()
def identity() -> None:
    """Show the secret with which your server signs the users of its pages (docs/collector.md)."""
    from infra.configuration.settings import load
    from infra.keys.credentials import IDENTITY, secret

    print(secret(load(), IDENTITY))


@rotate.command()
def signing(reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Sign new bundles with a new key. Bundles of the earlier key stay trusted until you retire it."""
    from infra.bundles.signing_key_rotation import list_keys, rotate_signing
    from infra.configuration.settings import load

    opened = running.database("owner", compared=False)  # also replaces a lost signing key
    rotate_signing(opened, load(), actor, reason)
    running.finish("keys", list_keys(opened), as_json)


@rotate.command()
def pseudonym(reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Re-key all users in every store. Nothing else may run; after a stop, the same command continues."""
    from infra.bundles.signing_key_rotation import list_keys
    from infra.configuration.settings import load
    from tasks.rekeying.rotate import rotate_pseudonym_key

    opened = running.database("owner", compared=False)  # also continues a stopped rotation
    rotate_pseudonym_key(opened, load(), actor, reason)
    running.finish("keys", list_keys(opened), as_json)


@app.command()
def retire(
    fingerprint: Annotated[str, typer.Argument(help="The fingerprint of the signing key, as `keys show` prints it.")],
    reason: Reason,
    actor: Actor,
    as_json: Json = False,
) -> None:
    """Stop trusting bundles of an earlier signing key."""
    from infra.bundles.signing_key_rotation import list_keys, retire
    from infra.configuration.settings import load

    opened = running.database("owner")
    retire(opened, load(), fingerprint, _champion(opened), actor, reason)
    running.finish("keys", list_keys(opened), as_json)


def _champion(opened: "Engine") -> Path | None:
    from serving.queries.champion_bundle import NoChampionError, champion

    try:
        return Path(champion(opened)["bundle"])
    except NoChampionError:
        return None
