-- Pairs of a device or an earlier id and the user that it belongs to, each once.
WITH pairs AS (
    SELECT row_number, occurred_at, anon_id AS anonymous_id, identified_id AS user_id FROM read
    WHERE event = '$identify'
    UNION ALL
    SELECT row_number, occurred_at, distinct_id, alias_id FROM read WHERE event = '$create_alias'
    UNION ALL
    SELECT row_number, occurred_at, {device}, {user} FROM read WHERE event = '$merge'
    UNION ALL
    -- A merge replaces the distinct id of earlier events.
    SELECT row_number, occurred_at, original_id, distinct_id FROM read WHERE kind <> 'alias'
), merged AS (SELECT * FROM pairs WHERE anonymous_id <> user_id), joined AS (
    SELECT row_number, occurred_at, anonymous_id, false AS is_device, user_id FROM merged
    UNION ALL SELECT row_number, occurred_at, anonymous_id, true, user_id FROM merged
    UNION ALL SELECT row_number, occurred_at, user_id, true, user_id FROM merged
    UNION ALL SELECT row_number, occurred_at, anonymous_id, true, known_id FROM read
    WHERE kind <> 'alias' AND anonymous_id IS NOT NULL AND known_id IS NOT NULL
)
SELECT min(row_number) AS row_number, anonymous_id, is_device, user_id, max(occurred_at) AS occurred_at
FROM joined GROUP BY anonymous_id, is_device, user_id ORDER BY row_number, anonymous_id, is_device
