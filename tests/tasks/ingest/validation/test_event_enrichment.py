from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from infra.keys.identity import pseudonym
from models.ingest.canonical_schema import EVENTS
from tasks.ingest.batch_identity import table_mapping
from tasks.ingest.validation.event_enrichment import prepare_events, pseudonymise

KEY = b"key"


def raw(**values: Any) -> pa.Table:
    row = {"event_id": "e1", "user_id": "ann", "item_id": "ice", "event_type": "view", "value": 2.5}
    row |= {"occurred_at": datetime(2017, 5, 1, tzinfo=UTC)} | values
    return pa.Table.from_pylist([row], EVENTS).drop_columns(["row_number", "is_device"])


def ready(identified: bool = True, **values: Any) -> dict[str, Any]:
    events, _ = prepare_events(
        raw(**values), table_mapping("complete_journey", None), KEY, np.array([7]), identified=identified
    )
    row: dict[str, Any] = events.to_pylist()[0]
    return row


def test_pseudonyms_replace_raw_ids_and_missing_users_stay_missing() -> None:
    rows = pa.table({"user_id": ["900", None, "900", "901"], "n": [1, 2, 3, 4]})
    result, names = pseudonymise(rows, KEY)
    assert result["user_code"].to_pylist() == [0, -1, 0, 1]
    keys = {name: pseudonym(name, KEY) for name in ("900", "901")}
    assert result["user_key"].to_pylist() == [keys["900"], None, keys["900"], keys["901"]]
    assert {row["user_id"]: row["user_key"] for row in names.to_pylist()} == keys


def test_the_raw_id_the_agent_and_the_address_are_gone() -> None:
    row = ready(user_agent="Mozilla/5.0", ip="10.0.0.1")
    assert not {"user_id", "user_agent", "ip"} & set(row)
    assert (row["user_key"], row["row_number"], row["month"]) == (pseudonym("ann", KEY), 7, "2017-05")


def test_the_hash_is_of_what_happened_and_not_of_how_it_came() -> None:
    first = ready()["payload_hash"]
    assert ready(received_at=datetime(2018, 1, 1, tzinfo=UTC), consent=True, ip="::1")["payload_hash"] == first
    for values in ({"value": 2.6}, {"item_id": "tea"}, {"user_id": "bob"}, {"session_id": "s"}, {"position": 1}):
        assert ready(**values)["payload_hash"] != first


def test_the_hash_of_a_mixpanel_event_is_of_its_id_alone() -> None:
    first = ready(event_id="mixpanel:1")["payload_hash"]
    assert ready(event_id="mixpanel:1", value=9.0, user_id="bob", item_id="tea")["payload_hash"] == first
    assert ready(event_id="mixpanel:2")["payload_hash"] != first


def test_an_event_without_an_id_gets_the_same_one_each_time() -> None:
    assert ready(event_id=None)["event_id"] is None
    made = ready(identified=False, event_id=None)["event_id"]
    assert made == ready(identified=False, event_id=None, value=9.0)["event_id"]
    assert made != ready(identified=False, event_id=None, item_id="tea")["event_id"]
