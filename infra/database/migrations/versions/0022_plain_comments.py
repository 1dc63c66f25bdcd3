"""Comments on tables, in plain English"""

from alembic import op

revision = "0022"
down_revision = "0021"

_COMMENTS = {
    "aliases": "The user of each device; the latest row counts. Data sets add a device's events to its user.",
    "exclusions": "What single users must not be shown: an item, a brand, or a category with everything below it.",
    "segments": "The static segments of each data set: a baseline for personalization, and the lists of new users.",
    "placements": "The batch that readers see. Publishing changes this pointer and nothing else.",
    "recommendations": "One list per batch and user_key (or item_id, in placements about items), as codes of "
    "batch_items and batch_reasons. The views current_recommendations and "
    "current_item_recommendations give one row per rank.",
    "quarantine": "Rows that broke a rule. `content` identifies what a row of a source states and the rules "
    "it broke, `subject` its event, item or user. A row with `replayed_at` no longer waits: "
    "its `outcome` is replayed, resolved (`resolved_by` a batch) or dismissed.",
    "ingest_applications": "Each time that the statements of a batch were applied, in order. `repeats` is an earlier "
    "application with the same statements; one with 0 holds the values from before statements "
    "were kept.",
    "ingest_repeats": "Events of a batch that the lake held already, as compressed Arrow. They become the "
    "batch's own if the batch that brought them is undone.",
    "quarantine_repeats": "Rows that broke a rule while an equal row was waiting already.",
    "audit_log": "Changes that people made to the ledger and the quarantine, with their reasons.",
    "drift_calibrations": "Reference figures of each champion; the newest row of a promotion counts. A person can "
    "declare the current behaviour usual.",
    "drift_reports": "One row per window: its figures, whether they left their bands, and the decision with "
    "its reasons.",
    "retrain_requests": "Requests to retrain. One is open at a time; its worker holds a lease and the fence.",
    "publication_periods": "Each change of a placement's pointer. Its batch was shown until the next row of the "
    "placement. A batch that is shown again later has a second row.",
    "published_lists": "The lists that a sample of users was shown, kept after the batch itself is dropped, to "
    "measure accuracy later.",
    "audit_reports": "One row per audit of served lists: figures by group of people, exposure, and whether a "
    "group is served worse than all others. The view audit_groups has a row for each figure "
    "of each group.",
    "trained_bundles": "What training stored in MLflow, by run. `digest` is that of the bundle's manifest, "
    "`evaluation_digest` that of the measured figures. Artifacts in MLflow that differ are "
    "refused.",
}
_COMMENTS_BEFORE = {
    "aliases": "Which device turned out to be whose, the latest counts: data sets join what it did to the user.",
    "exclusions": "What single users are never shown: an item, a brand, or a category with all below it.",
    "segments": "The static segments of each data set: what personalization has to beat, and what the cold get.",
    "placements": "The batch that readers see: publishing moves this pointer and nothing else.",
    "recommendations": "One list per user_key (or item_id, in placements about items) and batch, as codes of the "
    "batch's own tables of words; the views current_recommendations and "
    "current_item_recommendations give one row per rank.",
    "quarantine": "Rows that broke a rule. `content` identifies what a row of a source states and the rules "
    "it broke, `subject` its event, item or user. Since `replayed_at` a row waits no more: "
    "its `outcome` is replayed, resolved (`resolved_by` a batch) or dismissed.",
    "ingest_applications": "Each time the statements of a batch were applied, in order. `repeats` is an earlier "
    "application with the same statements; one with 0 holds the values from before statements "
    "were kept.",
    "ingest_repeats": "Events of a batch that the lake held already, as compressed Arrow: they are its own once "
    "the batch that brought them is undone.",
    "quarantine_repeats": "Rows that broke a rule while an equal row waited already.",
    "audit_log": "What people changed in the ledger and in quarantine, and why.",
    "drift_calibrations": "What is usual, by champion: the newest row of a promotion counts. Somebody may say that "
    "what is seen now is usual from now on.",
    "drift_reports": "One row a window: what was seen, whether it left its band, and what was decided, with "
    "the reasons.",
    "retrain_requests": "Retraining that was asked for: one is open at a time, and whoever works on it holds a "
    "lease and its fence.",
    "publication_periods": "Every time a placement's pointer moved: what it moved to was shown until the next row of "
    "the placement. A batch that is shown again after another one has a row for each time.",
    "published_lists": "What a sample of users was shown, kept when the batch itself is dropped: accuracy as it "
    "came true.",
    "audit_reports": "One row an audit of what was served: figures by group of people, exposure, and whether a "
    "group is served worse than everybody else. The view audit_groups has a row for each "
    "figure of each group.",
    "trained_bundles": "What training stored in MLflow, by run: `digest` is of the bundle's manifest, "
    "`evaluation_digest` of the measured figures. Artifacts in MLflow that differ are "
    "refused.",
}


def upgrade() -> None:
    for table, comment in _COMMENTS.items():
        op.create_table_comment(table, comment)


def downgrade() -> None:
    for table, comment in _COMMENTS_BEFORE.items():
        op.create_table_comment(table, comment)
