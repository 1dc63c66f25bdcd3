"""Commands of keys: those that stored data depend on, and those of callers of the API."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from flows.commands import running
from flows.commands.reviewing import Actor, Reason
from flows.commands.running import Json, print_message
from infra.keys.api_keys import COLLECT, SCOPES, KeyKind, Scope, fault_of

if TYPE_CHECKING:
    from infra.database.engine import Engine

app = running.group("The keys that stored data depend on, and the keys of callers of the API.")
rotate = running.group("Replace a key.")
app.add_typer(rotate, name="rotate")
_USE = "Send it as `Authorization: Bearer KEY`"
KeyId = Annotated[str, typer.Argument(help="The id of the key, as `keys list` prints it.")]


@app.command()
def show(as_json: Json = False) -> None:
    """Show the fingerprint of each key, its first use, and the reason. Keys themselves are not shown."""
    _finish(running.database("owner"), as_json)


@app.command()
def identity() -> None:
    """Show the secret with which your server signs the users of its pages (docs/collector.md)."""
    from infra.keys.credentials import IDENTITY, secret

    print(secret(running.current_settings(), IDENTITY))


@rotate.command()
def signing(reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Sign new bundles with a new key. Bundles of the earlier key stay trusted until you retire it."""
    from infra.bundles.signing_key_rotation import rotate_signing

    opened = running.database("owner", compared=False)  # also replaces a lost signing key
    rotate_signing(opened, running.current_settings(), actor, reason)
    _finish(opened, as_json)


@rotate.command()
def pseudonym(reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Re-key all users in every store. Nothing else may run; after a stop, the same command continues."""
    from tasks.privacy.rotate import rotate_pseudonym_key

    opened = running.database("owner", compared=False)  # also continues a stopped rotation
    rotate_pseudonym_key(opened, running.current_settings(), actor, reason)
    _finish(opened, as_json)


@app.command()
def retire(
    fingerprint: Annotated[str, typer.Argument(help="The fingerprint of the signing key, as `keys show` prints it.")],
    reason: Reason,
    actor: Actor,
    as_json: Json = False,
) -> None:
    """Stop trusting bundles of an earlier signing key."""
    from infra.bundles.promoted import copied
    from infra.bundles.signing_key_rotation import retire
    from infra.database.schema.promotion_rows import newest_promotion

    opened = running.database("owner")
    with opened.connect() as connection:
        champion = newest_promotion(connection)
    bundle = copied(champion) if champion else None
    retire(opened, running.current_settings(), fingerprint, bundle, actor, reason)
    _finish(opened, as_json)


def _finish(opened: "Engine", as_json: bool) -> None:
    """Print the fingerprints of the keys that stored data depend on."""
    from infra.bundles.signing_key_rotation import list_keys

    running.finish("keys", list_keys(opened), as_json)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(help="The application that uses the key; for collect, the source of its events.")
    ],
    actor: Actor,
    scope: Annotated[
        list[str],
        typer.Option(
            help="What the key allows: read, write, privacy, admin (these, and rules), or collect (events only). "
            "Repeatable."
        ),
    ] = ["read"],  # noqa: B006 -- typer takes a list
    days: Annotated[float | None, typer.Option(help="The days until the key expires.", min=0.01, max=36_500)] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests per second; by default as in the settings.", min=0.01, max=1_000_000)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Who holds the key: page (everybody can read it; its users are claims) or server. By default page for "
            "collect, else server."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create a key for a caller of the API. It is shown once: only its hash is stored."""
    from infra.keys.recorded_api_keys import NewKey, create_key

    if not name.strip() or not name.isprintable():
        raise typer.BadParameter("write which application uses the key")
    if fault := fault_of(name.strip(), scope, kind):
        raise typer.BadParameter(fault)
    lifetime = None if days is None else timedelta(days=days)
    new = NewKey(name.strip(), _scopes(scope), rate, lifetime, cast("KeyKind | None", kind))
    _print_new(create_key(running.database("operator"), new, actor), as_json)


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """List the keys of callers of the API: scopes, last use, state. Keys themselves are not shown."""
    from infra.keys.recorded_api_keys import list_keys

    running.finish("api_keys", list_keys(running.database("operator")), as_json)


@rotate.command("api")
def rotate_api(
    key_id: KeyId,
    actor: Actor,
    overlap: Annotated[
        float, typer.Option(help="The hours for which the old key stays valid beside the new one.", min=0, max=8760)
    ] = 24,
    as_json: Json = False,
) -> None:
    """Replace the key of a caller of the API by one with the same name, scopes and limits."""
    from infra.keys.recorded_api_keys import rotate_key

    made = rotate_key(running.database("operator"), key_id, timedelta(hours=overlap), actor)
    _print_new(made, as_json)
    if not as_json:
        print_message(f"{key_id} stays valid for {overlap:g} hours; `tailorbird keys revoke {key_id}` ends it at once.")


@app.command()
def revoke(key_id: KeyId, actor: Actor, as_json: Json = False) -> None:
    """End a key of a caller of the API at once."""
    from infra.keys.recorded_api_keys import list_keys, revoke_key

    opened = running.database("operator")
    revoke_key(opened, key_id, actor)
    running.finish("api_keys", [row for row in list_keys(opened) if row["key_id"] == key_id], as_json)


def _scopes(given: list[str]) -> list[Scope]:
    if unknown := sorted(set(given) - set(SCOPES)):
        raise typer.BadParameter(f"there is no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in given]


def _print_new(made: dict[str, Any], as_json: bool) -> None:
    """Print the rows of a new key and, for people, the key on a line of its own."""
    running.finish("api_keys", [made], as_json)
    if as_json:
        return
    print(made["key"])
    use = "Use it as the write key of Segment's libraries" if made["scopes"] == [COLLECT] else _USE
    print(f"The key is shown only now. {use}.", file=sys.stderr)
