-- Records earlier values of items or users, so that features of a past moment use the values known then. Only values that
-- change are stored. A value with a time counts from that time on, one without from its import on. The first value of a
-- table for an item or user and name counts from the beginning, unless an earlier table had one.
-- Stored rows come first (0), then current values without a history (1), then the statements (2).
INSERT INTO {entity}_history ({key}, name, since, value)
WITH stated AS ({stated}),
stated_names AS (SELECT DISTINCT key, name FROM stated),
stored AS (
    SELECT {key} AS key, name, since, value FROM {entity}_history
    WHERE ({key}, name) IN (SELECT key, name FROM stated_names)
), current_values AS ({current}),
unchanged AS (
    SELECT * FROM current_values JOIN stated_names USING (key, name)
    WHERE NOT EXISTS (
        SELECT FROM stored WHERE stored.key = current_values.key AND stored.name = current_values.name)
), known AS (
    SELECT key, name, since, value, 0 AS place FROM stored
    UNION ALL SELECT key, name, timestamptz '-infinity', value, 1 FROM unchanged
    UNION ALL SELECT key, name, stated_at, value, 1 FROM unchanged WHERE stated_at IS NOT NULL
    UNION ALL SELECT key, name, since, value, 2 FROM stated
    UNION ALL
    -- The first table counts from the beginning, also if a dated value was ingested before it.
    SELECT key, name, timestamptz '-infinity', value, 2
    FROM (SELECT DISTINCT ON (key, name) * FROM stated ORDER BY key, name, since) AS stated WHERE :table
        AND NOT EXISTS (SELECT FROM stored WHERE stored.key = stated.key AND stored.name = stated.name
            AND stored.since = '-infinity')
        AND NOT EXISTS (SELECT FROM unchanged WHERE unchanged.key = stated.key AND unchanged.name = stated.name)
), runs AS (
    SELECT *, lag(value) OVER before AS earlier, row_number() OVER before AS position FROM known
    WINDOW before AS (PARTITION BY key, name ORDER BY since, place, value)
), starts AS (
    SELECT *, count(*) OVER (PARTITION BY key, name) AS values FROM runs
    WHERE position = 1 OR value IS DISTINCT FROM earlier
)
SELECT DISTINCT ON (key, name, since) key, name, since, value FROM starts
WHERE place > 0 AND (values > 1 OR :dated AND (:table OR place = 2))
ORDER BY key, name, since, value DESC NULLS LAST
ON CONFLICT ({key}, name, since) DO UPDATE SET value = greatest({entity}_history.value, excluded.value)
