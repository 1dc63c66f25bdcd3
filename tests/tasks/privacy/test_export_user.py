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

from models import columns
from models.errors import TailorbirdError
from serving.queries.user_recommendations import user_list
from tasks.privacy.export_user import export_user
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
