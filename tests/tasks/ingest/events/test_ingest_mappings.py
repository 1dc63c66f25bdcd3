import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import items, quarantine, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.errors import TailorbirdError
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest.stored import counted, lake

GOLDEN = Path(__file__).parents[3] / "golden" / "mappings"


def file_of(folder: Path, name: str, dataset: str) -> str:
    """The one file of a part of a mapping."""
    [file] = files_of(table_mapping(name, None), [str(folder)])[dataset]
    return file


SOUND = 60
MORE: dict[str, dict[str, Callable[[int], str]]] = {
    "personalize": {
        "interactions.csv": lambda n: f"u{n},0008,{1717300000 + n},View,,,",
        "items.csv": lambda n: f"i{n},5,Home,Lamps,Lamp {n},",
    },
    "content": {"interactions-2024-06.csv": lambda n: f"s{n},u{n},,film-1,2024-06-05T10:00:{n:02},play,60,,,,,yes"},
}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The golden files among so many sound rows that no batch is refused for its share of bad ones."""
    folder = tmp_path / request.param
    shutil.copytree(GOLDEN / request.param, folder)
    for name, line in MORE[request.param].items():
        with (folder / name).open("a") as file:
            file.writelines(f"{line(number)}\n" for number in range(SOUND))
    return folder


def caught(installation: Installation) -> list[list[str]]:
    with installation.engine.connect() as connection:
        result = select(quarantine.c.rule_ids).order_by(quarantine.c.batch_id, quarantine.c.row_number)
        return [sorted(rules) for rules in connection.execute(result).scalars()]


@pytest.mark.parametrize("place", ["personalize"], indirect=True)
def test_an_export_for_amazon_personalize_comes_in(installation: Installation, place: Path) -> None:
    mapping = "personalize"
    declared = {"consent": "given", "consent_note": "by contract"}
    assert counted(ingest_items.fn(mapping, file_of(place, mapping, "items"), declared)) == {
        "read": 63,
        "quarantined": 1,
        "routed": 62,
    }
    assert counted(ingest_users.fn(mapping, file_of(place, mapping, "users"), declared)) == {"read": 2, "routed": 2}
    entry = ingest_events.fn(mapping, file_of(place, mapping, "events"), declared)
    assert counted(entry) == {"read": 68, "accepted": 63, "duplicate": 1, "quarantined": 4}
    assert caught(installation) == [
        ["occurred_at_unreadable"],
        ["event_type_unknown"],
        ["user_key_missing"],
        ["item_not_in_catalogue"],
        ["price_negative"],
    ]
    again = ingest_events.fn(mapping, file_of(place, mapping, "events"), declared)
    assert again == entry | {"status": "unchanged"}
    rows = sorted(lake(installation), key=lambda row: (row["occurred_at"], row["event_id"]))
    assert [row["event_type"] for row in rows[:3]] == ["view", "purchase", "add_to_cart"]
    assert rows[1]["user_key"] == pseudonym("0042", installation.key)
    assert rows[1]["recommendation_id"] == "RID-1"
    assert len({row["event_id"] for row in rows}) == 63
    with installation.engine.connect() as connection:
        item = connection.execute(select(items).where(items.c.item_id == "0008")).one()
    assert (item.category, "category_imputed" in item.attributes) == (None, False)


@pytest.mark.parametrize("place", ["content"], indirect=True)
def test_articles_and_films_come_in_with_each_ones_consent(installation: Installation, place: Path) -> None:
    assert counted(ingest_items.fn("content", file_of(place, "content", "items"))) == {"read": 3, "routed": 3}
    assert counted(ingest_users.fn("content", file_of(place, "content", "users"))) == {"read": 2, "routed": 2}
    entry = ingest_events.fn("content", file_of(place, "content", "events"))
    # Ben refused, and Eva did not answer.
    assert counted(entry) == {"read": 68, "accepted": 63, "duplicate": 1, "quarantined": 2, "suppressed": 2}
    assert caught(installation) == [["occurred_at_unreadable"], ["item_not_in_catalogue"]]
    first, second, third = sorted(lake(installation), key=lambda row: (row["occurred_at"], row["event_id"]))[:3]
    assert (first["event_type"], first["placement"], first["position"]) == ("impression", "home", 1)
    assert (second["event_type"], second["value"], third["rating"]) == ("consume", 5400.5, 4.5)
    with installation.engine.connect() as connection:
        ana = connection.execute(select(users).where(users.c.user_key == pseudonym("ana", installation.key))).one()
    assert ana.attributes == {"age_group": "25-34", "country": "DE", "plan": None}


def test_a_csv_file_that_breaks_off_in_the_middle_leaves_nothing_behind(
    installation: Installation, tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "content", tmp_path / "content")
    path = tmp_path / "content" / "interactions-2024-06.csv"
    path.write_text(path.read_text() + 'e8,"ana')
    with pytest.raises(TailorbirdError, match=r"interactions-2024-06.csv cannot be read: line 10: "):
        ingest_events.fn("content", str(path))
    assert installation.lake.event_files() == []


def test_consent_by_an_event_counts_though_the_file_of_users_states_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text("user_id\nana\nben\n")
    (tmp_path / "interactions.csv").write_text(
        "event_id,user_id,content_id,occurred_at,action,consent\n"
        "e1,ana,f1,2024-06-01,play,yes\ne2,ben,f1,2024-06-01,play,\n"
    )
    ingest_users.fn("content", str(tmp_path / "users.csv"))
    (tmp_path / "contents.csv").write_text("content_id,title,kind,genre\nf1,Film,film,drama\n")
    ingest_items.fn("content", str(tmp_path / "contents.csv"))
    entry = ingest_events.fn("content", str(tmp_path / "interactions.csv"))
    assert (entry["accepted"], entry["suppressed"]) == (1, 1)
    with installation.engine.connect() as connection:
        agreed = connection.execute(select(users.c.user_key).where(users.c.consent)).scalars().all()
    assert agreed == [pseudonym("ana", installation.key)]


def test_a_column_without_a_value_may_be_of_any_kind(installation: Installation, tmp_path: Path) -> None:  # noqa: ARG001
    path = tmp_path / "interactions.parquet"
    values = {"event_id": "e1", "user_id": "ana", "content_id": "f1", "occurred_at": "2024-06-01", "action": "play"}
    pq.write_table(pa.Table.from_pylist([values | {"consent": "yes", "rating": None}]), path)
    (tmp_path / "contents.csv").write_text("content_id,title,kind,genre\nf1,Film,film,drama\n")
    ingest_items.fn("content", str(tmp_path / "contents.csv"))
    assert ingest_events.fn("content", str(path))["accepted"] == 1
