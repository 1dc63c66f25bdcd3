"""Commands of requests of people about their data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands import running
from flows.commands.reviewing import Actor, Reason
from flows.commands.running import Json

if TYPE_CHECKING:
    from infra.installation import Installation

app = running.group("Requests of people about their data: restrict its use, lift that, erase it.")
Users = Annotated[list[str] | None, typer.Argument(help="Ids of users, as your shop writes them.")]
File = Annotated[
    Path | None, typer.Option("--file", help="A file with one id per line, which no shell history keeps; - reads it.")
]


@app.command()
def restrict(reason: Reason, actor: Actor, users: Users = None, file: File = None, as_json: Json = False) -> None:
    """Keep what is stored of users, and use it no more: no lists, no training, no new data."""
    number = _asked("restrict", users, file, actor, reason)
    _finish(as_json, f"Request {number} is done. `tailorbird privacy lift` ends the restriction.")


@app.command()
def lift(reason: Reason, actor: Actor, users: Users = None, file: File = None, as_json: Json = False) -> None:
    """Accept data of users again, who were restricted or stay away. Their consent is asked for as that of anybody."""
    number = _asked("lift", users, file, actor, reason)
    _finish(as_json, f"Request {number} is done. What was refused meanwhile stays refused.")


@app.command("object")
def object_to(
    to: Annotated[str, typer.Option("--to", help="The placement; others go on.")],
    reason: Reason,
    actor: Actor,
    users: Users = None,
    file: File = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="End the objection.")] = False,
    as_json: Json = False,
) -> None:
    """Show users no personal list in one placement, such as `email`; it gives them the list of a stranger."""
    from infra.configuration.placements import one

    one(running.current_settings(), to)
    number = _asked("withdraw" if withdraw else "object", users, file, actor, reason, purpose=to)
    _finish(as_json, f"Request {number} is done. It counts in the next answer.")


@app.command()
def correct(
    user: Annotated[str, typer.Argument(help="The id of a user, as your shop writes it.")],
    reason: Reason,
    actor: Actor,
    stated: Annotated[list[str] | None, typer.Option("--set", help="A trait and its value: NAME=VALUE.")] = None,
    unset: Annotated[list[str] | None, typer.Option(help="A trait that is not true at all.")] = None,
    as_json: Json = False,
) -> None:
    """Correct traits of a user. The message goes the way of `PUT /v1/users`, so an undo and histories know it."""
    from infra.keys.credentials import Pseudonyms
    from infra.services.database_access.logins import address
    from models.errors import TailorbirdError
    from serving.events.message import correction
    from serving.operations.privacy_requests import send

    settings, pairs = running.current_settings(), [one.partition("=") for one in stated or ()]
    allowed = [name.strip() for name in settings.user_traits.split(",")]
    if not (pairs or unset) or any(not value or name not in allowed for name, _, value in pairs):
        raise TailorbirdError(
            f"Write --set NAME=VALUE with a trait of the setting user_traits ({settings.user_traits or 'none'}), or "
            "--unset NAME."
        )
    number = _asked("correct", [user], None, actor, reason)
    traits = {**{name: value for name, _, value in pairs}, **dict.fromkeys(unset or ())}
    send(address(settings, "serving"), correction(Pseudonyms(_here().key.decode()), user, traits))
    _finish(as_json, f"Request {number} is done: the traits change within seconds, while the services run.")


@app.command()
def erase(
    reason: Reason,
    actor: Actor,
    users: Users = None,
    file: File = None,
    suppress: Annotated[bool, typer.Option(help="Refuse later data of these users until `lift`.")] = False,
    as_json: Json = False,
) -> None:
    """Erase users from all stores. From the first moment on they are shown nothing; later data need a newer consent.

    While other work runs, the request waits: `tailorbird privacy continue` carries it out.
    """
    number = _asked("erase", users, file, actor, reason, suppress=suppress)
    running.print_message(
        f"Request {number} is recorded: the users are shown nothing any more. They are erased now, or "
        "once work that runs has ended: `tailorbird privacy list` shows the state."
    )
    carry_out(as_json)


@app.command("continue")
def carry_out(as_json: Json = False) -> None:
    """Carry out all requests to erase that wait."""
    removed = running.flow("privacy", "mlflow")()
    _finish(as_json, f"{sum(removed.values()):,} rows were deleted." if removed else "No request waits.")


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """List the requests, the newest first."""
    _here()
    _finish(as_json, "")


@app.command()
def verify(
    user: Annotated[str, typer.Argument(help="The id of a user, as your shop writes it.")], as_json: Json = False
) -> None:
    """Search every store for a user, and say which cannot be searched. It reads all tables and files."""
    from serving.queries.dead_letters import letters_naming
    from serving.stores.redis_store import cached_lists
    from tasks.privacy.find_user import Search, search

    here = _here()
    others: dict[str, Search] = {"identity.dead_letters": lambda raw, _keys: len(letters_naming(here.engine, raw))}
    if redis := here.settings.redis_url:
        others["Redis"] = lambda _raw, keys: cached_lists(redis.get_secret_value(), keys)
    places = [place._asdict() for place in search(here, user, others)]
    running.finish("privacy_places", places, as_json)
    if not as_json and not any(place["rows"] for place in places):
        running.print_message("No store that was searched names this user.")


@app.command()
def policy() -> None:
    """Print every store of data of people as Markdown: what it holds, and how long with your settings."""
    from tasks.privacy.register import document

    print(document(running.current_settings().retention), end="")


@app.command()
def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be deleted, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete events, by whole months, and runs of MLflow that the table `retention` keeps no longer."""
    ended = running.flow("retention", "mlflow")(dry_run)
    running.finish("privacy_retention", ended, as_json)
    if not as_json:
        rows = sum(one["rows"] for one in ended)
        running.print_message(f"{rows:,} events and runs {'would be' if dry_run else 'were'} deleted.")


