-- The views that applications read lists from.
--
-- PostgreSQL searches for the best order among the first 8 tables (join_collapse_limit), so the tables that select the
-- user come first. A view of a view would join the lists of all users before it selects one user's.
-- With a security barrier, a condition of the reader never sees rows that the view hides. A union as the whole query
-- would let it see them, in spite of the barrier.
-- Stock and dates can change after the lists were built. While an experiment runs, a user gets the lists of one variant;
-- `~` joins a placement, an experiment and a variant (models/experiments/definition.py).

CREATE OR REPLACE VIEW current_recommendations WITH (security_barrier = true) AS
SELECT * FROM (
    SELECT split_part(placement.placement, '~', 1) AS placement, list.subject AS user_key, entry.rank::int AS rank, list_item.item_id, item.title,
           item.category, item.brand, item.price, item.currency, entry.score, list_reason.reason, batch.model_version,
           batch.batch_id, item.url, item.image, 'batch' AS source
    FROM placements AS placement
    JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
    JOIN recommendations AS list ON list.batch_id = placement.batch_id
    JOIN users ON users.user_key = list.subject AND users.consent
    CROSS JOIN LATERAL unnest(list.items, list.scores, list.reasons) WITH ORDINALITY
         AS entry (code, score, why, rank)
    JOIN batch_items AS list_item ON list_item.batch_id = placement.batch_id AND list_item.item_code = entry.code
    LEFT JOIN batch_reasons AS list_reason
         ON list_reason.batch_id = placement.batch_id AND list_reason.reason_code = entry.why
    LEFT JOIN items AS item ON item.item_id = list_item.item_id
    WHERE batch.subject_kind = 'user'
      AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
      AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = list.subject
                      AND objection.kind = 'placement' AND objection.value = split_part(placement.placement, '~', 1))
      AND item.in_stock IS NOT FALSE
      AND (item.available_from IS NULL OR item.available_from <= now())
      AND (item.available_until IS NULL OR item.available_until > now())
      AND CASE WHEN split_part(placement.placement, '~', 1) IN (
          SELECT unnest(running.placements) FROM experiments AS running
          WHERE running.started_at IS NOT NULL AND running.stopped_at IS NULL AND running.ends_at > now())
          THEN placement.placement = served_placement(split_part(placement.placement, '~', 1), list.subject)
          ELSE strpos(placement.placement, '~') = 0 END
      AND NOT EXISTS (
          SELECT FROM live_recommendations AS live
          WHERE live.placement = placement.placement AND live.user_key = list.subject
            AND live.batch_id = placement.batch_id AND live.expires_at > now()
            AND live.model_version = (SELECT champion.model_version FROM promotions AS champion
                                      ORDER BY champion.promotion_id DESC LIMIT 1)
            AND live.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules))
    UNION ALL
    SELECT split_part(placement.placement, '~', 1) AS placement, live.user_key, entry.rank::int AS rank, entry.item_id, item.title, item.category, item.brand,
           item.price, item.currency, entry.score, entry.reason, live.model_version, live.batch_id, item.url,
           item.image, 'live' AS source
    FROM placements AS placement
    JOIN live_recommendations AS live ON live.placement = placement.placement AND live.batch_id = placement.batch_id
    JOIN users ON users.user_key = live.user_key AND users.consent
    CROSS JOIN LATERAL unnest(live.items, live.scores, live.reasons) WITH ORDINALITY
         AS entry (item_id, score, reason, rank)
    LEFT JOIN items AS item ON item.item_id = entry.item_id
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = live.user_key)
      AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = live.user_key
                      AND objection.kind = 'placement' AND objection.value = split_part(placement.placement, '~', 1))
      AND live.expires_at > now()
      AND live.model_version = (SELECT champion.model_version FROM promotions AS champion
                                ORDER BY champion.promotion_id DESC LIMIT 1)
      AND CASE WHEN split_part(placement.placement, '~', 1) IN (
          SELECT unnest(running.placements) FROM experiments AS running
          WHERE running.started_at IS NOT NULL AND running.stopped_at IS NULL AND running.ends_at > now())
          THEN placement.placement = served_placement(split_part(placement.placement, '~', 1), live.user_key)
          ELSE strpos(placement.placement, '~') = 0 END
      AND live.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules)
      AND item.in_stock IS NOT FALSE
      AND (item.available_from IS NULL OR item.available_from <= now())
      AND (item.available_until IS NULL OR item.available_until > now())
) AS lists;

