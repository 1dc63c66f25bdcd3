-- Catalogue updates from product blocks. Most blocks repeat others: it is cheaper to process each different one once.
WITH blocks AS (
    SELECT item_id, {raw}, coalesce(max(occurred_at), {never}) AS moment,
        max((coalesce(epoch_us(occurred_at), 0), row_number, entry)) AS place
    FROM entries WHERE {describes} GROUP BY ALL
), cleaned AS (
    SELECT item_id, moment, place, {words}, {money} FROM blocks
), latest AS (
    SELECT item_id, {latest}, max(moment) AS moment, max(place) AS place FROM cleaned GROUP BY item_id
)
SELECT place[2] AS row_number, item_id, {values}, struct_pack({attributes}) AS attributes,
    nullif(moment, {never}) AS occurred_at, CASE WHEN {apart} THEN struct_pack({times}) END AS said_at
FROM latest ORDER BY item_id
