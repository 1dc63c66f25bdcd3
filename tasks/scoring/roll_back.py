"""Rolls back: to a placement's previous lists, or to the previous champion with its last lists if they are retained."""

from typing import Final, TypedDict

from prefect import task
from sqlalchemy import Connection

from infra.bundles.bundle_store import is_kept
from infra.bundles.promoted import erased_since
from infra.database.schema.schema import recommendation_batches
from infra.installation import Installation, current
from infra.locks import locked
from infra.overview import situation
from infra.overview.situation import earlier_champion
from infra.registry.client import Registry
from models.errors import TailorbirdError, reason_fault
from tasks.promotion.apply_decision import restore
from tasks.promotion.champion import Champion, current_champion, sync_aliases
from tasks.promotion.review_requests import Decision
from tasks.scoring import batch_state

ListRollback = TypedDict(
    "ListRollback",
    {
        "from": int,
        "placement": str,
        "batch_id": int,
        "model_version": int,
        "users": int,
        "users_before": int,
        "next": str,
    },
)
"""The batch that was live, the batch that is live now, and the next step."""


_NEXT: Final = (
    "The next `tailorbird score` publishes the champion's lists again: correct what was wrong with them first."
)


@task(description="Show a placement's previous lists again.")
def roll_back_lists(placement: str, actor: str, reason: str) -> ListRollback:
    """Point the placement at the batch before the live one, after applying consent and suppressions to it.

    Raises TailorbirdError if no earlier batch is retained, and LockHeldError while lists are being built.
    """
    engine = current().engine
    if fault := reason_fault(reason, "the lists are taken back", "odd prices"):
        raise TailorbirdError(fault)
    with locked(engine, batch_state.lock_name(placement)), engine.begin() as connection:
        live = batch_state.live_batch(connection, placement)
        if live is None:
            shown = ", ".join(batch_state.placements_with_lists(engine)) or "none"
            raise TailorbirdError(f"Nothing is published in {placement!r}; placements with lists: {shown}.")
        before = batch_state.batch_row(connection, live)
        shown_at = before["published_at"]
        earlier = batch_state.restorable(connection, placement, recommendation_batches.c.published_at < shown_at)
        if not earlier:
            raise TailorbirdError(
                f"No batch before {live} is kept for {placement!r}: `tailorbird score` makes new lists."
            )
        batch_state.restore_batch(connection, placement, earlier[0], f"{actor}: {reason}")
        row = batch_state.batch_row(connection, earlier[0])
    return {
        "from": live,
        "placement": row["placement"],
        "batch_id": row["batch_id"],
        "model_version": row["model_version"],
        "users": row["users"],
        "users_before": before["users"],
        "next": _NEXT,
    }


class ListCounts(TypedDict):
    """The lists of a placement after a rollback and before it."""

    now: int
    before: int


ModelRollback = TypedDict(
    "ModelRollback",
    {"from": int, "to": int, "batches": dict[str, int | None], "lists": dict[str, ListCounts], "next": str | None},
)
"""The versions, the batch that each placement shows now, and the next step for those without lists of the version."""


@task(description="Make the previous champion the champion again.")
def roll_back_model(actor: str, reason: str) -> ModelRollback:
    """Promote the previous champion's stored bundle and publish its last retained lists; return both.

    Raises TailorbirdError if there is no previous champion, BundleRefusedError if its bundle is damaged, and
    DecisionRefusedError if another version was promoted meanwhile.
    """
    installation = current()
    if fault := reason_fault(reason, "the model is rolled back", "complaints about the new lists"):
        raise TailorbirdError(fault)
    champion, earlier = _pair(installation)
    batches, lists = _restore(installation, champion, earlier, Decision(True, actor, reason, "rollback"))
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    if registry.is_available:
        sync_aliases(installation.engine, registry)
    bare = [placement for placement, batch in batches.items() if batch is None]
    return {
        "from": champion["model_version"],
        "to": earlier["model_version"],
        "batches": batches,
        "lists": lists,
        "next": f"No lists of it are kept for {', '.join(bare)}: run `tailorbird score`." if bare else None,
    }


def _restore(
    installation: Installation, champion: Champion, earlier: Champion, decision: Decision
) -> tuple[dict[str, int | None], dict[str, ListCounts]]:
    """Restore the champion and its lists in one transaction: after a kill, the command does not go one further back."""
    names = batch_state.placements_with_lists(installation.engine)
    with (
        locked(installation.engine, *map(batch_state.lock_name, names), wait=True),
        installation.engine.begin() as connection,
    ):
        restore(connection, champion, earlier, decision)
        moved_by = f"{decision.reviewer}: {decision.reason}"
        before = {name: _count(connection, name) for name in names}
        batches = {name: _last_lists(connection, name, earlier["model_version"], moved_by) for name in names}
        return batches, {name: {"now": _count(connection, name), "before": before[name]} for name in names}


def rollback_effect(installation: Installation) -> str:
    """Return what a rollback of the model does, as a sentence. Raises TailorbirdError if none is possible."""
    champion, earlier = _pair(installation)
    now, then = champion["model_version"], earlier["model_version"]
    return f"Version {then} becomes the champion again, in place of version {now}."


def _count(connection: Connection, placement: str) -> int:
    """Return the number of users, or items, that have a list at a placement."""
    live = batch_state.live_batch(connection, placement)
    return int(batch_state.batch_row(connection, live)["users"]) if live is not None else 0


def _last_lists(connection: Connection, placement: str, version: int, moved_by: str) -> int | None:
    """Show the last lists of a model that may be shown again; return their batch, None if none is retained."""
    batches = batch_state.restorable(connection, placement, recommendation_batches.c.model_version == version)
    if not batches:
        return None
    batch_state.restore_batch(connection, placement, batches[0], moved_by)
    return batches[0]


def _pair(installation: Installation) -> tuple[Champion, Champion]:
    """Return the champion and the promotion before it; rollbacks do not count as promotions."""
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
        if champion is None:
            raise TailorbirdError(str(situation.step(installation.engine, installation.settings)))
        earlier = earlier_champion(connection)
        erased = earlier is not None and erased_since(connection, earlier["dataset_version"])
    if earlier is None:
        raise TailorbirdError(f"There is no champion before version {champion['model_version']}.")
    if erased and not is_kept(installation.settings, earlier["bundle"], earlier["digest"]):
        raise TailorbirdError(
            f"Version {earlier['model_version']} was deleted, because it had learned from users who were erased since. "
            "Run `tailorbird retrain` for another model; for earlier lists of a placement: "
            '`tailorbird rollback recommendations home --reason "worse lists"`.'
        )
    return champion, earlier
