-- Changes of the values of product blocks, one row per item and moment.
WITH blocks AS (
    SELECT item_id, {raw}, coalesce(occurred_at, {never}) AS occurred_at,
        coalesce(greatest(occurred_at, received_at), {never}) AS known_at
    FROM entries WHERE {describes}
), firsts AS (
    -- Most items always have the same description: one row of them is enough.
    SELECT item_id, {names}, min(occurred_at) AS occurred_at, min(known_at) AS known_at FROM blocks
    GROUP BY item_id, {names} QUALIFY count(*) OVER (PARTITION BY item_id) = 1
), moments AS (
    SELECT item_id, occurred_at, known_at, {words}, max(price) AS price FROM (
        SELECT item_id, occurred_at, known_at, {names} FROM firsts
        UNION ALL
        SELECT item_id, occurred_at, known_at, {names} FROM blocks ANTI JOIN firsts USING (item_id)
    ) GROUP BY item_id, occurred_at, known_at
), newest AS (
    SELECT item_id, occurred_at, known_at, {current} FROM moments
    WINDOW times AS (PARTITION BY item_id ORDER BY known_at, occurred_at ROWS UNBOUNDED PRECEDING)
), starts AS (
    SELECT item_id, nullif(known_at, {never}) AS known_at, {starts} FROM newest
    WINDOW times AS (PARTITION BY item_id ORDER BY known_at, occurred_at)
)
SELECT * FROM starts WHERE coalesce({texts}) IS NOT NULL ORDER BY item_id, known_at NULLS FIRST
