-- Deletes what users stated before they refused: first the statements for an undo, then traits, histories and devices.
UPDATE ingest_statements AS entry SET payload = coalesce((
    SELECT jsonb_object_agg(key, value) FROM jsonb_each(entry.payload)
    WHERE users.consent AND entry.field_timestamps ->> key COLLATE "C"
        > to_char(users.refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), '{}')
FROM users WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL
    AND entry.key = users.user_key AND entry.kind = 'traits';

UPDATE ingest_statements AS entry SET payload = jsonb_build_object('changes', coalesce((
    SELECT jsonb_agg(change) FROM jsonb_array_elements(entry.payload -> 'changes') AS change
    WHERE users.consent AND (change ->> 'since')::timestamptz > users.refused_at), '[]'))
FROM users WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL
    AND entry.key = users.user_key AND entry.kind = 'user_history';

UPDATE ingest_statements AS entry SET payload = entry.payload || '{"attributes": {}}'
FROM users, ingest_applications AS application WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL
    AND entry.key = users.user_key AND entry.kind = 'user_table' AND application.application_id = entry.application_id
    AND (NOT users.consent OR application.applied_at <= users.refused_at);

DELETE FROM ingest_statements AS entry USING users
WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL AND entry.kind = 'device'
    AND entry.payload ->> 'user_key' = users.user_key
    AND entry.key IN (SELECT anonymous_key FROM aliases WHERE aliases.user_key = ANY(:keys))
    AND (NOT users.consent OR coalesce(entry.observed_at, '-infinity') <= users.refused_at);

UPDATE users SET (attributes, field_timestamps) = (
    SELECT coalesce(jsonb_object_agg(key, attributes -> key), '{}'), coalesce(jsonb_object_agg(key, at), '{}')
    FROM (SELECT key, value COLLATE "C" AS at FROM jsonb_each_text(field_timestamps)) AS stated
    WHERE consent AND at > to_char(refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
WHERE user_key = ANY(:keys) AND refused_at IS NOT NULL AND attributes <> '{}';

DELETE FROM user_history AS entry USING users WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL
    AND entry.user_key = users.user_key AND (NOT users.consent OR entry.since <= users.refused_at);

DELETE FROM aliases USING users WHERE users.user_key = ANY(:keys) AND users.refused_at IS NOT NULL
    AND aliases.user_key = users.user_key
    AND (NOT users.consent OR coalesce(aliases.occurred_at, '-infinity') <= users.refused_at);
