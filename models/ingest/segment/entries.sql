-- One row per product of a line, numbered by `entry`; a refund without products takes back the whole order.
WITH products AS (
    SELECT * EXCLUDE blocks, len(blocks) AS entries, unnest(blocks) AS block, generate_subscripts(blocks, 1) AS entry
    FROM lines WHERE blocks IS NOT NULL
), typed AS (
    SELECT *, event_type IN ('purchase', 'refund') AS ordered,
        event_type IN ('purchase', 'refund', 'add_to_cart', 'remove_from_cart') AS moved,
        try_cast(block.price AS DOUBLE) AS price, try_cast(block.quantity AS DOUBLE) AS quantity,
        try_cast(block.value AS DOUBLE) AS line_value, try_cast(whole.rating AS DOUBLE) AS rating,
        try_cast(coalesce(whole.revenue, whole.subtotal, whole.total) AS DOUBLE) AS total
    FROM products
), priced AS (
    SELECT *, round(price * coalesce(quantity, 1), 6) AS paid FROM typed
)
SELECT row_number, entry, message_id || CASE WHEN entries > 1 THEN '#' || entry ELSE '' END AS event_id,
    user_id, is_device,
    CASE WHEN ordered THEN coalesce({order}, {visit}) ELSE coalesce({visit}, {order}) END AS session_id,
    coalesce(
        CASE WHEN id_first THEN coalesce({version_1}) ELSE coalesce({usual}) END,
        CASE WHEN event_type = 'refund' AND listed = 0 THEN '{whole_order}' END
    ) AS item_id,
    event_type, occurred_at, received_at,
    CASE WHEN isfinite(quantity) THEN quantity END AS quantity,
    coalesce(CASE WHEN isfinite(line_value) THEN line_value END,
        CASE WHEN moved AND isfinite(paid) THEN paid END,
        CASE WHEN ordered AND entries = 1 AND isfinite(total) THEN total END) AS value,
    {currency} AS currency,
    CASE WHEN event_type = 'rating' AND isfinite(rating) THEN rating END AS rating,
    {placement} AS placement,
    try_cast(block.position AS INTEGER) AS position,
    {recommendation} AS recommendation_id,
    consent, user_agent, ip, CASE WHEN isfinite(price) THEN price END AS price, block
FROM priced
