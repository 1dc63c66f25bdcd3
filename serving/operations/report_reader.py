"""Reads the reports for operators from the database."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self, TypeVar, cast

from sqlalchemy import Connection, Engine, text

from infra.configuration.settings import Settings
from infra.database.engine import database_now
from infra.database.experiment_rows import StartedExperiment, all_experiments, experiment_named, stop_experiment
from infra.database.rule_versions import current_rules
from infra.services.data_docs import PAGE, folder_name, pages_folder
from infra.services.endpoints import MODEL, endpoints
from models.errors import TailorbirdError
from models.experiments.definition import replaced_placement
from models.experiments.metrics import WORDS
from models.ingest.check.file_names import file_name
from models.lists.rules.layer.rule_layer import words
from models.lists.rules.placement_config import Placement, sentences
from models.primitives.json_types import JsonObject
from serving.operations.reports import (
    Alert,
    ChampionReport,
    DriftWindow,
    EarnedWeek,
    ExperimentReport,
    LedgerEntry,
    Paging,
    PlacementReport,
    VersionReport,
)
from serving.queries.freshness import judged
from serving.queries.status import live_lists

_Row = TypeVar("_Row")
_PAGES_SECONDS: Final = 5.0
_RUN = "RUN"
_LEDGER: Final = """
    SELECT batch_id, source, dataset, status, location, started_at, finished_at, read, accepted, quarantined, duplicate,
        suppressed, routed, late, detail
    FROM ingest_batches ORDER BY started_at DESC, batch_id DESC LIMIT :most OFFSET :offset
"""
_DRIFT: Final = """
    SELECT report_id, model_version, window_from, window_to, verdict, joint, joint_threshold, drivers, decision,
        reasons, page
    FROM drift_reports ORDER BY window_to DESC, report_id DESC LIMIT :most OFFSET :offset
"""
_CHAMPION: Final = """
    SELECT promotion.model_version AS version, promotion.kind, promotion.dataset_version, promotion.metrics,
        promotion.gate, promotion.actor AS decided_by, promotion.reason, promotion.promoted_at AS since, review.groups,
        review.passed, review.decision
    FROM promotions AS promotion LEFT JOIN reviews AS review USING (model_version)
    ORDER BY promotion.promotion_id DESC LIMIT 1
"""
_CHAMPION_VERSION: Final = "SELECT model_version FROM promotions ORDER BY promotion_id DESC LIMIT 1"
_CHALLENGER: Final = """
    SELECT model_version AS version, dataset_version, gate, groups, passed, requested_at AS since, expires_at
    FROM reviews WHERE passed AND decision IS NULL ORDER BY review_id DESC LIMIT 1
"""
_RULE_VERSIONS: Final = """
    SELECT live.placement, batch.rules_version FROM placements AS live JOIN recommendation_batches AS batch
    USING (batch_id)
"""
_ANSWERS: Final = """
    SELECT placement, source, sum(answers)::bigint AS answers FROM answer_counts
    WHERE since > now() - interval '1 day' GROUP BY placement, source
"""
_EARNED: Final = """
    SELECT week, placement, impressions, clicks, baskets, purchases, value, revenue, currency, click_through, low, high
    FROM recommendation_weeks WHERE week > (SELECT max(week) FROM recommendation_weeks) - 7 * CAST(:weeks AS integer)
    ORDER BY week, placement
"""
_READOUTS: Final = "SELECT experiment_id, content FROM experiment_readouts ORDER BY experiment_id, until"
_LATELY: Final = timedelta(days=14)
_ALERTS: Final = """
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


