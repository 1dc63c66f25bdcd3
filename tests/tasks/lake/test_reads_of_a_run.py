"""A run that scores several placements reads the champion's bundle and the known users once."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tasks.lake.event_engine import shared_reads
from tasks.scoring.batch_work import one_bundle
from tasks.scoring.score_placement import score_placement
from tests.tasks.shelves import placing

_PLACES = ("home", "basket", "newsletter")
_RULES = """
[home]
policy = "repurchase"
[basket]
policy = "discover"
rules.lifetime_days = 4000
[newsletter]
k = 5
"""
_listening: list[Counter[str]] = []


def _record_open(name: str, arguments: tuple[Any, ...]) -> None:
    if name == "open" and _listening:
        _listening[-1][Path(str(arguments[0])).name] += 1


@cache
def _add_hook() -> None:
    """Add the hook, once. It cannot be removed, and slows down every process that has it."""
    sys.addaudithook(_record_open)


@contextmanager
def opened_files() -> Iterator[Counter[str]]:
    """How often each file name was opened within the block."""
    _add_hook()
    _listening.append(Counter())
    try:
        yield _listening[-1]
    finally:
        _listening.pop()


@pytest.fixture(autouse=True)
def _placements(stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.promote()
    placing(tmp_path, monkeypatch)(_RULES)


@pytest.mark.usefixtures("stage")
def test_a_run_of_several_placements_opens_the_bundle_once() -> None:
    with opened_files() as opened, one_bundle():
        for name in _PLACES:
            score_placement.fn(name)
    assert opened["arrays.npz"] == 1


def test_a_new_champion_is_opened_within_a_run(stage: Any) -> None:
    with one_bundle():
        before = score_placement.fn("home")["model_version"]
        stage.promote("most_popular", version=2)
        assert score_placement.fn("home")["model_version"] != before


@contextmanager
def reads_of_known_users(stage: Any) -> Iterator[list[str]]:
    """Each time that the users with consent were read within the block, the statement."""
    read: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        if "jsonb_object_keys" in statement:
            read.append(statement)

    event.listen(stage.here.engine, "before_cursor_execute", note)
    try:
        yield read
    finally:
        event.remove(stage.here.engine, "before_cursor_execute", note)


def test_a_run_reads_the_known_users_again_after_a_placement_made_lists_and_once_without(stage: Any) -> None:
    for expected in (len(_PLACES), 1):  # the second run finds nothing new
        with reads_of_known_users(stage) as read, shared_reads():
            batches = [score_placement.fn(name)["batch_id"] for name in _PLACES]
        assert len(read) == expected
    assert batches == [score_placement.fn(name)["batch_id"] for name in _PLACES]  # outside of a run the same
