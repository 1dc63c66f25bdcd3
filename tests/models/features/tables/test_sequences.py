from typing import Any

from models.features.tables.user_features import sequences

NOW = 1_000


def features_of(answer: Any, events: list[Any], **options: Any) -> list[tuple[Any, ...]]:
    rows = answer(lambda known, _, now: sequences(known, now, **options), events, [], NOW)
    return sorted((row["user_key"], row["position"], row["item_id"], row["event_type"]) for row in rows)


def test_the_latest_are_kept_and_the_oldest_of_them_comes_first(answer: Any) -> None:
    events = [("ann", f"i{moment}", "view", moment) for moment in (5, 3, 9, 7)]
    events += [("bob", "tea", "purchase", 1), ("ann", "now", "view", NOW), ("ann", "late", "view", 1, "s", 1, 1, NOW)]
    assert features_of(answer, events, length=3) == [
        ("ann", 0, "i5", "view"),
        ("ann", 1, "i7", "view"),
        ("ann", 2, "i9", "view"),
        ("bob", 0, "tea", "purchase"),
    ]


def test_events_of_one_moment_go_by_item_and_type_never_by_the_order_of_rows(answer: Any) -> None:
    events = [
        ("ann", "b", "purchase", 1, "s1"),
        ("ann", "a", "view", 1, "s2"),
        ("ann", "a", "view", 1, "s1"),
        ("ann", "a", "click", 1, "s2"),
        ("ann", "a", "like", 1, None),
    ]
    kinds = ["click", "like", "view", "view", "purchase"]
    for order in (events, events[::-1], events[2:] + events[:2]):
        assert [kind for *_, kind in features_of(answer, order)] == kinds


def test_only_what_users_did_with_liking_is_in_a_sequence(answer: Any) -> None:
    events = [("ann", "a", kind, 1) for kind in ("impression", "refund", "dislike", "remove_from_cart", "view")]
    assert features_of(answer, events) == [("ann", 0, "a", "view")]
    assert features_of(answer, events, event_types=["dislike"]) == [("ann", 0, "a", "dislike")]
