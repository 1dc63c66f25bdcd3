"""Audits served lists by group of users, popularity, category and brand; stores and publishes the result.

Compared are recently shown lists, purchases meanwhile, and earlier purchases.
"""

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from scipy import sparse
from sqlalchemy import insert, text

from infra.configuration import placements
from infra.configuration.version import git_commit
from infra.database.schema.monitoring_schema import audit_reports
from infra.installation import Installation, current
from infra.overview import situation
from infra.prefect_api import events
from infra.registry.client import NOTE, Registry
from models.columns import (
    AVAILABLE,
    BRAND,
    CATEGORY,
    CATEGORY_SEPARATOR,
    ITEM_ID,
    ITEMS,
    PURCHASE,
    SHOWN_FROM,
    SHOWN_UNTIL,
    USER_KEY,
)
from models.datasets.time_splits import midnight
from models.errors import TailorbirdError
from models.gate.fairness_checks import demographics
from models.monitoring.audit.figures import AuditData, AuditItems, exposure_shares
from models.monitoring.audit.report import BEYOND_MARGIN, Audit, run_audit
from models.monitoring.realised_accuracy import UserOutcomes
from models.primitives.json_types import JsonObject
from models.primitives.vocabulary import index_of, words
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery, of_type
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.monitoring.drift.reports import moment
from tasks.monitoring.realised_accuracy import first_items, realised_accuracy
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import PREFECT_RUN, TEXTS, flow_run_page, key_of, log_info
from tasks.reports.audit_page import PLOTS, AuditPage, markdown, plot_audit, render, rows
from tasks.reports.review_page import Plot
from tasks.scoring.served_sample import models_during, shown_during

FOLDER, REPORT = "audit", "audit.html"
_MAX_DAYS: Final = 36_525
_SEED: Final = 7
_DAY: Final = 86_400
_PURCHASES: Final = (
    EventQuery()
    .join_items("items")
    .where(of_type(PURCHASE), "event.occurred_at < to_timestamp($moment)")
    .not_refunded("$moment")
)
_POPULARITY: Final = _PURCHASES.select(
    f"items.code AS item, count(DISTINCT {EventQuery.USER}) AS buyers, count(*) AS purchases", "GROUP BY 1"
)
_PAIRS: Final = _PURCHASES.join_users("users").select('DISTINCT users.code AS "user", items.code AS item')


class NoAuditDataError(TailorbirdError):
    """No list was shown, or no user has bought anything yet."""


class AuditWindow(NamedTuple):
    """The data of an audit, and its time span."""

    data: AuditData
    start: float
    """Epoch seconds."""
    end: float
    versions: list[int]
    """Versions of the models that made the lists."""


def read_audit_window(
    installation: Installation, placement: str, days: float, as_of: date | None = None
) -> AuditWindow:
    """Read the lists shown at a placement in the last `days` up to the newest event.

    If all events are older than all lists, the span ends now, and there is no outcome. With `as_of` it ends before
    that day. Raises NoAuditDataError.
    """
    known = read_reference_data(installation, history=False)
    start, end, lists = _window(installation, known, placement, days, as_of)
    keys = np.unique(words(lists[USER_KEY]))
    items = _sold(known.items, lists)
    ids = words(items[ITEM_ID])
    first_shown = float(pc.min(lists[SHOWN_FROM]).as_py())
    buyers, purchases, bought = prior_purchases(installation, known, keys, ids, first_shown)
    if not purchases.any():
        raise NoAuditDataError(
            f"Nobody had bought anything before lists were shown at {placement!r}: there is nothing to compare them "
            "with. Ingest purchases with `tailorbird ingest`."
        )
    top_level = np.array([path.split(CATEGORY_SEPARATOR)[0] for path in words(items[CATEGORY])], dtype=np.str_)
    goods = AuditItems(buyers, purchases, top_level, words(items[BRAND]))
    outcome = _outcome(realised_accuracy(installation, start, end, placement), keys)
    traits = demographics(known.users, pa.array(keys.tolist(), pa.string()))
    material = AuditData(traits, _shown(lists, keys, ids), bought, goods, outcome)
    with installation.engine.connect() as connection:
        return AuditWindow(material, start, end, models_during(connection, placement, start, end))


