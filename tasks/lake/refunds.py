"""Matches refunds with purchases: which share of each purchase remains, and since when that is known.

A refund with an order cancels that order's purchase of the item. A refund without one, or with an order that holds no
such purchase, cancels the user's latest purchase of the item that is not yet refunded. If the mapping has
`refund_order`, a refund cancels purchases of its order alone. A refund of a page cancels only what the same visitor
stated of the same order by a page, and with a signature what the user bought. The match is computed for every moment at
which it may change, so that a feature of an earlier moment never sees a later refund.
"""

from typing import Final, NamedTuple

import duckdb

from models import columns
from tasks.lake.event_query import EventQuery, of_type
from tasks.lake.unconfirmed_orders import OF_PAGES

_STATES: Final = """
    CREATE TABLE purchase_states (event_id VARCHAR, since BIGINT, until BIGINT, share DOUBLE)
"""
_REFUND_EVENTS: Final = EventQuery().where(of_type(columns.REFUND))
_REFUNDED_ITEMS: Final = f"""({EventQuery.USER}, event.item_id) IN (SELECT (owner, item_id) FROM refunds)
    OR event.session_id IN (SELECT order_id FROM refunds)"""
_COUNT_REFUNDS: Final = _REFUND_EVENTS.select("count(*)")
# The orders of pages are apart from all others, visitor by visitor.
_EVENT: Final = f"""
    event.event_id, {EventQuery.USER} AS owner, event.item_id, event.session_id AS order_id, event.occurred_at AS "at",
    {EventQuery.KNOWN_AT} AS known, CASE WHEN event.quantity > 0 THEN event.quantity::DOUBLE END AS quantity,
    event.user_key AS visitor, coalesce({OF_PAGES}, false) AS of_page,
    coalesce(event.{columns.AUTHORITY} = '{columns.SIGNED}', false) AS signed,
    CASE WHEN {OF_PAGES} THEN event.user_key || chr(31) || event.session_id ELSE event.session_id END AS session_id
"""
_NAMES_ORDER: Final = "batches.refund_order AND event.session_id IS NOT NULL AS names_order"
_REFUNDS: Final = f"CREATE TEMP TABLE refunds AS {_REFUND_EVENTS.select(f'{_EVENT}, {_NAMES_ORDER}')}"
_PURCHASES: Final = f"""
    CREATE TEMP TABLE purchases AS
    {EventQuery().where(of_type(columns.PURCHASE), _REFUNDED_ITEMS).select(_EVENT)}
"""
# An order id that several users share is not trusted: then the refund concerns its own user alone. `own` is whether it
# may cancel another purchase of its user while its order is not known.
_CLAIMS: Final = f"""
    CREATE TEMP TABLE claims AS
    WITH linked AS (
        SELECT DISTINCT refunds.event_id, purchases.owner, purchases.item_id, purchases.session_id, purchases.of_page,
            purchases.owner = refunds.owner AS own
        FROM refunds JOIN purchases ON purchases.order_id = refunds.order_id
            AND refunds.item_id IN (purchases.item_id, '{columns.WHOLE_ORDER}')
            AND (NOT refunds.of_page OR purchases.of_page AND purchases.visitor = refunds.visitor)
            AND (NOT refunds.signed AND (refunds.of_page OR NOT purchases.of_page)
                OR purchases.owner = refunds.owner)
        QUALIFY NOT purchases.of_page OR bool_and(purchases.of_page) OVER (PARTITION BY refunds.event_id)
    ), trusted AS (
        SELECT event_id, owner, item_id, session_id FROM linked
        QUALIFY CASE WHEN bool_or(own) OVER (PARTITION BY event_id) THEN own
            ELSE count(DISTINCT owner) OVER (PARTITION BY event_id) = 1 END
    )
    SELECT event_id, trusted.owner, trusted.item_id, trusted.session_id, "at", known, quantity,
        refunds.item_id = '{columns.WHOLE_ORDER}' AS whole,
        trusted.owner = refunds.owner AND NOT names_order AND NOT of_page AS own
    FROM refunds JOIN trusted USING (event_id)
    UNION ALL
    SELECT event_id, owner, item_id, NULL, "at", known, quantity, false, true
    FROM refunds ANTI JOIN trusted USING (event_id)
    WHERE item_id <> '{columns.WHOLE_ORDER}' AND NOT names_order AND NOT of_page
"""
# The match can change when a refund becomes known, when a purchase becomes known after a refund of it, and when the
# first purchase without a quantity becomes known: from then on each event counts one.
_MOMENTS: Final = """
    CREATE TEMP TABLE moments AS
    SELECT owner, item_id, known AS moment FROM claims
    UNION
    SELECT owner, item_id, known FROM purchases SEMI JOIN claims USING (owner, item_id)
    WHERE known > epoch("at")::BIGINT
    UNION
    SELECT owner, item_id, min(known) FROM purchases SEMI JOIN claims USING (owner, item_id) WHERE quantity IS NULL
    GROUP BY ALL
    UNION
    SELECT owner, item_id, purchases.known FROM purchases JOIN claims USING (owner, item_id, session_id)
    WHERE purchases.known > claims.known
"""
_PAIR: Final = "owner, item_id, moment"
_MATCHES: Final = f"""
    CREATE TEMP TABLE matched AS
    WITH entries AS (
        SELECT {_PAIR}, event_id, session_id, "at", known, quantity, true AS is_purchase, false AS whole, true AS own
        FROM purchases JOIN moments USING (owner, item_id) WHERE known <= moment
        UNION ALL
        SELECT {_PAIR}, event_id, session_id, "at", known, quantity, false, whole, own
        FROM claims JOIN moments USING (owner, item_id) WHERE known <= moment
    ), measured AS (
        -- Quantities count if all are known; otherwise each event counts one.
        SELECT *, CASE WHEN whole THEN 'infinity'::DOUBLE
                WHEN bool_and(whole OR quantity IS NOT NULL) OVER (PARTITION BY {_PAIR}) THEN quantity
                ELSE 1 END AS amount,
            session_id IS NOT NULL AND bool_or(is_purchase) OVER (PARTITION BY {_PAIR}, session_id) AS linked
        FROM entries
    ), ordered AS (
        SELECT *,
            coalesce(sum(amount) OVER (PARTITION BY {_PAIR}, session_id, is_purchase
                ORDER BY CASE WHEN is_purchase THEN -epoch_us("at") ELSE epoch_us("at") END, event_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
            coalesce(sum(amount) FILTER (WHERE linked AND NOT is_purchase)
                OVER (PARTITION BY {_PAIR}, session_id), 0) AS claimed,
            coalesce(sum(amount) FILTER (WHERE is_purchase) OVER (PARTITION BY {_PAIR}, session_id), 0) AS purchased
        FROM measured
    ), open AS (
        SELECT *,
            CASE WHEN is_purchase AND linked THEN amount - greatest(0, least(amount, claimed - before))
                WHEN is_purchase THEN amount
                WHEN linked OR whole OR NOT own THEN 0
                ELSE -amount END AS step,
            NOT is_purchase AND linked AND before < purchased AS hit
        FROM ordered
    ), summed AS (
        SELECT *, sum(step) OVER steps AS total FROM open
        WINDOW steps AS (PARTITION BY {_PAIR} ORDER BY "at", NOT is_purchase, event_id ROWS UNBOUNDED PRECEDING)
    ), balanced AS (
        -- A refund of an item that was never bought leaves the balance at 0.
        SELECT *, total - least(0, min(total) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT is_purchase, event_id ROWS UNBOUNDED PRECEDING)) AS balance
        FROM summed
    )
    SELECT {_PAIR}, event_id, known, is_purchase, amount,
        -- Later purchases are refunded first: a purchase keeps what the balance never falls below.
        CASE WHEN is_purchase THEN greatest(0, min(balance) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT is_purchase, event_id
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) - (balance - step)) END AS remains,
        hit OR (NOT is_purchase AND step < 0 AND balance < coalesce(lag(balance) OVER (
            PARTITION BY {_PAIR} ORDER BY "at", NOT is_purchase, event_id), 0)) AS hit
    FROM balanced
"""
_SHARES: Final = """
    INSERT INTO purchase_states
    WITH states AS (
        SELECT event_id, moment AS since, round(remains / amount, 9) AS share FROM matched WHERE is_purchase
        UNION ALL
        SELECT event_id, known, 1 FROM purchases SEMI JOIN claims USING (owner, item_id)
        WHERE NOT EXISTS (SELECT 1 FROM moments WHERE moments.owner = purchases.owner
            AND moments.item_id = purchases.item_id AND moments.moment = purchases.known)
    ), changes AS (
        SELECT * FROM states
        QUALIFY share IS DISTINCT FROM lag(share) OVER (PARTITION BY event_id ORDER BY since)
    )
    SELECT event_id, since, lead(since) OVER (PARTITION BY event_id ORDER BY since), share FROM changes
"""
_COUNT_MATCHED: Final = """
    SELECT count(DISTINCT event_id) FROM (
        SELECT event_id, hit FROM matched WHERE NOT is_purchase
        QUALIFY moment = max(moment) OVER (PARTITION BY owner, item_id)
    ) WHERE hit
"""


class Refunds(NamedTuple):
    """How many refunds match a purchase, and how many do not."""

    matched: int
    unmatched: int


NO_REFUNDS: Final = Refunds(0, 0)


def match_refunds(connection: duckdb.DuckDBPyConnection, files: list[str]) -> Refunds:
    """Create the table `purchase_states` from these files of events; returns how many refunds match a purchase.

    A row has the `share` of a purchase that remains from `since` to `until` (epoch s; NULL: until now). Purchases of
    items that were never refunded have no row. The connection has the tables of `ReferenceData.register`.
    """
    connection.execute(_STATES)
    parameters = {"files": files}
    refunds = int(connection.execute(_COUNT_REFUNDS, parameters).fetchall()[0][0])
    if not refunds:
        return NO_REFUNDS
    for statement in (_REFUNDS, _PURCHASES):
        connection.execute(statement, parameters)
    for statement in (_CLAIMS, _MOMENTS, _MATCHES, _SHARES):
        connection.execute(statement)
    matched = int(connection.execute(_COUNT_MATCHED).fetchall()[0][0])
    for table in ("matched", "moments", "claims", "purchases", "refunds"):
        connection.execute(f"DROP TABLE {table}")
    return Refunds(matched, refunds - matched)
