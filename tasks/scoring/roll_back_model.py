"""Goes back to the champion before, in one step, and to the last lists that it made where they are still kept."""

from typing import Any

from prefect import task
from sqlalchemy import Connection

from infra.database.schema.schema import recommendation_batches
from infra.installation import Installation, current
from infra.locks.advisory_locks import locked
from infra.overview import situation
from infra.overview.earlier_champion import earlier_champion
from infra.registry.client import Registry
from models.errors import TailorbirdError
from models.primitives.recorded_reasons import reason_fault
from tasks.promotion.champion import Champion, current_champion, sync_aliases
from tasks.promotion.promote import restore
from tasks.promotion.review_requests import Decision
from tasks.scoring import batch_state


@task(description="Let the champion before answer again.")
def roll_back_model(actor: str, reason: str) -> dict[str, Any]:
    """Promote the previous champion's kept bundle and publish its last kept lists; returns what answers now.

    Raises TailorbirdError when there is none before, BundleRefusedError when its bundle is damaged, and
    DecisionRefusedError when another version was promoted meanwhile.
    """
    installation = current()
    if fault := reason_fault(reason, "the model is rolled back", "complaints about the new lists"):
        raise TailorbirdError(fault)
    champion, earlier = _pair(installation)
    batches, lists = _go_back(installation, champion, earlier, Decision(True, actor, reason, "rollback"))
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    if registry.is_available:
        sync_aliases(installation.engine, registry)
    bare = [placement for placement, batch in batches.items() if batch is None]
    told = f"No lists of it are kept for {', '.join(bare)}: run `tailorbird score`." if bare else None
    versions = {"from": champion["model_version"], "to": earlier["model_version"]}
    return versions | {"batches": batches, "lists": lists, "next": told}


def _go_back(
    installation: Installation, champion: Champion, earlier: Champion, answer: Decision
) -> tuple[dict[str, int | None], dict[str, dict[str, int]]]:
    """In one transaction, so that after a kill the same command does not go one champion further."""
    names = batch_state.shown(installation.engine)
    with (
        locked(installation.engine, *map(batch_state.lock, names), wait=True),
        installation.engine.begin() as connection,
    ):
        restore(connection, champion, earlier, answer)
        who = f"{answer.reviewer}: {answer.reason}"
        before = {name: _count(connection, name) for name in names}
        batches = {name: _last_lists(connection, name, earlier["model_version"], who) for name in names}
        return batches, {name: {"now": _count(connection, name), "before": before[name]} for name in names}


def going_back(installation: Installation) -> str:
    """Return what a rollback of the model does, as a sentence. Raises TailorbirdError if none is possible."""
    champion, earlier = _pair(installation)
    now, then = champion["model_version"], earlier["model_version"]
    return f"Version {then} becomes the champion again, in place of version {now}."


def _count(connection: Connection, placement: str) -> int:
    """Return how many users, or items, have a list in what a placement shows."""
    live = batch_state.live_batch(connection, placement)
    return int(batch_state.batch_row(connection, live)["users"]) if live is not None else 0


def _last_lists(connection: Connection, placement: str, version: int, who: str) -> int | None:
    """Show the last sound lists of a model; returns their batch, None where none is kept."""
    there = batch_state.sound(connection, placement, recommendation_batches.c.model_version == version)
    if not there:
        return None
    batch_state.go_back(connection, placement, there[0], who)
    return there[0]


def _pair(installation: Installation) -> tuple[Champion, Champion]:
    """The champion, and the one before it in history: a rollback is no history of its own."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
        if champion is None:
            raise TailorbirdError(str(situation.step(installation.engine, installation.settings)))
        earlier = earlier_champion(connection)
    if earlier is None:
        raise TailorbirdError(f"There is no champion before version {champion['model_version']}.")
    return champion, earlier
