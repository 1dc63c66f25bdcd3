import pytest

from serving.stores.changes import UserChanges


def listening(now: float) -> UserChanges:
    changes = UserChanges()
    changes.date(frozenset(), now, restarted=True)
    return changes


def test_values_from_before_the_process_listened_do_not_hold() -> None:
    assert not UserChanges().unchanged_since("ann", 1e12)
    changes = listening(100.0)
    assert not changes.unchanged_since("ann", 99.0)
    assert changes.unchanged_since("ann", 101.0)


def test_a_change_ends_all_values_until_it_is_dated_and_then_the_older_ones() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    assert not changes.unchanged_since("ann", 105.0)
    assert changes.unchanged_since("bob", 105.0)
    changes.date(changes.pending(), 106.0)
    assert not changes.unchanged_since("ann", 105.0)
    assert changes.unchanged_since("ann", 107.0)


def test_a_change_while_the_clock_is_read_stays_undated() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    pending = changes.pending()
    changes.changed("ann")
    changes.date(pending, 106.0)
    assert not changes.unchanged_since("ann", 107.0)
    changes.date(changes.pending(), 108.0)
    assert changes.unchanged_since("ann", 109.0)


def test_after_a_lost_connection_nothing_older_holds() -> None:
    changes = listening(100.0)
    changes.changed("ann")
    changes.pending()  # the connection is lost before the answer
    changes.date(frozenset(), 200.0, restarted=True)
    assert not changes.unchanged_since("ann", 150.0)
    assert not changes.unchanged_since("bob", 150.0)
    assert changes.unchanged_since("ann", 201.0)


def test_if_the_clock_goes_back_nothing_holds_until_it_caught_up() -> None:
    changes = listening(100.0)
    changes.date(frozenset(), 200.0)
    changes.date(frozenset(), 150.0)
    assert not changes.unchanged_since("ann", 160.0)
    assert not changes.unchanged_since("ann", 190.0)
    assert changes.unchanged_since("ann", 201.0)


def test_of_too_many_changes_the_oldest_are_replaced_by_a_later_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.stores.changes._MOST", 2)
    changes = listening(100.0)
    for moment, name in enumerate(("ann", "bob", "eve"), 110):
        changes.changed(name)
        changes.date(changes.pending(), moment)
    assert not changes.unchanged_since("ann", 109.0)
    assert not changes.unchanged_since("zoe", 109.0)
    assert changes.unchanged_since("ann", 111.5)
    assert not changes.unchanged_since("eve", 111.5)
