"""Builds and publishes the lists of one placement, asks for those of a segment, and reports published batches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypedDict, cast

from prefect import task
from sqlalchemy import text

from infra.configuration import placements
from infra.database.engine import database_now
from infra.database.experiment_rows import variant_placements
from infra.database.rule_versions import current_rules
from infra.installation import Installation, current
from models.errors import TailorbirdError
from models.experiments.definition import replaced_placement
from models.lists.rules.layer.rule_layer import layer_to_json, layered
from models.lists.rules.placement_config import Placement
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import BATCHES, SEGMENTS, Row, batch_row, key_of, show, warn
from tasks.promotion.champion import require_champion
from tasks.scoring import batch_state
from tasks.scoring.batch_state import PublishedBatch
from tasks.scoring.batch_work import item_lists, user_lists
from tasks.scoring.publish_batch import Work, publish_lists

_KNOWN: Final = text("SELECT DISTINCT segment FROM segment_descriptions WHERE dataset_version = :version ORDER BY 1")
# In the order of the keys, as consumers lock the rows.
_ASK: Final = text("""
    INSERT INTO rescoring_requests AS waiting (user_key, occurred_at, bulk)
    SELECT member.user_key, now(), true FROM segments AS member
    JOIN users ON users.user_key = member.user_key AND users.consent
    WHERE member.dataset_version = :version AND :segment IN (member.rfm, member.demographic)
        AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = member.user_key)
    ORDER BY member.user_key
    ON CONFLICT (user_key) DO UPDATE SET version = waiting.version + 1,
        occurred_at = greatest(waiting.occurred_at, excluded.occurred_at)""")


class SegmentRequest(TypedDict):
    """What was asked for."""

    segment: str
    users: int
    placements: list[str]


@task(task_run_name="ask for {segment}", description="A request for each user of the segment who consents.")
def request_segment(segment: str) -> SegmentRequest:
    """Ask for the live lists of a segment's users; returns their number. Raises TailorbirdError.

    Consumers score them behind the users of events, and publish each list.
    """
    installation = current()
    live = [name for name, one in placements.configured(installation.settings).items() if one.live]
    if not live:
        raise TailorbirdError("No placement has live = true, so that lists cannot be scored for a segment alone.")
    values = {"version": require_champion(installation)["dataset_version"], "segment": segment}
    with installation.engine.begin() as connection:
        known = connection.execute(_KNOWN, values).scalars().all()
        if segment not in known:
            raise TailorbirdError(f"The champion knows no segment {segment!r}; there are {', '.join(known)}.")
        users = connection.execute(_ASK, values).rowcount
    return {"segment": segment, "users": users, "placements": live}


def report_batches(made: Sequence[Row | Exception]) -> list[Row]:
    """Show tables of the batches, of their ignored rules, and of each batch's lists by segment.

    Raises the errors of the other placements, in one message if a person can correct them.
    """
    batches = [batch for batch in made if not isinstance(batch, Exception)]
    errors = [error for error in made if isinstance(error, Exception)]
    show("batches", "Published lists", [batch_row(batch) for batch in batches], BATCHES)
    notes = [(batch["placement"], note) for batch in batches for note in batch["summary"].get("notes", [])]
    ignored = [{"placement": placement, "rule": note} for placement, note in notes]
    show("ignored-rules", "Rules that match nothing, and lists that cannot be full", ignored)
    for row in ignored:
        warn(f"{row['placement']}: {row['rule']}")
    for batch in batches:
        rows = batch["summary"].get("segments", [])
        if len(rows) > 1:
            show(key_of(f"lists {batch['placement']}"), f"Lists for {batch['placement']}, by segment", rows, SEGMENTS)
    for defect in (error for error in errors if not isinstance(error, TailorbirdError)):
        raise defect
    if errors:
        done = ", ".join(batch["placement"] for batch in batches) or "none"
        raise TailorbirdError(
            f"{' '.join(dict.fromkeys(map(str, errors)))} Placements with the champion's lists: {done}."
        )
    return batches


@task(task_run_name="score {name}", description="The lists of a placement, published as one batch.")
@hold_pseudonym_key
def score_placement(name: str = "home", k: int | None = None) -> PublishedBatch:
    """Score and publish; return the batch. The same champion, users and catalogue again publish nothing new.

    `k` overrides the placement's length. Raises PlacementError if the placement is unknown or too short for its rules,
    and the errors of `publish_lists`.
    """
    installation = current()
    configured = _placement(installation, name, k)
    make = user_lists if configured.subject == "user" else item_lists

    def prepare() -> Work:
        with installation.engine.connect() as connection:
            stored, now = current_rules(connection), database_now(connection)
        active = stored.layer.at(replaced_placement(name), now)
        work = make(installation, name, layered(configured, active))
        recorded = replace(work.spec, rules_version=stored.version, operator_rules=layer_to_json(active))
        return replace(work, spec=recorded)

    batch = publish_lists(installation, prepare, name)
    return cast(PublishedBatch, {name: batch[name] for name in PublishedBatch.__annotations__})  # type: ignore[literal-required]


def placements_to_score(names: list[str] | None) -> list[str]:
    """Return the named placements, or all, each with those of its variants.

    Placements of one model are together, because its bundle is opened once for them. Raises PlacementError or
    NoChampionError before anything is scored.
    """
    installation = current()
    configured = placements.configured(installation.settings)
    with installation.engine.connect() as connection:
        variants = variant_placements(connection)
    for name in names or ():
        if name not in variants:
            placements.one(installation.settings, name)
    if names is not None and not names:
        raise TailorbirdError(f"Name a placement: {', '.join(configured)}.")
    require_champion(installation)  # without one, each placement would fail for the same reason
    batch_state.sweep(installation.engine)
    chosen = list(names or configured)
    added = [name for name in variants if name not in chosen and replaced_placement(name) in chosen]
    return chosen + sorted(added, key=lambda name: str(variants[name].model))


def _placement(installation: Installation, name: str, k: int | None) -> Placement:
    """Return a placement of the file or of a variant. Raises PlacementError."""
    with installation.engine.connect() as connection:
        variant = variant_placements(connection).get(name)
    if variant is None:
        return placements.one(installation.settings, name, k)
    return variant if k is None else Placement.model_validate(variant.model_dump(exclude_unset=True) | {"k": k})
