"""Commands of streams: consume a message broker, and look at what could not be stored."""

import asyncio
import json
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json
from models.primitives.json_types import JsonObject

app = running.group()
dead_letters = running.group(
    "Messages of brokers that could not be stored: malformed or too large, conflicts of ids, poison."
)
Source = Annotated[str | None, typer.Option(help="Only letters of this source.")]
Reason = Annotated[str | None, typer.Option(help="Only malformed, too_large, id_conflict, poison or broker.")]
_LARGEST = 2**53


@app.command()
def consume(
    url: Annotated[
        str | None,
        typer.Argument(
            help="The broker: amqp://user:password@host/ or kafka://host:9092/topic; by default the setting stream_url."
        ),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            help="The queue of RabbitMQ, made if it is missing, or the topic.", show_default="tailorbird.events"
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="The source of the messages in the ledger.")] = "stream",
    metrics_port: Annotated[
        int, typer.Option(help="A port for Prometheus metrics on this machine; 0 for none.", min=0, max=65535)
    ] = 0,
) -> None:
    """Store the events of a message broker, each once, until Ctrl-C. Any number of consumers share a queue or topic.

    Messages are calls of Segment's specification as JSON, single or as `batch`. Other users of this machine can see
    an address on the command line; the setting stream_url hides its password.
    """
    from models.errors import TailorbirdError
    from serving.stream.consumer import ConsumerConfig, run
    from serving.stream.delivery import queue_of

    settings = running.current_settings()
    given = url or (settings.stream_url and settings.stream_url.get_secret_value())
    if not given:
        raise TailorbirdError("Name the broker, such as amqp://guest:guest@127.0.0.1/, or set stream_url.")
    name = queue_of(given, queue)
    running.database("serving")  # compares the keys of this host with those of the database
    running.print_message(f"Events of the queue {name} are stored as source {source}; Ctrl-C ends it.")
    run(settings, ConsumerConfig(given, name, source, metrics_port))


@dead_letters.command("list")
def show_all(
    source: Source = None,
    reason: Reason = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those that were stored after all.")] = False,
    as_json: Json = False,
) -> None:
    """List the messages that wait for a person, without what they hold."""
    from serving.queries.dead_letters import Selection, letter_rows

    rows = letter_rows(running.database("operator"), Selection(source, reason, replayed=replayed))
    running.finish("dead_letters", rows, as_json)


@dead_letters.command()
def show(
    letter: Annotated[int, typer.Argument(min=1, max=_LARGEST, help="The number of the letter, as `list` shows it.")],
    as_json: Json = False,
) -> None:
    """Show a message as its sender wrote it. It may hold ids of users."""
    from serving.queries.dead_letters import whole_letter

    running.finish("dead_letter", whole_letter(running.database("operator"), letter), as_json)


@dead_letters.command()
def dismiss(
    letters: Annotated[list[int] | None, typer.Argument(min=1, max=_LARGEST, help="Numbers of letters.")] = None,
    user: Annotated[str | None, typer.Option(help="All letters that name this raw id, such as for an erasure.")] = None,
    as_json: Json = False,
) -> None:
    """Delete messages for good, by their numbers or for one user. What was stored meanwhile stays stored."""
    from models.errors import TailorbirdError
    from serving.queries.dead_letters import dismiss as delete
    from serving.queries.dead_letters import letters_naming

    if not letters and not user:
        raise TailorbirdError("Name letters by their numbers, or a user with --user.")
    database = running.database("operator")
    gone = delete(database, [*(letters or ()), *(letters_naming(database, user) if user else ())])
    print(json.dumps(gone)) if as_json else running.print_message(f"{len(gone)} dead letters were deleted.")


@dead_letters.command()
def replay(
    letters: Annotated[
        list[int] | None, typer.Argument(min=1, max=_LARGEST, help="Numbers of letters; by default all.")
    ] = None,
    source: Source = None,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and store nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Store messages after all, with their own ids. What still cannot be stored stays a dead letter."""
    from serving.queries.dead_letters import Selection, letters_to_replay

    chosen = Selection(source, reason, tuple(letters or ()))
    found = letters_to_replay(running.database("operator"), chosen)
    done = asyncio.run(_replayed(found, dry_run)) if found else []
    running.finish("replayed_letters", done, as_json)
    if dry_run and not as_json:
        running.print_message("Nothing was stored: this was a dry run.")


async def _replayed(letters: list[JsonObject], dry_run: bool) -> list[JsonObject]:
    from serving.stream.consumer import reader_of, settling
    from serving.stream.replay import replay

    settings = running.current_settings()
    async with settling(settings, letters[0]["source"]) as settlement:
        return await replay(settlement.pool, letters, lambda source: reader_of(settings, source), dry_run=dry_run)
