import json
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from sqlalchemy import text

from infra.installation import current
from models.datasets.cold_start import NewUsers
from models.lists.ranked_lists import BatchUsers
from tasks.scoring import batch_state, partitions
from tasks.scoring.score_placement import score_placement
from tests.published import loaded, shelf

STORED = "SELECT user_key, hidden, due, clicks, traits FROM batch_users ORDER BY user_key"
KEYS = np.array(["ann", "bob", "eve", "joe"])
ITEMS = np.array(["a", "b", "c"])


def users() -> BatchUsers:
    hidden = sparse.csr_array(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool))
    traits = pa.table({"user_key": ["eve", "joe"], "age": [None, "30"], "town": [None, 'a "b"']})
    events = pa.table({"user_key": ["joe", "joe", "joe"], "item_id": ["c", "a", "c"]})
    new = NewUsers.of(traits, events, ITEMS)
    return BatchUsers.of(KEYS, hidden, None, new, np.array([False, False, True]))


def test_facts_of_a_batch_about_users_are_stored_as_codes_of_its_items(installation: Any) -> None:
    claim = loaded(installation.engine, {"ann": [("a", 1.0, "why")]}, shelf())
    with installation.engine.begin() as connection:
        partitions.write_users(connection, claim.batch_id, users())
        rows = connection.execute(text(STORED)).all()
    assert [tuple(row) for row in rows] == [
        ("", [2], [], [], None),
        ("ann", [1], [], [], None),
        ("joe", [0, 1, 2], [], [2, 0, 2], {"age": "30", "town": 'a "b"'}),
    ]


def test_users_without_consent_are_erased_with_their_lists(installation: Any) -> None:
    with installation.engine.begin() as connection:
        values = [{"key": key, "consent": key == "ann"} for key in KEYS.tolist()]
        connection.execute(
            text(
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "VALUES (:key, '{}', :consent, 'asked', 'b')"
            ),
            values,
        )
    claim = loaded(installation.engine, {"ann": [("a", 1.0, "why")], "joe": [("a", 1.0, "why")]}, shelf())
    with installation.engine.begin() as connection:
        partitions.write_users(connection, claim.batch_id, users())
        batch_state.publish(connection, "home", claim, None)
        assert [row.user_key for row in connection.execute(text(STORED))] == ["", "ann"]
    assert partitions.drop(installation.engine, claim.batch_id)
    with installation.engine.connect() as connection:
        assert not connection.execute(text(STORED)).all()


def test_only_placements_whose_rules_need_it_store_users(stage: Any, monkeypatch: Any, tmp_path: Any) -> None:
    file = tmp_path / "placements.toml"
    file.write_text('[home]\nk = 5\n[news]\nk = 5\npolicy = "discover"\n[again]\nk = 5\npolicy = "repurchase"\n')
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(file))
    current.cache_clear()
    stage.promote("most_popular")
    known = {name: _known(stage, name) for name in ("home", "news", "again")}
    assert known["home"] == {}
    assert len(known["news"]) == 30
    assert all(row["hidden"] and not row["due"] for row in known["news"].values())
    assert all(row["due"] and not row["hidden"] for row in known["again"].values())


def _known(stage: Any, placement: str) -> dict[str, Any]:
    batch = score_placement.fn(placement)["batch_id"]
    named = text(
        "SELECT user_key, hidden, due, (SELECT count(*) FROM batch_items WHERE batch_id = :batch "
        "AND item_code = ANY (hidden || due)) AS named FROM batch_users WHERE batch_id = :batch"
    )
    with stage.here.engine.connect() as connection:
        rows = {row["user_key"]: dict(row) for row in connection.execute(named, {"batch": batch}).mappings()}
    assert json.dumps(rows.pop("")["hidden"]) == "[]"
    assert all(row["named"] == len(row["hidden"]) + len(row["due"]) for row in rows.values())
    return rows
