"""Asks the consumers of streams to score the live lists of a segment's users again."""

from typing import Final, TypedDict

from prefect import task
from sqlalchemy import text

from infra.configuration import placements
from infra.installation import current
from models.errors import TailorbirdError
from tasks.promotion.champion import require_champion

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


class SegmentRefusedError(TailorbirdError):
    """A segment cannot be scored."""


class SegmentRequest(TypedDict):
    """What was asked for."""

    segment: str
    users: int
    placements: list[str]


@task(task_run_name="ask for {segment}", description="A request for each user of the segment who consents.")
def request_segment(segment: str) -> SegmentRequest:
    """Ask for the live lists of a segment's users; returns their number. Raises SegmentRefusedError.

    Consumers score them behind the users of events, and publish each list.
    """
    installation = current()
    live = [name for name, one in placements.configured(installation.settings).items() if one.live]
    if not live:
        raise SegmentRefusedError("No placement has live = true, so that lists cannot be scored for a segment alone.")
    values = {"version": require_champion(installation)["dataset_version"], "segment": segment}
    with installation.engine.begin() as connection:
        known = connection.execute(_KNOWN, values).scalars().all()
        if segment not in known:
            raise SegmentRefusedError(f"The champion knows no segment {segment!r}; there are {', '.join(known)}.")
        users = connection.execute(_ASK, values).rowcount
    return {"segment": segment, "users": users, "placements": live}
