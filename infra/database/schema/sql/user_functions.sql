-- Functions by which roles use users' rows that they may not read: each runs with the rights of the schema's owner.

CREATE FUNCTION identity.user_key(user_id text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN (SELECT known.user_key FROM identity.users AS known WHERE known.user_id = $1);
COMMENT ON FUNCTION identity.user_key IS 'The key of one raw id, for roles that may not list all.';
REVOKE ALL ON FUNCTION identity.user_key FROM PUBLIC;

-- Keys from before a rotation are left out: the users of a database have keys of one version.
CREATE FUNCTION identity.remember_user(user_key text, user_id text, key_version integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO identity.users (user_key, user_id, key_version)
    SELECT $1, $2, $3
    WHERE NOT EXISTS (SELECT FROM public.suppressions AS gone WHERE gone.user_key = $1)
        AND NOT EXISTS (SELECT FROM public.users AS known WHERE known.user_key = $1 AND NOT known.consent)
        AND coalesce((SELECT known.key_version FROM identity.users AS known LIMIT 1), $3) = $3
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION identity.remember_user FROM PUBLIC;

CREATE FUNCTION public.state_consent(user_key text, agrees boolean, at timestamptz, origin text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.users AS known
        (user_key, attributes, consent, consent_source, batch_id, consent_at, refused_at)
    SELECT $1, '{}', $2, $4, $4, $3, CASE WHEN NOT $2 THEN $3 END
    WHERE NOT EXISTS (SELECT FROM public.suppressions AS gone WHERE gone.user_key = $1)
    ON CONFLICT ON CONSTRAINT pk_users DO UPDATE SET refused_at = greatest(known.refused_at, excluded.refused_at);
    UPDATE public.users AS known SET consent = $2, consent_source = $4, consent_at = $3,
        attributes = CASE WHEN $2 THEN known.attributes ELSE '{}' END,
        field_timestamps = CASE WHEN $2 THEN known.field_timestamps ELSE '{}' END
    WHERE known.user_key = $1
        AND (known.consent_at IS NULL OR ($3, NOT $2) >= (known.consent_at, NOT known.consent));
    IF NOT $2 THEN
        DELETE FROM public.session_profiles AS profile WHERE profile.subject = $1 AND profile.updated_at <= $3;
    END IF;
END $$;
REVOKE ALL ON FUNCTION public.state_consent FROM PUBLIC;

-- Serving may not read messages; this names the items among the given ones whose messages wait.
CREATE FUNCTION waiting_items(items text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT payload ->> 'item_id' FROM event_inbox
    WHERE (batch_id IS NULL OR batch_id IS NOT NULL AND moved_at IS NULL)  -- each by an index
        AND kind = 'item' AND payload ->> 'item_id' = ANY ($1)
$$;
REVOKE ALL ON FUNCTION waiting_items FROM PUBLIC;
