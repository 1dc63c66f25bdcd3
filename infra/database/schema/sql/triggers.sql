-- Triggers that notify servers of changes, count answers, and remove the live lists of users whose consent ends.

-- PostgreSQL delivers equal notifications of one transaction once.
CREATE FUNCTION notify_servers_of_table() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('tailorbird_changes', TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON items
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON placements
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON promotions
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON session_profiles
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON experiments
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
CREATE TRIGGER notify_servers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON operator_rules
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();
-- Servers write `last_used_at` themselves, so its changes notify nobody.
CREATE TRIGGER notify_servers
AFTER INSERT OR UPDATE OF secret_hash, scopes, requests_per_second, expires_at, revoked_at OR DELETE ON api_keys
FOR EACH STATEMENT EXECUTE FUNCTION notify_servers_of_table();

CREATE FUNCTION notify_servers_of_user() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('tailorbird_changes', 'user ' || OLD.user_key);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('tailorbird_changes', 'user ' || NEW.user_key);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER notify_servers_update AFTER UPDATE OF consent ON users FOR EACH ROW
WHEN (OLD.consent IS DISTINCT FROM NEW.consent) EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_delete AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_insert AFTER INSERT ON suppressions FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_update AFTER UPDATE ON suppressions FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_delete AFTER DELETE ON suppressions FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_insert AFTER INSERT ON exclusions FOR EACH ROW EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_update AFTER UPDATE ON exclusions FOR EACH ROW EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_delete AFTER DELETE ON exclusions FOR EACH ROW EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_insert AFTER INSERT ON live_recommendations FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_update AFTER UPDATE ON live_recommendations FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();
CREATE TRIGGER notify_servers_delete AFTER DELETE ON live_recommendations FOR EACH ROW
EXECUTE FUNCTION notify_servers_of_user();

-- It does not matter what ends a consent: a statement, an ingest, or an erasure.
CREATE FUNCTION forget_live_lists() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE gone text := CASE WHEN TG_OP = 'DELETE' THEN OLD.user_key ELSE NEW.user_key END;
BEGIN
    DELETE FROM live_recommendations WHERE user_key = gone;
    DELETE FROM rescoring_requests WHERE user_key = gone;
    RETURN NULL;
END $$;

CREATE TRIGGER forget_live_lists AFTER UPDATE OF consent ON users FOR EACH ROW
WHEN (OLD.consent AND NOT NEW.consent) EXECUTE FUNCTION forget_live_lists();
CREATE TRIGGER forget_live_lists_of_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION forget_live_lists();
CREATE TRIGGER forget_live_lists AFTER INSERT ON suppressions FOR EACH ROW EXECUTE FUNCTION forget_live_lists();

-- Counts are added in order of the key, so that two processes with the same counts cannot block each other.
CREATE FUNCTION count_answers() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO answer_counts AS known (since, placement, source, answers)
    SELECT date_bin('5 minutes', shown_at, 'epoch'), placement, source, count(*) FROM added
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (since, placement, source) DO UPDATE SET answers = known.answers + excluded.answers;
    RETURN NULL;
END $$;

CREATE TRIGGER count_answers AFTER INSERT ON served_answers REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION count_answers();
