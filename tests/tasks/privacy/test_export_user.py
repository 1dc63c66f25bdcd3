"""A person gets a copy of their data, as files that a spreadsheet and a program can read."""

import csv
import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from infra.database.schema.privacy_schema import ERASE, EXPORT
from infra.keys.identity import pseudonym
from models import columns
from models.errors import TailorbirdError
from serving.queries.user_recommendations import user_list
from tasks.privacy.erase_users import erase_users
from tasks.privacy.export_user import export_user, store_exports
from tasks.privacy.requests import ask, requests
from tests.tasks.privacy.stores import keys_of, person


def test_a_copy_holds_what_was_provided_observed_and_inferred(published: Any, tmp_path: Path) -> None:
    here, one, target = published.here, person(published, 4), tmp_path / "copy.zip"
    counts = export_user(here, one, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(target) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    parts = {name: json.loads(files[f"{name}.json"]) for name in counts}
    assert counts == {name: len(rows) for name, rows in parts.items()}
    assert counts == {name: len([*csv.DictReader(io.StringIO(files[f"{name}.csv"]))]) for name in counts}
    assert all(f"{name}: " in files["index.txt"] for name in counts)
    rows = pq.ParquetDataset(here.lake.event_files()).read()
    theirs = [row for row in rows.to_pylist() if row[columns.USER_KEY] == keys_of(here)[one]]
    assert sorted(row["event_id"] for row in parts["events"]) == sorted(row["event_id"] for row in theirs)
    shown = [(row["item_id"], row["reason"]) for row in user_list(here.engine, one)]
    assert [(row["item_id"], row["reason"]) for row in parts["lists"]] == shown
    assert parts["consent"][0]["consent"] is True
    assert parts["traits"]
    assert [row["user_id"] for row in json.loads(files["stored.json"])["identity.users.user_key"]] == [one]


def test_a_file_is_not_overwritten(published: Any, tmp_path: Path) -> None:
    (tmp_path / "copy.zip").write_text("another one's")
    with pytest.raises(TailorbirdError, match="Name a new file"):
        export_user(published.here, person(published, 4), tmp_path / "copy.zip")
    assert (tmp_path / "copy.zip").read_text() == "another one's"


def contents(file: Any) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_requested_copy_is_stored_once_and_goes_with_the_user_or_after_its_days(
    published: Any, tmp_path: Path
) -> None:
    here, one, other = published.here, person(published, 4), person(published, 5)
    for name in (one, other):
        ask(here, EXPORT, [name], "ann", "asked by mail")
    assert [store_exports(here), store_exports(here)] == [2, 0]
    assert {line["state"] for line in requests(here.engine)} == {"done"}
    export_user(here, one, tmp_path / "copy.zip")
    with here.engine.begin() as connection:
        content = connection.execute(text("SELECT content FROM identity.privacy_files ORDER BY request_id")).scalar()
    assert contents(io.BytesIO(bytes(content or b""))) == contents(tmp_path / "copy.zip")
    ask(here, ERASE, [one], "ann", "asked by mail")
    with here.engine.begin() as connection:
        left = connection.execute(text("SELECT user_key FROM identity.privacy_files")).scalars().all()
        assert left == [pseudonym(other, here.key)]
        connection.execute(text("UPDATE identity.privacy_files SET made_at = now() - interval '8 days'"))
    assert store_exports(here) == 0
    erase_users(here)
    with here.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM identity.privacy_files")).scalar() == 0
