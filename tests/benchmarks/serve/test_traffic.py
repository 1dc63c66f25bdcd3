"""The requests of the benchmark ask for lists that the API may keep."""

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text

from benchmarks.serve.traffic import traffic
from infra.installation import Installation
from infra.keys.identity import remember
from tests.published import published, shelf

AGREED = """
    INSERT INTO users (user_key, attributes, consent, consent_source, batch_id)
    VALUES ('ann', '{}', true, '', ''), ('bob', '{}', true, '', '')"""
CLICKED = """
    INSERT INTO session_profiles (subject, items, expires_at)
    VALUES ('ann', '{1}', now() + :from_now * interval '1 hour')"""


@pytest.mark.parametrize(("from_now", "asked"), [(1, {"bob"}), (-1, {"ann", "bob"})])
def test_users_who_clicked_lately_are_left_out_because_their_lists_are_live(
    installation: Installation, from_now: int, asked: set[str]
) -> None:
    engine = installation.engine
    with engine.begin() as connection:
        connection.execute(text(AGREED))
        remember(connection, pa.table({"user_id": ["ann", "bob"], "user_key": ["ann", "bob"]}))
        connection.execute(text(CLICKED), {"from_now": from_now})
    published(engine, {key: [("1", 1.0, "because")] for key in ("ann", "bob")}, shelf("b", k=1))
    assert set(traffic(engine, "k", np.random.default_rng(1)).users) == asked
