-- Rows that another process claims now are skipped, and the rows behind them are claimed in their place. The order of
-- batches needs not be that of rows: what messages state counts by its time, in whichever batch it is.
WITH numbered AS (
    SELECT sum(messages) OVER (ORDER BY inbox_id) - messages AS messages_before FROM event_inbox
    WHERE batch_id IS NULL AND source = :source AND kind = ANY(:kinds) ORDER BY inbox_id LIMIT :most
), free AS MATERIALIZED (
    SELECT inbox_id, messages, octet_length(payload::text) AS bytes FROM event_inbox
    WHERE batch_id IS NULL AND source = :source AND kind = ANY(:kinds) ORDER BY inbox_id
    LIMIT (SELECT count(*) FROM numbered WHERE messages_before < :most) FOR UPDATE SKIP LOCKED
), fitting AS (
    SELECT inbox_id FROM (
        SELECT inbox_id, sum(bytes) OVER before AS bytes_before, sum(messages) OVER before AS messages_before
        FROM free WINDOW before AS (ORDER BY inbox_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS summed
    WHERE coalesce(bytes_before, 0) < :most_bytes AND coalesce(messages_before, 0) < :most
), chosen AS (SELECT min(inbox_id) || '_' || max(inbox_id) AS name FROM fitting)
UPDATE event_inbox SET batch_id = :prefix || chosen.name || '-inbox' FROM fitting, chosen
WHERE event_inbox.inbox_id = fitting.inbox_id
RETURNING event_inbox.batch_id
