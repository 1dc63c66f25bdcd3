-- Functions that assign people to variants. The API and the views use the same ones.

-- A number from 0 to 1, which only the holder of the secret can predict.
CREATE OR REPLACE FUNCTION unit_position(secret bytea, unit text) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || left(encode(sha256(secret || convert_to(unit, 'UTF8')), 'hex'), 12))::bit(48)::bigint / 2.0 ^ 48
$$;

-- The running experiments of a placement, with the variant that a unit has or would get; without one it is in none.
-- Holdouts come first. Who has a variant keeps it; nobody is in two experiments of a layer.
CREATE OR REPLACE FUNCTION variants_of_unit(wanted text, unit text)
RETURNS TABLE (experiment_id bigint, variant text, served text, holds_out boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT known.experiment_id, known.variant,
           CASE WHEN known.variant = ANY (known.changed) THEN wanted || '~' || known.name || '~' || known.variant
                ELSE wanted END,
           known.holdout AND known.variant = ANY (known.changed)
    FROM (
        SELECT running.experiment_id, running.name, running.changed, running.holdout, coalesce(stored.variant, CASE
            WHEN unit_position(running.layer_salt, unit) >= running.slot_from
                AND unit_position(running.layer_salt, unit) < running.slot_from
                    + (running.slot_until - running.slot_from) * CASE WHEN running.ramp_days = 0 THEN 1 ELSE
                      least(1, greatest(0.1, extract(epoch FROM now() - running.started_at)
                                             / 86400 / running.ramp_days)) END
                AND NOT EXISTS (
                    SELECT FROM experiment_units AS other JOIN experiments USING (experiment_id)
                    WHERE other.unit_key = unit AND experiments.layer = running.layer
                      AND experiments.stopped_at IS NULL AND experiments.ends_at > now()
                      AND other.experiment_id <> running.experiment_id)
            THEN running.variants[1 + width_bucket(unit_position(running.salt, unit), running.upto)] END) AS variant
        FROM experiments AS running
        LEFT JOIN experiment_units AS stored
            ON stored.experiment_id = running.experiment_id AND stored.unit_key = unit
        WHERE wanted = ANY (running.placements) AND running.started_at IS NOT NULL AND running.stopped_at IS NULL
          AND running.ends_at > now()
    ) AS known
    WHERE known.variant IS NOT NULL ORDER BY known.holdout DESC;
END $$;
REVOKE ALL ON FUNCTION variants_of_unit FROM PUBLIC;

-- The placement whose lists a user gets in place of the wanted one.
CREATE OR REPLACE FUNCTION served_placement(wanted text, unit text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT known.served FROM variants_of_unit(wanted, unit) AS known
                     ORDER BY known.holds_out DESC, known.served <> wanted DESC LIMIT 1), wanted);
END $$;
REVOKE ALL ON FUNCTION served_placement FROM PUBLIC;

-- Stores and returns the variants of a visitor: those of the device until the user is known, who takes them over unless
-- the user has some. Users without consent, and who object to the placement, have none. The last row is served.
CREATE OR REPLACE FUNCTION assign_variants(wanted text, person text, device text)
RETURNS TABLE (experiment text, variant text, served text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    unit text := coalesce(person, device);
BEGIN
    IF person IS NOT NULL AND (
        NOT EXISTS (SELECT FROM users WHERE user_key = person AND consent)
        OR EXISTS (SELECT FROM suppressions WHERE user_key = person)
        OR EXISTS (SELECT FROM exclusions WHERE user_key = person AND kind = 'placement' AND value = wanted)
    ) THEN
        RETURN;
    END IF;
    INSERT INTO experiment_units (experiment_id, unit_key, variant, device_key)
    SELECT DISTINCT ON (before.experiment_id) before.experiment_id, person, before.variant, before.unit_key
    FROM experiment_units AS before JOIN experiments AS running USING (experiment_id)
    WHERE before.unit_key IN (SELECT device UNION SELECT anonymous_key FROM aliases
                              WHERE user_key = person AND NOT claimed)
      AND person IS NOT NULL AND wanted = ANY (running.placements) AND running.stopped_at IS NULL
    ORDER BY before.experiment_id, before.first_at
    ON CONFLICT DO NOTHING;
    INSERT INTO experiment_units (experiment_id, unit_key, variant)
    SELECT known.experiment_id, unit, known.variant
    FROM (SELECT *, bool_or(holds_out) OVER () AS held_out FROM variants_of_unit(wanted, unit)) AS known
    WHERE known.holds_out OR NOT known.held_out
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT running.name, known.variant, known.served
    FROM (SELECT *, bool_or(holds_out) OVER () AS held_out FROM variants_of_unit(wanted, unit)) AS known
    JOIN experiments AS running USING (experiment_id)
    WHERE known.holds_out OR NOT known.held_out
    ORDER BY known.served <> wanted, running.holdout DESC;
END $$;
REVOKE ALL ON FUNCTION assign_variants FROM PUBLIC;

-- Stores the variants that other programs showed to units that have none, of running experiments.
CREATE OR REPLACE FUNCTION view_variants(names text[], variants text[], units text[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO experiment_units (experiment_id, unit_key, variant)
    SELECT running.experiment_id, viewed.unit, viewed.variant
    FROM unnest(names, variants, units) AS viewed (name, variant, unit) JOIN experiments AS running USING (name)
    WHERE viewed.variant = ANY (running.variants) AND viewed.unit IS NOT NULL AND running.started_at IS NOT NULL
      AND running.stopped_at IS NULL AND running.ends_at > now()
      AND NOT EXISTS (SELECT FROM users WHERE user_key = viewed.unit AND NOT consent)
      AND NOT EXISTS (SELECT FROM suppressions WHERE user_key = viewed.unit)
    ORDER BY running.experiment_id, viewed.unit ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION view_variants FROM PUBLIC;
