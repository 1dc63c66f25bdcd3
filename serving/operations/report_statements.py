"""SQL of the reports for operators."""

from typing import Final

LEDGER: Final = """
    SELECT batch_id, source, dataset, status, location, started_at, finished_at, read, accepted, quarantined, duplicate,
        suppressed, routed, late, detail
    FROM ingest_batches ORDER BY started_at DESC, batch_id DESC LIMIT :most OFFSET :offset
"""
DRIFT: Final = """
    SELECT report_id, model_version, window_from, window_to, verdict, joint, joint_threshold, drivers, decision,
        reasons, page
    FROM drift_reports ORDER BY window_to DESC, report_id DESC LIMIT :most OFFSET :offset
"""
CHAMPION: Final = """
    SELECT promotion.model_version, promotion.kind, promotion.dataset_version, promotion.metrics, promotion.gate,
        promotion.actor, promotion.reason, promotion.promoted_at, review.groups, review.passed, review.decision
    FROM promotions AS promotion LEFT JOIN reviews AS review USING (model_version)
    ORDER BY promotion.promotion_id DESC LIMIT 1
"""
CHAMPION_VERSION: Final = "SELECT model_version FROM promotions ORDER BY promotion_id DESC LIMIT 1"
CHALLENGER: Final = """
    SELECT model_version, dataset_version, gate, groups, passed, decision, reviewer, reason, requested_at, expires_at
    FROM reviews WHERE passed AND decision IS NULL ORDER BY review_id DESC LIMIT 1
"""
RULE_VERSIONS: Final = """
    SELECT live.placement, batch.rules_version FROM placements AS live JOIN recommendation_batches AS batch
    USING (batch_id)
"""
ANSWERS: Final = """
    SELECT placement, source, sum(answers)::bigint AS answers FROM answer_counts
    WHERE since > now() - interval '1 day' GROUP BY placement, source
"""
ALERTS: Final = """
    SELECT created_at AS at, 'drift' AS kind, 'version ' || model_version AS subject,
        concat_ws('; ', verdict, nullif(array_to_string(reasons, '; '), '')) AS detail, page, NULL AS flow_run
    FROM drift_reports WHERE verdict IN ('drifted', 'invalid_feed') OR decision = 'blocked'
    UNION ALL
    SELECT created_at, 'lists-refused', placement, coalesce(detail, 'a check failed'), NULL, NULL
    FROM recommendation_batches WHERE status = 'refused'
    UNION ALL
    SELECT coalesce(finished_at, started_at), 'ingest-refused', batch_id, coalesce(detail, 'the batch was refused'),
        NULL, NULL
    FROM ingest_batches WHERE status = 'refused'
    UNION ALL
    SELECT coalesce(finished_at, requested_at), 'retrain-failed', 'request ' || request_id,
        coalesce(outcome, reason), NULL, flow_run
    FROM retrain_requests WHERE status = 'failed'
    UNION ALL
    SELECT requested_at, 'review-waits', 'version ' || model_version, 'The version passed the gate and waits for a '
        || 'decision: `tailorbird decide`.', NULL, NULL
    FROM reviews WHERE passed AND decision IS NULL
    UNION ALL
    SELECT created_at, 'audit', placement, 'A group of people is served worse than the others.', page, NULL
    FROM audit_reports WHERE status = 'beyond margin'
    ORDER BY 1 DESC, 2, 3 LIMIT :most OFFSET :offset
"""
