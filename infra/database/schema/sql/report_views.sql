-- Views for dashboards: a row for each signal of a drift report, and for each figure of a group in an audit.

CREATE VIEW drift_signals AS
SELECT report.window_from, report.window_to, report.model_version, seen.signal, seen.value, seen.low, seen.high,
       seen.deviation, seen.counted, seen.signal = ANY (report.drivers) AS drove, report.verdict, report.report_id
FROM drift_reports AS report
CROSS JOIN LATERAL jsonb_to_recordset(report.signals)
     AS seen (signal text, value float, low float, high float, deviation float, counted boolean);

CREATE VIEW audit_groups AS
SELECT report.audit_id, report.placement, report.window_from, report.window_to, served.trait, served.value AS "group",
       served.users, served.acted, entry.key AS figure, (entry.value ->> 'value')::float AS value,
       (entry.value ->> 'low')::float AS low, (entry.value ->> 'high')::float AS high
FROM audit_reports AS report
CROSS JOIN LATERAL jsonb_to_recordset(report.figures -> 'groups')
     AS served (trait text, value text, users bigint, acted bigint, figures jsonb)
CROSS JOIN LATERAL jsonb_each(served.figures) AS entry
WHERE jsonb_typeof(entry.value) = 'object';
