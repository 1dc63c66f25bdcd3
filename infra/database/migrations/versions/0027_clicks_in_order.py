"""Clicks of users newer than a model keep their order when the API reads them"""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Return them by their place in the batch: a join alone returns them in any order."""
    op.execute(_KNOWN_OF_USER.format(clicks="WITH ORDINALITY AS one (code, place)", order="ORDER BY place"))


def downgrade() -> None:
    """Return them in any order."""
    op.execute(_KNOWN_OF_USER.format(clicks="AS code", order=""))


_KNOWN_OF_USER = """
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
           ARRAY(SELECT item_id FROM unnest(known.clicks) {clicks} JOIN batch_items AS item
                 ON item.batch_id = known.batch_id AND item.item_code = code {order}),
           known.traits
    FROM placements AS live JOIN batch_users AS known ON known.batch_id = live.batch_id
    WHERE live.placement = wanted_placement
      AND (known.user_key = '' OR (known.user_key = wanted_user
           AND EXISTS (SELECT FROM users AS person WHERE person.user_key = wanted_user AND person.consent)
           AND NOT EXISTS (SELECT FROM suppressions AS gone WHERE gone.user_key = wanted_user)));
END $$
"""
