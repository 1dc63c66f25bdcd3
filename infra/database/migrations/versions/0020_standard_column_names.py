"""Columns, one table and the verdicts of drift reports under the terms of the field"""

from alembic import op

revision = "0020"
down_revision = "0019"

_COLUMNS = (
    ("promotions", "follows", "previous_promotion_id"),
    ("promotions", "restores", "restored_promotion_id"),
    ("promotions", "followed_at", "alias_synced_at"),
    ("reviews", "against", "reference_promotion_id"),
    ("drift_reports", "joint_limit", "joint_threshold"),
    ("showings", "showing_id", "period_id"),
    ("published_lists", "showing_id", "period_id"),
    ("recommendation_batches", "about", "subject_kind"),
    ("recommendations", "short", "shortfall_reason"),
    ("batch_items", "code", "item_code"),
    ("batch_reasons", "code", "reason_code"),
)
_INDEXES = (
    ("showings_of_a_placement", "publication_periods_of_a_placement"),
    ("uq_promotions_follows", "uq_promotions_previous_promotion_id"),
    ("pk_showings", "pk_publication_periods"),
)
_FOREIGN_KEY = ("fk_published_lists_showing_id", "fk_published_lists_period_id")
_VERDICTS = (
    ("steady", "stable"),
    ("violated", "drifted"),
    ("broken", "invalid_feed"),
    ("thin", "insufficient_data"),
)
_CHECK = "ck_drift_reports_verdict"
_COMMENTS = {
    "promotions": "Each row replaces the champion `previous_promotion_id` (0: none). A second row with the same one is "
    "refused. A rollback names the row it returned to in `restored_promotion_id`. MLflow's alias followed at "
    "`alias_synced_at`.",
    "reviews": "`reference_promotion_id` is the promotion that the gate compared with (0: none). Only this champion is "
    "replaced.",
}
_COMMENTS_BEFORE = {
    "promotions": "Each row replaces the champion it `follows` (0: none): a second row after the same one is refused. "
    "`restores` is the earlier row that a rollback went back to; at `followed_at` MLflow's alias came after.",
    "reviews": "`against` is the promotion that the gate compared with (0: none): no other champion is replaced.",
}


def upgrade() -> None:
    for table, old, new in _COLUMNS:
        op.alter_column(table, old, new_column_name=new)
    op.rename_table("showings", "publication_periods")
    for old, new in _INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    op.execute(f"ALTER TABLE published_lists RENAME CONSTRAINT {_FOREIGN_KEY[0]} TO {_FOREIGN_KEY[1]}")
    _rename_verdicts(dict(_VERDICTS))
    for table, comment in _COMMENTS.items():
        op.create_table_comment(table, comment)


def downgrade() -> None:
    for table, comment in _COMMENTS_BEFORE.items():
        op.create_table_comment(table, comment)
    _rename_verdicts({new: old for old, new in _VERDICTS})
    for old, new in _INDEXES:
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    op.execute(f"ALTER TABLE published_lists RENAME CONSTRAINT {_FOREIGN_KEY[1]} TO {_FOREIGN_KEY[0]}")
    op.rename_table("publication_periods", "showings")
    for table, old, new in _COLUMNS:
        op.alter_column(table, new, new_column_name=old)


def _rename_verdicts(names: dict[str, str]) -> None:
    op.drop_constraint(_CHECK, "drift_reports")
    for before, after in names.items():
        op.execute(f"UPDATE drift_reports SET verdict = '{after}' WHERE verdict = '{before}'")
    allowed = ", ".join(f"'{name}'" for name in names.values())
    op.create_check_constraint(_CHECK, "drift_reports", f"verdict IN ({allowed})")
