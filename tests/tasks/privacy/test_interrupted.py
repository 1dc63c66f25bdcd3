"""A rotation that is stopped, at each of its steps and at any moment, and what other processes do meanwhile."""

import signal
from collections.abc import Sequence
from typing import Any

import pytest

from infra import locks
from infra.bundles.signing_key_rotation import list_keys
from infra.installation import Installation
from infra.keys import pseudonym_key_rotation, trust
from infra.keys.credentials import FOLDER, PSEUDONYM
from infra.keys.identity import pseudonym
from infra.keys.trust import KeyRotatingError
from infra.lake.delta_lake import Lake
from infra.locks import WorkRunsError
from serving.queries.user_recommendations import user_list
from tasks.datasets.build_dataset import build_dataset, rebuild_dataset
from tasks.ingest.events import ingest_events as module
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.privacy import rekeyed_data, rotate
from tasks.privacy.rotate import rotate_pseudonym_key
from tests.conftest import Shop
from tests.tasks import forked
from tests.tasks.privacy.stores import holding, keys_of, person, started
from tests.tasks.stopped_steps import KilledError, ends_at

STEPS: tuple[tuple[Any, str], ...] = (
    (pseudonym_key_rotation, "synchronise"),
    (pseudonym_key_rotation, "record"),
    (rekeyed_data, "rewrite"),
    (rekeyed_data, "purge"),
    (Lake, "note_key"),
    (rotate, "update_manifests"),
    (rotate, "complete_rotation"),
)


def stopped(installation: Installation, actor: str, moment: int, steps: Sequence[tuple[Any, str]] = STEPS) -> bool:
    """Rotate, up to that moment; False when the rotation has ended before."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            ends_at(patch, moment, steps)
            rotate_pseudonym_key(installation.engine, installation.settings, actor, "it leaked")
    except KilledError:
        return True
    return False


def keys(installation: Installation) -> list[tuple[int, str, str]]:
    rows = list_keys(installation.engine)
    return [(row["generation"], row["state"], row["actor"]) for row in rows if row["kind"] == PSEUDONYM]


def test_a_rotation_that_is_stopped_again_and_again_ends_like_one_that_never_was(published: Any) -> None:
    installation, one = published.here, person(published, 1)
    old, shown, stops = keys_of(installation), user_list(installation.engine, one), 0
    while stopped(installation, f"try {stops}", 4 * stops + 3):  # tables that are done are looked at again
        stops += 1
        assert user_list(installation.engine, one) == shown
        if keys(installation)[-1][1] == "rotation not finished":
            with pytest.raises(KeyRotatingError, match="run it again"):
                trust.check(installation.engine, installation.settings)
        elif keys(installation)[-1][0] == 2 and not (installation.settings.var / FOLDER / f"{PSEUDONYM}.next").exists():
            break  # it was complete: the next call would be another rotation
    installation = started()
    assert stops > 5
    assert keys(installation) == [(1, "replaced", "tailorbird"), (2, "in use", "try 1")]
    assert holding(installation, set(old.values())) == []
    assert keys_of(installation) == {raw: pseudonym(raw, installation.key) for raw in old}
    assert user_list(installation.engine, one) == shown
    assert rebuild_dataset.fn(published.manifest["version"])["same"]


@pytest.mark.parametrize(
    ("step", "moment", "generations"),
    [
        ((pseudonym_key_rotation, "synchronise"), 1, 2),
        ((pseudonym_key_rotation, "record"), 1, 2),
        ((rotate, "complete_rotation"), 1, 2),
        ((pseudonym_key_rotation, "end_rotation"), 0, 2),
        ((rotate, "tidy"), 0, 3),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else str(value),
)
def test_around_its_commit_it_is_not_begun_twice(
    small: Installation, step: tuple[Any, str], moment: int, generations: int
) -> None:
    old = keys_of(small)
    assert stopped(small, "ann", moment, [step])
    assert not stopped(small, "bob", 99)
    installation = started()
    assert [row[0] for row in keys(installation)] == [*range(1, generations + 1)]
    assert keys_of(installation) == {raw: pseudonym(raw, installation.key) for raw in old}
    assert holding(installation, set(old.values())) == []
    assert not (installation.settings.var / FOLDER / f"{PSEUDONYM}.next").exists()


@pytest.mark.parametrize("marker", ["events of 2020-10", "aliases"])
def test_a_killed_command_goes_on_when_it_is_run_again(small: Installation, marker: str) -> None:
    old = keys_of(small)
    command = ("keys", "rotate", "pseudonym", "--reason")
    assert forked.run(_DYING.format(marker=marker), *command, "it leaked").code == -signal.SIGKILL
    with pytest.raises(KeyRotatingError):
        trust.check(small.engine, small.settings)
    shown = forked.run("from flows.__main__ import main; main()", *command, "again", "--json")
    assert shown.code == 0
    assert '"state": "in use"' in shown.out
    installation = started()
    assert holding(installation, set(old.values())) == []
    assert keys_of(installation) == {raw: pseudonym(raw, installation.key) for raw in old}


# The command line, killed where it reports a piece of its work.
_DYING = """
import os, signal
from flows.__main__ import main
from tasks.privacy import rotate

def dying(what, total):
    def advance(steps=1, note=""):
        if {marker!r} in note:
            os.kill(os.getpid(), signal.SIGKILL)
    yield advance

from contextlib import contextmanager
rotate.progress = contextmanager(dying)
main()
"""


def test_nothing_else_runs_meanwhile_and_what_runs_is_named(small: Installation) -> None:
    with (
        locks.locked(small.engine, "the lake's events"),
        locks.locked(small.engine, purpose="build dataset"),
    ):
        with pytest.raises(WorkRunsError, match=r"while this runs: build dataset; the lake's events\. Wait"):
            rotate_pseudonym_key(small.engine, small.settings, "ann", "it leaked")
        assert keys(small) == [(1, "in use", "tailorbird")]
    with locks.exclusive(small.engine, "keys rotate pseudonym", "No rotation"):
        with pytest.raises(KeyRotatingError, match="wait until that has ended"), locks.locked(small.engine):
            pass
        with pytest.raises(WorkRunsError, match="keys rotate pseudonym"):
            rotate_pseudonym_key(small.engine, small.settings, "ann", "it leaked")
    rotate_pseudonym_key(small.engine, small.settings, "ann", "it leaked")


def test_a_process_that_began_before_a_rotation_does_no_work_after_it(small: Installation) -> None:
    assert small.key
    rotate_pseudonym_key(small.engine, small.settings, "ann", "it leaked")
    with pytest.raises(KeyRotatingError, match="rotated since this process began: run the same command again"):
        build_dataset.fn()
    started()
    trust.check(small.engine, small.settings)
    with locks.locked(small.engine):
        pass


def test_a_process_that_waits_while_a_rotation_is_stopped_does_not_begin(small: Installation) -> None:
    assert stopped(small, "ann", 1, [(rekeyed_data, "rewrite")])
    with pytest.raises(KeyRotatingError, match="is being rotated \\(by ann"):
        build_dataset.fn()


def test_a_batch_that_was_cut_short_goes_on_after_a_rotation(
    installation: Installation, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    with monkeypatch.context() as patch:
        patch.setattr(module, "close", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            ingest_events.fn("complete_journey", shop.events_file)
    rotate_pseudonym_key(installation.engine, installation.settings, "ann", "it leaked")
    started()
    line = ingest_events.fn("complete_journey", shop.events_file)
    assert {name: line[name] for name in shop.counts} == shop.counts