@app.command()
def export(
    user: Annotated[str, typer.Argument(help="The id of a user, as your shop writes it.")],
    to: Annotated[Path, typer.Option("--to", help="The zip file to write.")],
    as_json: Json = False,
) -> None:
    """Write a copy of the stored data of a user: provided, observed and inferred, as JSON and CSV in a zip."""
    from tasks.privacy.export_user import export_user

    rows = [{"part": part, "rows": rows} for part, rows in export_user(_here(), user, to).items()]
    running.finish("privacy_export", rows, as_json)


@app.command()
def receipt(
    number: Annotated[int, typer.Argument(min=1, max=2**53, help="The number of the request, as `list` shows it.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    as_json: Json = False,
) -> None:
    """Write a signed receipt of a request: what was deleted, when, and which models learned before."""
    from tasks.privacy.requests import write_receipt

    running.finish("privacy_receipt", write_receipt(_here(), number, to), as_json)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A receipt.")], as_json: Json = False) -> None:
    """Check that this installation signed a receipt, and that nobody changed it since."""
    from tasks.privacy.requests import check_receipt

    running.finish("privacy_receipt", check_receipt(running.current_settings(), file), as_json)


def _asked(kind: str, users: list[str] | None, file: Path | None, actor: str, reason: str, **more: Any) -> int:
    from tasks.privacy.requests import ask, unknown_ids

    names, here = [*(users or ()), *_lines(file)], _here()
    unknown = unknown_ids(here, names)
    number = ask(here, kind, names, actor, reason, **more)
    if unknown:
        running.print_message(f"{unknown} of {len(set(names))} ids are unknown here: are they written as in your data?")
    return number


def _lines(file: Path | None) -> list[str]:
    from models.errors import TailorbirdError

    if file is None:
        return []
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError):
        raise TailorbirdError(f"{file} cannot be read: name a text file with one id per line.") from None
    return [line for line in text.splitlines() if line]


def _here() -> "Installation":
    """Connect with the services, of which only the database has to run, and return the installation."""
    from infra.installation import current

    running.connect("mlflow", "prefect")
    return current()


def _finish(as_json: bool, message: str) -> None:
    from infra.installation import current
    from tasks.privacy.requests import requests

    running.finish("privacy_requests", requests(current().engine), as_json)
    if message and not as_json:
        running.print_message(message)
