-- The function by which requests of people are recorded, for roles that may not write what it changes.

-- What counts at once is part of the transaction. It returns the number, or null for users to lift whose
-- erasure waits. Numbers are in the order of commits: who sees one sees all before it.
CREATE OR REPLACE FUNCTION identity.record_request(
    wanted text, user_keys text[], user_ids text[], waits boolean, who text, why text, due_days integer,
    stays_away boolean, about text
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
    named integer := cardinality(array_remove(user_ids, NULL));
BEGIN
    LOCK TABLE identity.privacy_requests IN SHARE ROW EXCLUSIVE MODE;
    IF wanted = 'lift' AND (
        EXISTS (SELECT FROM identity.privacy_subjects AS own JOIN identity.privacy_requests AS asked USING (request_id)
            WHERE asked.kind = 'erase' AND own.user_key = ANY (user_keys))
    ) THEN
        RETURN NULL;
    END IF;
    INSERT INTO identity.privacy_requests
        (kind, state, users, actor, reason, due_at, done_at, suppress, purpose)
    SELECT wanted, CASE WHEN waits THEN 'open' ELSE 'done' END, named, who, why, now() + due_days * interval '1 day',
        CASE WHEN NOT waits THEN now() END, stays_away, about
    RETURNING request_id INTO number;
    INSERT INTO public.audit_log (action, subject, actor, reason, detail)
    SELECT 'privacy ' || wanted, 'request ' || number, who, why, jsonb_build_object('users', named);
    IF waits THEN
        INSERT INTO identity.privacy_subjects (request_id, user_key, user_id)
        SELECT number, one.user_key, one.user_id FROM unnest(user_keys, user_ids) AS one (user_key, user_id);
    END IF;
    IF wanted = 'erase' THEN
        INSERT INTO public.suppressions (user_key, reason) SELECT key, 'erased' FROM unnest(user_keys) AS key
        ON CONFLICT DO NOTHING;  -- who was restricted stays so afterwards
        DELETE FROM identity.privacy_files AS made WHERE made.user_key = ANY (user_keys);
    ELSIF wanted = 'restrict' THEN
        INSERT INTO public.suppressions (user_key, reason) SELECT key, why FROM unnest(user_keys) AS key
        ON CONFLICT DO NOTHING;
    ELSIF wanted = 'lift' THEN
        DELETE FROM public.suppressions AS gone WHERE gone.user_key = ANY (user_keys);
    ELSIF wanted = 'object' THEN
        INSERT INTO public.exclusions (user_key, kind, value) SELECT key, 'placement', about FROM unnest(user_keys) AS key
        WHERE NOT EXISTS (SELECT FROM public.suppressions AS gone WHERE gone.user_key = key AND gone.reason = 'erased')
        ON CONFLICT DO NOTHING;
        DELETE FROM public.live_recommendations AS live WHERE live.user_key = ANY (user_keys) AND live.placement = about;
    ELSIF wanted = 'withdraw' THEN
        DELETE FROM public.exclusions AS objection WHERE objection.user_key = ANY (user_keys)
            AND objection.kind = 'placement' AND objection.value = about;
    END IF;
    RETURN number;
END $$;
REVOKE ALL ON FUNCTION identity.record_request FROM PUBLIC;
