"""The keys that stored data depend on: show them, replace one, end the trust in an earlier signing key."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands import running
from flows.commands.reviewing import Who, Why
from flows.commands.running import Json

app = running.group("The keys that stored data depend on.")
rotate = running.group("Replace a key.")
app.add_typer(rotate, name="rotate")


@app.command()
def show(as_json: Json = False) -> None:
    """Show the fingerprint of each key, since when it is in use, and why. No key is shown."""
    from infra.bundles.signing_key_rotation import list_keys

    running.print_rows("keys", list_keys(running.database("owner")), as_json)


@rotate.command()
def signing(reason: Why, actor: Who, as_json: Json = False) -> None:
    """Sign new bundles with a new key. Bundles of the earlier key stay trusted until you retire it."""
    from infra.bundles.signing_key_rotation import list_keys, rotate_signing
    from infra.configuration.settings import load

    opened = running.database("owner", compared=False)  # a lost signing key is replaced too
    rotate_signing(opened, load(), actor, reason)
    running.print_rows("keys", list_keys(opened), as_json)


@rotate.command()
def pseudonym(reason: Why, actor: Who, as_json: Json = False) -> None:
    """Name all users by a new key, in every store. Nothing else may run; stopped, the same command goes on."""
    from infra.bundles.signing_key_rotation import list_keys
    from infra.configuration.settings import load
    from tasks.rekeying.rotate import rotate_pseudonym_key

    opened = running.database("owner", compared=False)  # a rotation that was stopped goes on
    rotate_pseudonym_key(opened, load(), actor, reason)
    running.print_rows("keys", list_keys(opened), as_json)


@app.command()
def retire(
    fingerprint: Annotated[str, typer.Argument(help="Of the signing key, as `keys show` prints it.")],
    reason: Why,
    actor: Who,
    as_json: Json = False,
) -> None:
    """Trust bundles of an earlier signing key no longer."""
    from infra.bundles.signing_key_rotation import list_keys, retire
    from infra.configuration.settings import load

    opened = running.database("owner")
    retire(opened, load(), fingerprint, _champion(opened), actor, reason)
    running.print_rows("keys", list_keys(opened), as_json)


def _champion(opened: Any) -> Path | None:
    from serving.queries.champion_bundle import NoChampionError, champion

    try:
        return Path(champion(opened)["bundle"])
    except NoChampionError:
        return None
