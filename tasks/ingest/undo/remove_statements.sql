-- Removes the statements of a batch except refusals, and all values of the affected items, users and devices.
DELETE FROM ingest_statements AS entry USING ingest_applications AS application
WHERE application.application_id = entry.application_id AND application.batch_id = :batch_id
    AND NOT (kind IN ('consent', 'user_table') AND payload ->> 'refused_at' IS NOT NULL);

UPDATE ingest_statements AS entry
SET payload = payload - 'agreed_by_event' || '{"consent": false, "kept": true}',
    observed_at = (payload ->> 'refused_at')::timestamptz
FROM ingest_applications AS application
WHERE application.application_id = entry.application_id AND application.batch_id = :batch_id AND kind = 'consent';

UPDATE ingest_statements AS entry SET field_timestamps = '{}', payload = payload || jsonb_build_object(
    'consent', false, 'kept', true, 'attributes', '{}'::jsonb, 'consent_at', payload -> 'refused_at')
FROM ingest_applications AS application
WHERE application.application_id = entry.application_id AND application.batch_id = :batch_id AND kind = 'user_table';

DELETE FROM ingest_applications AS entry WHERE batch_id = :batch_id
    AND NOT EXISTS (SELECT FROM ingest_statements WHERE ingest_statements.application_id = entry.application_id);
UPDATE ingest_applications SET repeats = NULL WHERE batch_id = :batch_id;

DELETE FROM items WHERE item_id IN (SELECT key FROM affected_items);
DELETE FROM item_history WHERE item_id IN (SELECT key FROM affected_items);
-- Of somebody who was erased, the moment of that stays.
UPDATE users SET attributes = '{}', field_timestamps = '{}', consent = false, consent_source = 'erasure',
    consent_at = erased_at, refused_at = erased_at
WHERE erased_at IS NOT NULL AND user_key IN (SELECT key FROM affected_users);
DELETE FROM users WHERE erased_at IS NULL AND user_key IN (SELECT key FROM affected_users);
DELETE FROM user_history WHERE user_key IN (SELECT key FROM affected_users);
DELETE FROM aliases WHERE anonymous_key IN (SELECT key FROM affected_devices);
