from typing import Any

import pytest

from models.features.expressions import exponential_decay, known, purchases

NOW = 100


def test_known_is_what_had_happened_and_had_been_received(answer: Any) -> None:
    moments = [(99, 99), (99, 100), (100, 99), (100, 100), (98, 99)]
    events = [("ann", "milk", "view", at, None, None, None, received) for at, received in moments]
    result = answer(lambda rows, _, now: known(rows, now), events, [], NOW)
    assert [(row["occurred_at"], row["received_at"]) for row in result] == [(99, 99), (98, 99)]


def test_a_purchase_without_a_session_is_a_basket_of_its_moment(answer: Any) -> None:
    events = [("ann", "milk", "purchase", 7), ("ann", "tea", "purchase", 8, "s"), ("ann", "tea", "view", 9, "s")]
    assert [row["_basket"] for row in answer(lambda rows, _, now: purchases(rows, now), events, [], NOW)] == ["7", "s"]


def test_a_decayed_weight_is_whole_now(answer: Any) -> None:
    day = 86_400
    events = [("ann", "milk", "view", moment) for moment in (0, 7 * day, 14 * day)]
    build = lambda rows, _, now: rows.select(exponential_decay(now, "occurred_at", 7).alias("weight"))  # noqa: E731
    assert [row["weight"] for row in answer(build, events, [], 14 * day)] == pytest.approx([1 / 4, 1 / 2, 1])
