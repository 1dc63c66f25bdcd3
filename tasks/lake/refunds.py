"""Matches refunds with purchases: what is left of each purchase, and since when that is known.

A refund with an order takes back that order's purchase of the item. A refund without one, or whose order holds no such
purchase, takes back the user's latest purchase of the item that is not yet taken back. The match is worked out as of
every moment at which it may change, so that a feature of an earlier moment never sees a later refund.
"""

from typing import Final, NamedTuple

import duckdb

from models import columns
from tasks.lake.event_sql import KNOWN, OWNER, SAID

LASTED: Final = f"""NOT (event_type = '{columns.PURCHASE}' AND EXISTS (
        SELECT 1 FROM purchase_states AS state WHERE state.event_id = said.event_id
        AND state.share = 0 AND state.until IS NULL))"""
"""SQL: the event is no purchase that was taken back as a whole, by what is known now."""
LASTED_AT: Final = f"""NOT (event_type = '{columns.PURCHASE}' AND EXISTS (
        SELECT 1 FROM purchase_states AS state WHERE state.event_id = said.event_id
        AND state.share = 0 AND state.since < $moment AND coalesce(state.until >= $moment, true)))"""
"""SQL: the same by what was known at `$moment` (epoch s)."""
_STATES: Final = """
    CREATE TABLE purchase_states (event_id VARCHAR, since BIGINT, until BIGINT, share DOUBLE)
"""
_FOUND: Final = f"SELECT count(*) FROM {SAID} WHERE event_type = '{columns.REFUND}'"
_EVENT: Final = f"""
    said.event_id, {OWNER} AS owner, said.item_id, said.session_id, occurred_at AS "at", {KNOWN} AS known,
    CASE WHEN quantity > 0 THEN quantity::DOUBLE END AS quantity
"""
_REFUNDS: Final = f"CREATE TEMP TABLE refunds AS SELECT {_EVENT} FROM {SAID} WHERE event_type = '{columns.REFUND}'"
_BOUGHT: Final = f"""
    CREATE TEMP TABLE bought AS SELECT {_EVENT} FROM {SAID}
    WHERE event_type = '{columns.PURCHASE}' AND (
        ({OWNER}, said.item_id) IN (SELECT (owner, item_id) FROM refunds)
        OR said.session_id IN (SELECT session_id FROM refunds))
"""
# An order that several users share is no order: then only the refund's own user is meant.
_CLAIMS: Final = f"""
    CREATE TEMP TABLE claims AS
    WITH linked AS (
        SELECT DISTINCT refunds.event_id, bought.owner, bought.item_id, bought.owner = refunds.owner AS own
        FROM refunds JOIN bought ON bought.session_id = refunds.session_id
            AND refunds.item_id IN (bought.item_id, '{columns.WHOLE_ORDER}')
    ), trusted AS (
        SELECT event_id, owner, item_id FROM linked
        QUALIFY CASE WHEN bool_or(own) OVER (PARTITION BY event_id) THEN own
            ELSE count(DISTINCT owner) OVER (PARTITION BY event_id) = 1 END
    )
    SELECT event_id, trusted.owner, trusted.item_id, session_id, "at", known, quantity,
        refunds.item_id = '{columns.WHOLE_ORDER}' AS whole, trusted.owner = refunds.owner AS own
    FROM refunds JOIN trusted USING (event_id)
    UNION ALL
    SELECT event_id, owner, item_id, NULL, "at", known, quantity, false, true
    FROM refunds ANTI JOIN trusted USING (event_id) WHERE item_id <> '{columns.WHOLE_ORDER}'
"""
# The match can change when a refund becomes known, when a purchase does that refunds may already wait for, and when the
# first purchase without a quantity does: from then on each event counts one.
_MOMENTS: Final = """
    CREATE TEMP TABLE moments AS
    SELECT owner, item_id, known AS moment FROM claims
    UNION
    SELECT owner, item_id, known FROM bought SEMI JOIN claims USING (owner, item_id) WHERE known > epoch("at")::BIGINT
    UNION
    SELECT owner, item_id, min(known) FROM bought SEMI JOIN claims USING (owner, item_id) WHERE quantity IS NULL
    GROUP BY ALL
    UNION
    SELECT owner, item_id, bought.known FROM bought JOIN claims USING (owner, item_id, session_id)
    WHERE bought.known > claims.known
"""
_PAIR: Final = "owner, item_id, moment"
_LEFT: Final = f"""
    CREATE TEMP TABLE matched AS
    WITH entries AS (
        SELECT {_PAIR}, event_id, session_id, "at", known, quantity, true AS bought, false AS whole, true AS own
        FROM bought JOIN moments USING (owner, item_id) WHERE known <= moment
        UNION ALL
        SELECT {_PAIR}, event_id, session_id, "at", known, quantity, false, whole, own
        FROM claims JOIN moments USING (owner, item_id) WHERE known <= moment
    ), measured AS (
        -- Pieces count if all of them are known; else each event counts one.
        SELECT *, CASE WHEN whole THEN 'infinity'::DOUBLE
                WHEN bool_and(whole OR quantity IS NOT NULL) OVER (PARTITION BY {_PAIR}) THEN quantity
                ELSE 1 END AS amount,
            session_id IS NOT NULL AND bool_or(bought) OVER (PARTITION BY {_PAIR}, session_id) AS linked
        FROM entries
    ), ordered AS (
        SELECT *,
            coalesce(sum(amount) OVER (PARTITION BY {_PAIR}, session_id, bought
                ORDER BY CASE WHEN bought THEN -epoch_us("at") ELSE epoch_us("at") END, event_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
            coalesce(sum(amount) FILTER (WHERE linked AND NOT bought)
                OVER (PARTITION BY {_PAIR}, session_id), 0) AS claimed,
            coalesce(sum(amount) FILTER (WHERE bought) OVER (PARTITION BY {_PAIR}, session_id), 0) AS "there"
        FROM measured
    ), open AS (
        SELECT *,
            CASE WHEN bought AND linked THEN amount - greatest(0, least(amount, claimed - before))
                WHEN bought THEN amount
                WHEN linked OR whole OR NOT own THEN 0
                ELSE -amount END AS step,
            NOT bought AND linked AND before < "there" AS hit
        FROM ordered
    ), summed AS (
        SELECT *, sum(step) OVER steps AS total FROM open
        WINDOW steps AS (PARTITION BY {_PAIR} ORDER BY "at", NOT bought, event_id ROWS UNBOUNDED PRECEDING)
    ), balanced AS (
        -- A refund of what was never bought leaves the balance at 0.
        SELECT *, total - least(0, min(total) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT bought, event_id ROWS UNBOUNDED PRECEDING)) AS balance
        FROM summed
    )
    SELECT {_PAIR}, event_id, known, bought, amount,
        -- A purchase lies on those before it: what is left of it is what the balance never fell below.
        CASE WHEN bought THEN greatest(0, min(balance) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT bought, event_id
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) - (balance - step)) END AS remains,
        hit OR (NOT bought AND step < 0 AND balance < coalesce(lag(balance) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT bought, event_id), 0)) AS hit
    FROM balanced
"""
_SHARES: Final = """
    INSERT INTO purchase_states
    WITH states AS (
        SELECT event_id, moment AS since, round(remains / amount, 9) AS share FROM matched WHERE bought
        UNION ALL
        SELECT event_id, known, 1 FROM bought SEMI JOIN claims USING (owner, item_id)
        WHERE NOT EXISTS (SELECT 1 FROM moments WHERE moments.owner = bought.owner
            AND moments.item_id = bought.item_id AND moments.moment = bought.known)
    ), changes AS (
        SELECT * FROM states
        QUALIFY share IS DISTINCT FROM lag(share) OVER (PARTITION BY event_id ORDER BY since)
    )
    SELECT event_id, since, lead(since) OVER (PARTITION BY event_id ORDER BY since), share FROM changes
"""
_COUNT: Final = """
    SELECT count(DISTINCT event_id) FROM (
        SELECT event_id, hit FROM matched WHERE NOT bought
        QUALIFY moment = max(moment) OVER (PARTITION BY owner, item_id)
    ) WHERE hit
"""


class Refunds(NamedTuple):
    """How many refunds found a purchase, and how many did not."""

    matched: int
    unmatched: int


NO_REFUNDS: Final = Refunds(0, 0)


def match_refunds(connection: duckdb.DuckDBPyConnection, files: list[str]) -> Refunds:
    """Make the table `purchase_states` of these files of events; returns how many refunds found their purchase.

    A row says what share of a purchase was left from `since` up to `until` (epoch s; none: still so). Purchases of what
    was never refunded have no row. The connection knows the tables of `Known.register`.
    """
    connection.execute(_STATES)
    asked = {"files": files}
    refunds = int(connection.execute(_FOUND, asked).fetchall()[0][0])
    if not refunds:
        return NO_REFUNDS
    for statement in (_REFUNDS, _BOUGHT):
        connection.execute(statement, asked)
    for statement in (_CLAIMS, _MOMENTS, _LEFT, _SHARES):
        connection.execute(statement)
    matched = int(connection.execute(_COUNT).fetchall()[0][0])
    for table in ("matched", "moments", "claims", "bought", "refunds"):
        connection.execute(f"DROP TABLE {table}")
    return Refunds(matched, refunds - matched)
