-- Functions by which the API reads published lists and what they depend on, and consumers of streams store live ones.
-- An objection to a placement is an exclusion: there the user is treated like one without consent.

-- The plan is kept per session: planning over all batches would take longer than reading. The lists of users are joined
-- after their consent is known.
CREATE OR REPLACE FUNCTION served_lists(wanted_placements text[], wanted_subjects text[])
RETURNS TABLE (
    nth bigint, consent boolean, suppressed boolean, excluded text[], batch_id bigint, model_version integer,
    items integer[], scores real[], reasons integer[], read_at double precision, live_items text[], live_scores real[],
    live_reasons text[], live_model_version integer
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT wanted.nth, person.consent, gone.user_key IS NOT NULL OR objection.user_key IS NOT NULL,
           ARRAY(SELECT kind || ':' || value FROM exclusions
                 WHERE exclusions.user_key = wanted.subject AND kind <> 'placement'),
           live.batch_id, batch.model_version, list.items, list.scores, list.reasons,
           extract(epoch FROM statement_timestamp())::double precision, newer.items, newer.scores, newer.reasons,
           newer.model_version
    FROM unnest(wanted_placements, wanted_subjects) WITH ORDINALITY AS wanted (placement, subject, nth)
    LEFT JOIN users AS person ON person.user_key = wanted.subject
    LEFT JOIN suppressions AS gone ON gone.user_key = wanted.subject
    LEFT JOIN exclusions AS objection ON objection.user_key = wanted.subject AND objection.kind = 'placement'
         AND objection.value = split_part(wanted.placement, '~', 1)
    LEFT JOIN placements AS live ON live.placement = wanted.placement
    LEFT JOIN recommendation_batches AS batch ON batch.batch_id = live.batch_id
    LEFT JOIN recommendations AS list ON list.batch_id = live.batch_id AND list.subject = wanted.subject
         AND (batch.subject_kind = 'item' OR (person.consent AND gone.user_key IS NULL AND objection.user_key IS NULL))
    LEFT JOIN live_recommendations AS newer ON newer.placement = wanted.placement AND newer.user_key = wanted.subject
         AND newer.batch_id = live.batch_id AND person.consent AND gone.user_key IS NULL AND objection.user_key IS NULL
         AND newer.expires_at > now()
         AND newer.model_version = (SELECT champion.model_version FROM promotions AS champion
                                    ORDER BY champion.promotion_id DESC LIMIT 1)
         AND newer.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules);
END $$;
COMMENT ON FUNCTION served_lists IS 'Live lists with the consent of their users, for the API.';
REVOKE ALL ON FUNCTION served_lists FROM PUBLIC;

-- Without a user, or without consent, it returns only the items that are hidden from everybody. Clicks keep their
-- order.
CREATE OR REPLACE FUNCTION known_of_user(wanted_placement text, wanted_user text)
RETURNS TABLE (batch_id bigint, user_key text, hidden text[], due text[], clicks text[], traits jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT known.batch_id, known.user_key,
           ARRAY(SELECT item_id FROM unnest(known.hidden) AS code JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code),
           ARRAY(SELECT item_id FROM unnest(known.due) AS code JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code),
           ARRAY(SELECT item_id FROM unnest(known.clicks) WITH ORDINALITY AS one (code, place) JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code ORDER BY place),
           known.traits
    FROM placements AS live JOIN batch_users AS known ON known.batch_id = live.batch_id
    WHERE live.placement = wanted_placement
      AND (known.user_key = '' OR (known.user_key = wanted_user
           AND EXISTS (SELECT FROM users AS person WHERE person.user_key = wanted_user AND person.consent)
           AND NOT EXISTS (SELECT FROM suppressions AS gone WHERE gone.user_key = wanted_user)
           AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = wanted_user
                           AND objection.kind = 'placement'
                           AND objection.value = split_part(wanted_placement, '~', 1))));
END $$;
COMMENT ON FUNCTION known_of_user IS 'What the live batch knows of one user with consent, for the API.';
REVOKE ALL ON FUNCTION known_of_user FROM PUBLIC;

-- Users are stored in one order, so that two consumers cannot block each other.
CREATE OR REPLACE FUNCTION keep_live_lists(lists jsonb) RETURNS TABLE (placement text, user_key text, user_id text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH kept AS (
        INSERT INTO live_recommendations AS known (placement, user_key, batch_id, model_version, rules_version, items,
            scores, reasons, occurred_at, expires_at)
        SELECT given.placement, given.user_key, given.batch_id, given.model_version, given.rules_version, given.items,
            given.scores, given.reasons, given.occurred_at, given.expires_at
        FROM jsonb_to_recordset(lists) AS given (placement text, user_key text, batch_id bigint, model_version integer,
            rules_version integer, items text[], scores real[], reasons text[], occurred_at timestamptz,
            expires_at timestamptz)
        JOIN users AS person ON person.user_key = given.user_key AND person.consent
        WHERE NOT EXISTS (SELECT FROM suppressions AS gone WHERE gone.user_key = given.user_key)
            AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = given.user_key
                            AND objection.kind = 'placement' AND objection.value = given.placement)
        ORDER BY given.user_key, given.placement
        ON CONFLICT (placement, user_key) DO UPDATE SET batch_id = excluded.batch_id,
            model_version = excluded.model_version, rules_version = excluded.rules_version, items = excluded.items,
            scores = excluded.scores, reasons = excluded.reasons, occurred_at = excluded.occurred_at,
            scored_at = now(), expires_at = excluded.expires_at
        WHERE known.occurred_at <= excluded.occurred_at
        RETURNING known.placement, known.user_key)
    SELECT kept.placement, kept.user_key, person.user_id FROM kept
    LEFT JOIN identity.users AS person ON person.user_key = kept.user_key;
END $$;
COMMENT ON FUNCTION keep_live_lists IS
    'Stores live lists of users who consent, unless a newer event was followed; returns the raw ids of users.';
REVOKE ALL ON FUNCTION keep_live_lists FROM PUBLIC;
