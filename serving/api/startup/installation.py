"""Opens the parts of a server of an installation at its start, counts what they do, and closes them at its end."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp

from infra.configuration.settings import Settings, load
from infra.database.engine import Engine, engine
from infra.keys import trust
from infra.keys.api_keys import METRICS_KEY, STANDALONE, ApiKey, all_scopes, hash_of
from infra.keys.credentials import IDENTITY, PSEUDONYM, Pseudonyms, permanent_secret, secret
from infra.services.database_access.logins import OPERATOR_COOKIES, OPERATOR_PAGE, address
from serving.answers.service import AnswerService
from serving.api.assembly import build_app
from serving.api.gate.keyring import FILE, Keyring, RecordedKeys
from serving.api.gate.request_log import configured_traces, format_logs
from serving.api.startup.loaded_once import Shared
from serving.api.startup.warming import drained, model_loaded, reload_failed, settle, warm
from serving.api.state import Operators, Parts, State, state_of
from serving.collector.bodies import CallIntake
from serving.events.impressions import ImpressionLog
from serving.events.spool import FOLDER, Spool
from serving.events.writer import EventWriter
from serving.http import metrics
from serving.live.live_scorer import live_scorer
from serving.model.holder import ModelHolder
from serving.model.sources import COPY_FOLDER, ChampionCopy, NewestPromotion
from serving.operations.privacy_requests import PrivacyRequests
from serving.operations.report_reader import ReportReader
from serving.operations.rule_changes import Previews, RuleChanges
from serving.operations.sign_ins import FOLDER as SIGN_INS
from serving.operations.sign_ins import SignIns
from serving.stores.postgres import Postgres, pool_of
from serving.stores.refresher import Refresher, meanwhile
from serving.stores.rules import FILE as RULES_FILE
from serving.stores.rules import LayeredPlacements
from serving.stores.stores import Stores

if TYPE_CHECKING:
    from serving.collector.collector import Collector

_LOG: Final = logging.getLogger(__name__)
_KEY_SECONDS: Final = 0.5
"""A revoked key is refused within this time, also if no notification arrives."""
_CONNECTIONS: Final = 2
"""The most connections of a writer."""
_COUNT_SECONDS: Final = 1.0
_OUTCOMES: Final = {"stored": "accepted", "conflict": "refused"}
"""Names of outcomes in metrics, where they differ."""


def of_installation(shared: Shared | None = None) -> ASGIApp:
    """Return the application of the settings. Its parts are opened when the server starts.

    What is `shared` is in memory already: of the champion and of the catalogue only changes are read.
    """
    format_logs()
    settings = load()
    monitor = ApiKey(STANDALONE, "monitor", all_scopes(["read"]), hash_of(secret(settings, METRICS_KEY)))
    state = state_of(settings, Pseudonyms(permanent_secret(settings, PSEUDONYM)), monitor)
    return build_app(state, partial(_opened, settings, state, shared or Shared()), configured_traces())


@asynccontextmanager
async def _opened(settings: Settings, state: State, shared: Shared, _app: Any) -> AsyncIterator[None]:
    """Open keys, stores, model, answers and events; close them in the opposite order."""
    place = address(settings, "serving")
    database = engine(place)
    await asyncio.to_thread(_compare, database, settings)
    stores = _stores(settings, place, shared)
    placements = LayeredPlacements(state.placements, stores.rules, stores.experiments)
    models = ModelHolder(
        NewestPromotion(database),
        ChampionCopy(settings.var / COPY_FOLDER),
        known=shared.model,
        on_loaded=model_loaded,
        on_failure=reload_failed,
    )
    opening = asyncio.create_task(asyncio.to_thread(models.open))  # while the stores read the catalogue
    async with (
        live_scorer(models, placements, stores, shared.aligned) as live,
        _keys(settings, state.keyring, place, stores),
        stores.running(),
        _writer(place, Spool(settings.var / FOLDER, settings.spool_mb * 2**20)) as writer,
        _impression_log(writer, settings.impressions_share) as impressions,
        _writer(place) as calls,  # calls are never on disk: their senders repeat them
    ):
        await opening
        prepared = settings.cache_seconds, shared.best, shared.titles
        answers = AnswerService(models, placements, stores, live, *prepared)
        await warm(live, state.placements)
        async with answers.running(), _counting(writer, calls):
            intake = _intake(settings, state.pseudonyms, calls)
            sign_ins = SignIns(
                secret(settings, OPERATOR_PAGE), secret(settings, OPERATOR_COOKIES), settings.var / SIGN_INS
            )
            changes = RuleChanges(database, stores.rules, state.placements, lambda: stores.catalogue.current, models)
            previews = Previews(answers, live, stores.rules, changes)
            reports = ReportReader(database, settings, state.placements)
            requests = PrivacyRequests(database, settings.privacy_due_days)
            state.parts = Parts(
                answers,
                writer,
                impressions,
                lambda: {"model": models.current() is not None, "fallback": answers.upkeep.best is not None},
                intake,
                Operators(changes, previews, reports, sign_ins, requests),
            )
            settle()
            with drained(state):
                yield


def _stores(settings: Settings, place: str, shared: Shared) -> Stores:
    redis = None if settings.redis_url is None else settings.redis_url.get_secret_value()
    copy = settings.var / RULES_FILE
    return Stores(place, redis, settings.cache_seconds, rules_copy=copy, catalogue=shared.catalogue, codes=shared.codes)


def _compare(database: Engine, settings: Settings) -> None:
    """Refuse to start with keys of another installation. Without the database the last comparison counts."""
    try:
        trust.check_reader(database, settings)
    except SQLAlchemyError as error:
        _LOG.warning("The database cannot be reached (%s); the server starts from its copies.", type(error).__name__)


@asynccontextmanager
async def _keys(settings: Settings, keyring: Keyring, place: str, stores: Stores) -> AsyncIterator[None]:
    """Keep the keys current."""
    database = Postgres(place, 1, 2.0)
    quota = settings.api_page_calls, settings.api_page_mb * 10**6
    recorded = RecordedKeys(keyring, database, settings.var / FILE, settings.api_workers, quota)
    refresher = Refresher(recorded.refresh, _KEY_SECONDS)
    stores.changes.on("api_keys", refresher.wake)
    keyring.read_newer = refresher.refreshed
    with suppress(Exception):  # the refresher tries again
        await recorded.refresh()
    await asyncio.to_thread(recorded.read_copy)
    try:
        async with meanwhile(refresher.run()):
            yield
    finally:
        await database.close()


def _intake(settings: Settings, pseudonyms: Pseudonyms, calls: EventWriter) -> CallIntake:
    open_collector = partial(_collector, settings, pseudonyms)
    if settings.collect_mapping:
        open_collector()  # so that a mapping with faults stops the start
    return CallIntake(open_collector, calls)


def _collector(settings: Settings, pseudonyms: Pseudonyms) -> "Collector":
    from infra.configuration.collect_mapping import collect_mapping
    from serving.collector.collector import Collector, Signatures

    signatures = Signatures(secret(settings, IDENTITY), settings.identity == "signed")
    return Collector.of(collect_mapping(settings, "collector"), pseudonyms, signatures)


@asynccontextmanager
async def _writer(place: str, spool: Spool | None = None) -> AsyncIterator[EventWriter]:
    """Open a writer of messages; at the end all of them become durable."""
    pool = await pool_of(place, _CONNECTIONS)
    writer = EventWriter(pool, spool)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.close()
        pool.terminate()


@asynccontextmanager
async def _impression_log(writer: EventWriter, share: float) -> AsyncIterator[ImpressionLog]:
    """Open the log of shown answers; at the end all of them become durable."""
    impressions = ImpressionLog(writer, share)
    await impressions.start()
    try:
        yield impressions
    finally:
        await impressions.close()


@asynccontextmanager
async def _counting(writer: EventWriter, calls: EventWriter) -> AsyncIterator[None]:
    """Count messages, impressions and calls meanwhile, and once more at the end."""
    seen: Counter[tuple[str, str]] = Counter()
    try:
        async with meanwhile(_repeat(writer, calls, seen)):
            yield
    finally:
        _count(writer, calls, seen)


async def _repeat(writer: EventWriter, calls: EventWriter, seen: Counter[tuple[str, str]]) -> None:
    while True:
        _count(writer, calls, seen)
        await asyncio.sleep(_COUNT_SECONDS)


def _count(writer: EventWriter, calls: EventWriter, seen: Counter[tuple[str, str]]) -> None:
    """Add what was counted since the last copy."""
    own = writer.counts
    kinds = {"message": own.messages, "impressions": own.impressions, "call": calls.counts.messages}
    for kind, counts in kinds.items():
        for outcome, count in list(counts.items()):
            added = count - seen[kind, outcome]
            if added > 0:
                seen[kind, outcome] = count
                metrics.EVENTS.labels(kind, _OUTCOMES.get(outcome, outcome)).inc(added)