-- The same by the raw ids of users.
CREATE OR REPLACE VIEW recommendations_by_user_id WITH (security_barrier = true) AS
SELECT * FROM (
    SELECT identities.user_id, split_part(placement.placement, '~', 1) AS placement, list.subject AS user_key, entry.rank::int AS rank,
           list_item.item_id, item.title, item.category, item.brand, item.price, item.currency, entry.score,
           list_reason.reason, batch.model_version, batch.batch_id, item.url, item.image, 'batch' AS source
    FROM placements AS placement
    JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
    JOIN recommendations AS list ON list.batch_id = placement.batch_id
    JOIN identity.users AS identities ON identities.user_key = list.subject
    JOIN users ON users.user_key = list.subject AND users.consent
    CROSS JOIN LATERAL unnest(list.items, list.scores, list.reasons) WITH ORDINALITY
         AS entry (code, score, why, rank)
    JOIN batch_items AS list_item ON list_item.batch_id = placement.batch_id AND list_item.item_code = entry.code
    LEFT JOIN batch_reasons AS list_reason
         ON list_reason.batch_id = placement.batch_id AND list_reason.reason_code = entry.why
    LEFT JOIN items AS item ON item.item_id = list_item.item_id
    WHERE batch.subject_kind = 'user'
      AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
      AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = list.subject
                      AND objection.kind = 'placement' AND objection.value = split_part(placement.placement, '~', 1))
      AND item.in_stock IS NOT FALSE
      AND (item.available_from IS NULL OR item.available_from <= now())
      AND (item.available_until IS NULL OR item.available_until > now())
      AND CASE WHEN split_part(placement.placement, '~', 1) IN (
          SELECT unnest(running.placements) FROM experiments AS running
          WHERE running.started_at IS NOT NULL AND running.stopped_at IS NULL AND running.ends_at > now())
          THEN placement.placement = served_placement(split_part(placement.placement, '~', 1), list.subject)
          ELSE strpos(placement.placement, '~') = 0 END
      AND NOT EXISTS (
          SELECT FROM live_recommendations AS live
          WHERE live.placement = placement.placement AND live.user_key = list.subject
            AND live.batch_id = placement.batch_id AND live.expires_at > now()
            AND live.model_version = (SELECT champion.model_version FROM promotions AS champion
                                      ORDER BY champion.promotion_id DESC LIMIT 1)
            AND live.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules))
    UNION ALL
    SELECT identities.user_id, split_part(placement.placement, '~', 1) AS placement, live.user_key, entry.rank::int AS rank, entry.item_id, item.title,
           item.category, item.brand, item.price, item.currency, entry.score, entry.reason, live.model_version,
           live.batch_id, item.url, item.image, 'live' AS source
    FROM placements AS placement
    JOIN live_recommendations AS live ON live.placement = placement.placement AND live.batch_id = placement.batch_id
    JOIN users ON users.user_key = live.user_key AND users.consent
    JOIN identity.users AS identities ON identities.user_key = live.user_key
    CROSS JOIN LATERAL unnest(live.items, live.scores, live.reasons) WITH ORDINALITY
         AS entry (item_id, score, reason, rank)
    LEFT JOIN items AS item ON item.item_id = entry.item_id
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = live.user_key)
      AND NOT EXISTS (SELECT FROM exclusions AS objection WHERE objection.user_key = live.user_key
                      AND objection.kind = 'placement' AND objection.value = split_part(placement.placement, '~', 1))
      AND live.expires_at > now()
      AND live.model_version = (SELECT champion.model_version FROM promotions AS champion
                                ORDER BY champion.promotion_id DESC LIMIT 1)
      AND CASE WHEN split_part(placement.placement, '~', 1) IN (
          SELECT unnest(running.placements) FROM experiments AS running
          WHERE running.started_at IS NOT NULL AND running.stopped_at IS NULL AND running.ends_at > now())
          THEN placement.placement = served_placement(split_part(placement.placement, '~', 1), live.user_key)
          ELSE strpos(placement.placement, '~') = 0 END
      AND live.rules_version = (SELECT coalesce(max(rules.version), 0) FROM operator_rules AS rules)
      AND item.in_stock IS NOT FALSE
      AND (item.available_from IS NULL OR item.available_from <= now())
      AND (item.available_until IS NULL OR item.available_until > now())
) AS lists;

CREATE OR REPLACE VIEW current_item_recommendations WITH (security_barrier = true) AS
SELECT placement.placement, list.subject AS for_item_id, entry.rank::int AS rank, list_item.item_id, item.title,
       item.category, item.brand, item.price, item.currency, entry.score, list_reason.reason, batch.model_version,
       batch.batch_id, item.url, item.image
FROM placements AS placement
JOIN recommendation_batches AS batch ON batch.batch_id = placement.batch_id
JOIN recommendations AS list ON list.batch_id = placement.batch_id
CROSS JOIN LATERAL unnest(list.items, list.scores, list.reasons) WITH ORDINALITY AS entry (code, score, why, rank)
JOIN batch_items AS list_item ON list_item.batch_id = placement.batch_id AND list_item.item_code = entry.code
LEFT JOIN batch_reasons AS list_reason
     ON list_reason.batch_id = placement.batch_id AND list_reason.reason_code = entry.why
LEFT JOIN items AS item ON item.item_id = list_item.item_id
WHERE batch.subject_kind = 'item' AND strpos(placement.placement, '~') = 0
  AND item.in_stock IS NOT FALSE
  AND (item.available_from IS NULL OR item.available_from <= now())
  AND (item.available_until IS NULL OR item.available_until > now());
