"""Requests for a decision, one row a version, which whoever decides first closes."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Final

from sqlalchemy import Connection, Integer, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.schema import DEADLINE, reviews
from infra.installation import Installation
from infra.overview import situation
from models.errors import TailorbirdError
from models.gate.results import Gate
from tasks.promotion.recorded_bundles import TrainedBundle

APPROVED: Final = "approved"
REJECTED: Final = "rejected"
NOBODY: Final = "nobody"
"""Who rejects what was not decided in time."""
Review = dict[str, Any]

_DECIDED: Final = ("decision", "reviewer", "reason", "via", "decided_at")
_ROLLED_BACK: Final = literal_column(
    """(
        SELECT own.promotion_id FROM (
            SELECT promotion_id, coalesce(restores, promotion_id) AS place FROM promotions
            WHERE promotions.model_version = reviews.model_version ORDER BY promotion_id DESC LIMIT 1
        ) AS own
        WHERE own.place > (
            SELECT coalesce(restores, promotion_id) FROM promotions ORDER BY promotion_id DESC LIMIT 1
        )
    )""",
    Integer,
).label("rolled_back")
"""The version's newest promotion, if the champion is one from before it. A newer version is no rollback."""
_NAMES: Final = (*(column.name for column in reviews.c), "rolled_back")


class DecisionRefusedError(TailorbirdError):
    """A decision that cannot be carried out."""


@dataclass(frozen=True)
class Decision:
    """What somebody says to a request, and how it was said."""

    approve: bool
    reviewer: str
    reason: str
    via: str
    """form, command, tag, alias, auto or deadline."""
    override: bool = False
    """Promote even what the gate refused."""

    @property
    def decision(self) -> str:
        """As it is written down."""
        return APPROVED if self.approve else REJECTED


def request(
    installation: Installation,
    dataset_version: str,
    model_version: int,
    bundle: TrainedBundle,
    gate: Gate,
    against: int,
) -> Review:
    """Ask for a decision about a version's bundle after the gate compared it with the promotion `against` (0: none).

    A review that is open, or was closed by the deadline, is renewed. One that a person decided stays as it is; raises
    DecisionRefusedError when it is about another bundle. Returns the review as it is now.
    """
    expires = func.now() + text("make_interval(secs => :seconds)").bindparams(
        seconds=installation.settings.review_days * 86_400
    )
    asked = {
        "dataset_version": dataset_version,
        "run_id": bundle.run_id,
        "digest": bundle.digest,
        "passed": gate.passed,
        "gate": _plain(gate.checks),
        "groups": _plain(gate.groups),
        "against": against,
        "requested_at": func.now(),
        "expires_at": expires,
    }
    entry = insert(reviews).values(model_version=model_version, **asked)
    undecided = reviews.c.decision.is_(None) | (reviews.c.via == DEADLINE)
    again = entry.on_conflict_do_update(
        index_elements=[reviews.c.model_version], set_=asked | dict.fromkeys(_DECIDED), where=undecided
    )
    with installation.engine.begin() as connection:
        connection.execute(again)
    review = review_of(installation, model_version)
    if (review["run_id"], review["digest"]) != (bundle.run_id, bundle.digest):
        raise DecisionRefusedError(
            f"Version {model_version} was decided when it stood for another bundle, and this decision stays. Delete "
            "the version in MLflow, then run `tailorbird review` again: the bundle becomes a new version."
        )
    return review


def review_of(installation: Installation, model_version: int | None = None) -> Review:
    """The review of a version, or the newest; says what to do when there is none."""
    found = select(reviews, _ROLLED_BACK).order_by(reviews.c.requested_at.desc(), reviews.c.review_id.desc()).limit(1)
    if model_version is not None:
        found = found.where(reviews.c.model_version == model_version)
    with installation.engine.connect() as connection:
        row = connection.execute(found).mappings().first()
    if row is None:
        missing = f"There is no review of version {model_version}. " if model_version else ""
        raise TailorbirdError(f"{missing}{situation.step(installation.engine, installation.settings)}")
    return {name: row[name] for name in _NAMES}


def open_reviews(connection: Connection) -> list[Review]:
    """Those that nobody has decided, the newest first."""
    found = select(reviews).where(reviews.c.decision.is_(None)).order_by(reviews.c.requested_at.desc())
    return [dict(row) for row in connection.execute(found).mappings()]


def reviews_of(connection: Connection, versions: Sequence[int]) -> dict[int, Review]:
    """The reviews of those of the versions that have one."""
    found = connection.execute(select(reviews, _ROLLED_BACK).where(reviews.c.model_version.in_(versions))).mappings()
    return {row["model_version"]: dict(row) for row in found}


def close(connection: Connection, review: Review, answer: Decision) -> None:
    """Record a decision: the first one, or another yes to a version that was rolled back.

    Raises DecisionRefusedError when somebody else was first or the request was renewed.
    """
    made: dict[str, Any] = {"decision": answer.decision, "reviewer": answer.reviewer, "reason": answer.reason}
    made |= {"via": answer.via, "overridden": answer.approve and not review["passed"], "decided_at": func.now()}
    version = review["model_version"]
    mine = (reviews.c.model_version == version, reviews.c.requested_at == review["requested_at"])
    still = _ROLLED_BACK.element.is_not(None) if review["rolled_back"] else reviews.c.decision.is_(None)
    if connection.execute(update(reviews).where(*mine, still).values(made)).rowcount != 1:
        raise DecisionRefusedError(f"Version {version} was decided or reviewed again just now; look at it again.")


def expire(connection: Connection) -> list[int]:
    """Reject what nobody decided in time; returns the versions."""
    late = (reviews.c.decision.is_(None), reviews.c.expires_at < func.now())
    reason = func.concat("Nobody decided until ", func.to_char(reviews.c.expires_at, "YYYY-MM-DD HH24:MI TZ"), ".")
    made = {"decision": REJECTED, "reviewer": NOBODY, "reason": reason, "via": DEADLINE, "decided_at": func.now()}
    closed = update(reviews).where(*late).values(made).returning(reviews.c.model_version)
    return list(connection.execute(closed).scalars())


def _plain(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """As JSON, which has no word for what could not be measured."""
    return [{name: _number(value) for name, value in asdict(row).items()} for row in rows]


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
