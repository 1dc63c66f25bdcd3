-- Finds the items, users and devices of which a batch states something, and keeps the present items and users.
-- `lake_users` are the users of its events.
CREATE TEMP TABLE affected_items ON COMMIT DROP AS
SELECT key FROM ingest_statements JOIN ingest_applications USING (application_id)
WHERE batch_id = :batch_id AND kind LIKE 'item%'
UNION SELECT item_id FROM items WHERE batch_id = :batch_id;

CREATE TEMP TABLE affected_users ON COMMIT DROP AS
SELECT key FROM ingest_statements JOIN ingest_applications USING (application_id)
WHERE batch_id = :batch_id AND kind NOT LIKE 'item%' AND kind <> 'device'
UNION SELECT user_key FROM users WHERE batch_id = :batch_id
UNION SELECT key FROM lake_users
UNION SELECT key FROM ingest_statements WHERE payload ? 'agreed_by_event';

CREATE TEMP TABLE affected_devices ON COMMIT DROP AS
SELECT key FROM ingest_statements JOIN ingest_applications USING (application_id)
WHERE batch_id = :batch_id AND kind = 'device'
UNION SELECT key FROM ingest_statements
WHERE kind = 'device' AND payload ->> 'user_key' IN (SELECT key FROM affected_users);

ANALYZE affected_items, affected_users, affected_devices;
CREATE TEMP TABLE before_items ON COMMIT DROP AS
SELECT * FROM items WHERE item_id IN (SELECT key FROM affected_items);
CREATE TEMP TABLE before_users ON COMMIT DROP AS
SELECT * FROM users WHERE user_key IN (SELECT key FROM affected_users);
CREATE TEMP TABLE introductions (batch_id text, user_key text) ON COMMIT DROP;
