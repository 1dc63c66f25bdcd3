"""Answers that were shown are counted as they are stored: reports add up counts in place of rows"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

_COMMENT = (
    "How many answers were shown in each five minutes of the last two days, by placement and source. A trigger of "
    "served_answers counts each one once."
)


def upgrade() -> None:
    """Create the counts, fill them with the answers of their two days, and let a trigger keep them."""
    op.create_table(
        "answer_counts",
        sa.Column("since", sa.DateTime(timezone=True), nullable=False, comment="When the five minutes began."),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("since", "placement", "source", name=op.f("pk_answer_counts")),
        comment=_COMMENT,
    )
    op.execute(_COUNT)
    op.execute(_TRIGGER)
    op.execute(_COUNTED.format(rows="served_answers WHERE shown_at > now() - interval '2 days'"))


def downgrade() -> None:
    """Drop the counts and their trigger."""
    op.execute("DROP TRIGGER count_answers ON served_answers")
    op.execute("DROP FUNCTION count_answers")
    op.drop_table("answer_counts")


# In order of the key, so that two processes with the same counts cannot block each other.
_COUNTED = """
    INSERT INTO answer_counts AS known (since, placement, source, answers)
    SELECT date_bin('5 minutes', shown_at, 'epoch'), placement, source, count(*) FROM {rows}
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (since, placement, source) DO UPDATE SET answers = known.answers + excluded.answers"""
_COUNT = f"""
CREATE FUNCTION count_answers() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    {_COUNTED.format(rows="added")};
    RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER count_answers AFTER INSERT ON served_answers REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION count_answers()
"""