@dataclass(frozen=True)
class Pages:
    """The pages of an installation; addresses are empty if it does not know its services."""

    docs: Path
    """The folder of Data Docs."""
    docs_page: str = ""
    mlflow: str = ""
    prefect_runs: str = ""
    prefect_run: str = field(default="", repr=False)
    """With `_RUN` in place of the run."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the pages of the services that are configured or have run."""
        folder = pages_folder(settings.var)
        try:
            known = endpoints(settings)
        except (TailorbirdError, OSError):
            return cls(folder)
        return cls(folder, known.docs_page, known.mlflow_page, known.runs_page, known.flow_run_page(_RUN))

    def version(self, version: int | None) -> str | None:
        """Return the page of a registered version."""
        return f"{self.mlflow}/#/models/{MODEL}/versions/{version}" if self.mlflow and version is not None else None

    def run(self, flow_run_id: str | None = None) -> str | None:
        """Return the page of a flow run; the page of all runs if its id is not known."""
        if flow_run_id and self.prefect_run:
            return self.prefect_run.replace(_RUN, flow_run_id)
        return self.prefect_runs or None

    def batch(self, batch_id: str) -> str | None:
        """Return the Data Docs of a batch, as long as they are kept; else the page of all runs."""
        name = folder_name(batch_id)
        if self.docs_page and (self.docs / name / PAGE).is_file():
            return f"{self.docs_page}/{name}/"
        return self.run()