def prior_purchases(
    installation: Installation, reference: ReferenceData, keys: NDArray[np.str_], ids: NDArray[np.str_], moment: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], sparse.csr_array]:
    """Return the purchases of the items `ids` [n] before a moment (epoch s), by all users and by the users `keys` [m].

    Three values: [n] distinct buyers and [n] purchases of all users, and a boolean CSR, m x n: which of the m users
    bought the item. Purchases whose refund was known by then do not count.
    """
    counts, pairs = np.zeros((2, len(ids))), (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    with event_engine(installation, reference) as engine:
        if engine is not None:
            engine.register_codes(keys, ids)
            engine.match_refunds()
            popularity = engine.query(_POPULARITY, moment=moment).to_arrow_table()
            counts[:, popularity["item"].to_numpy()] = [popularity[name].to_numpy() for name in ("buyers", "purchases")]
            rows = engine.query(_PAIRS, moment=moment).to_arrow_table()
            pairs = (rows["user"].to_numpy(), rows["item"].to_numpy())
    bought = sparse.csr_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(keys), len(ids)))
    return counts[0], counts[1], bought


def _window(
    installation: Installation, known: ReferenceData, placement: str, days: float, as_of: date | None
) -> tuple[float, float, pa.Table]:
    """Return the start, the end, and the lists that were shown between them."""
    ends = (float(midnight(as_of)),) if as_of else _ends(installation, known)
    with installation.engine.connect() as connection:
        for end in ends:
            lists = shown_during(connection, placement, end - days * _DAY, end)
            if lists.num_rows:
                return end - days * _DAY, end, lists
    span = f"{days:g} days before {as_of}" if as_of else f"last {days:g} days"
    raise NoAuditDataError(_no_lists_message(installation, placement, span))


def _no_lists_message(installation: Installation, placement: str, span: str) -> str:
    """Return why no list can be audited, and the next step."""
    now = situation.read(installation.engine, installation.settings)
    if now.champion is None or placement in now.without_lists:
        return str(situation.step(installation.engine, installation.settings))
    return f"No lists of {placement!r} were shown in the {span}. Audit them once users have seen them for some days."


def _ends(installation: Installation, known: ReferenceData) -> tuple[float, float]:
    """Return the times of the newest event and of now."""
    with event_engine(installation, known) as engine:
        newest = engine.newest if engine else None
    with installation.engine.connect() as connection:
        now = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return min(float(newest or now), now), now


def _sold(items: pa.Table, lists: pa.Table) -> pa.Table:
    """Return the items that can be shown now, and those that were shown."""
    was_shown = pc.is_in(items[ITEM_ID], value_set=pc.unique(lists[ITEMS].combine_chunks().flatten()))
    return items.filter(pc.or_(items[AVAILABLE], was_shown))


def _shown(lists: pa.Table, keys: NDArray[np.str_], ids: NDArray[np.str_]) -> sparse.csr_array:
    items = first_items(lists, ids)
    seconds = lists[SHOWN_UNTIL].to_numpy() - lists[SHOWN_FROM].to_numpy()
    return exposure_shares(index_of(keys, lists[USER_KEY]).astype(np.int64), items, seconds, (len(keys), len(ids)))


def _outcome(outcomes: pa.Table | None, keys: NDArray[np.str_]) -> UserOutcomes | None:
    """Return the outcomes in order of the users; None if no user acted. Users who withdrew consent meanwhile have 0."""
    if outcomes is None or not pc.sum(outcomes["acted"]).as_py():
        return None
    positions = index_of(words(outcomes[USER_KEY]), pa.array(keys.tolist(), pa.string()))
    return UserOutcomes(
        *(np.where(positions < 0, 0.0, outcomes[name].to_numpy()[positions]) for name in UserOutcomes._fields)
    )


class AuditResult(TypedDict):
    """The result of an audit; without data it has no page."""

    placement: str
    status: str
    verdict: str
    groups: list[JsonObject]
    """The table of groups, a row each."""
    audit_id: NotRequired[int]
    window: NotRequired[str]
    users: NotRequired[int]
    page: NotRequired[str]


