"""Requests for a decision, one row per version. The first decision closes the request."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Final, cast

from sqlalchemy import Connection, Integer, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from infra.database.schema.promotion_rows import Review
from infra.database.schema.schema import DEADLINE, reviews
from infra.installation import Installation
from infra.overview import situation
from models.errors import TailorbirdError
from models.gate.results import Check, GateResult, GroupResult
from models.primitives.json_types import JsonObject
from tasks.promotion.recorded_bundles import TrainedBundle

APPROVED: Final = "approved"
REJECTED: Final = "rejected"
UNDECIDED_REVIEWER: Final = "nobody"
"""The recorded reviewer of a request that was rejected because its deadline passed."""

REJECTED_BEFORE: Final = "rejected before"
"""The warning among the gate's checks that keeps the rejection of a version whose review was reopened."""
_REJECTIONS: Final = literal_column(
    f"""jsonb_path_query_array(reviews.gate, '$[*] ? (@.name == "{REJECTED_BEFORE}")')""", JSONB
)
DECIDED: Final = ("decision", "reviewer", "reason", "via", "decided_at")
_ROLLED_BACK: Final = literal_column(
    """(
        SELECT own.promotion_id FROM (
            SELECT promotion_id, coalesce(restored_promotion_id, promotion_id) AS position FROM promotions
            WHERE promotions.model_version = reviews.model_version ORDER BY promotion_id DESC LIMIT 1
        ) AS own
        WHERE own.position > (
            SELECT coalesce(restored_promotion_id, promotion_id) FROM promotions ORDER BY promotion_id DESC LIMIT 1
        )
    )""",
    Integer,
).label("rolled_back")
"""The version's newest promotion, if the champion is one from before it. A newer version is no rollback."""


class DecisionRefusedError(TailorbirdError):
    """A decision that cannot be applied."""


@dataclass(frozen=True)
class Decision:
    """A yes or no to a version, who made it, and where."""

    approve: bool
    reviewer: str
    reason: str
    via: str
    """form, command, tag, alias, auto, rollback or deadline."""
    override: bool = False
    """Promote the version although the gate refused it."""

    @property
    def outcome(self) -> str:
        """Return the decision as it is recorded."""
        return APPROVED if self.approve else REJECTED


def request(
    installation: Installation,
    dataset_version: str,
    model_version: int,
    bundle: TrainedBundle,
    gate: GateResult,
    against: int,
) -> Review:
    """Ask for a decision about a version after the gate compared it with the promotion `against` (0: none).

    A review that is open, or was closed by the deadline, is renewed. A review that a person decided does not change.
    Raises DecisionRefusedError if that decision was about another bundle. Returns the current review.
    """
    expires = func.now() + text("make_interval(secs => :seconds)").bindparams(
        seconds=installation.settings.review_days * 86_400
    )
    values = {
        "dataset_version": dataset_version,
        "run_id": bundle.run_id,
        "digest": bundle.digest,
        "passed": gate.passed,
        "gate": _as_json(gate.checks),
        "groups": _as_json(gate.groups),
        "reference_promotion_id": against,
        "requested_at": func.now(),
        "expires_at": expires,
    }
    entry = insert(reviews).values(model_version=model_version, **values)
    undecided = reviews.c.decision.is_(None) | (reviews.c.via == DEADLINE)
    renewed = values | {"gate": entry.excluded.gate.op("||")(_REJECTIONS)} | dict.fromkeys(DECIDED)
    upsert = entry.on_conflict_do_update(index_elements=[reviews.c.model_version], set_=renewed, where=undecided)
    with installation.engine.begin() as connection:
        connection.execute(upsert)
    review = review_of(installation, model_version)
    if (review["run_id"], review["digest"]) != (bundle.run_id, bundle.digest):
        raise DecisionRefusedError(
            f"Version {model_version} was decided when it stood for another bundle, and this decision stays. Delete "
            "the version in MLflow, then run `tailorbird review` again: the bundle becomes a new version."
        )
    return review


def review_of(installation: Installation, model_version: int | None = None) -> Review:
    """Return the review of a version, or the newest; the error for a missing one names the next step."""
    query = select(reviews, _ROLLED_BACK).order_by(reviews.c.requested_at.desc(), reviews.c.review_id.desc()).limit(1)
    if model_version is not None:
        query = query.where(reviews.c.model_version == model_version)
    with installation.engine.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        missing = f"There is no review of version {model_version}. " if model_version else ""
        raise TailorbirdError(f"{missing}{situation.step(installation.engine, installation.settings)}")
    return cast(Review, dict(row))


def open_reviews(connection: Connection) -> list[Review]:
    """Return the undecided reviews, newest first."""
    query = select(reviews).where(reviews.c.decision.is_(None)).order_by(reviews.c.requested_at.desc())
    return [cast(Review, dict(row)) for row in connection.execute(query).mappings()]


def reviews_of(connection: Connection, versions: Sequence[int]) -> dict[int, Review]:
    """Return the reviews of these versions, by version; versions without a review are left out."""
    query = select(reviews, _ROLLED_BACK).where(reviews.c.model_version.in_(versions))
    return {row["model_version"]: cast(Review, dict(row)) for row in connection.execute(query).mappings()}


def close(connection: Connection, review: Review, decision: Decision) -> None:
    """Record the first decision, or another yes to a version that was rolled back.

    Raises DecisionRefusedError if another decision was recorded first or the request was renewed.
    """
    version = review["model_version"]
    values = {
        "decision": decision.outcome,
        "reviewer": decision.reviewer,
        "reason": decision.reason,
        "via": decision.via,
        "overridden": decision.approve and not review["passed"],
        "decided_at": func.now(),
    }
    same_request = (reviews.c.model_version == version, reviews.c.requested_at == review["requested_at"])
    is_open = _ROLLED_BACK.element.is_not(None) if review["rolled_back"] else reviews.c.decision.is_(None)
    if connection.execute(update(reviews).where(*same_request, is_open).values(values)).rowcount != 1:
        raise DecisionRefusedError(f"Version {version} was decided or reviewed again just now; look at it again.")


def expire(connection: Connection) -> list[int]:
    """Reject the requests whose deadline has passed; returns their versions."""
    late = (reviews.c.decision.is_(None), reviews.c.expires_at < func.now())
    reason = func.concat("Nobody decided until ", func.to_char(reviews.c.expires_at, "YYYY-MM-DD HH24:MI TZ"), ".")
    values = {
        "decision": REJECTED,
        "reviewer": UNDECIDED_REVIEWER,
        "reason": reason,
        "via": DEADLINE,
        "decided_at": func.now(),
    }
    query = update(reviews).where(*late).values(values).returning(reviews.c.model_version)
    return list(connection.execute(query).scalars())


def _as_json(rows: Iterable[Check | GroupResult]) -> list[JsonObject]:
    """Return rows as JSON objects, with null for figures that could not be measured."""
    return [
        {
            name: None if isinstance(value, float) and not isfinite(value) else value
            for name, value in asdict(row).items()
        }
        for row in rows
    ]
