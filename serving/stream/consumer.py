"""Runs a consumer until a signal arrives: connects it with the broker, the database and the mapping."""

import asyncio
import gc
import logging
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import start_http_server

from infra.configuration.collect_mapping import collect_mapping
from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.keys.credentials import PSEUDONYM, Pseudonyms, permanent_secret
from infra.services.database_access.logins import address
from models.errors import TailorbirdError
from serving.collector.collector import Collector
from serving.http import metrics
from serving.stores.postgres import pool_of
from serving.stores.refresher import wait
from serving.stream.delivery import QUEUE, BrokerDownError, MessageReader, Pauses, Reason, Stream, is_kafka
from serving.stream.settlement import Settlement, SettlementQueue

if TYPE_CHECKING:
    from serving.stream.rescoring import Rescoring

_LOG: Final = logging.getLogger(__name__)
SOURCE: Final = "stream"
_TURN_SECONDS: Final = 0.001
"""A thread that scores lists leaves the interpreter to the event loop after this time."""
_EVERY: Final = 5.0
_SEEN: Final = """
    INSERT INTO streams (queue, source, lag) VALUES ($1, $2, $3)
    ON CONFLICT (queue) DO UPDATE SET source = excluded.source, lag = excluded.lag, seen_at = now()"""
_OPEN: Final = "SELECT reason, count(*) FROM identity.dead_letters WHERE replayed_at IS NULL GROUP BY reason"
"""The letters that wait for a person."""
_STATEMENT_SECONDS: Final = 5.0
"""The time for a statement: nobody waits for an answer."""


@dataclass(frozen=True)
class ConsumerConfig:
    """What to consume, and as what."""

    url: str
    queue: str = QUEUE
    source: str = SOURCE
    """The source of the messages in the ledger: ids are unique in it."""
    metrics_port: int = 0
    """The port of Prometheus metrics on loopback; 0 opens none."""


def run(settings: Settings, config: ConsumerConfig) -> None:
    """Consume until SIGTERM or Ctrl-C. Raises TailorbirdError."""
    try:
        import faststream  # noqa: F401
    except ImportError:
        raise TailorbirdError("A consumer needs the extra `stream`: pip install 'tailorbird[stream]'.") from None
    if config.metrics_port:
        start_http_server(config.metrics_port, "127.0.0.1", metrics.REGISTRY)
    asyncio.run(_until_a_signal(settings, config))


async def _until_a_signal(settings: Settings, config: ConsumerConfig) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with settling(settings, config.source) as settlement, opened_rescoring(settings) as rescoring:
        settlement.rescoring = rescoring
        _bound_pauses()
        await consume(settlement, config, ended)


def _bound_pauses() -> None:
    """Bound how long messages wait for garbage collections, which would look at all that is loaded, and for scoring."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_TURN_SECONDS)


@asynccontextmanager
async def settling(settings: Settings, source: str) -> AsyncIterator[Settlement]:
    """Open the settlement of a source."""
    pool = await pool_of(address(settings, "serving"))
    try:
        yield Settlement(pool, reader_of(settings, source))
    finally:
        pool.terminate()


def reader_of(settings: Settings, source: str) -> MessageReader:
    """Return the reader of a source's messages. Raises MappingError for a mapping that cannot be used."""
    keys = Pseudonyms(permanent_secret(settings, PSEUDONYM))
    return MessageReader(Collector.of(collect_mapping(settings, source), keys), source)