@task(description="Compare served lists with what users bought, by group of users.")
@hold_pseudonym_key
def audit_lists(placement: str, days: float, as_of: date | None = None) -> AuditResult:
    """Audit the lists that a placement showed users in the last days, or in the days before `as_of`.

    Without shown lists or purchases, the verdict states what is missing. Raises TailorbirdError for an unknown
    placement, or one with lists about items.
    """
    installation = current()
    if not 0 < days <= _MAX_DAYS:
        raise TailorbirdError(f"An audit covers up to {_MAX_DAYS:,} days, not {days:g}.")
    if placements.one(installation.settings, placement).subject != "user":
        raise TailorbirdError(f"Lists of {placement!r} are about items; only lists for users can be audited.")
    try:
        window = read_audit_window(installation, placement, days, as_of)
    except NoAuditDataError as reason:
        log_info(str(reason))
        return {"placement": placement, "status": "nothing to audit", "verdict": str(reason), "groups": []}
    audit = run_audit(window.data, installation.settings.gate, _SEED)
    page, address = _published(installation, placement, window, audit)
    audit_id = _stored(installation, page, address)
    log_info(audit.verdict)
    if FlowRunContext.get() is not None:
        about = f"{audit.status}: what was served at {placement}"
        create_markdown_artifact(markdown(page, address), key=key_of(f"audit {placement}"), description=about)
    if audit.status == BEYOND_MARGIN:
        failing = [group._asdict() for group in audit.comparisons if not group.passed]
        payload = {"placement": placement, "reason": audit.verdict, "page": address, "groups": failing}
        events.try_emit(installation.endpoints, events.AUDIT, f"tailorbird.audit.{audit_id}", payload)
    return AuditResult(
        placement=placement,
        audit_id=audit_id,
        window=page.span,
        users=audit.users,
        status=audit.status,
        verdict=audit.verdict,
        page=address,
        groups=rows(audit),
    )


def _published(installation: Installation, placement: str, window: AuditWindow, audit: Audit) -> tuple[AuditPage, str]:
    """Store the page in an MLflow run of its own; return the page and its address."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    key = f"audit {placement} {window.start:.0f} {window.end:.0f}"
    settings = {"placement": placement, "from": moment(window.start), "to": moment(window.end), "seed": _SEED}
    flow_run = flow_run_page(installation)
    tags = {"stage": "audit", "status": audit.status, "git_commit": git_commit(), NOTE: audit.verdict}
    tags |= {PREFECT_RUN: flow_run} if flow_run else {}
    with (
        registry.active_run(f"audit {placement}", key, settings, tags) as run_id,
        TemporaryDirectory() as scratch,
    ):
        folder = Path(scratch)
        plot_audit(audit, folder)
        page = AuditPage(
            placement,
            window.start,
            window.end,
            window.versions,
            audit,
            installation.settings.gate,
            [Plot(title, about, folder / f"{name}.png") for name, (title, about, _, _) in PLOTS.items()],
            {"run": run_id, "git commit": tags["git_commit"], "seed": str(_SEED)},
            {TEXTS[PREFECT_RUN]: flow_run} if flow_run else {},
        )
        (folder / REPORT).write_text(render(page), encoding="utf-8")
        registry.log_folder(run_id, folder, FOLDER)
        registry.log(run_id, {f"audit/{name}": value for name, value in audit.summary.items()})
    return page, registry.artifact_page(run_id, f"{FOLDER}/{REPORT}")


def _stored(installation: Installation, page: AuditPage, address: str) -> int:
    row = {
        "placement": page.placement,
        "window_from": moment(page.start),
        "window_to": moment(page.end),
        "model_versions": list(page.versions),
        "status": page.audit.status,
        "figures": page.audit.as_dict(),
        "page": address,
    }
    with installation.engine.begin() as connection:
        statement = insert(audit_reports).values(row).returning(audit_reports.c.audit_id)
        return int(connection.execute(statement).scalar_one())
