-- Matches refunds with purchases: see `match_refunds`. Reads the tables `refunds` and `purchases`, and fills
-- `purchase_states`; returns how many refunds match a purchase.

-- An order id that several users share is not trusted: then the refund concerns its own user alone. `own` is whether it
-- may cancel another purchase of its user while its order is not known.
CREATE TEMP TABLE claims AS
WITH linked AS (
    SELECT DISTINCT refunds.event_id, purchases.owner, purchases.item_id, purchases.session_id, purchases.of_page,
        purchases.owner = refunds.owner AS own
    FROM refunds JOIN purchases ON purchases.order_id = refunds.order_id
        AND (refunds.item_id = purchases.item_id OR refunds.whole_order)
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
    refunds.whole_order AS whole,
    trusted.owner = refunds.owner AND NOT names_order AND NOT of_page AS own
FROM refunds JOIN trusted USING (event_id)
UNION ALL
SELECT event_id, owner, item_id, NULL, "at", known, quantity, false, true
FROM refunds ANTI JOIN trusted USING (event_id)
WHERE NOT whole_order AND NOT names_order AND NOT of_page;

-- The match can change when a refund becomes known, when a purchase becomes known after a refund of it, and when the
-- first purchase without a quantity becomes known: from then on each event counts one.
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
WHERE purchases.known > claims.known;

CREATE TEMP TABLE matched AS
WITH entries AS (
    SELECT owner, item_id, moment, event_id, session_id, "at", known, quantity, true AS is_purchase, false AS whole,
        true AS own
    FROM purchases JOIN moments USING (owner, item_id) WHERE known <= moment
    UNION ALL
    SELECT owner, item_id, moment, event_id, session_id, "at", known, quantity, false, whole, own
    FROM claims JOIN moments USING (owner, item_id) WHERE known <= moment
), measured AS (
    -- Quantities count if all are known; otherwise each event counts one.
    SELECT *, CASE WHEN whole THEN 'infinity'::DOUBLE
            WHEN bool_and(whole OR quantity IS NOT NULL) OVER (PARTITION BY owner, item_id, moment) THEN quantity
            ELSE 1 END AS amount,
        session_id IS NOT NULL AND bool_or(is_purchase) OVER (PARTITION BY owner, item_id, moment, session_id) AS linked
    FROM entries
), ordered AS (
    SELECT *,
        coalesce(sum(amount) OVER (PARTITION BY owner, item_id, moment, session_id, is_purchase
            ORDER BY CASE WHEN is_purchase THEN -epoch_us("at") ELSE epoch_us("at") END, event_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
        coalesce(sum(amount) FILTER (WHERE linked AND NOT is_purchase)
            OVER (PARTITION BY owner, item_id, moment, session_id), 0) AS claimed,
        coalesce(sum(amount) FILTER (WHERE is_purchase)
            OVER (PARTITION BY owner, item_id, moment, session_id), 0) AS purchased
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
    WINDOW steps AS (
        PARTITION BY owner, item_id, moment ORDER BY "at", NOT is_purchase, event_id ROWS UNBOUNDED PRECEDING)
), balanced AS (
    -- A refund of an item that was never bought leaves the balance at 0.
    SELECT *, total - least(0, min(total) OVER (
        PARTITION BY owner, item_id, moment ORDER BY "at", NOT is_purchase, event_id
        ROWS UNBOUNDED PRECEDING)) AS balance
    FROM summed
)
SELECT owner, item_id, moment, event_id, known, is_purchase, amount,
    -- Later purchases are refunded first: a purchase keeps what the balance never falls below.
    CASE WHEN is_purchase THEN greatest(0, min(balance) OVER (
        PARTITION BY owner, item_id, moment ORDER BY "at", NOT is_purchase, event_id
        ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) - (balance - step)) END AS remains,
    hit OR (NOT is_purchase AND step < 0 AND balance < coalesce(lag(balance) OVER (
        PARTITION BY owner, item_id, moment ORDER BY "at", NOT is_purchase, event_id), 0)) AS hit
FROM balanced;

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
SELECT event_id, since, lead(since) OVER (PARTITION BY event_id ORDER BY since), share FROM changes;

SELECT count(DISTINCT event_id) FROM (
    SELECT event_id, hit FROM matched WHERE NOT is_purchase
    QUALIFY moment = max(moment) OVER (PARTITION BY owner, item_id)
) WHERE hit;
