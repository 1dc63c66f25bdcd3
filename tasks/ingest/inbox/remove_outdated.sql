-- Deletes moved rows, expired profiles, lists and dead letters, and answers and counts of long ago.
DELETE FROM event_inbox WHERE moved_at < now() - interval '1 day' AND outcome = 'moved';
DELETE FROM session_profiles AS profile WHERE expires_at < now()
    OR EXISTS (SELECT FROM suppressions WHERE user_key = profile.subject)
    OR EXISTS (SELECT FROM users WHERE user_key = profile.subject AND NOT consent);
DELETE FROM live_recommendations AS list WHERE expires_at < now()
    OR NOT EXISTS (SELECT FROM users WHERE user_key = list.user_key AND consent)
    OR EXISTS (SELECT FROM suppressions WHERE user_key = list.user_key);
DELETE FROM identity.dead_letters
WHERE replayed_at < now() - interval '7 days' OR last_at < now() - CAST(NULLIF(:dead_letters, '') AS interval);
DELETE FROM identity.erasure_notices WHERE made_at < now() - interval '7 days';
DELETE FROM experiment_units USING experiments WHERE experiments.experiment_id = experiment_units.experiment_id
AND least(stopped_at, ends_at) < now() - CAST(NULLIF(:served_answers, '') AS interval);
DELETE FROM served_answers WHERE shown_at < now() - CAST(NULLIF(:served_answers, '') AS interval);
DELETE FROM answer_counts WHERE since < now() - interval '2 days';
