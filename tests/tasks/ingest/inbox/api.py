"""The API's side of the inbox: messages as it sends them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy import text

from infra.configuration.collect_mapping import collect_mapping
from infra.installation import Installation
from infra.keys.api_keys import KeyKind
from infra.keys.credentials import Pseudonyms
from infra.keys.identity import pseudonym
from models.primitives.json_types import JsonObject
from serving.collector.bodies import CallMessage, SentCalls
from serving.collector.collector import UNSIGNED, Collector, Signatures
from serving.events.impressions import ShownAnswer, message_of
from serving.events.message import Message, Receipt, Sender, feedback_message, item_message, user_message
from serving.events.store import store
from tasks.ingest.inbox.messages import Dataset, Due
from tasks.ingest.inbox.move_inbox import move_inbox
from tests.tasks.ingest.stored import lake

AT_ONCE = Due()


class Api:
    """Sends messages to the inbox of an installation, and reads what became of them."""

    def __init__(self, installation: Installation) -> None:
        self.here = installation
        self.number = 0

    def key(self, user_id: str) -> str:
        return pseudonym(user_id, self.here.key)

    def device(self, device_id: str) -> str:
        return Pseudonyms(self.here.key.decode()).of_device(device_id)

    def send(self, *messages: Message) -> list[Receipt]:
        async def sent() -> list[Receipt]:
            url = self.here.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            connection = await asyncpg.connect(url)
            try:
                return await store(connection, messages)
            finally:
                await connection.close()

        return asyncio.run(sent())

    def sender(self, user: str | None, session: str | None = None, consent: bool | None = None) -> Sender:
        user_key, earlier_key = (None if name is None else self.key(name) for name in (user, session))
        session_key = None if session is None else self.device(session)
        return Sender(1, user_key, session_key, user, consent, earlier_key)

    def act(self, user: str | None, item: str, kind: str = "click", **stated: Any) -> Message:
        who = {name: stated.pop(name) for name in ("session", "consent") if name in stated}
        return feedback_message({"kind": kind, "item_id": item, **stated}, self.sender(user, **who), self.id())

    def shown(self, user: str | None, recommendation_id: str, *items: str, **stated: Any) -> Message:
        key = None if user is None else self.key(user)
        return message_of([ShownAnswer(recommendation_id, "home", items, "table", 1, key, **stated)])

    def shown_alone(
        self, user: str | None, recommendation_id: str, *items: Any, consent: bool | None = None, **stated: Any
    ) -> Message:
        """An answer as other programs write it, and as the API wrote it in earlier versions."""
        payload = {"placement": "home", "items": list(items), "first_position": 1, "source": "table"} | stated
        key = None if user is None else self.key(user)
        return Message(recommendation_id, "impressions", payload, datetime.now(UTC), 1, key, consent=consent)

    def item(self, item: str, **values: Any) -> Message:
        return item_message({"item_id": item, **values}, 1, self.id())

    def user(self, user: str, consent: bool | None = None, **traits: str) -> Message:
        return user_message(traits, (), self.sender(user, consent=consent), self.id())

    def id(self) -> str:
        self.number += 1
        return f"m{self.number}"

    def calls(
        self,
        *calls: Any,
        source: str = "web",
        sent_at: str | None = None,
        kind: KeyKind = "server",
        signatures: Signatures = UNSIGNED,
        **at: datetime,
    ) -> list[CallMessage]:
        """Calls of Segment's libraries as the collector makes messages of them."""
        pseudonyms = Pseudonyms(self.here.key.decode())
        collector = Collector.of(collect_mapping(self.here.settings, source), pseudonyms, signatures)
        received_at = at.get("received_at", datetime.now(UTC))
        return collector.messages(SentCalls(list(calls), sent_at, {}), source, received_at, kind)

    def move(self) -> list[str]:
        """Move all that waits."""
        datasets: tuple[Dataset, ...] = ("updates", "events", "calls")
        return [batch for dataset in datasets for batch in move_inbox(self.here, dataset, AT_ONCE, wait=True)]

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.here.engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def lake(self) -> list[JsonObject]:
        """The events of the lake."""
        return lake(self.here)

    def ledger(self) -> dict[str, int]:
        """The sums of the committed batches."""
        names = ("read", "accepted", "quarantined", "duplicate", "suppressed", "routed")
        sums = ", ".join(f"coalesce(sum({name}), 0)::int AS {name}" for name in names)
        return dict(self.rows(f"SELECT {sums} FROM ingest_batches WHERE status = 'committed'")[0]._mapping)

    def state(self) -> str:
        """The batches of the ledger, the rows of the inbox and the quarantine, for the message of an assertion."""
        counts = "read, accepted, quarantined, duplicate, suppressed, routed"
        statements = (
            f"SELECT batch_id, status, {counts}, detail FROM ingest_batches ORDER BY started_at",
            "SELECT inbox_id, source, message_id, kind, received_at, batch_id, moved_at, outcome FROM event_inbox",
            "SELECT batch_id, rule_ids FROM quarantine",
            "SELECT objid, granted FROM pg_locks WHERE locktype = 'advisory'",
        )
        return "\n".join(str(tuple(row)) for statement in statements for row in self.rows(statement))
