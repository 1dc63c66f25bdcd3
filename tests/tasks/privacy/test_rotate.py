"""The pseudonym key is rotated in a shop with a champion and lists: people stay who they are, under other names."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert, text

from infra.bundles.arrays import OtherKeyError, column_with_present_keys
from infra.bundles.signing_key_rotation import list_keys
from infra.database.schema.schema import exclusions, suppressions
from infra.installation import Installation, current
from infra.keys.credentials import FOLDER, PSEUDONYM
from infra.keys.identity import pseudonym
from models import columns
from serving.queries.explain import explain
from serving.queries.user_recommendations import user_list
from tasks.datasets.build_dataset import build_dataset, rebuild_dataset, split_by
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.ingest.undo.undo_batches import undo_batches
from tasks.privacy.rotate import rotate_pseudonym_key
from tasks.promotion.recorded_bundles import TrainedBundle, pseudonym_key_of, record
from tasks.scoring.score_placement import score_placement
from tests.conftest import Shop
from tests.tasks.privacy.stores import holding, keys_of, person, started
from tests.tasks.privacy.test_interrupted import stopped

BY_DAYS = split_by(validation_days=30, test_days=31)


def rotate(here: Installation) -> Installation:
    """The installation as a process sees it that starts after a rotation."""
    rotate_pseudonym_key(here.engine, here.settings, "ann", "it leaked")
    return started()


def test_no_store_holds_an_old_key_and_raw_ids_give_the_same_people(published: Any) -> None:
    here, ids = published.here, [person(published, at) for at in range(10)]
    old, lists = keys_of(here), [user_list(here.engine, one) for one in ids]
    with here.engine.begin() as connection:
        connection.execute(insert(suppressions).values(user_key=pseudonym("nobody we know", here.key), reason="left"))
        connection.execute(insert(exclusions).values(user_key=old[ids[0]], kind="item", value="500001"))
    locations = holding(here, set(old.values()))
    assert {"identity.users", "public.users", "public.segments", "public.quarantine", "public.published_lists"} <= {
        *locations
    }
    for place in ("/events/month=", "/events/_delta_log/", "/datasets/"):
        assert any(place in name for name in locations)
    unknown = pseudonym("nobody we know", here.key)
    (here.settings.var / "features-killed").mkdir()
    here = rotate(here)
    assert not (here.settings.var / "features-killed").exists()
    new = keys_of(here)
    assert holding(here, {*old.values(), unknown}) == []
    assert new == {one: pseudonym(one, here.key) for one in old}
    assert [user_list(here.engine, one) for one in ids] == lists
    with here.engine.connect() as connection:
        gone = connection.execute(text("SELECT user_key FROM suppressions")).scalars().all()
        versions = connection.execute(text("SELECT DISTINCT key_version FROM identity.users")).scalars().all()
    assert (gone, versions) == ([pseudonym("nobody we know", here.key)], [2])
    rows = [row for row in list_keys(here.engine) if row["kind"] == PSEUDONYM]
    assert [(row["generation"], row["state"]) for row in rows] == [(1, "replaced"), (2, "in use")]
    assert (rows[1]["actor"], rows[1]["reason"]) == ("ann", "it leaked")


def test_the_same_files_bring_only_duplicates_and_who_left_stays_away(stage: Any) -> None:
    gone = person(stage, 0)
    with stage.here.engine.begin() as connection:
        connection.execute(insert(suppressions).values(user_key=pseudonym(gone, stage.here.key), reason="left"))
    here = rotate(stage.here)
    again = {"source": pa.array(["again"] * len(stage.shop.transactions))}
    stage.shop.write(transactions=stage.shop.transactions.append_column("source", again["source"]))
    line = ingest_events.fn("complete_journey", stage.shop.events_file)
    theirs = stage.shop.transactions["household_id"].to_pylist().count(int(gone))
    assert (line["accepted"], line["suppressed"]) == (0, theirs)
    assert line["quarantined"] <= stage.shop.counts["quarantined"]
    assert here.lake.committed_chunk(line["batch_id"]) >= 0


_CHOSEN = {"consent": "given", "consent_note": "a test", "unknown_items": "accept"}


def without_ids(folder: Path, *more: str) -> str:
    """A file whose events have no ids of their own."""
    folder.mkdir()
    rows = [f"u{n % 7},i{n},View,{1_600_000_000 + n * 40_000},{n}.5" for n in range(60)]
    head = "USER_ID,ITEM_ID,EVENT_TYPE,TIMESTAMP,EVENT_VALUE"
    (folder / "interactions.csv").write_text("\n".join([head, *rows, *more]) + "\n")
    return str(folder / "interactions.csv")


def test_events_whose_ids_are_made_of_their_content_are_known_again(installation: Installation, tmp_path: Path) -> None:
    first = ingest_events.fn("personalize", without_ids(tmp_path / "first"), _CHOSEN)
    rotate(installation)
    more = without_ids(tmp_path / "more", "u9,i1,View,1600000000,1")
    line = ingest_events.fn("personalize", more, _CHOSEN)
    assert (first["accepted"], line["accepted"], line["duplicate"]) == (60, 1, 60)


@pytest.mark.parametrize("moment", [None, 6])
def test_repeated_events_still_become_those_of_the_other_file_after_an_undo(
    installation: Installation, tmp_path: Path, moment: int | None
) -> None:
    first = ingest_events.fn("personalize", without_ids(tmp_path / "first"), _CHOSEN)
    second = ingest_events.fn("personalize", without_ids(tmp_path / "more", "u9,i1,View,1600000000,1"), _CHOSEN)
    if moment is not None:
        assert stopped(installation, "ann", moment)
    here = rotate(installation)
    result = undo_batches.fn([first["batch_id"]], None, "ann", "a test")
    assert [(line["events_removed"], line["events_kept"]) for line in result["batches"]] == [(0, 60)]
    table = pq.read_table(here.lake.event_files(), columns=[columns.BATCH_ID])
    assert table[columns.BATCH_ID].to_pylist() == [second["batch_id"]] * 61
    assert not list(here.settings.var.rglob("ids-of-repeats*"))


def test_a_champion_of_the_earlier_key_gives_the_same_lists_and_explains_them(published: Any) -> None:
    here, one = published.here, person(published, 3)
    item = user_list(here.engine, one)[0]["item_id"]
    shown = explain(here.engine, one, item)
    before = lists(here)
    here = rotate(here)
    assert explain(here.engine, one, item) == shown
    key = here.settings.var / FOLDER / PSEUDONYM
    key.rename(key.with_name("away"))
    with pytest.raises(OtherKeyError, match=r"before the pseudonym-key was rotated.* no key to identify"):
        explain(here.engine, one, item)
    key.with_name("away").rename(key)
    score_placement.fn(k=6)
    score_placement.fn(k=5)
    assert lists(here) == before


def lists(here: Installation) -> list[Any]:
    shown = "SELECT user_id, rank, item_id, round(score::numeric, 4), reason FROM recommendations_by_user_id"
    with here.engine.connect() as connection:
        return sorted(map(tuple, connection.execute(text(shown)).all()))


def test_data_sets_hold_the_same_under_the_new_keys(stage: Any) -> None:
    version, old = stage.manifest["version"], keys_of(stage.here)
    before = {name: rows_of(stage.here, version, name) for name in stage.manifest["rows"]}
    here = rotate(stage.here)
    new = keys_of(here)
    names = {old[one]: new[one] for one in old}
    expected = {name: renamed(rows, names) for name, rows in before.items()}
    assert {name: rows_of(here, version, name) for name in before} == expected
    assert rebuild_dataset.fn(version) == {"version": version, "same": True, "differs": [], "users_left": 0}
    built = build_dataset.fn(BY_DAYS)
    assert built["version"] != version
    assert built["rows"] == stage.manifest["rows"]
    assert {name: rows_of(here, built["version"], name) for name in TABLES} == {name: expected[name] for name in TABLES}


TABLES = ("interactions", "users", "labels")


def rows_of(here: Installation, version: str, name: str) -> list[str]:
    return sorted(map(repr, here.lake.read_dataset(version, name).to_pylist()))


def renamed(rows: list[str], names: dict[str, str]) -> list[str]:
    return sorted(re.sub(r"[0-9a-f]{64}", lambda key: names[key.group()], row) for row in rows)


def test_a_second_rotation_works_like_the_first(published: Any) -> None:
    here, old = published.here, keys_of(published.here)
    one = person(published, 2)
    shown, before = user_list(here.engine, one), lists(here)
    between = keys_of(rotate(here))
    here = rotate(current())
    assert holding(here, {*old.values(), *between.values()}) == []
    assert keys_of(here) == {raw: pseudonym(raw, here.key) for raw in old}
    assert user_list(here.engine, one) == shown
    score_placement.fn(k=6)
    score_placement.fn(k=5)
    assert lists(here) == before


def test_quarantined_events_can_be_replayed_after_a_rotation(installation: Installation, shop: Shop) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    line = ingest_events.fn("complete_journey", shop.events_file)
    here = rotate(installation)
    shop.write(transactions=shop.transactions.slice(1))
    again = ingest_events.fn("complete_journey", shop.events_file)
    assert (again["accepted"], again["quarantined"]) == (0, 0)  # bad rows are known by their contents, too
    replayed = replay_quarantine.fn(line["batch_id"], accept_unknown_items=True)
    assert replayed["accepted"] == line["accepted"] + 12
    table = here.lake.events()
    assert table is not None
    known = {*keys_of(here).values()}
    assert {*table.to_pyarrow_table()["user_key"].to_pylist()} <= known


def test_figures_of_earlier_runs_are_of_the_same_people(small: Installation) -> None:
    old = keys_of(small)
    record(small.engine, TrainedBundle("run 1", "key", "als", "v1", "digest", "digest"))
    before = pseudonym_key_of(small.engine, "run 1")
    figures = pa.table({"user_key": list(old.values()), "ndcg_at_10": [0.1] * len(old)})
    here = rotate(small)
    record(here.engine, TrainedBundle("run 2", "key", "als", "v1", "digest", "digest"))
    assert pseudonym_key_of(here.engine, "run 1") == before != pseudonym_key_of(here.engine, "run 2")
    renamed = column_with_present_keys(figures, "user_key", pseudonym_key_of(here.engine, "run 1"))
    assert renamed["user_key"].to_pylist() == [keys_of(here)[raw] for raw in old]
    again = column_with_present_keys(renamed, "user_key", pseudonym_key_of(here.engine, "run 2"))
    assert again.equals(renamed)


def test_an_installation_that_has_ingested_nothing_yet_gets_a_new_key(installation: Installation) -> None:
    assert not Path(installation.settings.lake).exists()
    before = pseudonym("ann", installation.key)
    assert pseudonym("ann", rotate(installation).key) != before