async def consume(settlement: Settlement, config: ConsumerConfig, ended: asyncio.Event) -> None:
    """Consume until `ended`. A broker that is down at the start is waited for. Raises TailorbirdError."""
    queue, pauses = SettlementQueue(settlement), Pauses()
    settler = asyncio.create_task(queue.run())
    settler.add_done_callback(lambda _: ended.set())  # a defect must not leave a consumer that stores nothing
    try:
        while not ended.is_set():
            stream, rescoring = _stream(settlement, config, queue), settlement.rescoring
            try:
                async with stream.running(), rescoring.running(stream) if rescoring else nullcontext():
                    await Watch(settlement, config.queue, stream.lag).run(ended)
            except BrokerDownError as error:
                if not pauses.failures:
                    _LOG.warning("%s The consumer waits for it.", error)
                await wait(ended, pauses.next())
    finally:
        settler.cancel()
        (result,) = await asyncio.gather(settler, return_exceptions=True)
    if isinstance(result, Exception):
        raise result


def _stream(settlement: Settlement, config: ConsumerConfig, queue: SettlementQueue) -> Stream:
    if is_kafka(config.url):
        from serving.stream.kafka import KafkaStream

        return KafkaStream(config.url, config.queue, settlement)
    from serving.stream.rabbit import RabbitStream

    return RabbitStream(config.url, config.queue, queue)


class Watch:
    """Looks every few seconds."""

    def __init__(self, settlement: Settlement, queue: str, lag: Callable[[], Awaitable[int]]) -> None:
        """Watch a queue whose `lag` the broker knows."""
        self._settlement, self._queue, self._lag = settlement, queue, lag
        self._shown: Counter[str] = Counter()

    async def run(self, ended: asyncio.Event) -> None:
        """Look until `ended`. An outage is left to those who store messages.

        Nobody cancels it: the client of RabbitMQ may lose a cancellation.
        """
        while not ended.is_set():
            try:
                async with asyncio.timeout(_EVERY):
                    await self.look()
            except Exception as error:
                _LOG.debug("The lag of %s is not known: %s.", self._queue, type(error).__name__)
            await wait(ended, _EVERY)
        self.show_counts()

    async def look(self) -> None:
        """Show the present state. Raises the error of an outage."""
        self.show_counts()
        lag = await self._lag()
        metrics.STREAM_LAG.labels(self._queue).set(lag)
        async with self._settlement.pool.acquire() as connection:
            await connection.execute(_SEEN, self._queue, self._settlement.reader.source, lag)
            letters = dict[str, int](await connection.fetch(_OPEN))
        for reason in get_args(Reason):
            metrics.DEAD_LETTERS.labels(reason).set(letters.get(reason, 0))

    def show_counts(self) -> None:
        """Add what was settled since the last look."""
        for outcome, count in self._settlement.counts.items():
            metrics.STREAM_MESSAGES.labels(outcome).inc(count - self._shown[outcome])
            self._shown[outcome] = count


@asynccontextmanager
async def opened_rescoring(settings: Settings) -> AsyncIterator["Rescoring | None"]:
    """Yield the rescoring of the placements with live lists; None if there are none."""
    live = {name: one for name, one in configured(settings).items() if one.live}
    if not live:
        yield None
        return
    # A consumer without live placements does without models, and their memory.
    from serving.live.live_scorer import live_scorer
    from serving.model.holder import ModelHolder
    from serving.model.sources import NewestPromotion
    from serving.stores.lists import PublishedLists
    from serving.stores.rules import LayeredPlacements
    from serving.stores.stores import Stores
    from serving.stream.rescoring import ListScorer, Rescoring, StoredClicks

    place = address(settings, "serving")
    database, stores = engine(place), Stores(place, request_seconds=_STATEMENT_SECONDS)
    placements = LayeredPlacements(live, stores.rules)
    models = ModelHolder(NewestPromotion(database))
    clicks = StoredClicks(stores.requests)
    async with live_scorer(models, placements, stores, clicks=clicks) as scorer, stores.running():
        await asyncio.to_thread(models.open)
        lists = PublishedLists(stores.requests, stores.codes)
        # A list that a crash undoes comes again: so does the request for it, whose end commits later.
        pool = await pool_of(place, durable=False)
        try:
            yield Rescoring(pool, ListScorer(placements, scorer, lists, stores.catalogue, stores.rules))
        finally:
            pool.terminate()