class ReportReader:
    """Reads each report in a thread, with the rights of the serving role."""

    def __init__(self, database: Engine, settings: Settings, placements: Mapping[str, Placement]) -> None:
        """Read the database of an installation with these placements."""
        self._database, self._settings, self._placements = database, settings, placements
        self._known_pages: tuple[Pages | None, float] = None, 0.0

    async def earned(self, weeks: int) -> list[EarnedWeek]:
        """Return what recommendations earned in the last weeks, the latest last."""
        rows = text(_EARNED).bindparams(weeks=weeks)
        return await self._read(lambda connection: [EarnedWeek(**row) for row in connection.execute(rows).mappings()])

    async def experiments(self) -> list[ExperimentReport]:
        """Return the experiments that run or ended lately, the newest first."""
        return await self._read(self._experiments)

    async def stop_experiment(self, name: str, actor: str, reason: str) -> None:
        """Stop an experiment: from the next answer on, everybody gets the placement's own lists."""

        def stop() -> None:
            with self._database.begin() as connection:
                stop_experiment(connection, experiment_named(connection, name), actor, reason)

        await asyncio.to_thread(stop)

    def _experiments(self, connection: Connection) -> list[ExperimentReport]:
        now = database_now(connection)
        readouts: dict[int, list[JsonObject]] = {}
        for number, content in connection.execute(text(_READOUTS)).tuples():
            readouts.setdefault(number, []).append(content)
        return [
            _experiment(one, one.state(now), readouts.get(one.experiment_id, []))
            for one in all_experiments(connection)
            if min(one.ends_at, one.stopped_at or one.ends_at) > now - _LATELY
        ]

    async def services(self) -> dict[str, str]:
        """Return the addresses of the services for engineers, as far as they are known."""
        pages = await asyncio.to_thread(self._pages)
        known = {"Prefect": pages.prefect_runs, "MLflow": pages.mlflow, "Data Docs": pages.docs_page}
        return {name: address for name, address in known.items() if address}

    async def placements(self) -> list[PlacementReport]:
        """Return what each placement shows."""
        return await self._read(self._placement_reports)

    async def champion(self) -> ChampionReport:
        """Return champion and challenger."""
        return await self._read(self._champion_report)

    async def ledger(self, part: Paging) -> list[LedgerEntry]:
        """Return batches, the latest first."""
        return await self._read(lambda connection: self._ledger_entries(connection, part))

    async def drift(self, part: Paging) -> list[DriftWindow]:
        """Return windows, the latest first."""
        return await self._read(lambda connection: self._drift_windows(connection, part))

    async def alerts(self, part: Paging) -> list[Alert]:
        """Return alerts, the latest first."""
        return await self._read(lambda connection: self._alerts(connection, part))

    def _pages(self) -> Pages:
        """Return the addresses of pages. They are read from files, so they are kept for a moment."""
        known, read_at = self._known_pages
        if known is None or monotonic() - read_at > _PAGES_SECONDS:
            known = Pages.of(self._settings)
            self._known_pages = known, monotonic()
        return known

    async def _read(self, report: Callable[[Connection], _Row]) -> _Row:
        def read() -> _Row:
            with self._database.connect() as connection:
                return report(connection)

        return await asyncio.to_thread(read)

    def _placement_reports(self, connection: Connection) -> list[PlacementReport]:
        pages, version = self._pages(), connection.execute(text(_CHAMPION_VERSION)).scalar()
        rows = judged(live_lists(connection, counts_users=False), self._settings, version)
        versions: dict[str, int] = dict(connection.execute(text(_RULE_VERSIONS)).tuples().all())
        layer, now = current_rules(connection).layer, database_now(connection)
        answers: dict[str, dict[str, int]] = {}
        for placement, source, count in connection.execute(text(_ANSWERS)).tuples():
            answers.setdefault(placement, {})[source] = count
        reports = []
        for row in rows:
            name = row["placement"]
            if replaced_placement(name) != name:
                continue  # a variant, which has its place in the experiment's report
            placement = self._placements.get(name)
            reports.append(
                PlacementReport(
                    placement=name,
                    subject=row.get("subject_kind") or ("user" if placement is None else placement.subject),
                    k=0 if placement is None else placement.k,
                    file_rules=[] if placement is None else sentences(placement),
                    operator_rules=[words(rule) for rule in layer.at(name, now)],
                    state=row["state"],
                    batch_id=row["batch_id"],
                    model_version=row.get("model_version"),
                    lists=row.get("lists", 0),
                    published_at=_moment(row.get("published_at")),
                    checked_at=_moment(row.get("checked_at")),
                    moved_by=row.get("moved_by"),
                    rules_version=versions.get(name, 0),
                    answers=answers.get(name, {}),
                    page=pages.version(row.get("model_version") or version),
                )
            )
        return reports

    def _champion_report(self, connection: Connection) -> ChampionReport:
        pages = self._pages()

        def version(statement: str) -> VersionReport | None:
            row = connection.execute(text(statement)).mappings().first()
            if row is None:
                return None
            return VersionReport(**{**row, "groups": row["groups"] or []}, page=pages.version(row["version"]))

        return ChampionReport(version(_CHAMPION), version(_CHALLENGER))

    def _ledger_entries(self, connection: Connection, part: Paging) -> list[LedgerEntry]:
        pages, entries = self._pages(), []
        for row in _rows(connection, _LEDGER, part):
            location = cast(str, row.pop("location"))
            entries.append(LedgerEntry(file=file_name(location), page=pages.batch(row["batch_id"]), **row))
        return entries

    def _drift_windows(self, connection: Connection, part: Paging) -> list[DriftWindow]:
        pages, windows = self._pages(), []
        for row in _rows(connection, _DRIFT, part):
            page = row.pop("page") or pages.run()
            windows.append(DriftWindow(**row, page=page, model_page=pages.version(row["model_version"])))
        return windows

    def _alerts(self, connection: Connection, part: Paging) -> list[Alert]:
        pages = self._pages()

        def page(row: Mapping[str, Any]) -> str | None:
            if row["kind"] == "review-waits":
                return pages.version(int(row["subject"].removeprefix("version ")))
            if row["kind"] == "ingest-refused":
                return pages.batch(row["subject"])
            return row["page"] or pages.run(row["flow_run"])

        return [
            Alert(row["at"], row["kind"], row["subject"], row["detail"], page(row))
            for row in _rows(connection, _ALERTS, part)
        ]


def _rows(connection: Connection, statement: str, part: Paging) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(statement), part._asdict()).mappings()]


def _moment(iso_text: str | None) -> datetime | None:
    return None if iso_text is None else datetime.fromisoformat(iso_text)


def _experiment(experiment: StartedExperiment, state: str, readouts: list[JsonObject]) -> ExperimentReport:
    metric, other = experiment.primary_metric, experiment.variants[1]
    shown = [
        (datetime.fromisoformat(readout["until"]).date(), row["control"], row["value"])
        for readout in readouts
        for row in readout["metrics"]
        if (row["metric"], row["variant"]) == (metric, other) and None not in (row["control"], row["value"])
    ]
    newest = readouts[-1] if readouts else {"claims": {}, "people": {}, "page": None}
    return ExperimentReport(
        name=experiment.name,
        placements=experiment.placements,
        state=state,
        started_at=experiment.started_at,
        ends_at=experiment.ends_at,
        claims=list(newest["claims"].values()),
        people=newest["people"],
        days=list({day: (day, control, value) for day, control, value in shown}.values()),
        metric=WORDS[metric],
        stop_reason=experiment.stop_reason,
        page=newest.get("page"),
    )
